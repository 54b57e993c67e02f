# SPDX-License-Identifier: Apache-2.0
"""The robot's state is believed only while it can be true."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rove_contract import timing
from rove_description import joints
from rove_teleop.command_filter import state_check
from rove_teleop.command_filter.state_check import StateCheck

TABLE = joints.load()
LIMITS = TABLE.limits
MIDDLE = (LIMITS.lower + LIMITS.upper) / 2
PERIOD = timing.CONTROL_PERIOD_S


def test_a_repeated_stamp_is_not_news():
    check = StateCheck(TABLE)
    assert not check.repeats(1) and check.repeats(1) and not check.repeats(2)


def test_a_stream_that_is_half_a_minute_late_is_named():
    fault = StateCheck(TABLE).fault(MIDDLE, 30.0, 1.0)
    assert fault.startswith(state_check.STAMP_OFF) and "30.0 s behind" in fault


def test_joints_out_of_their_range_are_named_with_the_range():
    fault = StateCheck(TABLE).fault(MIDDLE + 20.0, 0.0, 1.0)
    assert fault.startswith(state_check.IMPOSSIBLE) and "its range is" in fault


def test_a_jump_is_named_and_the_place_after_it_is_believed_from_the_next_sample_on():
    check = StateCheck(TABLE)
    assert check.fault(MIDDLE, 0.0, 1.0) == ""
    moved = MIDDLE.copy()
    moved[8] += 0.9 * (LIMITS.upper - MIDDLE)[8]
    fault = check.fault(moved, 0.0, 1.01)
    assert fault.startswith(state_check.JUMPED) and TABLE.names[8] in fault
    assert check.fault(moved, 0.0, 1.02) == ""


@given(st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=60), st.floats(0.0, 0.02))
def test_no_motion_within_the_limits_is_ever_refused(shares, jitter):
    check, q, now = StateCheck(TABLE), MIDDLE.copy(), 0.0
    for k, share in enumerate(shares):
        now += PERIOD + (jitter if k % 2 else -min(jitter, 0.009))
        q = np.clip(q + share * LIMITS.velocity * PERIOD, LIMITS.lower, LIMITS.upper)
        assert check.fault(q, 0.005, now) == ""
