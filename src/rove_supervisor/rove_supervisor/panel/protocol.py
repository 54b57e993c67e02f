# SPDX-License-Identifier: Apache-2.0
"""Messages between page and supervisor: JSON texts from the page, JSON texts and binary camera frames to it. Pure.

page -> supervisor   {"do": ACTION, "id": n}               ACTION: a service name of the supervisor, or force_takeover
                     {"do": "start_stage", "stage": s, "id": n}
                     {"do": "dead_man" | "auto_pause", "on": bool, "id": n}
                     {"do": "ping", "id": n}
                     {"alive": true}                       every RENEW_S s while the dead-man lease is switched on
                     {"ack": number}                       camera picture `number` is on the screen; the next one may
                       come
                     {"seen": n}                           state `n` is on the screen; the next one may come
supervisor -> page   {"type": "hello", "name": s}          how this client is called in replies and in the lease
                     {"type": "reply", "id": n, "ok": bool, "text": s}, {"type": "pong", "id": n, "t": unix s}
                     {"type": "state", "n": n, …}          see `snapshot`
                     binary                                camera picture, see `rove_contract.web.feed`; none to
                       /ws?camera=0
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

MAX_MESSAGE = 2048  # bytes; the longest honest message has about 80
NAME = re.compile(
    r"[a-z_]{1,40}"
)  # of an action; it goes into the log, where control characters and half surrogates do harm
MAX_ID = 2**53  # numbers above are not exact in JavaScript


class Malformed(ValueError):
    """A message from the page cannot be read; the text says what was expected and what came."""


@dataclass(frozen=True)
class Ack:
    """Of a camera picture or of a state."""

    number: int
    picture: bool = True


@dataclass(frozen=True)
class Alive:
    pass


@dataclass(frozen=True)
class Do:
    action: str
    id: int
    stage: str = ""
    on: bool = False


def _integer(value, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MAX_ID:
        raise Malformed(f"{what} is {str(value)[:40]!r}, expected an integer from 0 to 2^53")
    return value


def parse(text: str | bytes) -> Ack | Alive | Do:
    """One message of a page. Raises Malformed."""
    if not isinstance(text, str):
        raise Malformed("expected text, got binary")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise Malformed(f"not JSON: {text[:60]!r}") from None
    if not isinstance(message, dict):
        raise Malformed(f'expected an object such as {{"do": "pause", "id": 1}}, got {type(message).__name__}')
    if "ack" in message:
        return Ack(_integer(message["ack"], "ack"))
    if "seen" in message:
        return Ack(_integer(message["seen"], "seen"), picture=False)
    if message.get("alive") is True:
        return Alive()
    action = message.get("do")
    if not isinstance(action, str) or not NAME.fullmatch(action):
        raise Malformed('expected "do": ACTION, "ack": NUMBER, "seen": NUMBER or "alive": true')
    stage = message.get("stage", "")
    if not isinstance(stage, str):
        raise Malformed("stage must be a text")
    on = message.get("on", False)
    if not isinstance(on, bool):
        raise Malformed("on must be true or false")
    return Do(action, _integer(message.get("id", 0), "id"), stage, on)
