# SPDX-License-Identifier: Apache-2.0
"""The preview's web server: aiohttp, one WebSocket per page. Pictures are drawn only while somebody looks, one for all
pages.

To the page: JSON text, `Practice.snapshot` at 10 Hz, and binary pictures: sequence number (uint32, little endian), then
JPEG. From the page: {"ack": number}; {"do": "restart" | "follow" | "stay" | "calibrate"}; {"view": [azimuth deg,
elevation deg, distance m]}.
"""

from __future__ import annotations

import asyncio
import json
import math
import struct
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from aiohttp import WSMsgType, web

from rove_contract.web.access import Access, guard
from rove_contract.web.feed import read_files
from rove_teleop.practice.practice import Practice
from rove_teleop.practice.preview_picture import Picture, View

STATE_PERIOD_S = 0.1
IN_FLIGHT = 2  # pictures on the way to a page; a slow page gets fewer, never older ones
ACK_LOST_S = 1.0
MAX_PAGES = 8
MAX_MESSAGE = 1024  # bytes; the longest wish is a view


class Page:
    """One open page."""

    def __init__(self, ws: web.WebSocketResponse):
        self.ws = ws
        self.unacked: list[int] = []  # numbers of pictures on the way
        self.sent_at = 0.0

    def wants(self, now: float) -> bool:
        return len(self.unacked) < IN_FLIGHT or now - self.sent_at > ACK_LOST_S


class PreviewServer:
    """practice, picture: what is shown. fps: pictures per second at most. Everything but drawing runs on the asyncio
    loop of `start`.
    """

    def __init__(self, practice: Practice, picture: Picture, fps: float):
        self.practice, self.picture, self.period_s = practice, picture, 1.0 / fps
        self.view = View()
        self.malformed = 0
        self._pages: set[Page] = set()
        self._files = read_files("rove_teleop.practice", "page")
        self._drawing = ThreadPoolExecutor(1, thread_name_prefix="picture")
        self._drawn: deque[float] = deque(maxlen=120)  # times of pictures
        self._taken: dict[int, float] = {}  # picture -> when the operator was in that pose
        self._latencies: deque[float] = deque(maxlen=30)
        self._seq = 0

    async def start(self, port: int) -> str:
        """Serve on this machine -> address. Raises ValueError when the port cannot be had."""
        access = Access(service="preview")
        app = web.Application(middlewares=[guard(access)], client_max_size=MAX_MESSAGE)
        app.add_routes([web.get("/ws", self._socket), web.get("/{name:[^/]*}", self._file)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, access.host, port).start()
        except (OSError, OverflowError) as error:
            await self._runner.cleanup()
            raise ValueError(
                f"cannot listen on {access.host}:{port}: {error}; take another --port (0: any free one)"
            ) from error
        self.tasks = [asyncio.ensure_future(self._states()), asyncio.ensure_future(self._pictures())]
        return access.url(self._runner.addresses[0][1])

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for page in list(self._pages):
            await page.ws.close(code=1001, message=b"the preview stops")
        await self._runner.cleanup()
        await asyncio.get_running_loop().run_in_executor(self._drawing, self.picture.close)
        self._drawing.shutdown()

    async def _states(self) -> None:
        while True:
            if self._pages:
                now = time.monotonic()
                state = self.practice.snapshot()
                latency = (
                    sorted(self._latencies)[len(self._latencies) // 2] if self._latencies and state["alive"] else None
                )
                state["picture"] = {
                    "fps": sum(1 for t in self._drawn if now - t < 1.0),
                    "latency_ms": None if latency is None else round(1e3 * latency),
                    "view": [self.view.azimuth, self.view.elevation, self.view.distance],
                }
                await self._everybody(self._pages, "send_str", json.dumps(state, allow_nan=False))
            await asyncio.sleep(STATE_PERIOD_S)

    async def _pictures(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begin = time.monotonic()
            if any(page.wants(begin) for page in self._pages):
                scene = self.practice.scene()
                jpeg = await loop.run_in_executor(self._drawing, self.picture.jpeg, scene, self.view)
                self._seq += 1
                self._drawn.append(time.monotonic())
                self._taken[self._seq] = scene.taken_s
                self._taken.pop(self._seq - 100, None)
                now = time.monotonic()
                pages = [page for page in self._pages if page.wants(now)]
                for page in pages:
                    if now - page.sent_at > ACK_LOST_S:
                        page.unacked.clear()
                    page.unacked.append(self._seq)
                    page.sent_at = now
                await self._everybody(pages, "send_bytes", struct.pack("<I", self._seq) + jpeg)
            await asyncio.sleep(max(self.period_s - (time.monotonic() - begin), 0.005))

    @staticmethod
    async def _everybody(pages, method: str, data) -> None:
        await asyncio.gather(
            *(getattr(page.ws, method)(data) for page in list(pages)), return_exceptions=True
        )  # a page may close meanwhile

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"] or "index.html"
        if name not in self._files:
            raise web.HTTPNotFound(text=f"the preview has no page {name!r}")
        kind, body = self._files[name]
        return web.Response(body=body, content_type=kind, charset="utf-8")

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if len(self._pages) >= MAX_PAGES:
            return web.json_response({"error": f"{MAX_PAGES} pages are open already"}, status=503)
        ws = web.WebSocketResponse(heartbeat=5.0, max_msg_size=MAX_MESSAGE, compress=False)
        await ws.prepare(request)
        page = Page(ws)
        self._pages.add(page)
        try:
            async for message in ws:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    reply = self._answer(page, message.data)
                    if reply:
                        await ws.send_str(json.dumps({"reply": reply}))
        finally:
            self._pages.discard(page)
        return ws

    def _answer(self, page: Page, data) -> str:
        """What to say to one message of a page; never raises on what a page can send."""
        try:
            wish = json.loads(data) if isinstance(data, str) else None
        except (ValueError, RecursionError):
            wish = None
        do = {
            "restart": self.practice.restart,
            "follow": lambda: self.practice.follow(True),
            "stay": lambda: self.practice.follow(False),
            "calibrate": self.practice.calibrate,
        }
        match wish:
            case {"ack": int(seq)} if seq in self._taken:
                page.unacked = [n for n in page.unacked if n > seq]
                taken = self._taken[seq]
                if time.monotonic() - taken < 1.0:
                    self._latencies.append(time.monotonic() - taken)
                return ""
            case {"ack": int()}:
                return ""
            case {"do": str(name)} if name in do:
                return do[name]()
            case {"view": [azimuth, elevation, distance]} if all(_number(v) for v in (azimuth, elevation, distance)):
                self.view = View(
                    float(azimuth) % 360.0, min(max(float(elevation), -89.0), 30.0), min(max(float(distance), 0.4), 4.0)
                )
                return ""
        self.malformed += 1
        return "malformed message"


def _number(value) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
