# SPDX-License-Identifier: Apache-2.0
"""No step of a clock makes a fresh stamp look old, and an old stamp stays old."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rove_contract.sender_clock import SenderClock

START = 1_000_000_000_000_000_000
HOUR_S = 3600.0


@given(st.lists(st.tuples(st.floats(-2 * HOUR_S, 2 * HOUR_S), st.booleans()), max_size=5))
def test_a_fresh_stamp_stays_fresh_whatever_steps_come_of_our_clock_alone_or_of_both(steps):
    clock, now, ours, theirs = SenderClock(START, 50.0), 50.0, 0.0, 0.0
    for step, both in steps:
        ours += step
        theirs += step if both else 0.0
        for _ in range(30):
            now += 0.1
            true_ns = START + round((now - 50.0) * 1e9)
            age = clock.age_s(true_ns + round((theirs - 0.1) * 1e9), true_ns + round(ours * 1e9), now)
            assert abs(age) <= 0.1 + 1e-3  # a step of tenths may be taken for the wrong one, and then it looks fresher


def test_a_stamp_from_before_stays_old_and_a_sender_with_another_time_is_seen():
    clock = SenderClock(START, 50.0)
    assert clock.age_s(START - 30_000_000_000, START, 50.0) == pytest.approx(30.0)
    assert clock.age_s(START + round(HOUR_S * 1e9), START, 50.0) == pytest.approx(-HOUR_S)
    assert clock.age_s(START - 40_000_000_000, START + 10_000_000_000, 60.0) == pytest.approx(50.0, abs=1e-3)
