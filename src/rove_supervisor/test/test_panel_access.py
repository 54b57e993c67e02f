"""What a client of the panel must not be able to do, with and without a browser; token and TLS."""

import asyncio
import http.server
import json
import ssl
import threading

import aiohttp
import pytest

from rove_supervisor.rehearsal import CHROMIUM, answer, shows, talk

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make setup installs it)")
expect = sync_api.expect

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)"),
]


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


def test_healthz_says_when_the_ros_thread_does_not_answer(world):
    """A stopped process answers nothing at all; what answers while ROS hangs is tested by the server's own clock."""
    from rove_supervisor.panel_server import PanelServer

    server = PanelServer(None, dict, None, lambda: 7.0, 0)
    url = server.start()
    try:
        async def scenario():
            async with aiohttp.ClientSession() as session, session.get(url + "healthz") as response:
                assert response.status == 503 and "does not answer" in (await response.json())["status"]

        talk(scenario())
    finally:
        server.stop()


# -- in the browser: foreign pages -----------------------------------------------------------------------------------------------

ATTACK = """async (url) => {
  const socket = await new Promise((done) => {
    const ws = new WebSocket(url.replace("http", "ws") + "ws");
    ws.onopen = () => done("open");
    ws.onerror = () => done("refused");
  });
  const fetched = await fetch(url + "healthz").then((r) => "read " + r.status, () => "refused");
  return [socket, fetched];
}"""


def test_a_page_of_another_site_in_the_same_browser_gets_nothing(supervisor, browser):
    class Silent(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>foreign</title>")

        def log_message(self, *_):
            pass

    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    page = browser.new_page()
    try:
        page.goto(f"http://127.0.0.1:{site.server_port}/")
        assert page.evaluate(ATTACK, supervisor.url) == ["refused", "refused"]
    finally:
        page.close()
        site.shutdown()
        site.server_close()


def test_a_foreign_name_that_resolves_to_this_machine_is_refused(supervisor, browser):
    page = browser.new_page()
    response = page.goto(f"http://evil.example:{supervisor.port}/")  # DNS rebinding; see conftest
    assert response.status == 403 and "not served under the host name" in page.inner_text("body")
    page.close()


# -- token and TLS -------------------------------------------------------------------------------------------------------------------


def test_without_the_token_or_with_a_bad_one_the_browser_sees_nothing_but_the_reason(protected, browser):
    _, url, _, token = protected
    page = browser.new_page(ignore_https_errors=True)
    for path, words in (("", "a token is needed"), ("?token=wrong-horse-battery", "this is not the token"), ("panel.js", "needed")):
        response = page.goto(url + path)
        assert response.status == 401 and words in page.inner_text("body") and token not in page.content()
    page.close()


def test_with_the_token_the_page_works_over_tls_and_the_address_forgets_it(world, protected, open_page):
    _, url, _, token = protected
    page = open_page(f"{url}?token={token}", ignore_https_errors=True)
    assert page.url == url
    shows(page, "IDLE")
    page.wait_for_function("rove.camera().fps >= 15", timeout=15000)
    page.reload()  # by the cookie
    shows(page, "IDLE")
    page.wait_for_function("rove.state().mode === 'IDLE' && !document.querySelector('[data-do=start_rollout]').disabled", timeout=15000)
    page.click("[data-do=start_rollout]")
    shows(page, "ROLLOUT")
    page.click("#estop")
    shows(page, "ESTOP")


def test_a_page_whose_token_is_no_longer_valid_says_so(world, protected, open_page):
    _, url, _, token = protected
    page = open_page(f"{url}?token={token}", ignore_https_errors=True)
    page.context.clear_cookies()
    page.evaluate("rove.drop()")
    expect(page.locator("#mode")).to_have_text("NO CONNECTION")
    expect(page.locator("#mode-words")).to_contain_text("a token is needed", timeout=15000)


def test_a_websocket_needs_the_token_too(protected):
    _, url, cert, token = protected
    context = ssl.create_default_context(cafile=str(cert))
    good = {"Authorization": f"Bearer {token}"}
    refusals = (({}, 401), ({"Authorization": "Bearer wrong-horse-battery"}, 401), (good | {"Origin": "https://evil.example"}, 403))

    async def scenario():
        async with aiohttp.ClientSession() as session:
            for headers, status in refusals:
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await session.ws_connect(url + "ws", headers=headers, ssl=context)
                assert refused.value.status == status
            async with session.ws_connect(url + "ws", headers=good, ssl=context) as ws:
                await ws.send_json({"do": "ping", "id": 1})
                assert (await answer(ws))["id"] == 1

    talk(scenario())
