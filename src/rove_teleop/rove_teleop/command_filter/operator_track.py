# SPDX-License-Identifier: Apache-2.0
"""The operator's targets between samples: a smooth position and its exact velocity at the command filter's rate. No
ROS.

Three first-order low-passes in a row per joint. They reject the noise of a tracker that would otherwise keep every
joint at its jerk limit, and their output has a derivative, so the velocity needs no estimate from differences. As in
the One-Euro filter (Casiez, Roussel and Vogel, CHI 2012) the cut-off rises with speed; at rest it is what the noise of
each joint, measured all the time, allows; and a part of the delay is made up for along the velocity.
"""

from __future__ import annotations

import math
from collections import deque

import numba
import numpy as np
from numba import njit

from rove_contract import timing
from rove_description.joints import Limits
from rove_teleop.command_filter.stop_law import compiled

# rad/s, cut-off of each low-pass at rest; (1 + SPEEDUP) times that at a joint's full velocity. It is as high as the
# tracker's noise allows and no higher, between these two: a higher one follows sooner, a lower one leaves less
# acceleration to the drives (bench/hands.py). With 0.5 mm and 4 mrad of noise the command of reaching arms has 0.094 of
# the acceleration limit, rms, 0.05 of which are the motion's own, and is 68 ms late, smoothing of the keypoints
# included; without noise 48 ms.
SLOWEST, FASTEST, SPEEDUP = 24.0, 60.0, 3.0
# of the acceleration limit, rms: what white noise may cause at rest. A tracker's is not white: it causes twice as much.
NOISE_SHARE = 0.03
# A cascade with lead passes white noise of standard deviation s per sample, one every h seconds, on as an acceleration
# of variance GAIN c^5 s^2 h: the integral of w^4 |H|^2 for H = c^3 / (s^3 + 3 c s^2 + (3 - LEAD) c^2 s + c^3).
GAIN = 0.194
KNOWN = 30  # samples over which the noise of a joint is averaged
TYPICAL = 1.5e-3  # rad, of a joint whose tracker is not known yet
TURNING = 12.0  # rad/s; acceleration counts as velocity at this frequency: a motion's turning points are fast, too
JUMP = 1.5  # a sample that asks for more than this many times a joint's velocity limit is a jump and no motion
# s, of the delay that is made up for; and times 1 / cut-off, since a lead above 8/3 of it would be unstable.
LEAD_S, LEAD = 0.012, 0.65
ACCELERATION_SHARE = 0.3  # of the newest difference of velocities in the estimated acceleration
# Between two operator samples the target moves on with its velocity, for at most two periods of a 60 Hz source.
EXTRAPOLATE_S = 0.034
_MATRIX, _VECTOR = numba.float64[:, ::1], numba.float64[::1]
_IN = numba.types.Array(numba.float64, 1, "C", readonly=True)


@njit(numba.void(_MATRIX, _VECTOR, _VECTOR, _VECTOR, _IN, _VECTOR, numba.float64, numba.float64), **compiled)
def _advance(stages, velocity, acceleration, target, limit, slow, age, h):
    """One step of h s. stages (3, J) rad, velocity, acceleration (J,): in place. target (J,): the newest sample, age s
    old. limit (J,) rad/s. slow (J,) rad/s: cut-off at rest.
    """
    for j in range(len(target)):
        v, a = velocity[j], acceleration[j]
        turning = a / TURNING
        speed = min(math.sqrt(v * v + turning * turning) / limit[j], 1.0)
        cutoff = slow[j] * (1.0 + SPEEDUP * speed)
        x = cutoff * h
        left = math.exp(-x)
        # Exact for a target that stands still within the step: distances of the stages from it.
        goal = target[j] + v * min(age + LEAD_S, LEAD / cutoff)
        first, second, third = stages[0, j] - goal, stages[1, j] - goal, stages[2, j] - goal
        stages[0, j] = goal + left * first
        stages[1, j] = goal + left * (second + x * first)
        stages[2, j] = goal + left * (third + x * second + 0.5 * x * x * first)
        velocity[j] = cutoff * (stages[1, j] - stages[2, j])
        acceleration[j] = a + ACCELERATION_SHARE * ((velocity[j] - v) / h - a)


class OperatorTrack:
    """Operator targets with their velocity, carried on between samples.

    limits: of the J joints. q: (J,) rad, the newest sample, None before the first; at: when it was received, s.
    """

    def __init__(self, limits: Limits):
        self._limit = np.ascontiguousarray(limits.velocity, dtype=np.float64)
        self._stages = np.empty((3, len(limits)))
        self._velocity, self._acceleration = np.zeros(len(limits)), np.zeros(len(limits))
        self._acceleration_limit = np.asarray(limits.acceleration, dtype=np.float64)
        self._noise = np.full(len(limits), TYPICAL**2)  # rad^2, of a sample; of the tracker, so it outlives `clear`
        self._gap = 1.0 / 60.0  # s between samples
        self._set_cutoff()
        self.clear()

    def clear(self) -> None:
        """Nothing is known of the operator."""
        self.q: np.ndarray | None = None
        self.at = -np.inf
        self._now = -np.inf
        self._samples = deque(maxlen=3)

    def _learn(self, sample: np.ndarray, gap: float) -> None:
        """Estimate the noise of each joint from third differences of its samples: those of white noise have 20 times
        its variance, those of a person's motion nearly none.
        """
        if len(self._samples) == 3:
            third, second, first = self._samples
            change = sample - 3.0 * first + 3.0 * second - third
            self._noise += (change**2 / 20.0 - self._noise) / KNOWN
            self._gap += (gap - self._gap) / KNOWN
            self._set_cutoff()
        self._samples.append(sample)

    def _set_cutoff(self) -> None:
        allowed = (NOISE_SHARE * self._acceleration_limit) ** 2
        self._cutoff = np.clip((allowed / (GAIN * self._gap * np.maximum(self._noise, 1e-12))) ** 0.2, SLOWEST, FASTEST)

    def add(self, q: np.ndarray, now: float) -> None:
        """A sample (J,) rad received at now. After a silence, and where a joint moved as no joint can, the track begins
        there, at rest.
        """
        sample = np.array(q, dtype=np.float64)
        gap = now - self.at
        if self.q is None or gap > timing.TELEOP_STALE_S:
            begin = np.ones(len(sample), dtype=bool)
            self._now = now
        else:
            self.target(now)
            # Closer samples are two that waited together; their difference in receipt time means nothing.
            begin = np.abs(sample - self.q) > JUMP * self._limit * max(gap, EXTRAPOLATE_S / 2.0)
        if begin.any():
            self._stages[:, begin] = sample[begin]
            self._velocity[begin] = self._acceleration[begin] = 0.0
            self._samples.clear()
        self._learn(sample, gap)
        self.q, self.at = sample, now

    def target(self, now: float) -> tuple[np.ndarray, np.ndarray]:
        """(J,) rad and (J,) rad/s in force at now; once per period of the filter."""
        h = min(now - self._now, EXTRAPOLATE_S)
        if h > 0.0:
            age = min(max(now - self.at, 0.0), EXTRAPOLATE_S)
            _advance(self._stages, self._velocity, self._acceleration, self.q, self._limit, self._cutoff, age, h)
            self._now = now
        return self._stages[2].copy(), self._velocity.copy()
