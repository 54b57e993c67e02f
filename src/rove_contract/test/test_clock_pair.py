# SPDX-License-Identifier: Apache-2.0
"""No step of a clock makes a fresh stamp look old, and an old stamp stays old."""

import pytest

from rove_contract.clock_pair import ClockPair

START = 1_000_000_000_000_000_000
HOUR = 3_600_000_000_000


@pytest.mark.parametrize(("mine", "sender"), [(0, 0), (HOUR, 0), (-HOUR, 0), (HOUR, HOUR), (-HOUR, -HOUR)])
def test_a_stamp_that_is_a_tenth_of_a_second_old_is_so_after_any_step(mine, sender):
    clocks = ClockPair(START, 50.0)
    now_ns = START + 10_000_000_000
    assert clocks.age_s(now_ns - 100_000_000 + sender, now_ns + mine, 60.0) == pytest.approx(0.1)


def test_a_stamp_from_before_stays_old_and_a_sender_with_another_time_is_seen():
    clocks = ClockPair(START, 50.0)
    assert clocks.age_s(START - 30_000_000_000, START, 50.0) == pytest.approx(30.0)
    assert clocks.age_s(START + HOUR, START, 50.0) == pytest.approx(-3600.0)
