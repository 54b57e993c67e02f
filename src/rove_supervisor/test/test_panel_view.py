"""What the panel shows, in headless Chromium: live picture, sources, advice, layout on laptop and tablet; the pictures of docs/."""

import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from rove_contract.modes import Mode
from rove_supervisor.rehearsal import CHROMIUM, press, shows

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make setup installs it)")
expect = sync_api.expect

# The pictures of docs/ are taken by test_screenshots; ROVE_SCREENSHOTS=1 puts them there.
IMAGES = Path(__file__).resolve().parents[3] / "docs" / "img"
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


def test_the_value_is_drawn_over_the_timeline(world, page):
    press(page, "start_rollout")
    strip = "document.querySelector('#timeline').toDataURL()"
    page.wait_for_function("rove.state().value.points.length === 0")
    world.value = -0.3
    page.wait_for_function("rove.state().value.points.length > 20", timeout=15000)
    before = page.evaluate(strip)
    page.wait_for_function(f"{strip} !== {json.dumps(before)}", timeout=15000)  # it grows


def test_nothing_moves_when_the_mode_changes(world, page):
    boxes = """[...document.querySelectorAll('button, .card, .banner, .hint')].map(e => {
        const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height].map(Math.round).join() })"""
    before = page.evaluate(boxes)
    for action in ("start_rollout", "pause", "takeover", "recovered", "estop"):
        press(page, action)
        page.wait_for_function("!document.querySelector('.sent')")
        assert page.evaluate(boxes) == before, action


@pytest.mark.parametrize("size", [(1280, 800), LAPTOP, (1366, 633), TABLET, (1920, 1080)])
def test_everything_fits_one_screen_with_large_targets(page, size):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.wait_for_function(f"innerHeight === {size[1]}")
    height = page.evaluate("document.documentElement.scrollHeight")
    assert height <= size[1] and page.evaluate("document.body.scrollHeight") <= size[1]
    large_and_labelled(page)


def test_a_tablet_held_upright_shows_camera_mode_buttons_and_alignment_without_scrolling(page):
    page.set_viewport_size({"width": UPRIGHT[0], "height": UPRIGHT[1]})
    page.wait_for_function(f"innerWidth === {UPRIGHT[0]}")
    assert page.evaluate("document.querySelector('.alignment').getBoundingClientRect().bottom") <= UPRIGHT[1]
    assert page.evaluate("document.documentElement.scrollWidth") <= UPRIGHT[0]
    large_and_labelled(page)
    page.mouse.move(300, 700)
    page.mouse.wheel(0, 5000)
    page.wait_for_function("scrollY > 100")
    expect(page.locator("#estop")).to_be_in_viewport()  # always visible
    page.mouse.wheel(0, -5000)


def large_and_labelled(page):
    """44 px is the least that fingers hit reliably (WCAG 2.5.5); every action says its key."""
    sizes = "[...document.querySelectorAll('button')].map(e => [e.textContent, e.offsetWidth, e.offsetHeight, !!e.querySelector('kbd')])"
    rows = page.evaluate(sizes)
    small = [row for row in rows if row[1] < 44 or row[2] < (44 if page.viewport_size["height"] >= 700 else 36)]
    assert not small and all(row[3] for row in rows)
    cut = page.evaluate("""[...document.querySelectorAll('.act b, .switches b, .switches small, #stage-proposal')]
        .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)""")
    assert cut == []


def test_the_page_loads_nothing_from_elsewhere(supervisor, browser):
    page = browser.new_page()
    urls = []
    page.on("request", lambda request: urls.append(request.url))
    page.goto(supervisor.url)
    page.locator("body[data-link=up]").wait_for()
    page.close()
    assert urls and all(url.startswith(supervisor.url) for url in urls)


def test_screenshots(world, page, tmp_path):
    """One picture per mode; `panel.png`, the README's, is PAUSED before an aligned takeover."""
    folder = IMAGES if os.environ.get("ROVE_SCREENSHOTS") else tmp_path
    world.value = -0.35

    def take(mode):
        shows(page, mode.name)
        page.mouse.move(5, 5)
        page.wait_for_function(f"rove.state().mode === {mode.name!r} && rove.state().time_in_mode > 0.5", timeout=15000)
        save(f"panel_{mode.name.lower()}")

    def save(name):
        picture = Image.open(io.BytesIO(page.screenshot()))
        picture.quantize(192).save(folder / f"{name}.png", optimize=True)  # a third of the size

    take(Mode.IDLE)
    press(page, "start_rollout")
    take(Mode.ROLLOUT)
    world.value = -0.7
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
