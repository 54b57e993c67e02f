# SPDX-License-Identifier: Apache-2.0
"""The headset page's web server: aiohttp on its own asyncio loop in its own thread, one WebSocket per page. No rclpy
here.

To a page goes only the newest view of the robot and the newest camera picture (`rove_contract.web.feed`): a slow
headset gets fewer, never older ones.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from aiohttp import WSMsgType, web

from rove_contract.operator_frame import FrameError
from rove_contract.web.access import HEADERS, Access, Bucket, guard
from rove_contract.web.feed import Feed, Page, read_files
from rove_teleop.sources.webxr import SIZE, Message, parse

MAX_MESSAGE = 4096  # bytes; a frame has 1468
MAX_PAGES = 8
FRAMES_HZ, FRAMES_BURST = 300.0, 600.0  # headsets send at 60 to 120 Hz
TEXTS_HZ, TEXTS_BURST = 150.0, 300.0  # acknowledgements of a 60 fps camera and then some
AUTHORITY = "/rove-ca.crt"


class Headset(Page):
    """One connected page. It acknowledges pictures and views."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.frames, self.messages = Bucket(FRAMES_HZ, FRAMES_BURST), Bucket(TEXTS_HZ, TEXTS_BURST)


class HeadsetServer:
    """on_frame(name, message, received_s) and on_close(name) are called in the server's thread. authority: file offered
    for download.

    hello: constants that every page gets first. `view` and `picture` may be called from any thread. counts: what was
    refused, by reason.
    """

    def __init__(
        self,
        access: Access,
        port: int,
        on_frame: Callable[[str, Message, float], None],
        on_close: Callable[[str], None],
        hello: dict,
        authority: Path | None = None,
        clock=time.monotonic,
    ):
        self.access, self.port = access, port
        self._on_frame, self._on_close, self._hello, self._authority, self._clock = (
            on_frame,
            on_close,
            hello,
            authority,
            clock,
        )
        self.counts: Counter[str] = Counter()
        self.last_error = ""
        self.feed = Feed()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._error = ""
        self._names = 0
        self._static = read_files("rove_teleop.sources", "webxr_page")
        self._thread = threading.Thread(target=self._run, name="headset page", daemon=True)

    def start(self) -> str:
        """Serve; returns the page's address on this machine. Raises ValueError when the port or the certificate cannot
        be used.
        """
        self._thread.start()
        self._ready.wait()
        if self._error:
            self._thread.join()
            raise ValueError(self._error)
        return self.access.url(self.port)

    def stop(self) -> None:
        """Close every connection and join the thread; idempotent."""
        if self._thread.is_alive():
            self._call(lambda: self._stop.set())
            self._thread.join(timeout=5.0)

    @property
    def pages(self) -> set[Headset]:
        return self.feed.pages

    def view(self, view: dict) -> None:
        """Newest view of the robot."""
        if self.pages:
            self._call(lambda: self._say(view))

    def picture(self, jpeg: bytes, stamp_s: float) -> None:
        """Newest camera picture; replaces the one before, sent or not."""
        self.feed.show(jpeg, stamp_s)
        if self.pages:
            self._call(self.feed.wake)

    def _call(self, function) -> None:
        # The loop is closed between stop() and the end of the node; then nobody is left to tell.
        if self._ready.is_set() and self._thread.is_alive() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)

    def _say(self, view: dict) -> None:
        message = {"type": "robot", "n": self.feed.text[0] + 1, **view}
        self.feed.say(json.dumps(message, allow_nan=False, separators=(",", ":")))

    # -- the loop's thread
    # ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        public = frozenset({"/healthz", AUTHORITY})
        app = web.Application(middlewares=[guard(self.access, self._refused, public)], client_max_size=MAX_MESSAGE)
        app.add_routes(
            [
                web.get("/ws", self._socket),
                web.get("/healthz", self._healthz),
                web.get(AUTHORITY, self._download),
                web.get("/{name:[^/]*}", self._file),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(
                runner, self.access.host, self.port, ssl_context=self.access.context(), reuse_address=True
            )
            await site.start()
            self.port = runner.addresses[0][1]
        except ValueError as error:
            self._error = str(error)
        except OSError as error:
            self._error = (
                f"the headset page cannot listen on {self.access.host}:{self.port}: {error.strerror or error}; is "
                f"another session running? "
                "Take another port: endpoint:=https://HOST:PORT (0 = any free one)"
            )
        finally:
            self._ready.set()
        if not self._error:
            await self._stop.wait()
            goodbyes = [page.ws.close(code=1001, message=b"teleop stops") for page in self.pages]
            await asyncio.gather(*goodbyes, return_exceptions=True)
        await runner.cleanup()

    def _refused(self) -> None:
        self.counts["refused_requests"] += 1

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "pages": len(self.pages)})

    async def _download(self, request: web.Request) -> web.Response:
        if self._authority is None:
            raise web.HTTPNotFound(text="this server has no certificate of its own")
        return web.Response(body=self._authority.read_bytes(), content_type="application/x-x509-ca-cert")

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"] or "index.html"
        if name not in self._static:
            raise web.HTTPNotFound(text=f"there is no page {name!r}", headers=HEADERS)
        kind, body = self._static[name]
        return web.Response(body=body, content_type=kind, charset="utf-8" if kind.startswith("text/") else None)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if len(self.pages) >= MAX_PAGES:
            return web.json_response({"error": f"{MAX_PAGES} pages are open already"}, status=503)
        # heartbeat: a headset that vanished without a word is dropped after 5 to 10 s; its frames went stale long
        # before.
        ws = web.WebSocketResponse(heartbeat=5.0, max_msg_size=MAX_MESSAGE, compress=False)
        await ws.prepare(request)
        self._names += 1
        page = Headset(self.feed, ws, f"webxr {self._names}")
        await ws.send_json({"type": "hello", "you": page.name, "frame_bytes": SIZE, **self._hello})
        self.pages.add(page)
        sender = asyncio.ensure_future(page.send())
        try:
            async for message in ws:
                if message.type is WSMsgType.BINARY:
                    self._frame(page, message.data)
                elif message.type is WSMsgType.TEXT:
                    self._text(page, message.data)
            if ws.close_code == 1009:
                self._malformed("too_large", f"a message of more than {MAX_MESSAGE} bytes")
        finally:
            self.pages.discard(page)
            self._on_close(page.name)
            sender.cancel()
        return ws

    def _malformed(self, reason: str, text: str) -> None:
        self.counts[f"malformed/{reason}"] += 1
        self.last_error = text

    def _frame(self, page: Headset, data: bytes) -> None:
        now = self._clock()
        self.counts["received"] += 1
        if not page.frames.take(now):
            self.counts["rate_limited"] += 1
            return
        try:
            message = parse(data)
        except FrameError as error:
            self._malformed(error.reason, str(error))
            return
        self._on_frame(page.name, message, now)

    def _text(self, page: Headset, data: str) -> None:
        """{"type": "ping", "t": s}, {"type": "ack", "seq": number of a picture} or {"type": "seen", "n": number of a
        view}.
        """
        if not page.messages.take(self._clock()):
            self.counts["rate_limited"] += 1
            return
        try:
            wish = json.loads(data)
            kind = wish["type"]
            if kind == "ping" and type(wish["t"]) in (int, float) and math.isfinite(wish["t"]):
                page.answer(json.dumps({"type": "pong", "t": wish["t"], "robot": self._clock()}))
            elif kind == "ack" and type(wish["seq"]) is int:
                page.acknowledge_picture(wish["seq"])
            elif kind == "seen" and type(wish["n"]) is int:
                page.acknowledge_text(wish["n"])
            else:
                raise ValueError(f"type {kind!r}")
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            self._malformed("text", f"expected a ping or an acknowledgement, got {data[:80]!r} ({error!r})")
