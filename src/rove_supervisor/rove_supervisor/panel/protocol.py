# SPDX-License-Identifier: Apache-2.0
"""What the panel's page and the supervisor say to each other, beside what all pages say (`rove_contract.web.framing`).
Pure.

page -> supervisor   {"do": ACTION, "id": n}               ACTION: a service name of the supervisor, or force_takeover
                     {"do": "start_stage", "stage": s, "id": n}
                     {"do": "dead_man" | "auto_pause", "on": bool, "id": n}
                     {"alive": true}                       every RENEW_S s while the dead-man lease is switched on
supervisor -> page   {"type": "reply", "id": n, "do": ACTION, "ok": bool, "text": s}
                     {"type": "state", "n": n, …}          see `snapshot`
                     binary                                camera picture; none to /ws?camera=0
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rove_contract.web.framing import Malformed, integer

MAX_MESSAGE = 2048  # bytes; the longest honest message has about 80
NAME = re.compile(
    r"[a-z_]{1,40}"
)  # of an action; it goes into the log, where control characters and half surrogates do harm


@dataclass(frozen=True)
class Alive:
    """The page is alive: the dead-man lease goes on."""


@dataclass(frozen=True)
class Do:
    """A wish of the person at the page."""

    action: str
    id: int
    stage: str = ""
    on: bool = False


def read(message: dict) -> Alive | Do:
    """One message of a page. Raises Malformed."""
    if message.get("alive") is True:
        return Alive()
    action = message.get("do")
    if not isinstance(action, str) or not NAME.fullmatch(action):
        raise Malformed('expected "do": ACTION, "ack": NUMBER, "seen": NUMBER, "ping": NUMBER or "alive": true')
    stage = message.get("stage", "")
    if not isinstance(stage, str):
        raise Malformed("stage must be a text")
    on = message.get("on", False)
    if not isinstance(on, bool):
        raise Malformed("on must be true or false")
    return Do(action, integer(message.get("id", 0), "id"), stage, on)
