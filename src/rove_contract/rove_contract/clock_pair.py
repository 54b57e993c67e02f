# SPDX-License-Identifier: Apache-2.0
"""How old a stamp is, when any computer's clock may be stepped. Pure."""

from __future__ import annotations


class ClockPair:
    """Two ideas of the present system time: what the system clock says, and what it would say had it not been stepped
    since the start.

    A step of this computer's clock alone leaves the second one right; a step of all clocks, the first one.
    """

    def __init__(self, wall_ns: int, monotonic_s: float):
        """wall_ns: ns since the epoch. monotonic_s: the same moment by the monotonic clock."""
        self._offset_ns = wall_ns - round(monotonic_s * 1e9)

    def age_s(self, stamp_ns: int, wall_ns: int, monotonic_s: float) -> float:
        """Age (s) of a stamp (ns since the epoch) by the clock that makes it the smaller one; negative = in the
        future.
        """
        by_wall = wall_ns - stamp_ns
        by_monotonic = self._offset_ns + round(monotonic_s * 1e9) - stamp_ns
        return min(by_wall, by_monotonic, key=abs) * 1e-9
