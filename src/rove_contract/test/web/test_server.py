# SPDX-License-Identifier: Apache-2.0
"""The base of every page's server: life and death, what is let in, what is answered, what a flood may do."""

import asyncio
import contextlib
import json
import socket
import struct
import threading

import aiohttp
import pytest
from aiohttp import WSMsgType

from rove_contract.web import files, palette
from rove_contract.web.access import Access
from rove_contract.web.framing import Malformed
from rove_contract.web.server import WebServer

TOKEN = "a-token-of-the-tests"


class Echo(WebServer):
    """Answers every message with itself, and remembers how many it heard."""

    heard = 0

    def __init__(self, access=None, port=0):
        super().__init__(
            access or Access(service="echo"), port, "rove_contract", ".", {"index.html": "<!doctype html>"}
        )

    def hear(self, client, message, limited):
        self.heard += 1
        if "bad" in message:
            raise Malformed("bad is not known")
        if not limited:
            client.answer(json.dumps({"type": "echo"} | message))


@pytest.fixture
def server():
    server = Echo()
    yield server
    server.stop()


@contextlib.asynccontextmanager
async def connected(server, **options):
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(server.access.url(server.port) + "ws", **options) as ws,
    ):
        assert json.loads(await ws.receive_str())["type"] == "hello"
        yield ws


def raw(server, data: bytes) -> bytes:
    """Send bytes and read until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20.0) as connection:
        connection.sendall(data)
        received = b""
        while chunk := connection.recv(4096):
            received += chunk
        return received


def test_a_server_starts_answers_and_stops_twice(server):
    url = server.start()

    async def scenario():
        async with connected(server) as ws:
            await ws.send_json({"x": 1})
            assert json.loads(await ws.receive_str()) == {"type": "echo", "x": 1}
            await ws.send_json({"ping": 4.5})
            pong = json.loads(await ws.receive_str())
            assert pong["ping"] == 4.5 and pong["unix"] > 1e9 and pong["monotonic"] > 0
            await asyncio.to_thread(server.stop)
            assert (await ws.receive()).data == 1001
        server.stop()

    asyncio.run(scenario())
    assert url == f"http://127.0.0.1:{server.port}/" and server.clients == set()


def test_a_port_that_is_taken_is_a_sentence(server):
    server.start()
    with pytest.raises(ValueError, match="another session running.*another port"):
        Echo(port=server.port).start()


def test_work_that_fails_ends_the_server_and_is_told():
    class Broken(Echo):
        async def work(self):
            raise RuntimeError("the picture cannot be drawn")

    server = Broken()
    server.start()
    with pytest.raises(RuntimeError, match="cannot be drawn"):
        server.wait(threading.Event())
    server.stop()


def test_half_a_request_is_not_waited_for(server):
    server.idle_s = 0.2
    server.start()
    assert raw(server, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n") == b""
    assert raw(server, b"") == b""
    # After a whole request on the same connection, too.
    answer = raw(server, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET / HTTP/1.1\r\nHost:")
    assert answer.startswith(b"HTTP/1.1 200") and answer.count(b"HTTP/1.1") == 1


def test_a_body_that_does_not_come_is_refused(server):
    server.body_s = server.idle_s = 0.2
    server.start()
    answer = raw(server, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nabc")
    assert answer.startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("path", ["//evil.example/", "/\\evil.example", "/%0d%0aX-Evil:%201", "/"])
def test_the_address_with_the_token_leads_nowhere_else(path):
    server = Echo(Access(token=TOKEN, service="echo"))
    server.start()
    try:
        request = f"GET {path}?token={TOKEN} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        lines = raw(server, request.encode()).decode().split("\r\n")
    finally:
        server.stop()
    assert lines[0] == "HTTP/1.1 303 See Other"
    (place,) = (line.partition(": ")[2] for line in lines if line.startswith("Location: "))
    assert place.startswith("/") and place[1:2] not in ("/", "\\") and not any(line == "X-Evil: 1" for line in lines)


@pytest.mark.parametrize(
    "line",
    [
        b"GET /?token=\xc3\xa4\xff HTTP/1.1\r\n",
        b"GET /?token=%ff%c3%a4 HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nAuthorization: Bearer \xff\xe4\r\n",
        b"GET / HTTP/1.1\r\nCookie: rove_echo=\xff\xe4\r\n",
    ],
)
def test_a_token_of_any_bytes_is_a_wrong_token(line):
    server = Echo(Access(token=TOKEN, service="echo"))
    server.start()
    try:
        answer = raw(server, line + b"Host: 127.0.0.1\r\nConnection: close\r\n\r\n")
    finally:
        server.stop()
    assert answer.split()[1] in (b"400", b"401")


def test_messages_that_cannot_be_read_are_counted_and_end_nothing(server):
    server.start()

    async def scenario():
        async with connected(server) as ws:
            for text in ("", "[", "[" * 3000, "3", '{"bad": 1}', '{"ack": -1}', '{"ping": NaN}'):
                await ws.send_str(text)
            await ws.send_bytes(b"\xff")
            await ws.send_json({"x": 1})
            assert json.loads(await ws.receive_str())["x"] == 1

    asyncio.run(scenario())
    assert server.counts["malformed"] == 8 and server.counts["malformed/binary"] == 1
    assert "expected text" in server.last_error


def test_a_message_too_long_ends_its_own_connection_only(server):
    server.start()

    async def scenario():
        async with connected(server) as ws, connected(server) as other:
            await ws.send_str("x" * (server.max_message + 1))
            assert (await ws.receive()).type is WSMsgType.CLOSE
            await other.send_json({"x": 1})
            assert json.loads(await other.receive_str())["x"] == 1

    asyncio.run(scenario())
    assert server.counts["malformed/frame"] == 1


def test_a_flood_is_read_but_others_are_answered_in_between(server):
    """Thousands of messages in one write: the ping of the other client is answered long before they are read."""
    server.start()
    total = 20_000
    frame = struct.pack("!BB", 0x81, 0x80 | 7) + b"\0" * 4 + b'{"x":1}'
    handshake = (
        b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )

    async def scenario():
        async with connected(server) as other:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(handshake)
            assert b" 101 " in await reader.readline()
            writer.write(frame * total)
            while server.heard < 500:  # the flood is under way
                await asyncio.sleep(0)
            await other.send_json({"ping": 1})
            assert json.loads(await other.receive_str())["type"] == "pong"
            heard = server.heard
            while server.heard < total:
                await asyncio.sleep(0.01)
            writer.close()
            return heard

    assert asyncio.run(scenario()) < total


def test_every_page_gets_the_shared_files_and_none_may_hide_them():
    shared = files.page("rove_contract", ".")
    assert {"base.css", "palette.css", "link.js", "pictures.js", "dom.js", "icon.svg"} <= shared.keys()
    assert b"--PAUSED: #ffb020" in shared["palette.css"][1]
    with pytest.raises(ValueError, match="base.css"):
        files.page("rove_contract.web", "page")


def test_colours_have_one_owner():
    """The style sheet of all pages writes down no colour of the palette."""
    assert palette.rgb("ESTOP") == (1.0, 77 / 255, 77 / 255)
    base = files.read("rove_contract.web", "page")["base.css"][1].decode()
    assert not [value for value in palette.COLOURS.values() if value in base]
