# SPDX-License-Identifier: Apache-2.0
"""Layout and legibility of the panel, measured in headless Chromium: nothing moves, nothing is cut off, contrast, large
targets.
"""

import pytest

from rove_supervisor.testing.fake_world import CHROMIUM, press, shows

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make setup installs it)")
expect = sync_api.expect

LAPTOP, TABLET, UPRIGHT = (1366, 768), (1024, 768), (768, 1024)
pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)"),
]

FIRST_SCREEN = ["start_rollout", "start_demonstration", "pause", "takeover", "recovered", "resume"]
FIRST_SCREEN += ["succeed", "fail", "abort", "reset"]
SHIFTS = """() => { window.shifts = []; new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) shifts.push([entry.value, entry.sources.map((s) => s.node?.id ||
    s.node?.className || '')]);
}).observe({ type: 'layout-shift' }); }"""
THINGS = "button, select, .card, .banner, .advice, .hint, .row i, output, dt, dd, canvas, .links li"
BOXES = f"""[...document.querySelectorAll('{THINGS}')].map(e => {{
  const b = e.getBoundingClientRect(); return [e.id || e.tagName, b.x, b.y, b.width, b.height].join() }})"""


def test_nothing_moves_whatever_happens(world, page):
    before = page.evaluate(BOXES)
    page.evaluate(SHIFTS)

    def still(what):
        page.wait_for_function("!document.querySelector('.sent')")
        assert page.evaluate(BOXES) == before, what

    world.value = -0.85
    press(page, "start_rollout")
    expect(page.locator("#advice")).to_have_class("advice on", timeout=15000)
    still("advice")
    world.errors, world.diagnosis, world.camera = world.errors | {"arm": 12.3}, (2, "a long warning " * 20), False
    press(page, "pause")
    expect(page.locator("#verdict")).to_have_text("Not aligned")
    expect(page.locator("#camera-lost")).to_be_visible()
    expect(page.locator("#warnings")).to_contain_text("a long warning")
    still("trouble")
    world.errors, world.camera = world.errors | {"arm": 0.1}, True
    for action in ("takeover", "recovered", "succeed", "start_demonstration", "estop"):
        press(page, action)
        page.wait_for_function("rove.state().time_in_mode < 5")
        still(action)
    total = page.evaluate("shifts.reduce((sum, [value]) => sum + value, 0)")
    assert total < 0.001, page.evaluate("shifts")  # of 1: the browser's own measure; "good" is below 0.1


# Contrast of every visible text with what is behind it (WCAG 2.2: relative luminance), opacity and every colour of a
# gradient included.
CONTRAST = """() => {
  const pixel = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (text) => {
    pixel.clearRect(0, 0, 1, 1); pixel.fillStyle = text; pixel.fillRect(0, 0, 1, 1);
    const d = pixel.getImageData(0, 0, 1, 1).data;
    return [d[0], d[1], d[2], d[3] / 255];
  };
  const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3]));
  const linear = (x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, w, i) => sum + w * linear(c[i] / 255), 0);
  const rows = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim(), e = walk.currentNode.parentElement, chain = [];
    if (!text || ['OPTION', 'SCRIPT'].includes(e.tagName) || !e.checkVisibility({ visibilityProperty: true })) continue;
    for (let x = e; x; x = x.parentElement) chain.unshift(x);
    let grounds = [[0, 0, 0]], opacity = 1;
    for (const x of chain) {
      const style = getComputedStyle(x), under = grounds;
      opacity *= Number(style.opacity);
      grounds = (style.backgroundImage.match(/rgba?\\([^)]*\\)/g) || [style.backgroundColor]).flatMap((c) =>
        under.map((g) => {
        const k = rgba(c);
        return over([k[0], k[1], k[2], k[3] * opacity], g);
      }));
    }
    const ink = rgba(getComputedStyle(e).color);
    ink[3] *= opacity;
    const ratio = Math.min(...grounds.map((g) => {
      const [a, b] = [light(over(ink, g)), light(g)].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05);
    }));
    if (ratio < 4.5) rows.push([text, e.id || e.className || e.tagName, ratio.toFixed(2)]);
  }
  return rows;
}"""
WORDS = (
    ".act b, .switches *, #stage-proposal, h1, #mode-words, .verdict, .verdict-why, .links span, #advice-text, "
    "#hint, dt, dd"
)
CUT = f"""() => [...document.querySelectorAll('{WORDS}')].filter((e) => e.checkVisibility({{ visibilityProperty:
  true }})
    && (e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 4)).map((e) => [e.id || e.className,
      e.textContent])"""


def legible(page, what):
    page.wait_for_function("!document.querySelector('.sent')")
    for size in ((1280, 800), TABLET, UPRIGHT):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.wait_for_function(f"innerWidth === {size[0]}")
        page.wait_for_timeout(150)  # shown again by the page
        assert page.evaluate(CONTRAST) == [], f"contrast below 4.5:1, {what}, {size}"
        assert page.evaluate(CUT) == [], f"words cut off, {what}, {size}"
    page.set_viewport_size({"width": 1280, "height": 800})


def test_every_word_is_legible_in_every_mode_on_laptop_and_tablet(world, page):
    legible(page, "IDLE")
    world.value = -0.85
    press(page, "start_rollout")
    expect(page.locator("#advice")).to_have_class("advice on", timeout=15000)
    legible(page, "advice")
    world.errors, world.diagnosis = world.errors | {"hand": 0.52}, (1, "inference takes 212 ms")
    press(page, "pause")
    press(page, "force_takeover")
    expect(page.locator("#force")).to_have_class("armed")
    assert page.evaluate(CONTRAST) == [], "the second press, under the pointer"
    legible(page, "misaligned")
    world.operator = False
    expect(page.locator("#verdict")).to_have_text("No operator")
    legible(page, "no operator")
    world.operator, world.errors = True, world.errors | {"hand": 0.1}
    path = {
        "takeover": "ADAPTATION",
        "recovered": "RECOVERY",
        "succeed": "IDLE",
        "start_demonstration": "DEMONSTRATION",
        "estop": "ESTOP",
    }
    for action, mode in path.items():
        press(page, action)
        shows(page, mode)
        legible(page, mode)


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
    sizes = page.evaluate(
        "[...document.querySelectorAll('button, select')].map(e => [e.offsetWidth, e.offsetHeight, e.textContent])"
    )
    assert [
        size for size in sizes if size[0] < 44 or size[1] < (44 if page.viewport_size["height"] >= 700 else 36)
    ] == []
    assert (
        page.evaluate(
            "[...document.querySelectorAll('button')].filter(e => !e.querySelector('kbd')).map(e => e.textContent)"
        )
        == []
    )


@pytest.mark.parametrize("size", [(844, 390), (740, 360), (667, 375)])
def test_on_a_phone_held_sideways_mode_estop_and_all_actions_stand_on_the_first_screen(page, size):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    for what in ("#estop", "#mode", "#mode-words", "#camera", *(f"[data-do={action}]" for action in FIRST_SCREEN)):
        box = page.locator(what).bounding_box()
        right, bottom = box["x"] + box["width"], box["y"] + box["height"]
        assert box["x"] >= 0 and box["y"] >= 0 and right <= size[0] and bottom <= size[1], (what, box)
    for action in FIRST_SCREEN:
        assert page.locator(f"[data-do={action}]").bounding_box()["height"] >= 44, action
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0], "nothing to scroll sideways"
