# SPDX-License-Identifier: Apache-2.0
"""Operator frames from a headset: a page that this source serves streams head and hands over a WebSocket and shows what
the robot sees.
"""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from rove_contract import timing
from rove_contract.operator_frame import OperatorFrame
from rove_contract.web.access import is_loopback
from rove_description.robot import Robot
from rove_teleop.sources import RobotView
from rove_teleop.sources.page_source import PageSource
from rove_teleop.sources.webxr import PARTS, SIZE, Message, Scene, parse

PORT = 8766


class WebxrSource(PageSource[Message]):
    """Serves the headset page and receives its frames.

    endpoint: https://HOST:PORT, or http://127.0.0.1:PORT for `adb reverse` and ssh tunnels. directory, max_delay_s: see
    PageSource. robot: whose hands are shown; None: the default robot's. Raises ValueError with what to do.
    """

    parts = PARTS
    service, folder, where = "webxr", "webxr_page", "the headset"

    def __init__(
        self,
        endpoint: str = f"https://127.0.0.1:{PORT}",
        *,
        directory: str | Path = "",
        max_delay_s: float = timing.TELEOP_STALE_S,
        clock=time.monotonic,
        robot: Robot | None = None,
    ):
        try:
            url = urlsplit(endpoint)
            host, port = url.hostname, url.port
        except ValueError:
            host, port = None, None
        if not host or url.scheme not in ("https", "http") or url.path not in ("", "/"):
            raise ValueError(f"endpoint {endpoint!r}; expected https://HOST:PORT, e.g. https://0.0.0.0:{PORT}")
        if url.scheme == "http" and not is_loopback(host):
            raise ValueError(
                f"{endpoint} is not encrypted, and browsers show a headset to https pages and localhost only: use https"
            )
        self._scene = Scene(described=robot)
        self._trunk, self._trunk_of = self._scene.trunk(), ""
        grasp = self._scene.grasp
        constants = {
            "eyes": self._scene.eyes.round(6).tolist(),
            "fovy": self._scene.fovy_rad,
            "frame_bytes": SIZE,
            # Hands of those who hold controllers, open and closed, around the palm in the wrist's frame: to be drawn.
            "grasp": {
                side: (grasp.samples[side][[0, -1]] - grasp.palms[side]).round(4).reshape(2, -1).tolist()
                for side in grasp.samples
            },
        }
        port = PORT if port is None else port
        super().__init__(host, port, url.scheme == "https", parse, constants, directory, max_delay_s, clock)

    def frame_of(self, message: Message, name: str) -> OperatorFrame:
        """See PageSource.frame_of."""
        if self._trunk_of != name:
            self._trunk, self._trunk_of = self._scene.trunk(), name
        return self._trunk.frame(message, name)

    def described(self, view: RobotView) -> dict:
        """See PageSource.described: both hands and the camera."""
        if view.measured is None or not np.isfinite(view.measured).all():
            return {}
        return self._scene.describe(view.measured, self._trunk)
