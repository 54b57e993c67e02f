# SPDX-License-Identifier: Apache-2.0
"""The web server of a page that is an operator's device: its frames in, the robot's view and the camera out. No rclpy
here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from rove_contract.operator_frame import FrameError
from rove_contract.web.access import Access, Bucket
from rove_contract.web.feed import Client
from rove_contract.web.server import WebServer

FRAMES_HZ, FRAMES_BURST = 300.0, 600.0  # headsets send at 60 to 120 Hz
AUTHORITY = "/rove-ca.crt"


class DeviceServer(WebServer):
    """folder: of the page, in this package. parse: bytes of one frame -> message, raises FrameError.

    on_frame(name, message, received_s) and on_close(name) are called in the server's thread. constants: what every page
    gets with its greeting. authority: file offered for download.
    """

    port_option = "endpoint:=SCHEME://HOST:PORT"
    public = frozenset({"/healthz", AUTHORITY})
    farewell = "teleop stops"

    def __init__(
        self,
        access: Access,
        port: int,
        folder: str,
        parse: Callable[[bytes], Any],
        on_frame: Callable[[str, Any, float], None],
        on_close: Callable[[str], None],
        constants: dict,
        authority: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__(access, port, "rove_teleop.sources", folder, clock=clock)
        self._parse, self._on_frame, self._on_close = parse, on_frame, on_close
        self._constants, self._authority = constants, authority
        self._rates: dict[Client, Bucket] = {}

    def view(self, view: dict) -> None:
        """Newest view of the robot."""
        if self.clients:
            self.call(lambda: self.say({"type": "robot", **view}))

    def routes(self) -> list[web.RouteDef]:
        return [web.get(AUTHORITY, self._download)]

    async def _download(self, request: web.Request) -> web.Response:
        if self._authority is None:
            raise web.HTTPNotFound(text="this server has no certificate of its own")
        return web.Response(body=self._authority.read_bytes(), content_type="application/x-x509-ca-cert")

    def greeting(self, client: Client) -> dict:
        return self._constants

    def joined(self, client: Client) -> None:
        self._rates[client] = Bucket(FRAMES_HZ, FRAMES_BURST)

    def left(self, client: Client) -> None:
        self._rates.pop(client, None)
        self._on_close(client.name)

    def hear_bytes(self, client: Client, data: bytes, limited: bool) -> None:
        now = self.clock()
        self.counts["received"] += 1
        if not self._rates[client].take(now):
            self.counts["rate_limited"] += 1
            return
        try:
            message = self._parse(data)
        except FrameError as error:
            self.count_malformed(error.reason, str(error))
            return
        self._on_frame(client.name, message, now)
