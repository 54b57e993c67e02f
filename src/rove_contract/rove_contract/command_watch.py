# SPDX-License-Identifier: Apache-2.0
"""What a robot's driver must do by itself: when commands cease, brake and hold; when they return, come back to them
without a jump. No ROS.
"""

from __future__ import annotations

import numpy as np

from rove_contract import timing
from rove_description.joints import Limits


class CommandWatch:
    """Commands in, each control period the set-point of the drives out.

    limits: of the J joints. q: (J,) rad, where the robot is. ceased: how often commands have ceased; `silent` whether
    they have now. All times are monotonic s.
    """

    def __init__(self, limits: Limits, q: np.ndarray):
        self._limits = limits
        self.ceased = 0
        self.reset(q)

    def reset(self, q: np.ndarray) -> None:
        """The robot was placed at q (J,) rad and stands still; commands from before do not count."""
        self._setpoint = np.array(q, dtype=float)
        self._velocity = np.zeros(len(self._setpoint))
        self._command: np.ndarray | None = None
        self._at = -np.inf
        self.silent = False

    @property
    def present(self) -> np.ndarray:
        """(J,) rad, the newest set-point."""
        return self._setpoint

    @property
    def at_rest(self) -> bool:
        return not self._velocity.any()

    def command(self, q: np.ndarray, now: float) -> None:
        """A complete, finite command (J,) rad arrived."""
        self._command, self._at = q, now

    def setpoint(self, now: float) -> np.ndarray:
        """(J,) rad for the drives in this period; call it once per control period."""
        if self._command is None:
            return self._setpoint
        before = self._setpoint
        if now - self._at > timing.COMMANDS_CEASE_S:
            if not self.silent:
                self.silent = True
                self.ceased += 1
            slower = self._limits.acceleration * timing.CONTROL_PERIOD_S
            self._velocity -= np.clip(self._velocity, -slower, slower)
            after = before + self._velocity * timing.CONTROL_PERIOD_S
            self._setpoint = np.clip(after, self._limits.lower, self._limits.upper)
            return self._setpoint
        self.silent = False
        # The filter's commands never ask for more than the limit. After a silence they may be far away, since the
        # filter went on to its own place of rest: the robot comes to them at that speed.
        reach = self._limits.velocity * timing.CONTROL_PERIOD_S
        step = np.clip(self._command - before, -reach, reach)
        self._setpoint = np.where(np.abs(step) < reach, self._command, before + step)
        self._velocity = step / timing.CONTROL_PERIOD_S
        return self._setpoint
