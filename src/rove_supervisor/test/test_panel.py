"""The panel in a real browser (headless Chromium) against a real supervisor process with a fake robot, operator and recorder."""

import asyncio
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import pytest
from PIL import Image

from rove_contract.modes import Mode, Outcome
from rove_supervisor.rehearsal import CHROMIUM, Process, World, isolate

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make setup installs it)")
expect = sync_api.expect

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)"),
]
# The pictures of docs/ are taken by test_screenshots; ROVE_SCREENSHOTS=1 puts them there.
IMAGES = Path(__file__).resolve().parents[3] / "docs" / "img"


@pytest.fixture(scope="module")
def world():
    isolate(66 + os.getpid() % 35)
    world = World()
    yield world
    world.close()


@pytest.fixture(scope="module")
def supervisor(world):
    process = Process(
        record=True, operator="mocap suit", checkpoint="runs/demo/policy", instruction="erase the whiteboard",
        start_stages="[start,grasped,half_erased]",
    )
    yield process
    process.stop()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def one_page(supervisor, browser):
    page = open_page(browser, supervisor.url)
    yield page
    page.close()


@pytest.fixture
def page(world, one_page):
    """The page in IDLE with everything fine."""
    page = one_page
    world.robot = world.camera = world.operator = world.recorder_ready = True
    world.errors, world.value, world.diagnosis = {"head": 0.04, "waist": 0.09, "arm": 0.12, "hand": 0.21}, None, (0, "ready")
    world.until("estop")
    world.until("reset")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.mouse.move(5, 5)
    expect(page.locator("[data-do=start_rollout]")).to_be_enabled(timeout=15000)
    yield page
    assert page.errors == []


def open_page(browser, url, size=(1280, 800)):
    # bypass_csp: Playwright evaluates its waiting conditions as strings, which the page's own policy forbids.
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, bypass_csp=True)
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(url)
    page.wait_for_function("window.rove?.state()")
    return page


def press(page, action):
    page.click(f"[data-do={action}]")


def shows(page, mode):
    expect(page.locator("body")).to_have_attribute("data-mode", mode)


def test_a_whole_episode_by_clicks(world, page):
    world.order.clear()
    for action, mode in (
        ("start_rollout", "ROLLOUT"), ("pause", "PAUSED"), ("takeover", "ADAPTATION"), ("recovered", "RECOVERY"), ("succeed", "IDLE"),
    ):
        press(page, action)
        shows(page, mode)
        world.wait_mode(mode)
    world.wait(lambda: world.episodes[-1].state == "ended", what="the end of the episode")
    assert world.episodes[-1].outcome is Outcome.SUCCESS and world.episodes[-1].t_r_ns > 0
    assert [e for e in world.order if not e.startswith("episode")][-5:] == ["ROLLOUT", "PAUSED", "ADAPTATION", "RECOVERY", "IDLE"]
    expect(page.locator("#timeline")).to_have_attribute("data-segments", "ROLLOUT PAUSED ADAPTATION RECOVERY")
    expect(page.locator("#recent li").first).to_contain_text("success")
    assert page.evaluate("rove.state().session.rollouts") >= 1


def test_a_whole_episode_by_keys(world, page):
    for key, mode in (("2", "DEMONSTRATION"), ("f", "IDLE"), ("1", "ROLLOUT"), ("p", "PAUSED"), ("u", "ROLLOUT"), ("Shift+A", "IDLE")):
        page.keyboard.press(key)
        shows(page, mode)
        world.wait_mode(mode)


def test_the_camera_is_live_at_15_fps_at_least(page):
    page.wait_for_function("rove.camera().fps >= 15", timeout=15000)
    shot = "document.querySelector('#camera').toDataURL()"
    first = page.evaluate(shot)
    page.wait_for_function(f"{shot} !== {json.dumps(first)}", timeout=15000)
    page.wait_for_function("rove.camera().age < 0.5", timeout=15000)


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
    expect(page.locator("#verdict-why")).to_contain_text("left_elbow (arm) is 0.52 rad off")
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
    press(page, "force_takeover")
    shows(page, "ADAPTATION")


def test_a_refusal_shows_its_reason(world, page):
    world.recorder_ready = False
    expect(page.locator("[data-do=start_rollout]")).to_be_disabled()
    expect(page.locator("[data-do=start_rollout] small")).to_contain_text("the disk is full")
    # A page that asks all the same is refused by the supervisor, not by itself.
    page.evaluate("rove.ask('start_rollout')")
    expect(page.locator("#hint")).to_contain_text("Start rollout refused: the recorder is not ready: the disk is full")


def test_sources_that_fall_silent_are_shown(world, page):
    for source in ("robot", "camera", "operator"):
        setattr(world, source, False)
        expect(page.locator(f"#link-{source}")).to_have_attribute("data-ok", "false")
        setattr(world, source, True)
        expect(page.locator(f"#link-{source}")).to_have_attribute("data-ok", "true")


def test_warnings_are_shown_in_words(world, page):
    world.diagnosis = (1, "inference takes 212 ms")
    expect(page.locator("#warnings")).to_contain_text("policy: inference takes 212 ms")


def test_advice_appears_when_the_value_stays_low(world, page):
    press(page, "start_rollout")
    world.value = -0.85
    expect(page.locator("#advice")).to_have_class("advice on", timeout=15000)
    shows(page, "ROLLOUT")  # advice, not an act


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


def test_a_second_page_follows_and_one_that_vanishes_changes_nothing(supervisor, browser, page):
    other = open_page(browser, supervisor.url)
    press(page, "start_rollout")
    shows(other, "ROLLOUT")
    press(other, "pause")
    shows(page, "PAUSED")
    other.close()
    expect(page.locator("#panel-numbers")).to_have_text("1 panel open")
    shows(page, "PAUSED")


def test_the_start_stage_is_proposed_and_chosen(world, page):
    page.select_option("#start-stage", "half_erased")
    expect(page.locator("#task-detail")).to_contain_text("from half_erased")
    press(page, "start_demonstration")
    world.wait_mode("DEMONSTRATION")
    world.wait(lambda: world.episodes[-1].start_stage == "half_erased", what="an episode from half_erased")
    press(page, "succeed")
    shows(page, "IDLE")
    page.select_option("#start-stage", "start")


def test_nothing_moves_when_the_mode_changes(world, page):
    boxes = """[...document.querySelectorAll('button, .card, .banner, .hint')].map(e => {
        const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height].map(Math.round).join() })"""
    before = page.evaluate(boxes)
    for action in ("start_rollout", "pause", "takeover", "recovered", "estop"):
        press(page, action)
        page.wait_for_function("!document.querySelector('.sent')")
        assert page.evaluate(boxes) == before, action


@pytest.mark.parametrize("size", [(1280, 800), (1024, 768), (1920, 1080)])
def test_everything_fits_one_screen_with_large_targets(supervisor, browser, page, size):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    height = page.evaluate("document.documentElement.scrollHeight")
    assert height <= size[1] and page.evaluate("document.body.scrollHeight") <= size[1]
    sizes = "[...document.querySelectorAll('button[data-do]')].map(e => [e.offsetWidth, e.offsetHeight])"
    assert all(width >= 44 and high >= 44 for width, high in page.evaluate(sizes))


def test_the_page_loads_nothing_from_elsewhere(supervisor, browser):
    page = browser.new_page()
    urls = []
    page.on("request", lambda request: urls.append(request.url))
    page.goto(supervisor.url)
    page.locator("body[data-link=up]").wait_for()
    page.close()
    assert urls and all(url.startswith(supervisor.url) for url in urls)


def test_the_page_comes_back_after_the_supervisor_restarts(world, browser):
    first = Process()
    page = open_page(browser, first.url)
    expect(page.locator("body")).to_have_attribute("data-link", "up")
    assert first.stop() == 0
    expect(page.locator("#mode")).to_have_text("NO CONNECTION")
    expect(page.locator("[data-do=start_rollout]")).to_be_disabled()
    second = Process(panel_port=first.port)
    try:
        expect(page.locator("body")).to_have_attribute("data-link", "up", timeout=15000)
        expect(page.locator("#mode")).to_have_text("IDLE")
    finally:
        page.close()
        assert second.stop() == 0


# -- without a browser: what a page must not be able to do ---------------------------------------------------------------------------


def talk(coroutine):
    """Run to the end in a thread of its own: Playwright's loop lives in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


async def answer(ws):
    """The next reply or pong, past states and camera frames."""
    while True:
        message = await asyncio.wait_for(ws.receive(), 10.0)
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        if message.type is aiohttp.WSMsgType.TEXT and json.loads(message.data)["type"] != "state":
            return json.loads(message.data)


def test_malformed_messages_are_answered_counted_and_not_fatal(supervisor):
    async def scenario():
        async with aiohttp.ClientSession() as session, session.ws_connect(supervisor.url + "ws") as ws:
            for text in ("", "{", "[]", '{"do": 1}', '{"ack": "x"}', "\x00" * 50):
                await ws.send_str(text)
                reply = await answer(ws)
                assert not reply["ok"] and "malformed" in reply["text"]
            await ws.send_bytes(b"\xff\x00")
            assert "malformed" in (await answer(ws))["text"]
            await ws.send_json({"do": "fly", "id": 7})
            assert "unknown action 'fly'" in (await answer(ws))["text"]
            await ws.send_json({"do": "ping", "id": 8})
            assert (await answer(ws))["id"] == 8
            while True:
                message = await ws.receive()
                if message.type is aiohttp.WSMsgType.TEXT and json.loads(message.data)["panel"]["malformed"] >= 7:
                    return

    talk(scenario())


def test_too_many_requests_are_refused_but_never_an_estop(world, supervisor):
    async def scenario():
        async with aiohttp.ClientSession() as session, session.ws_connect(supervisor.url + "ws") as ws:
            for i in range(60):
                await ws.send_json({"do": "resume", "id": i})
            await ws.send_json({"do": "estop", "id": 99})
            replies = {}
            while 99 not in replies:
                reply = await answer(ws)
                replies[reply["id"]] = reply
            assert replies[99]["ok"]
            assert any("too many requests" in reply["text"] for reply in replies.values())

    talk(scenario())
    world.wait_mode("ESTOP")
    world.until("reset")


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}])
def test_foreign_pages_are_refused(supervisor, headers):
    async def scenario():
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(supervisor.url + "ws", headers=headers)
            assert refused.value.status == 403

    talk(scenario())


def test_a_client_that_never_acknowledges_gets_one_frame_a_second_and_delays_nobody(supervisor, page):
    async def scenario():
        async with aiohttp.ClientSession() as session, session.ws_connect(supervisor.url + "ws") as ws:
            states = frames = 0
            while states < 20:  # 2 s
                message = await asyncio.wait_for(ws.receive(), 10.0)
                states += message.type is aiohttp.WSMsgType.TEXT
                frames += message.type is aiohttp.WSMsgType.BINARY
            return frames

    assert 1 <= talk(scenario()) <= 6
    page.wait_for_function("rove.camera().fps >= 15", timeout=15000)


def test_healthz(supervisor):
    async def scenario():
        async with aiohttp.ClientSession() as session, session.get(supervisor.url + "healthz") as response:
            assert response.status == 200 and (await response.json())["status"] == "ok"

    talk(scenario())


def test_screenshots(world, page, tmp_path):
    """One picture per mode; `panel.png`, the README's, is PAUSED before an aligned takeover."""
    folder = IMAGES if os.environ.get("ROVE_SCREENSHOTS") else tmp_path
    world.value = -0.35

    def take(mode):
        shows(page, mode.name)
        page.mouse.move(5, 5)
        page.wait_for_function(f"rove.state().mode === {mode.name!r} && rove.state().time_in_mode > 0.5", timeout=15000)
        picture = Image.open(io.BytesIO(page.screenshot()))
        picture.quantize(192).save(folder / f"panel_{mode.name.lower()}.png", optimize=True)  # a third of the size

    take(Mode.IDLE)
    press(page, "start_rollout")
    take(Mode.ROLLOUT)
    world.value = -0.7
    press(page, "pause")
    take(Mode.PAUSED)
    (folder / "panel.png").write_bytes((folder / "panel_paused.png").read_bytes())
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
