# SPDX-License-Identifier: Apache-2.0
"""Advice to pause from the online critic's value: it stays low, or it turned from rising to falling. Pure; advice only,
never an act.
"""

from __future__ import annotations

from collections import deque

import numpy as np


class Advisor:
    """Watches V(s) in [-1, 0] during a rollout.

    threshold: V below which the critic expects failure rather than success. hold_s: how long it must stay there: a
    value at 2 Hz then counts at least 4 times. window_s: stretch of the slope. fall: drop of the fitted line over the
    window that counts as a turn: about three times the scatter of a trained critic on a steady scene.
    """

    def __init__(self, threshold: float = -0.6, hold_s: float = 2.0, window_s: float = 4.0, fall: float = 0.15):
        self.threshold, self.hold_s, self.window_s, self.fall = threshold, hold_s, window_s, fall
        self.points: deque[tuple[float, float]] = deque(maxlen=2400)
        self._low_since: float | None = None
        self._begin = 0.0

    def reset(self) -> None:
        """A new episode."""
        self.points.clear()
        self.begin(0.0)

    def begin(self, t: float) -> None:
        """The policy drives from t on: what was before, under an operator or in a pause, is no reason to pause
        again.
        """
        self._low_since, self._begin = None, t

    def add(self, t: float, value: float) -> None:
        """value at t s; values that are not finite are ignored."""
        if not np.isfinite(value):
            return
        self.points.append((t, float(value)))
        if t < self._begin or value >= self.threshold:
            self._low_since = None
        elif self._low_since is None:
            self._low_since = t

    def text(self, now: float) -> str:
        """A sentence that suggests pausing, or ""."""
        if not self.points or now - self.points[-1][0] > self.window_s:
            return ""
        value = self.points[-1][1]
        if self._low_since is not None and self.points[-1][0] - self._low_since >= self.hold_s:
            return f"Value {value:.2f} below {self.threshold:.2f} for {now - self._low_since:.0f} s: consider pausing"
        recent = np.array([p for p in self.points if p[0] >= max(self._begin, now - self.window_s)])
        span = recent[-1, 0] - recent[0, 0] if len(recent) >= 5 else 0.0
        if span >= 0.7 * self.window_s:
            begin, end = np.polyval(np.polyfit(recent[:, 0], recent[:, 1], 1), recent[[0, -1], 0])
            if begin - end > self.fall:
                quarter = max(1, len(recent) // 4)  # what is said are values that were seen, not the line's
                seen = recent[:quarter, 1].mean(), recent[-quarter:, 1].mean()
                return f"Value is falling ({seen[0]:.2f} → {seen[1]:.2f} in {span:.0f} s): consider pausing"
        return ""
