# SPDX-License-Identifier: Apache-2.0
"""The panel's web server: the supervisor's state to every page, the pages' wishes to the supervisor. No rclpy here."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

from rove_contract.modes import Mode
from rove_contract.web.access import Access, Bucket
from rove_contract.web.feed import Client
from rove_contract.web.framing import Malformed
from rove_contract.web.server import WebServer
from rove_supervisor import controls
from rove_supervisor.panel import protocol
from rove_supervisor.supervisor import SWITCHES

STATE_PERIOD_S = 0.1  # the page interpolates clocks; ages and bars look live at 10 Hz
HEALTHY_S = 1.0  # the ROS thread's heart beats every 0.05 s
ACTIONS_HZ, ACTIONS_BURST = 5.0, 15.0  # a person presses less than 5 buttons a second
COUNTS = ("malformed", "rate_limited", "refused_requests")


class PanelServer(WebServer):
    """snapshot: () -> state for the pages. heart: () -> s since the ROS thread was last alive. request: (action,
    source, client) -> (ok, text). supervisor: takes the rest, see `Supervisor`. `show` and `changed` may be called
    from any thread."""

    max_clients = 32
    max_message = protocol.MAX_MESSAGE
    port_option = "panel_port"
    farewell = "the supervisor stops"

    def __init__(
        self,
        supervisor,
        snapshot: Callable[[], dict],
        request: Callable[[str, str, str], tuple[bool, str]],
        heart: Callable[[], float],
        port: int,
        access: Access | None = None,
    ):
        super().__init__(access or Access(), port, "rove_supervisor.panel", made={"controls.js": controls.script()})
        self.supervisor, self.snapshot, self.request, self.heart = supervisor, snapshot, request, heart
        self._presses: dict[Client, Bucket] = {}

    def changed(self) -> None:
        """The mode changed: show it now, not at the next tick."""
        self.call(self._refresh)

    def totals(self) -> dict[str, int]:
        """What was refused since the start."""
        return {key: self.counts[key] for key in COUNTS}

    async def work(self) -> None:
        """States at a steady rate, as long as somebody looks."""
        while True:
            self._refresh()
            await asyncio.sleep(STATE_PERIOD_S)

    def _refresh(self) -> None:
        if self.clients:
            self.say(self.snapshot() | {"panel": {"clients": len(self.clients), **self.totals()}})

    def health(self) -> tuple[bool, dict]:
        heart = self.heart()
        healthy = heart < HEALTHY_S
        return healthy, {
            "status": "ok" if healthy else "the ROS thread does not answer",
            "heart_s": round(heart, 3),
        }

    def joined(self, client: Client) -> None:
        self._presses[client] = Bucket(ACTIONS_HZ, ACTIONS_BURST)
        self._refresh()

    def left(self, client: Client) -> None:
        self._presses.pop(client, None)
        self.supervisor.left(client.name)

    def refuse(self, client: Client, error: Malformed, limited: bool) -> None:
        if not limited:  # a flood is counted, not answered
            self._reply(client, {"type": "reply", "id": 0, "ok": False, "text": f"malformed message: {error}"})

    def hear(self, client: Client, message: dict, limited: bool) -> None:
        wish = protocol.read(message)
        if isinstance(wish, protocol.Alive):
            self.supervisor.alive(client.name)
            return
        # An e-stop is never refused for its rate; the repeats of one that holds already are ignored in a flood.
        urgent = wish.action == "estop" and self.supervisor.mode is not Mode.ESTOP
        if not urgent and (limited or not self._presses[client].take(time.monotonic())):
            self.counts["rate_limited"] += 1
            if not limited and wish.action != "estop":
                text = "too many requests: wait a moment"
                self._reply(client, {"type": "reply", "id": wish.id, "ok": False, "text": text})
            return
        ok, text = self._do(client, wish)
        if ok:
            self._refresh()
        self._reply(client, {"type": "reply", "id": wish.id, "do": wish.action, "ok": ok, "text": text})

    def _do(self, client: Client, wish: protocol.Do) -> tuple[bool, str]:
        if wish.action == "start_stage":
            return self.supervisor.set_start_stage(wish.stage)
        if wish.action in SWITCHES:
            return self.supervisor.switch(wish.action, wish.on, client.name)
        return self.request(wish.action, client.name, client.name)

    @staticmethod
    def _reply(client: Client, reply: dict) -> None:
        client.answer(json.dumps(reply))
