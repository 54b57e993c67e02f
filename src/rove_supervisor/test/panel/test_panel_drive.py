# SPDX-License-Identifier: Apache-2.0
"""The panel in a real browser (headless Chromium): episodes driven by clicks and keys against a real supervisor
process.
"""

import pytest

from rove_contract import domain
from rove_contract.modes import Outcome
from rove_supervisor.testing.fake_world import CHROMIUM, Process, press, shows

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make setup installs it)")
expect = sync_api.expect

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)"),
]


def test_a_whole_episode_by_clicks(world, page):
    world.order.clear()
    for action, mode in (
        ("start_rollout", "ROLLOUT"),
        ("pause", "PAUSED"),
        ("takeover", "ADAPTATION"),
        ("recovered", "RECOVERY"),
        ("succeed", "IDLE"),
    ):
        press(page, action)
        shows(page, mode)
        world.wait_mode(mode)
    world.wait(lambda: world.episodes[-1].state == "ended", what="the end of the episode")
    assert world.episodes[-1].outcome is Outcome.SUCCESS and world.episodes[-1].t_r_ns > 0
    assert [e for e in world.order if not e.startswith("episode")][-5:] == [
        "ROLLOUT",
        "PAUSED",
        "ADAPTATION",
        "RECOVERY",
        "IDLE",
    ]
    expect(page.locator("#timeline")).to_have_attribute("data-segments", "ROLLOUT PAUSED ADAPTATION RECOVERY")
    expect(page.locator("#recent li").first).to_contain_text("success")
    assert page.evaluate("rove.state().session.rollouts") >= 1


def test_a_whole_episode_by_keys(world, page):
    for key, mode in (
        ("2", "DEMONSTRATION"),
        ("f", "IDLE"),
        ("1", "ROLLOUT"),
        ("p", "PAUSED"),
        ("u", "ROLLOUT"),
        ("Shift+A", "IDLE"),
    ):
        page.keyboard.press(key)
        shows(page, mode)
        world.wait_mode(mode)


def test_forbidden_buttons_are_disabled_and_say_why(page):
    for action in ("pause", "takeover", "recovered", "resume", "succeed", "fail", "abort", "reset", "force_takeover"):
        expect(page.locator(f"[data-do={action}]")).to_be_disabled()
    expect(page.locator("#estop")).to_be_enabled()
    page.hover(".act.pause")
    expect(page.locator("#tip")).to_contain_text("Pause is not possible in IDLE")
    page.keyboard.press("r")
    expect(page.locator("#hint")).to_contain_text("Recovered is not possible in IDLE")


def test_takeover_unlocks_when_aligned(world, page):
    world.errors, world.worst = world.errors | {"arm": 0.52}, "left_elbow"
    press(page, "start_rollout")
    press(page, "pause")
    button = page.locator("[data-do=takeover]")
    expect(button).to_be_disabled()
    expect(page.locator("#verdict")).to_have_text("Not aligned")
    expect(page.locator("#verdict-why")).to_have_text("left_elbow (arm) is 0.52 rad off, limit 0.35")
    for block, error, over in (
        ("head", "0.04", False),
        ("waist", "0.09", False),
        ("arm", "0.52", True),
        ("hand", "0.21", False),
    ):
        row = page.locator(f"[data-block={block}]")
        expect(row).to_have_class("row over" if over else "row")
        expect(row.locator("output")).to_have_text(error)
    world.errors = world.errors | {"arm": 0.1}
    expect(button).to_be_enabled()
    expect(page.locator("#force")).to_be_disabled()
    button.click()
    shows(page, "ADAPTATION")


def test_forcing_a_takeover_needs_a_second_press(world, page):
    world.operator = False
    press(page, "start_rollout")
    press(page, "pause")
    expect(page.locator("#verdict")).to_have_text("No operator")
    press(page, "force_takeover")
    expect(page.locator("#force")).to_have_class("armed")
    shows(page, "PAUSED")
    expect(page.locator("#force")).to_have_text("Press again⇧T")
    for _ in range(5):  # on a starved machine the first press may have lapsed meanwhile
        press(page, "force_takeover")
        page.wait_for_timeout(500)
        if page.evaluate("document.body.dataset.mode") == "ADAPTATION":
            break
    shows(page, "ADAPTATION")


def test_a_refusal_shows_its_reason(world, page):
    world.recorder_ready = False
    expect(page.locator("[data-do=start_rollout]")).to_be_disabled()
    expect(page.locator("[data-do=start_rollout] small")).to_contain_text("the disk is full")
    # A page that asks all the same is refused by the supervisor, not by itself.
    page.evaluate("rove.ask('start_rollout')")
    expect(page.locator("#hint")).to_contain_text("Start rollout refused: the recorder is not ready: the disk is full")


def test_space_held_is_an_estop_and_a_tap_is_not(page):
    press(page, "start_rollout")
    shows(page, "ROLLOUT")
    page.keyboard.press("Space")
    page.keyboard.press("p")
    shows(page, "PAUSED")  # the tap before did nothing, nor did it press the focused button
    page.keyboard.down("Space")
    shows(page, "ESTOP")
    page.keyboard.up("Space")
    press(page, "reset")
    shows(page, "IDLE")


def test_a_second_page_follows_and_one_that_vanishes_changes_nothing(supervisor, open_page, page):
    other = open_page(supervisor.url)
    press(page, "start_rollout")
    shows(other, "ROLLOUT")
    press(other, "pause")
    shows(page, "PAUSED")
    other.close()
    expect(page.locator("#panel-numbers")).to_have_text("1 panel open")
    shows(page, "PAUSED")


def test_the_least_collected_start_stage_is_proposed_and_announced_when_chosen(world, page):
    press(page, "start_demonstration")
    press(page, "succeed")
    shows(page, "IDLE")
    proposal = page.locator("#stage-proposal")
    expect(proposal).to_contain_text("Least collected: grasped")
    proposal.click()
    expect(page.locator("#task-detail")).to_contain_text("from grasped")
    world.wait(lambda: world.stages[-1] == "grasped", what="the start stage for the simulated scene")
    page.select_option("#start-stage", "half_erased")
    expect(page.locator("#task-detail")).to_contain_text("from half erased")
    press(page, "start_demonstration")
    world.wait(lambda: world.episodes[-1].start_stage == "half_erased", what="an episode from half_erased")
    expect(page.locator("#start-stage")).to_be_disabled()
    press(page, "succeed")
    shows(page, "IDLE")
    page.select_option("#start-stage", "start")
    world.wait(lambda: world.stages[-1] == "start", what="the start stage")


def test_without_a_policy_no_rollout_starts(world, page):
    world.policy_ready, world.diagnosis = False, (1, "loading the weights")
    expect(page.locator("[data-do=start_rollout] small")).to_contain_text(
        "the policy is not ready: loading the weights"
    )
    expect(page.locator("[data-do=start_demonstration]")).to_be_enabled()


def test_dead_man_off_or_on_decides_what_a_page_that_vanishes_does(world, supervisor, open_page, page):
    for switched, then in ((False, "ROLLOUT"), (True, "PAUSED")):
        other = open_page(supervisor.url)
        if switched:
            page.keyboard.press("Shift+D")
            expect(other.locator("[data-switch=dead_man]")).to_have_attribute("aria-pressed", "true")
        press(other, "start_rollout")
        shows(page, "ROLLOUT")
        if switched:
            expect(other.locator("[data-switch=dead_man] small")).to_have_text("you hold it")
            page.wait_for_function("rove.state().time_in_mode > 3", timeout=15000)
            shows(page, "ROLLOUT")  # longer than a lease, as long as its page lives
        other.close()
        if switched:
            shows(page, "PAUSED")
            expect(page.locator("#advice")).to_contain_text("was silent for 2.0 s")
        else:
            page.wait_for_function("rove.state().panel.clients === 1 && rove.state().time_in_mode > 1", timeout=15000)
        shows(page, then)
        press(page, "abort")


def test_auto_pause_acts_on_the_advice_only_when_switched_on(world, page):
    page.keyboard.press("Shift+O")
    expect(page.locator("[data-switch=auto_pause] small")).to_have_text("on")
    press(page, "start_rollout")
    world.value = -0.85
    shows(page, "PAUSED")
    expect(page.locator("#advice")).to_contain_text("auto-pause: Value -0.85 below -0.60")
    assert page.evaluate("rove.audio().beeps") >= 1


def test_the_page_comes_back_after_the_supervisor_restarts(world, open_page):
    elsewhere = str(domain.reserve())  # there is one supervisor per session
    first = Process(elsewhere)
    page = open_page(first.url)
    expect(page.locator("body")).to_have_attribute("data-link", "up")
    assert first.stop() == 0
    expect(page.locator("#mode")).to_have_text("NO CONNECTION")
    expect(page.locator("[data-do=start_rollout]")).to_be_disabled()
    second = Process(elsewhere, panel_port=first.port)
    try:
        expect(page.locator("body")).to_have_attribute("data-link", "up", timeout=15000)
        expect(page.locator("#mode")).to_have_text("IDLE")
    finally:
        assert second.stop() == 0
