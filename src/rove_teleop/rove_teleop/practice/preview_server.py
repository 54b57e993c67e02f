# SPDX-License-Identifier: Apache-2.0
"""The preview's web server. Pictures are drawn only while somebody looks, one for all pages.

To the page: {"type": "state", ...}, `Practice.snapshot` at 10 Hz; {"type": "reply", "text": s}; pictures whose stamp is
when the operator was in that pose. From the page: {"do": "restart" | "follow" | "stay" | "calibrate"};
{"view": [azimuth deg, elevation deg, distance m]}.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from rove_contract.web.access import Access
from rove_contract.web.feed import Client
from rove_contract.web.framing import Ack, Malformed, number
from rove_contract.web.server import WebServer
from rove_teleop.practice.practice import Practice
from rove_teleop.practice.preview_picture import Picture, View

STATE_PERIOD_S = 0.1


class PreviewServer(WebServer):
    """practice, picture: what is shown. fps: pictures per second at most. Drawing has a thread of its own."""

    max_message = 1024  # bytes; the longest wish is a view
    port_option = "--port"
    farewell = "the preview stops"

    def __init__(self, practice: Practice, picture: Picture, fps: float, port: int):
        super().__init__(Access(service="preview"), port, "rove_teleop.practice")
        self.practice, self.picture, self.period_s = practice, picture, 1.0 / fps
        self.view = View()
        self._drawing = ThreadPoolExecutor(1, thread_name_prefix="picture")
        self._drawn: deque[float] = deque(maxlen=120)  # times of pictures
        self._taken: dict[int, float] = {}  # picture -> when the operator was in that pose
        self._latencies: deque[float] = deque(maxlen=30)

    async def work(self) -> None:
        await asyncio.gather(self._states(), self._pictures())

    def clean_up(self) -> None:
        self._drawing.submit(self.picture.close)
        self._drawing.shutdown()

    async def _states(self) -> None:
        while True:
            if self.clients:
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
                self.say({"type": "state"} | state)
            await asyncio.sleep(STATE_PERIOD_S)

    async def _pictures(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begin = time.monotonic()
            if any(client.pictures and client.shown[0].has_room(begin) for client in self.clients):
                scene = self.practice.scene()
                jpeg = await loop.run_in_executor(self._drawing, self.picture.jpeg, scene, self.view)
                self._drawn.append(time.monotonic())
                shown = self.feed.show(jpeg, time.time() - (time.monotonic() - scene.taken_s))
                self._taken[shown] = scene.taken_s
                self._taken.pop(shown - 100, None)
                self.feed.wake()
            await asyncio.sleep(max(self.period_s - (time.monotonic() - begin), 0.005))

    def acknowledged(self, client: Client, ack: Ack) -> None:
        taken = self._taken.get(ack.number) if ack.picture else None
        if taken is not None and time.monotonic() - taken < 1.0:
            self._latencies.append(time.monotonic() - taken)

    def refuse(self, client: Client, error: Malformed, limited: bool) -> None:
        self._reply(client, "malformed message")

    def hear(self, client: Client, message: dict, limited: bool) -> None:
        do = {
            "restart": self.practice.restart,
            "follow": lambda: self.practice.follow(True),
            "stay": lambda: self.practice.follow(False),
            "calibrate": self.practice.calibrate,
        }
        match message:
            case {"do": str(name)} if name in do:
                self._reply(client, do[name]())
            case {"view": [azimuth, elevation, distance]}:
                azimuth, elevation, distance = (number(value, "view") for value in (azimuth, elevation, distance))
                self.view = View(azimuth % 360.0, min(max(elevation, -89.0), 30.0), min(max(distance, 0.4), 4.0))
            case _:
                raise Malformed('expected {"do": ...} or {"view": [azimuth, elevation, distance]}')

    @staticmethod
    def _reply(client: Client, text: str) -> None:
        client.answer(json.dumps({"type": "reply", "text": text}))
