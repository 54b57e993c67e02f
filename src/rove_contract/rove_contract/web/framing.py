# SPDX-License-Identifier: Apache-2.0
"""Messages between a page and its server: JSON objects as texts, and binary pictures. Pure.

page -> server   {"seen": n}           text `n` is on the screen; the next one may come
                 {"ack": n}            picture `n` is on the screen; the next one may come
                 {"ping": t}           t: any finite number, which comes back
                 any other object      the page's own, see its server
server -> page   {"type": "hello", "name": s, …}                      first: how this client is called
                 {"type": "pong", "ping": t, "monotonic": s, "unix": s}   the server's clocks
                 {"type": …, "n": n, …}                               a text that is acknowledged by {"seen": n}
                 binary                                               a picture, see `rove_contract.web.feed`
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

MAX_NUMBER = 2**53  # numbers above are not exact in JavaScript


class Malformed(ValueError):
    """A message of a page cannot be read; the text says what was expected and what came."""


@dataclass(frozen=True)
class Ack:
    """Of a picture or of a text."""

    number: int
    picture: bool = True


@dataclass(frozen=True)
class Ping:
    t: float


def integer(value: Any, what: str) -> int:
    """A whole number that JavaScript can hold. Raises Malformed."""
    if type(value) is not int or not 0 <= value < MAX_NUMBER:
        raise Malformed(f"{what} is {str(value)[:40]!r}, expected a whole number from 0 to 2^53")
    return value


def number(value: Any, what: str) -> float:
    """A finite number. Raises Malformed."""
    try:
        if type(value) in (int, float) and math.isfinite(value):
            return float(value)
    except OverflowError:  # an integer of 400 digits
        pass
    raise Malformed(f"{what} is {str(value)[:40]!r}, expected a finite number")


def parse(text: str | bytes) -> Ack | Ping | dict:
    """One text of a page; a dict is the page's own message. Raises Malformed."""
    if not isinstance(text, str):
        raise Malformed("expected text, got binary")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise Malformed(f"not JSON: {text[:60]!r}") from None
    if not isinstance(message, dict):
        raise Malformed(f'expected an object such as {{"do": "pause", "id": 1}}, got {type(message).__name__}')
    if "ack" in message:
        return Ack(integer(message["ack"], "ack"))
    if "seen" in message:
        return Ack(integer(message["seen"], "seen"), picture=False)
    if "ping" in message:
        return Ping(number(message["ping"], "ping"))
    return message
