# SPDX-License-Identifier: Apache-2.0
"""What the panel shows, in headless Chromium: live picture, sources, advice, timeline, ghost, session; the pictures of
docs/.
"""

import json
import os
import re
from pathlib import Path

import pytest

from rove_contract.modes import Mode
from rove_supervisor.testing.fake_world import CHROMIUM, press, shows

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make setup installs it)")
expect = sync_api.expect

# The pictures of docs/ are taken by test_screenshots; ROVE_SCREENSHOTS=1 puts them there.
IMAGES = Path(__file__).resolve().parents[4] / "docs" / "img"
LAPTOP, TABLET, UPRIGHT = (1366, 768), (1024, 768), (768, 1024)
pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)"),
]


def test_the_camera_is_live_at_15_fps_at_least(page):
    page.wait_for_function("rove.camera().fps >= 15", timeout=15000)
    shot = "document.querySelector('#camera').toDataURL()"
    first = page.evaluate(shot)
    page.wait_for_function(f"{shot} !== {json.dumps(first)}", timeout=15000)
    page.wait_for_function("rove.camera().age < 0.5", timeout=15000)


def test_sources_that_fall_silent_are_shown(world, page):
    for source in ("robot", "camera", "operator"):
        setattr(world, source, False)
        expect(page.locator(f"#link-{source}")).to_have_attribute("data-ok", "false")
        setattr(world, source, True)
        expect(page.locator(f"#link-{source}")).to_have_attribute("data-ok", "true")


def test_warnings_are_shown_in_words(world, page):
    world.diagnosis = (1, "inference takes 212 ms")
    expect(page.locator("#warnings")).to_contain_text("policy: inference takes 212 ms")


def test_advice_is_seen_and_heard_when_the_value_stays_low_and_nothing_is_done(world, page):
    press(page, "start_rollout")  # also the touch without which browsers play nothing
    before = page.evaluate("rove.audio().beeps")
    world.value = -0.85
    expect(page.locator("#advice")).to_have_class("advice on", timeout=15000)
    expect(page.locator("#advice")).to_contain_text("consider pausing")
    page.wait_for_function("rove.audio().level > 0.1", timeout=15000)  # in the audio itself
    assert page.evaluate("rove.audio().beeps") > before
    shows(page, "ROLLOUT")  # advice, not an act
    page.keyboard.press("m")
    expect(page.locator("[data-switch=sound] small")).to_have_text("off")
    beeps = page.evaluate("rove.audio().beeps")
    page.wait_for_function("rove.state().time_in_mode > 9", timeout=20000)  # two repetitions
    assert page.evaluate("rove.audio().beeps") == beeps
    page.keyboard.press("m")


STRIP = """(color) => {
  const canvas = document.querySelector('#timeline');
  const data = canvas.getContext('2d').getImageData(0, 2, canvas.width, 1).data;
  const [r, g, b] = color.match(/\\w\\w/g).map((x) => parseInt(x, 16));
  let columns = 0;
  for (let i = 0; i < data.length; i += 4) columns += data[i] === r && data[i + 1] === g && data[i + 2] === b;
  return columns;
}"""
ROLLOUT, PAUSED = "#4da3ff", "#ffb020"  # as in panel.css


def test_the_stages_and_the_time_in_mode_grow_as_the_episode_runs(world, page):
    press(page, "start_rollout")
    shows(page, "ROLLOUT")
    begin = page.evaluate(STRIP, ROLLOUT)
    page.wait_for_function("Number(document.querySelector('#time-in-mode').textContent) > 1", timeout=15000)
    page.wait_for_function(f"({STRIP})('{ROLLOUT}') > {begin + 30}", timeout=15000)
    assert page.evaluate(STRIP, PAUSED) == 0
    press(page, "pause")
    page.wait_for_function(f"({STRIP})('{PAUSED}') > 30", timeout=15000)
    rollout = page.evaluate(STRIP, ROLLOUT)
    page.wait_for_timeout(300)
    assert page.evaluate(STRIP, ROLLOUT) == rollout, "what is over does not change"


def test_the_milestone_of_the_task_is_named_now_and_of_what_is_over_the_farthest(world, page):
    assert page.locator("#milestone").text_content() == "", "a robot does not tell"
    press(page, "start_rollout")
    shows(page, "ROLLOUT")
    for world.milestone in ("eraser in the hand", "half of the ink wiped", "eraser in the hand"):
        expect(page.locator("#milestone")).to_have_text(world.milestone)
    expect(page.locator("#milestone")).to_have_attribute("title", re.compile("Milestone 1 of 3: nothing done → eraser"))
    press(page, "fail")
    expect(page.locator("#milestone")).to_have_text("half of the ink wiped")
    world.wait(lambda: world.episodes[-1].milestone == "half of the ink wiped", what="the episode with its milestone")


def test_the_latency_of_each_stage_is_told_apart(world, page):
    expect(page.locator("#latency span")).to_be_hidden()
    for name, stage in (("input", 12.0), ("filter", 5.2)):
        world.reported |= {f"latency/{name}/p50_ms": f"{stage}", f"latency/{name}/p99_ms": f"{2 * stage}"}
        world.reported |= {f"latency/{name}/max_ms": "40"}
    expect(page.locator("#latency span")).to_have_text("input 12/24 · filter 5/10 ms")


def test_the_value_is_drawn_over_the_timeline(world, page):
    press(page, "start_rollout")
    press(page, "pause")
    shows(page, "PAUSED")
    curve = f"({STRIP.replace('0, 2, canvas.width, 1', '0, 0, canvas.width, canvas.height')})('#ffffff')"
    page.wait_for_function("rove.state().value.points.length === 0")
    before = page.evaluate(curve)
    world.value = -0.3
    page.wait_for_function("rove.state().value.points.length > 20", timeout=15000)
    page.wait_for_function(f"{curve} > {before + 20}", timeout=15000)
    half = page.evaluate(curve)
    page.wait_for_function(f"{curve} > {half + 20}", timeout=15000)  # it grows
    expect(page.locator("#advice-text")).to_have_text("Value -0.30")


def test_the_ghost_follows_the_operator_and_the_robot_stays(world, page):
    ghosts = "JSON.stringify(rove.state().ghost.{})"
    shot = "document.querySelector('#ghost').toDataURL()"
    robot, operator, drawn = (
        page.evaluate(ghosts.format("robot")),
        page.evaluate(ghosts.format("operator")),
        page.evaluate(shot),
    )
    assert robot != operator
    before, world.target = world.target, world.target + 0.4
    try:
        page.wait_for_function(f"{ghosts.format('operator')} !== {json.dumps(operator)}", timeout=15000)
        page.wait_for_function(f"{shot} !== {json.dumps(drawn)}", timeout=15000)
        assert page.evaluate(ghosts.format("robot")) == robot
    finally:
        world.target = before


def test_screenshots(world, page, tmp_path):
    """One picture per mode, one of advice; `panel.png`, the README's, is PAUSED before an aligned takeover."""
    folder = IMAGES if os.environ.get("ROVE_SCREENSHOTS") else tmp_path
    seconds = (
        3.0 if os.environ.get("ROVE_SCREENSHOTS") else 0.3
    )  # in each mode, so that the timeline has something to show

    def take(mode, name=""):
        shows(page, mode.name)
        page.mouse.move(5, 5)
        page.wait_for_function(
            f"rove.state().mode === {mode.name!r} && rove.state().time_in_mode > {seconds}", timeout=15000
        )
        save(f"panel_{name or mode.name.lower()}")

    def save(name):
        (folder / f"{name}.png").write_bytes(page.screenshot())

    page.wait_for_function(
        "document.querySelector('#hint').textContent === '' && rove.camera().fps >= 15", timeout=20000
    )
    take(Mode.IDLE)
    world.value = -0.35
    press(page, "start_rollout")
    take(Mode.ROLLOUT)
    world.value = -0.7
    expect(page.locator("#advice")).to_have_class("advice on", timeout=15000)
    take(Mode.ROLLOUT, "advice")
    press(page, "pause")
    take(Mode.PAUSED)
    (folder / "panel.png").write_bytes((folder / "panel_paused.png").read_bytes())
    for name, size in (("laptop", LAPTOP), ("tablet", TABLET), ("upright", UPRIGHT)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.wait_for_function(f"innerWidth === {size[0]}")
        page.wait_for_timeout(300)  # the canvases are drawn again
        save(f"panel_{name}")
    page.set_viewport_size({"width": 1280, "height": 800})
    press(page, "takeover")
    take(Mode.ADAPTATION)
    world.value = -0.3
    press(page, "recovered")
    take(Mode.RECOVERY)
    press(page, "succeed")
    press(page, "start_demonstration")
    take(Mode.DEMONSTRATION)
    press(page, "estop")
    take(Mode.ESTOP)
    assert all((folder / f"panel_{mode.name.lower()}.png").stat().st_size > 20_000 for mode in Mode)
