# SPDX-License-Identifier: Apache-2.0
"""A whole episode on the simulated robot, driven by clicks in the panel: real browser, real nodes, recorded."""

import os
import socket
from pathlib import Path

import pytest

from rove_bringup import bag_audit
from rove_supervisor.testing.fake_world import CHROMIUM, press, shows

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make setup installs it)")
expect = sync_api.expect

pytestmark = [
    pytest.mark.ros,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)"),
]
# Share of pixels of the ego picture that differ by more than 40 of 255 from a picture taken before.
CHANGED = """(before) => {
  const canvas = document.querySelector('#camera');
  const now = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let changed = 0;
  for (let i = 0; i < now.length; i += 4) changed += Math.abs(now[i] - before[i / 4]) > 40;
  return changed / (now.length / 4);
}"""
RED = """() => {
  const canvas = document.querySelector('#camera');
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return Array.from({ length: data.length / 4 }, (_, i) => data[4 * i]);
}"""


def test_a_whole_episode_by_clicks_on_the_simulated_robot(rove_launch, own_domain, motionless_policy, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    runner = rove_launch(
        "session.launch.yaml",
        "device:=scripted",
        f"checkpoint:={motionless_policy}",
        f"bags:={tmp_path / 'bags'}",
        "panel_port:=0",
        f"endpoint:={endpoint}",
        cwd=tmp_path,
    )
    url = runner.wait_for_word_after("panel: ", timeout_s=60.0)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800}, bypass_csp=True)
        page.goto(url)
        ready = "[data-do=start_rollout]:not(:disabled)"
        page.wait_for_selector(ready, timeout=90000)
        page.wait_for_function("rove.camera().fps >= 15", timeout=60000)
        # The eraser goes from the ledge into the hand, which comes into the picture.
        before = page.evaluate(RED)
        page.select_option("#start-stage", "grasped")
        page.wait_for_function(f"({CHANGED})({before}) > 0.02", timeout=30000)
        page.wait_for_selector(ready, timeout=30000)
        press(page, "start_rollout")
        shows(page, "ROLLOUT")
        page.wait_for_function("rove.state().value.points.length > 1", timeout=30000)  # the online critic
        press(page, "pause")
        shows(page, "PAUSED")
        page.wait_for_selector("[data-do=takeover]:not(:disabled)", timeout=60000)  # the operator aligns
        page.wait_for_function("rove.state().time_in_mode > 1", timeout=30000)  # the robot has come to rest
        before = page.evaluate(RED)
        press(page, "takeover")
        shows(page, "ADAPTATION")
        press(page, "recovered")
        shows(page, "RECOVERY")
        page.wait_for_function(f"({CHANGED})({before}) > 0.04", timeout=60000)  # the operator moves the robot
        if os.environ.get("ROVE_SCREENSHOTS"):
            page.wait_for_function("rove.state().time_in_mode > 9", timeout=60000)
            page.screenshot(path=Path(__file__).resolve().parents[2] / "docs/img/panel_live.png")
        press(page, "succeed")
        shows(page, "IDLE")
        expect(page.locator("#recent li").first).to_contain_text("success")
        expect(page.locator("#timeline")).to_have_attribute("data-segments", "ROLLOUT PAUSED ADAPTATION RECOVERY")
        page.wait_for_selector(ready, timeout=60000)  # the bag is closed
        browser.close()
    runner.stop()
    assert runner.end() == 130, runner.output
    [bag] = [path for path in (tmp_path / "bags").iterdir() if path.is_dir()]
    found = bag_audit.audit(bag)
    assert found.missing == () and found.episode.start_stage == "grasped" and found.velocity_ratio <= 1.0 + 1e-6
