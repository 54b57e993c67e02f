# SPDX-License-Identifier: Apache-2.0
"""Whether a sample of the robot's state can be true: its stamp advances and is of now, its joints are where they can be
and could have got there. No ROS.
"""

from __future__ import annotations

import numpy as np

from rove_contract import timing
from rove_description.joints import JointTable

FROZEN = "robot state frozen: its stamps do not advance"
STAMP_OFF = "robot state has another time"
IMPOSSIBLE = "robot state impossible"
JUMPED = "robot state jumped"

RANGE_MARGIN_RAD = 0.3  # drives and encoders go past the table's limits by hundredths
JUMP_SPEED = 1.5  # of the velocity limit: a drive overshoots its command
# Computers that use NTP or PTP agree within milliseconds; a stamp farther away is of a stream that waited, or of a
# computer whose clock nobody sets.
CLOCK_S = 0.5


class StateCheck:
    """Samples in, verdicts out; the newest sample is what the next one is compared with."""

    def __init__(self, table: JointTable):
        self._table = table
        self._q: np.ndarray | None = None
        self._at = 0.0
        self._stamp_ns: int | None = None

    def repeats(self, stamp_ns: int) -> bool:
        """Whether the sample's stamp is that of the one before: a driver that repeats itself knows nothing new."""
        before, self._stamp_ns = self._stamp_ns, stamp_ns
        return stamp_ns == before

    def fault(self, q: np.ndarray, age_s: float, now: float) -> str:
        """Why q (J,) rad cannot be the robot's present state; "" if it can.

        age_s: of the stamp (see `SenderClock`). now: monotonic s of the receipt.
        """
        # A stream may stall for as long as it is not called missing, and then catch up within a sample.
        before, gap = self._q, max(now - self._at, timing.STATE_MISSING_S)
        self._q, self._at = q, now
        limits, names = self._table.limits, self._table.names
        if abs(age_s) > CLOCK_S:
            direction = "behind" if age_s > 0 else "ahead of"
            return f"{STAMP_OFF}: its stamps are {abs(age_s):.1f} s {direction} this computer's clock; set the clocks"
        beyond = np.maximum(limits.lower - q, q - limits.upper) * self._table.in_rad
        i = int(np.argmax(beyond))
        if beyond[i] > RANGE_MARGIN_RAD:
            lower, upper = limits.lower[i], limits.upper[i]
            return f"{IMPOSSIBLE}: {names[i]} at {q[i]:.2f} {self._table.unit(i)}, its range is {lower:g} to {upper:g}"
        if before is None:
            return ""
        excess = np.abs(q - before) - JUMP_SPEED * limits.velocity * gap
        i = int(np.argmax(excess))
        if excess[i] > 0.0:
            unit = self._table.unit(i)
            return f"{JUMPED}: {names[i]} from {before[i]:.2f} to {q[i]:.2f} {unit} within {gap * 1e3:.0f} ms"
        return ""
