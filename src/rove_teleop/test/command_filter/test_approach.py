# SPDX-License-Identifier: Apache-2.0
"""A takeover moves all joints on one line, arrives together, keeps the limits and ends in tracking without a jolt."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rove_contract import timing
from rove_description import joints
from rove_teleop.command_filter.approach import Approach
from rove_teleop.command_filter.filter import CommandFilter

LIMITS = joints.load().limits
PERIOD = timing.CONTROL_PERIOD_S
MIDDLE = (LIMITS.lower + LIMITS.upper) / 2
REACH = 0.4 * (LIMITS.upper - LIMITS.lower)


def take_over(offset, sway=0.0, steps=300, start=MIDDLE):
    """(steps, J) commands and the operator's targets, from rest at `start`."""
    limiter = CommandFilter(LIMITS, PERIOD)
    approach = Approach(LIMITS, limiter)
    limiter.reset(start)
    rows, targets = [], []
    for k in range(steps):
        t = k * PERIOD
        target = start + offset + sway * np.sin(2.0 * t)
        velocity = np.full(len(start), 2.0 * sway * np.cos(2.0 * t))
        rows.append(limiter.step(*approach.follow(target, velocity)))
        targets.append(target)
    assert not approach.running
    return np.array(rows), np.array(targets)


def assert_within_limits(rows, start=MIDDLE):
    q = np.vstack([start, start, start, rows])
    for n, limit in enumerate((LIMITS.velocity, LIMITS.acceleration, LIMITS.jerk), 1):
        assert np.all(np.abs(np.diff(q, n=n, axis=0)) / PERIOD**n <= limit * (1 + 1e-6))


@given(st.integers(0, 2**31))
def test_from_rest_the_joints_stay_on_one_line_and_arrive_together(seed):
    offset = np.random.default_rng(seed).uniform(-0.5, 0.5, len(MIDDLE)).clip(-REACH, REACH)
    rows, _ = take_over(offset)
    share = ((rows - MIDDLE) @ offset) / (offset @ offset)
    away = np.abs(rows - MIDDLE - share[:, None] * offset)
    assert away.max() < 2e-3, "rad off the line, where the joints alone leave it by a third of a radian"
    np.testing.assert_allclose(rows[-1], MIDDLE + offset, atol=1e-6)
    assert_within_limits(rows)


def test_the_slowest_joint_alone_takes_as_long_as_without_the_approach():
    offset = np.zeros(len(MIDDLE))
    offset[8] = 0.5
    rows, targets = take_over(offset)
    limiter = CommandFilter(LIMITS, PERIOD)
    limiter.reset(MIDDLE)
    alone = np.array([limiter.step(target) for target in targets])
    arrival = [int(np.argmax(np.abs(path[:, 8] - MIDDLE[8] - 0.5) < 1e-3)) for path in (rows, alone)]
    assert arrival[0] - arrival[1] <= 5  # periods


@pytest.mark.parametrize("sway", [0.02, 0.1])
def test_the_approach_ends_in_tracking_a_moving_operator_without_a_jolt(sway):
    rng = np.random.default_rng(1)
    rows, targets = take_over(rng.uniform(-0.3, 0.3, len(MIDDLE)).clip(-REACH / 2, REACH / 2), sway)
    assert_within_limits(rows)
    inside = np.all((targets > LIMITS.lower) & (targets < LIMITS.upper), axis=0)
    assert np.abs(rows[-100:] - targets[-100:])[:, inside].max() < 0.02 * sway + 1e-3


def test_an_operator_who_is_where_the_robot_is_is_followed_at_once_and_a_reset_begins_another_approach():
    limiter = CommandFilter(LIMITS, PERIOD)
    limiter.reset(MIDDLE)
    approach = Approach(LIMITS, limiter)
    still = np.zeros(len(MIDDLE))
    target, velocity = approach.follow(MIDDLE, still)
    assert target is MIDDLE and velocity is still and not approach.running
    far = MIDDLE + 0.1
    assert approach.follow(far, still)[0] is far, "joints are independent while the operator drives"
    approach.reset()
    assert approach.follow(far, still)[0] is not far and approach.running
