# SPDX-License-Identifier: Apache-2.0
"""Plays action chunks in time: which joint target, with which velocity, holds now. No ROS.

All times are of a monotonic clock, so that a step of the system clock changes nothing.
"""

from __future__ import annotations

import numpy as np


class ChunkError(ValueError):
    """An action chunk cannot be played; the message says what was expected and what came."""


class ChunkPlayer:
    """The chunk in force; the next one replaces it at once, and the command filter makes the switch smooth."""

    def __init__(self) -> None:
        self._positions = np.empty((0, 0))
        self._slopes = np.empty((0, 0))
        self._times = np.empty(0)
        self._origin = 0.0
        self.clock_suspect = 0  # chunks whose age was not believable

    @property
    def loaded(self) -> bool:
        return len(self._times) > 0

    def clear(self) -> None:
        """Forget the chunk: it will never be played again."""
        self._positions, self._slopes, self._times = np.empty((0, 0)), np.empty((0, 0)), np.empty(0)

    def age(self, age_s: float, horizon_s: float) -> float:
        """The chunk's age (s) if believable, else 0: one from the future or beyond its horizon says that the clocks of
        sender and receiver disagree.
        """
        if 0.0 <= age_s <= horizon_s:
            return float(age_s)
        self.clock_suspect += 1
        return 0.0

    def load(self, positions: np.ndarray, times: np.ndarray, age_s: float, now: float) -> None:
        """Play this chunk from now on.

        positions: (H, J) rad. times: (H,) s from the observation. age_s: receipt minus observation by the senders'
        clock, s (see `age`). now: monotonic s. Raises ChunkError for values that are not finite or times that do not
        increase; then nothing changes.
        """
        if positions.ndim != 2 or len(positions) == 0 or len(positions) != len(times):
            raise ChunkError(f"expected H points of J positions and H times, got {positions.shape} and {times.shape}")
        bad = int(np.sum(~np.isfinite(positions)))
        if bad or not np.isfinite(times).all():
            raise ChunkError(f"the action chunk has {bad} positions that are not finite or missing")
        if times[0] < 0.0 or np.any(np.diff(times) <= 0.0):
            raise ChunkError(f"time_from_start must increase from 0 on, got {times[:3]} ...")
        self._positions, self._times = positions, times
        self._slopes = np.gradient(positions, times, axis=0) if len(times) > 1 else np.zeros_like(positions)
        self._origin = now - self.age(age_s, float(times[-1]))

    def target(self, now: float) -> tuple[np.ndarray, np.ndarray] | None:
        """Target (J,) rad and its velocity (J,) rad/s at the monotonic time now; None if no chunk is loaded or it has
        run out.

        Cubic Hermite interpolation with central differences as slopes: the velocity has no jumps at the chunk's own
        steps.
        """
        if not self.loaded:
            return None
        t = now - self._origin
        times = self._times
        if t > times[-1] + 1e-6:  # rounding of a monotonic clock that counts weeks
            return None
        if len(times) == 1:
            return self._positions[0], np.zeros(self._positions.shape[1])
        if t < times[0]:  # the first step is due a moment after the observation: come to it at its own velocity
            before = min(times[0] - t, times[1] - times[0])
            return self._positions[0] - before * self._slopes[0], self._slopes[0]
        i = min(int(np.searchsorted(times, t)), len(times) - 1) - 1
        h = times[i + 1] - times[i]
        s = (t - times[i]) / h
        p0, p1, m0, m1 = self._positions[i], self._positions[i + 1], self._slopes[i] * h, self._slopes[i + 1] * h
        q = (1 + 2 * s) * (1 - s) ** 2 * p0 + s**2 * (3 - 2 * s) * p1 + s * (1 - s) ** 2 * m0 - s**2 * (1 - s) * m1
        dq = (6 * s * (s - 1) * (p0 - p1) + (1 - s) * (1 - 3 * s) * m0 + s * (3 * s - 2) * m1) / h
        return q, dq
