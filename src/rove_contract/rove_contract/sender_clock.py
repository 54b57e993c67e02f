# SPDX-License-Identifier: Apache-2.0
"""How old a sender's stamp is, when any computer's clock may be stepped. Pure."""

from __future__ import annotations

STEP_S = 0.02  # the system clock runs with the monotonic one but for steps; reading one after the other takes µs
SETTLED_S = 2.0  # after so long without a step of our clock the sender's own answer to it is known
SAME_S = 0.5  # clocks that are set (NTP, PTP) agree far better than this
MOST = 16  # offsets that are kept


class SenderClock:
    """The sender's clock by our monotonic one. After a step of our system clock it may have been stepped too (one
    computer, or one time server) or not: both are possible until its stamps have said which.
    """

    def __init__(self, wall_ns: int, monotonic_s: float):
        """wall_ns: ns since the epoch. monotonic_s: the same moment by the monotonic clock."""
        self._ours_ns = wall_ns - round(monotonic_s * 1e9)
        self._offsets_ns = [self._ours_ns]
        self._settled_at = monotonic_s

    def age_s(self, stamp_ns: int, wall_ns: int, monotonic_s: float) -> float:
        """Age (s) of a stamp (ns since the epoch) by the likeliest of the sender's clocks; negative = in the future."""
        now_ns = round(monotonic_s * 1e9)
        step_ns = wall_ns - now_ns - self._ours_ns
        if abs(step_ns) > STEP_S * 1e9:
            self._ours_ns += step_ns
            self._offsets_ns = (self._offsets_ns + [offset + step_ns for offset in self._offsets_ns])[-MOST:]
            self._settled_at = monotonic_s + SETTLED_S
        best = min(self._offsets_ns, key=lambda offset: abs(offset + now_ns - stamp_ns))
        age = (best + now_ns - stamp_ns) * 1e-9
        if abs(age) <= SAME_S and monotonic_s >= self._settled_at:
            self._offsets_ns = [best]
        return age
