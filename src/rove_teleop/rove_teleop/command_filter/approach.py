# SPDX-License-Identifier: Apache-2.0
"""The approach of a takeover: from where the robot rests to the operator on one line in joint space, all joints
arriving together. No ROS.

The phase s runs from 0 to 1 as fast as the slowest joint of the line may, by the command filter's own law, in one
dimension. The target is start + s (operator - start): with s = 1 it is the operator's own target, with its velocity, so
the approach ends in tracking without a seam. The limits stay the command filter's, through which every target goes.
"""

from __future__ import annotations

import numpy as np

from rove_description.joints import Limits
from rove_teleop.command_filter.filter import CommandFilter

NEAR_RAD = 1e-4  # a joint closer than this says nothing about the line
ARRIVED = 1e-6  # of the phase


class Approach:
    """limits: of the J joints. limiter: the command filter that follows; `follow` is called once per its period."""

    def __init__(self, limits: Limits, limiter: CommandFilter):
        self._limits, self._limiter = limits, limiter
        self._start: np.ndarray | None = None
        self._phase: CommandFilter | None = None

    @property
    def running(self) -> bool:
        """Whether the robot is still on its way to the operator."""
        return self._phase is not None

    def reset(self) -> None:
        """The operator does not drive: the next target begins another approach."""
        self._start = self._phase = None

    def follow(self, target: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The operator's target (J,) rad and its velocity (J,) rad/s -> those to follow in this period."""
        if self._start is None:
            self._start = self._limiter.stop_position()
            self._phase = self._begin(target - self._start)
        if self._phase is None:
            return target, velocity
        s = float(self._phase.step(np.ones(1), np.zeros(1))[0])
        if 1.0 - s < ARRIVED:
            self._phase = None
            return target, velocity
        line = target - self._start
        speed = self._phase.velocity[0] * line + s * velocity
        # The command filter takes a target's acceleration for 0 and aims at where it would then stop. Moved by what
        # that leaves out, the aim is where the line's own motion would stop, and the filter takes the line's own step.
        ahead = self._limiter.stop_distance(speed, self._phase.acceleration[0] * line)
        ahead -= self._limiter.stop_distance(speed, np.zeros(len(line)))
        return self._start + s * line + ahead, speed

    def _begin(self, line: np.ndarray) -> CommandFilter | None:
        """A one-dimensional filter whose limits are those of the slowest joint on the line; None if all are there."""
        far = np.abs(line) > NEAR_RAD
        if not np.any(far):
            return None
        velocity, acceleration, jerk = (
            np.array([np.min(limit[far] / np.abs(line[far]))])
            for limit in (self._limits.velocity, self._limits.acceleration, self._limits.jerk)
        )
        phase = CommandFilter(
            Limits(np.array([-1.0]), np.array([2.0]), velocity, acceleration, jerk), self._limiter.period_s
        )
        phase.reset(np.zeros(1))
        return phase
