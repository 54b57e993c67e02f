# SPDX-License-Identifier: Apache-2.0
"""The dead-man lease: while it is switched on, the page that set the robot in motion must keep saying that it is alive.
Pure.
"""

from __future__ import annotations

import math

LEASE_S = 0.3  # silence after which the robot is paused
RENEW_S = 0.1  # a page renews at this period: two lost renewals are no pause


class Lease:
    """One holder at a time. Times are monotonic s."""

    def __init__(self, duration: float = LEASE_S):
        self.duration = duration
        self.holder = ""  # name of a client, "" = nobody
        self._until = -math.inf

    def take(self, client: str, now: float) -> None:
        """`client` holds the lease from now on, whoever held it before."""
        self.holder, self._until = client, now + self.duration

    def renew(self, client: str, now: float) -> None:
        """A sign of life; only the holder's counts, and it does not revive a lease that ran out."""
        if client == self.holder and not self.expired(now):
            self._until = now + self.duration

    def drop(self) -> None:
        self.holder = ""

    def expired(self, now: float) -> bool:
        """True when there is a holder and it was silent for longer than the lease."""
        return bool(self.holder) and now > self._until
