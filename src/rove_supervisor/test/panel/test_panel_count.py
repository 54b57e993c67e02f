# SPDX-License-Identifier: Apache-2.0
"""The session's numbers on the page, from the first episode on: a supervisor that has counted nothing yet."""

import pytest

from rove_supervisor.testing.fake_world import CHROMIUM, Process, press

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make setup installs it)")
expect = sync_api.expect

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)"),
]


def test_the_session_is_counted(world, open_page):
    process = Process(record=True, instruction="erase the whiteboard")
    try:
        page = open_page(process.url)
        page.wait_for_selector("[data-do=start_rollout]:not(:disabled)")
        expect(page.locator("#recent")).to_have_text("None yet")
        for actions, outcome in (
            (("start_rollout", "pause", "takeover", "succeed"), "success"),
            (("start_rollout", "fail"), "failure"),
        ):
            for action in actions:
                press(page, action)
                page.wait_for_function("rove.state().time_in_mode > 0.3", timeout=15000)
            expect(page.locator("#recent li").first).to_contain_text(outcome)
        seen = {
            key: page.inner_text(f"#n-{key}")
            for key in ("rollouts", "success", "autonomous", "demonstrations", "disk", "dropped")
        }
        assert seen == {
            "rollouts": "2",
            "success": "50 %",
            "autonomous": "0 %",
            "demonstrations": "0",
            "disk": "212 GB",
            "dropped": "0",
        }
        assert 0 < int(page.inner_text("#n-intervention").removesuffix(" %")) < 100
        expect(page.locator("#recent li").nth(1)).to_contain_text("helped")
        expect(page.locator("#instruction")).to_have_text("erase the whiteboard")
        world.dropped, world.disk_free_gb = 17, 3.4
        expect(page.locator("#n-dropped")).to_have_text("17")
        expect(page.locator("#n-dropped")).to_have_class("bad")
        expect(page.locator("#n-disk")).to_have_text("3 GB")
    finally:
        world.dropped, world.disk_free_gb = 0, 212.4
        process.stop()
