# SPDX-License-Identifier: Apache-2.0
"""What a client of the panel must not be able to do, with and without a browser."""

import asyncio
import contextlib
import http.server
import json
import random
import socket
import struct
import threading

import aiohttp
import psutil
import pytest

from rove_contract import timing
from rove_supervisor.panel.server import PanelServer
from rove_supervisor.testing.fake_world import CHROMIUM, answer, press, shows, talk

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
            await ws.send_json({"ping": 8})
            assert (await answer(ws))["ping"] == 8
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


def rubbish(rng: random.Random) -> str | bytes:
    """A message that no page sends: any characters, any JSON, good names with wrong values."""
    leaves = [None, True, -1, 1e308, 10**30, "x" * 300, "\ud800", "\n\x1b[2J", "pause", "estop ", [], {}]

    def leaf():
        return rng.choice(leaves)

    kind = rng.randrange(5)
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    if kind == 1:
        return "".join(chr(rng.randrange(1, 0xD800)) for _ in range(rng.randrange(100)))
    if kind == 2:
        return "[" * rng.randrange(1, 2000)
    if kind == 3:
        return json.dumps(
            {rng.choice(["do", "ack", "seen", "ping", "id", "on", "stage", "alive"]): leaf() for _ in range(3)}
        )
    return json.dumps(
        {"do": rng.choice(["pause", "start_stage", "dead_man"]), "id": leaf(), "stage": leaf(), "on": [leaf()]}
    )


HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


async def raw(url: str, data: bytes, upgrade: bool = True) -> None:
    """Send these bytes on a TCP connection, after a WebSocket's handshake if upgrade, and wait until the server closes
    it.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rstrip("/").rsplit(":", 1)[1]))
    try:
        if upgrade:
            writer.write(HANDSHAKE)
            assert b" 101 " in await reader.readline()
        writer.write(data)
        with contextlib.suppress(ConnectionError):  # a server that closes with bytes unread resets the connection
            if not upgrade:
                writer.write_eof()  # half a request is waited for
            await asyncio.wait_for(reader.read(), 15.0)
    finally:
        writer.close()


def masked(opcode: int, payload: bytes, size: int | None = None) -> bytes:
    """One WebSocket frame of a client; size: the length it claims."""
    size = len(payload) if size is None else size
    return struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size) + b"\0" * 4 + payload


def malformed(supervisor) -> int:
    async def scenario():
        async with aiohttp.ClientSession() as session, session.ws_connect(supervisor.url + "ws?camera=0") as ws:
            while True:
                message = json.loads((await ws.receive()).data)
                if message["type"] == "state":
                    return message["panel"]["malformed"]

    return talk(scenario())


@pytest.mark.parametrize("seed", range(3))
def test_rubbish_is_answered_and_counted_on_a_connection_that_goes_on(supervisor, seed):
    rng, before = random.Random(seed), malformed(supervisor)

    async def scenario():
        answers = []
        async with aiohttp.ClientSession() as session, session.ws_connect(supervisor.url + "ws?camera=0") as ws:
            for _ in range(150):
                message = rubbish(rng)
                await (ws.send_bytes if isinstance(message, bytes) else ws.send_str)(message)
            await ws.send_json({"ping": 4711})
            while not answers or answers[-1].get("ping") != 4711:
                answers.append(await answer(ws))
        return answers

    answers = talk(scenario())
    assert answers[-1]["type"] == "pong"
    assert malformed(supervisor) - before >= 50


def test_bytes_that_are_no_message_end_their_own_connection_only(world, supervisor, page):
    rng, before = random.Random(0), malformed(supervisor)
    huge, claimed, latin = masked(1, b"x" * 100_000), masked(2, b"", size=2**40), masked(1, b"\xff\xfe\xfd")
    for data in (huge, claimed, latin, b"\xff" * 64):
        talk(raw(supervisor.url, data))
    assert malformed(supervisor) - before >= 4
    for _ in range(20):
        talk(raw(supervisor.url, rng.randbytes(rng.randrange(1, 3000))))
        talk(raw(supervisor.url, rng.randbytes(rng.randrange(1, 3000)), upgrade=False))
    page.wait_for_function("performance.now() - rove.received() < 500")
    assert supervisor.process.poll() is None and not any("Traceback" in line for line in supervisor.lines)


def test_a_flood_slows_nobody_else_down(world, supervisor, page):
    stop = threading.Event()

    async def flood():
        async with aiohttp.ClientSession() as session, session.ws_connect(supervisor.url + "ws") as ws:
            while not stop.is_set():  # reads nothing
                await ws.send_str("{")
                await ws.send_str('{"do": "resume"}')

    thread = threading.Thread(target=asyncio.run, args=(flood(),))
    before = psutil.Process(supervisor.process.pid).memory_info().rss
    thread.start()
    try:
        world.heartbeats.clear()
        press(page, "start_demonstration")
        world.wait_mode("DEMONSTRATION")
        page.wait_for_function("rove.state().panel.rate_limited > 1000 && rove.state().time_in_mode > 1", timeout=30000)
        press(page, "abort")
        shows(page, "IDLE")
    finally:
        stop.set()
        thread.join()
    beats = world.heartbeats
    assert max(b - a for a, b in zip(beats, beats[1:])) < 5 * timing.SUPERVISOR_SILENT_S, (
        "the robot is not stopped by a flood"
    )
    assert psutil.Process(supervisor.process.pid).memory_info().rss - before < 30e6


def test_a_client_that_stands_still_gets_two_of_each_and_one_a_second_and_delays_nobody(supervisor, page):
    async def scenario():
        async with aiohttp.ClientSession() as session, session.ws_connect(supervisor.url + "ws") as ws:
            seen = {aiohttp.WSMsgType.TEXT: 0, aiohttp.WSMsgType.BINARY: 0}
            loop = asyncio.get_running_loop()
            end = loop.time() + 3.0
            while (left := end - loop.time()) > 0:
                try:
                    seen[(await asyncio.wait_for(ws.receive(), left)).type] += 1
                except TimeoutError:
                    break
            return seen.values()

    texts, pictures = talk(scenario())
    assert 2 <= pictures <= 6 and 3 <= texts <= 7  # of 90 and 30; one text is the greeting
    page.wait_for_function("rove.camera().fps >= 15", timeout=15000)


def test_a_client_that_vanished_without_a_word_is_let_go(supervisor, page):
    """As behind a network that breaks: the connection stays open and nobody reads."""
    with socket.create_connection(("127.0.0.1", supervisor.port)) as silent:
        silent.sendall(HANDSHAKE)
        page.wait_for_function("rove.state().panel.clients === 2", timeout=15000)
        page.wait_for_function("rove.state().panel.clients === 1", timeout=30000)  # after a ping without an answer


def test_more_pages_than_there_is_room_for_are_refused_with_the_reason(supervisor):
    async def scenario():
        async with aiohttp.ClientSession() as session, contextlib.AsyncExitStack() as stack:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                for _ in range(PanelServer.max_clients + 1):
                    await stack.enter_async_context(session.ws_connect(supervisor.url + "ws?camera=0"))
            assert refused.value.status == 503
            async with session.get(supervisor.url + "ws") as response:
                assert f"{PanelServer.max_clients} pages are open already" in (await response.json())["error"]

    talk(scenario())


def test_healthz(supervisor):
    async def scenario():
        async with aiohttp.ClientSession() as session, session.get(supervisor.url + "healthz") as response:
            assert response.status == 200 and (await response.json())["status"] == "ok"

    talk(scenario())


def test_healthz_says_when_the_ros_thread_does_not_answer(world):
    """A stopped process answers nothing at all; what answers while ROS hangs is tested by the server's own clock."""
    server = PanelServer(None, dict, None, lambda: 7.0, 0)
    url = server.start()
    try:

        async def scenario():
            async with aiohttp.ClientSession() as session, session.get(url + "healthz") as response:
                assert response.status == 503 and "does not answer" in (await response.json())["status"]

        talk(scenario())
    finally:
        server.stop()


# -- in the browser: foreign pages
# -----------------------------------------------------------------------------------------------

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
