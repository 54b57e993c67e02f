# SPDX-License-Identifier: Apache-2.0
"""Operator frames from a browser: a page with the robot in it, whose hands are dragged with mouse, touch or gamepad."""

from __future__ import annotations

import time
from pathlib import Path

from rove_contract import timing
from rove_contract.operator_frame import OperatorFrame
from rove_contract.web.access import is_loopback
from rove_description.robot import Robot
from rove_teleop.sources import RobotView
from rove_teleop.sources.browser import DragMessage, Puppet, parse
from rove_teleop.sources.page_source import PageSource

PORT = 8768


class BrowserSource(PageSource[DragMessage]):
    """Serves the drag page and receives its frames: plain HTTP on this machine, with token and TLS beyond it.

    directory, max_delay_s: see PageSource. robot: whose hands are dragged; None: the default robot.
    """

    service, folder, where = "browser", "browser_page", "a browser"

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = PORT,
        *,
        directory: str | Path = "",
        max_delay_s: float = timing.TELEOP_STALE_S,
        clock=time.monotonic,
        robot: Robot | None = None,
    ):
        self.puppet = Puppet(robot)
        self.parts = self.puppet.parts
        tls = not is_loopback(host)
        super().__init__(host, port, tls, parse, self.puppet.geometry(), directory, max_delay_s, clock)

    def frame_of(self, message: DragMessage, name: str) -> OperatorFrame:
        """See PageSource.frame_of."""
        return self.puppet.frame(message, name)

    def described(self, view: RobotView) -> dict:
        """See PageSource.described."""
        self.puppet.show(view)
        return self.puppet.describe() if self._server.clients else {}
