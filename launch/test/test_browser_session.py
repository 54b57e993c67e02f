# SPDX-License-Identifier: Apache-2.0
"""An intervention without a suit: the simulated robot is paused, taken over and moved by dragging on the drag page."""

import os
from pathlib import Path

import pytest

from rove_supervisor.testing.fake_world import CHROMIUM
from rove_supervisor.testing.panel_client import Panel

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make setup installs it)")

pytestmark = [
    pytest.mark.ros,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)"),
]
IMAGES = Path(__file__).resolve().parents[2] / "docs/img"
GL = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
LONG_MS, LONG_S = 90_000, 90.0  # software rendering beside a whole session on two busy cores
# The session's teleop but for the limit: headless Chromium draws in software and may send late.
TELEOP = """
launch:
  - node:
      pkg: rove_teleop
      exec: teleop
      name: teleop
      output: screen
      param:
        - from: PARAMETERS
"""
RIGHT = "(rove.state()?.pose.wrists.right ?? [9, 9, 9, 1, 0, 0, 0])"
AT_REST = f"""async () => {{
  for (let before = {RIGHT}; ; ) {{
    await new Promise((r) => setTimeout(r, 500));
    const now = {RIGHT};
    if (Math.hypot(...now.map((v, i) => v - before[i])) < 5e-4) return now;
    before = now;
  }}
}}"""


def drag(page, handle: str, dx: float, dy: float, steps: int = 12) -> None:
    """Drag a handle with the mouse, as a person does."""
    box = page.locator(handle).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx, y + dy, steps=steps)
    page.mouse.up()


def test_the_robot_is_taken_over_and_moved_by_dragging(rove_launch, own_domain, motionless_policy, tmp_path):
    arguments = ["operator:=ann", f"checkpoint:={motionless_policy}", f"bags:={tmp_path / 'bags'}", "panel_port:=0"]
    session = rove_launch("session.launch.yaml", "device:=none", *arguments, cwd=tmp_path)
    parameters, file = tmp_path / "teleop.yaml", tmp_path / "teleop.launch.yaml"
    parameters.write_text('/**: {ros__parameters: {input_timeout_s: 2.0, endpoint: "browser://127.0.0.1:0"}}\n')
    file.write_text(TELEOP.replace("PARAMETERS", str(parameters)))
    teleop = rove_launch(file, cwd=tmp_path)
    panel = Panel(session.wait_for_word_after("panel: ", timeout_s=LONG_S))
    url = teleop.wait_for_word_after("retargeting. open ", timeout_s=LONG_S)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=GL)
        page = browser.new_page(viewport={"width": 1000, "height": 640}, bypass_csp=True)
        page.set_default_timeout(LONG_MS)
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(url)
        page.wait_for_function("rove.puppet.now && rove.puppet.follows")
        panel.press("start_rollout")
        panel.press("pause")

        # Nothing was dragged, so the operator is the robot: aligned at once.
        def aligned(state):
            blocks = state["alignment"]["blocks"].values()
            return len(blocks) > 3 and all(error is not None and error < 0.05 for error in blocks)

        panel.wait(aligned, "the alignment of an operator who is the robot")
        panel.press("takeover")
        page.wait_for_function("rove.puppet.driven")
        before = page.evaluate(AT_REST)
        drag(page, "#move-right", 60, -70)
        goal = page.evaluate("rove.puppet.goal.wrists.right")
        assert sum((a - b) ** 2 for a, b in zip(goal[:3], before)) > 0.05**2, "the goal was dragged away"
        page.wait_for_function(f"Math.hypot(...[0, 1, 2].map((i) => {RIGHT}[i] - {goal}[i])) < 0.02")
        page.fill("#close-right", "1")
        page.wait_for_function("rove.state()?.pose.closure.right > 0.8")
        page.wait_for_function("rove.state()?.pose.closure.left < 0.3")  # the other hand stays as it was
        drag(page, "#turn-right", 40, 0)
        goal = page.evaluate("rove.puppet.goal.wrists.right")
        page.wait_for_function(f"Math.abs([3, 4, 5, 6].reduce((s, i) => s + {RIGHT}[i] * {goal}[i], 0)) > 0.997")
        if os.environ.get("ROVE_SCREENSHOTS"):
            page.screenshot(path=IMAGES / "browser_hands.png")
        assert problems == []
        # A closed page is a stale source: the robot stops, and nothing repeats the last pose.
        browser.close()
    panel.wait(lambda state: not state["links"]["operator"]["ok"], "a stale operator")
    panel.press("abort")
    for runner in (teleop, session):
        runner.stop()
        assert runner.end() == 130, runner.output
