# SPDX-License-Identifier: Apache-2.0
"""The choice of the next acceleration of every joint: follow the target as fast as the limits allow and still be able
to stop. No ROS.

Compiled loops over the joints; units are those of `stop_law`. The state of a joint is one record, so that a loop reads
like the text.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numba import njit

from rove_teleop.command_filter.stop_law import braking, compiled, stop_distance, turning_distance

# lower, upper: rad. unit: rad per dimensionless distance. speed, accel: limits, dimensionless; accel is whole.
JOINT = np.dtype([(name, "f8") for name in ("lower", "upper", "unit", "speed", "accel")])
# q: rad; v, a and the proposed next_v, next_a: dimensionless, v * unit is rad per period. held: the stop law's choice
# of the next a. stop, rest: rad, where the joint would come to rest after next_a, after held.
_MOTION = ("q", "v", "a", "next_v", "next_a", "held", "stop", "rest")
# target: rad, clipped to the limits; target_v: its velocity; change, mean_v: its newest difference and their running
# mean; these are dimensionless. steady: how many plausible differences came in a row.
_TARGET = ("target", "target_v", "change", "mean_v", "steady")
STATE = np.dtype([(name, "f8") for name in _MOTION + _TARGET])
_JOINTS, _STATES = numba.from_dtype(JOINT)[::1], numba.from_dtype(STATE)[::1]
_OUT, _IN = numba.float64[::1], numba.types.Array(numba.float64, 1, "C", readonly=True)

# rad; targets may touch the limits only up to the rounding of the output.
EDGE = 1e-9
# A target is taken for a moving one after this many samples that a joint within its limits could have produced.
MOVING_SAMPLES = 3
VELOCITY_SMOOTHING = 0.4  # share of the newest difference in the estimated target velocity; 1.5 samples of delay
# Chords until the stop position meets the aim. Each leaves a small part of the error, and what is left is made up for
# in the next period.
CHORDS = 2
NEAR = 1e-9  # of a dimensionless distance; 1e-13 rad

GOOD, NOT_FINITE, OUT_OF_RANGE = 0, 1, 2


@njit(numba.int64(_JOINTS, _IN, numba.float64), **compiled)
def fault(joints, target, beyond):
    """GOOD, NOT_FINITE, or OUT_OF_RANGE: whether a target (J,) rad is usable; beyond: rad accepted outside the position
    limits.
    """
    found = GOOD
    for i in range(len(joints)):
        if not math.isfinite(target[i]):
            return NOT_FINITE
        if target[i] < joints[i].lower - beyond or target[i] > joints[i].upper + beyond:
            found = OUT_OF_RANGE
    return found


@njit(numba.void(_JOINTS, _STATES, _IN, _IN, numba.float64, numba.boolean, numba.boolean), **compiled)
def accept(joints, states, target, velocity, per_second, given, known):
    """Keep a good target (J,) rad and its velocity: velocity (J,) rad/s if `given`, else estimated from the differences
    of targets.

    per_second: s per period. known: whether there is a previous target. A joint whose target moves as no joint can has
    jumped: velocity 0.
    """
    for i in range(len(joints)):
        joint, s = joints[i], states[i]
        before = s.target
        s.target = min(max(target[i], joint.lower + EDGE), joint.upper - EDGE)
        if given:
            s.target_v = min(max(velocity[i] * per_second / joint.unit, -joint.speed), joint.speed)
        elif not known:
            s.target_v, s.change, s.mean_v, s.steady = 0.0, 0.0, 0.0, 0.0
        else:
            change = (s.target - before) / joint.unit
            plausible = abs(change) <= joint.speed and abs(change - s.change) <= joint.accel
            s.change = change
            s.steady = s.steady + 1.0 if plausible else 0.0
            s.mean_v += VELOCITY_SMOOTHING * (change - s.mean_v)
            if s.steady < MOVING_SAMPLES:
                s.mean_v = 0.0
            s.target_v = s.mean_v


@njit(numba.float64(numba.float64, numba.float64, numba.float64), inline="always", **compiled)
def _rest(v, a, accel):
    """Dimensionless distance from q to rest when the next acceleration is a."""
    return v + a + stop_distance(v + a, a, accel)


@njit(numba.float64(*[numba.float64] * 6), **compiled)
def _towards(goal, v, near, rest, far, accel):
    """The a between `near` (the stop law's) and `far` whose resting place is at `goal`, or just short of it.

    Beyond the stop law's own choice the resting place is convex in a (concave below it): every chord meets the goal too
    early, so the chords' ends creep up to it from the robot's side and never pass it.
    """
    low = rest - goal
    if abs(low) < NEAR:
        return near
    high = _rest(v, far, accel) - goal
    if low * high >= 0.0:
        return far if abs(high) < abs(low) else near  # even the farthest falls short: take it
    for _ in range(CHORDS):
        a = near - low * (far - near) / (high - low)
        error = _rest(v, a, accel) - goal
        if error * low <= 0.0:  # met, but for rounding
            return a if abs(error) < NEAR else near
        near, low = a, error
        if abs(error) < NEAR:
            break
    return near


@njit(numba.void(_JOINTS, _STATES, numba.boolean), **compiled)
def propose(joints, states, moving):
    """Choose next_a (and next_v) of every joint; moving: whether a target is in force, else the stop law's own choice
    is taken.
    """
    for i in range(len(joints)):
        joint, s = joints[i], states[i]
        accel = joint.accel
        # |v| <= speed must also hold after a has been brought back to 0, hence f around v -+ speed.
        low = max(s.a - 1.0, braking(s.v + joint.speed, accel))
        high = min(s.a + 1.0, braking(s.v - joint.speed, accel))
        held = min(max(braking(s.v, accel), low), high)
        s.held = s.next_a = held
        s.rest = s.stop = s.q
        if moving:
            # Where the target itself would stop, within the limits.
            aim = s.target
            if s.target_v != 0.0:
                aim += joint.unit * stop_distance(s.target_v, 0.0, accel)
            goal = (min(max(aim, joint.lower + EDGE), joint.upper - EDGE) - s.q) / joint.unit
            rest = _rest(s.v, held, accel)
            a = _towards(goal, s.v, held, rest, high if goal > rest else low, accel)
            # A joint on its way back still moves on a little; where that would pass a position limit, it follows the
            # stop law.
            farthest = s.q + joint.unit * (s.v + a + turning_distance(a))
            if farthest < joint.lower or farthest > joint.upper:
                a = held
            s.next_a = a
            s.rest = s.q + joint.unit * rest
            s.stop = s.q + joint.unit * _rest(s.v, a, accel)
        s.next_v = s.v + s.next_a


@njit(numba.void(_JOINTS, _STATES, _IN), **compiled)
def scale_back(joints, states, scale):
    """Bring next_a towards the stop law's choice; scale (J,) in [0, 1], 0 = the stop law's."""
    for i in range(len(joints)):
        s = states[i]
        s.next_a = s.held + scale[i] * (s.next_a - s.held)
        s.next_v = s.v + s.next_a


@njit(numba.void(_JOINTS, _STATES, _OUT), **compiled)
def commit(joints, states, out):
    """Take the proposed step; out (J,): the new positions, rad."""
    for i in range(len(joints)):
        s = states[i]
        s.a, s.v = s.next_a, s.next_v
        s.q += s.v * joints[i].unit
        out[i] = s.q
