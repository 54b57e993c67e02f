# SPDX-License-Identifier: Apache-2.0
"""Stamps of the system clock as time that nobody sets: what the recorder noted of its clocks tells them apart.

A bag's messages carry the system clock. When that was set in the middle of an episode, an hour seems to lie between two
frames, or none. The recorder notes how the system clock compares with the steady one at the start and at every such
step; here all stamps become those of the clock as it was at the start.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping


class SteadyTime:
    """offsets: system - steady, ns, at the start and after each step of the system clock."""

    def __init__(self, offsets: Iterable[int] = ()):
        self._offsets = list(offsets)
        self._last: int | None = None

    @property
    def steps_s(self) -> list[float]:
        """By how much the system clock was set, each time, s."""
        return [(b - a) * 1e-9 for a, b in zip(self._offsets, self._offsets[1:])]

    def note(self, system_ns: int, steady_ns: int) -> None:
        """One more comparison of the clocks, met while a bag is read."""
        self._offsets.append(system_ns - steady_ns)

    def received(self, log_ns: int) -> int:
        """Stamp of a message in the order of the bag -> ns of the clock as it was at the start."""
        self._last = self._nearest(log_ns, log_ns if self._last is None else self._last)
        return self._last

    def sent(self, stamp_ns: int, received_ns: int) -> int:
        """A stamp inside a message, written shortly before it was `received`, likewise."""
        return self._nearest(stamp_ns, received_ns)

    def _nearest(self, stamp_ns: int, to_ns: int) -> int:
        if len(self._offsets) < 2:
            return stamp_ns
        first = self._offsets[0]
        return min((stamp_ns - (offset - first) for offset in self._offsets), key=lambda at: abs(at - to_ns))


def noted(custom: Mapping[str, str]) -> list[int]:
    """Offsets that a bag's custom_data holds. Raises ValueError for damaged ones."""
    pairs = json.loads(custom.get("clock", "[]"))
    if not isinstance(pairs, list):
        raise ValueError(f"the clock notes are {pairs!r}, expected a list")
    offsets = []
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(type(number) is int for number in pair):
            raise ValueError(f"the clock note {pair!r} is no pair of ns")
        offsets.append(pair[0] - pair[1])
    return offsets
