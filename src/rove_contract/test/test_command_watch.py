# SPDX-License-Identifier: Apache-2.0
"""The simulated driver stops by itself when commands cease, and no gap in the commands makes it jump."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rove_contract import timing
from rove_contract.command_watch import CommandWatch
from rove_description import joints

LIMITS = joints.load().limits
PERIOD = timing.CONTROL_PERIOD_S
START = (LIMITS.lower + LIMITS.upper) / 2
SPEED = 0.5 * LIMITS.velocity


def drive(watch, periods, heard, now=0.0, step=0):
    """Move all joints at SPEED for `periods`; heard: period -> whether its command arrives. (periods, J) set-points."""
    out = []
    for k in range(step, step + periods):
        if heard(k):
            watch.command(np.clip(START + SPEED * k * PERIOD * 0.2, LIMITS.lower, LIMITS.upper), now + k * PERIOD)
        out.append(watch.setpoint(now + k * PERIOD).copy())
    return np.array(out)


def test_commands_are_followed_exactly_while_they_come():
    watch = CommandWatch(LIMITS, START)
    rows = drive(watch, 50, lambda k: True)
    np.testing.assert_allclose(rows, START + SPEED * np.arange(50)[:, None] * PERIOD * 0.2)
    assert watch.ceased == 0


def test_when_commands_cease_the_robot_brakes_within_its_acceleration_and_holds():
    watch = CommandWatch(LIMITS, START)
    drive(watch, 20, lambda k: True)
    rows = drive(watch, 100, lambda k: False, step=20)
    v = np.diff(rows, axis=0) / PERIOD
    assert watch.silent and watch.ceased == 1
    assert np.all(np.abs(np.diff(v[6:], axis=0)) <= LIMITS.acceleration * PERIOD * (1 + 1e-9))
    np.testing.assert_array_equal(v[-1], 0.0)


def test_a_reset_forgets_the_commands_from_before():
    watch = CommandWatch(LIMITS, START)
    drive(watch, 20, lambda k: True)
    watch.reset(START)
    np.testing.assert_array_equal(watch.setpoint(0.2), START)


@given(st.lists(st.booleans(), min_size=10, max_size=120))
def test_no_pattern_of_gaps_moves_a_joint_faster_than_its_limit(heard):
    watch = CommandWatch(LIMITS, START)
    pattern = np.repeat(heard, 3)  # three lost periods are less than a silence, six are one
    rows = drive(watch, len(pattern), lambda k: bool(pattern[k]))
    assert np.all(np.abs(np.diff(rows, axis=0)) <= LIMITS.velocity * PERIOD * (1 + 1e-9))
    assert np.all((rows >= LIMITS.lower - 1e-12) & (rows <= LIMITS.upper + 1e-12))
