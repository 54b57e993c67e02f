# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rove_contract.modes import STAGE_OF, Mode
from rove_recorder.export import resample

PERIOD = 50_000_000
MODES = st.sampled_from(list(Mode))
events = st.lists(st.tuples(st.integers(0, 20_000_000_000), MODES), max_size=20)


def ticks_of(found, end=21_000_000_000, first=0):
    line = resample.timeline(found)
    return line, resample.stretches(line, end), resample.ticks(resample.stretches(line, end), PERIOD, first)


@given(events, st.integers(0, 20_000_000_000))
def test_ticks_increase_strictly_and_never_stand_in_a_pause(found, first):
    line, _, ticks = ticks_of(found, first=first)
    assert np.all(np.diff(ticks) > 0)
    assert np.all(ticks >= first)
    assert all(Mode(mode) in STAGE_OF for mode in resample.modes_at(line, ticks))


@given(events)
def test_every_moment_in_which_the_robot_acted_is_within_a_period_of_a_tick(found):
    line, parts, ticks = ticks_of(found)
    assert sum(-(-(end - begin) // PERIOD) for begin, end in parts) == len(ticks)
    acting = sum(
        (int(line.starts_ns[i + 1]) if i + 1 < len(line.modes) else 21_000_000_000) - int(line.starts_ns[i])
        for i, mode in enumerate(line.modes)
        if mode in STAGE_OF
    )
    assert acting == sum(end - begin for begin, end in parts)


@given(events)
def test_the_mode_of_a_tick_is_the_last_transition_at_or_before_it(found):
    line, _, ticks = ticks_of(found)
    ordered = sorted(found, key=lambda event: event[0])
    for tick, mode in zip(ticks, resample.modes_at(line, ticks)):
        assert mode == [m for stamp, m in ordered if stamp <= tick][-1]


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=50), st.lists(st.integers(0, 10**10), max_size=50))
def test_no_sample_comes_from_the_future_and_none_newer_is_left_out(stamps, at):
    stamps, at = np.sort(np.array(stamps)), np.array(at, dtype=np.int64)
    for tick, i in zip(at, resample.last_before(stamps, at)):
        assert i < 0 or stamps[i] <= tick
        assert i + 1 == len(stamps) or stamps[i + 1] > tick


@given(events, st.randoms())
def test_heartbeats_and_disorder_do_not_change_the_timeline(found, random):
    unique = list({stamp: (stamp, mode) for stamp, mode in found}.values())
    again = unique * 2
    random.shuffle(again)
    once, twice = resample.timeline(unique), resample.timeline(again)
    assert once.modes == twice.modes
    np.testing.assert_array_equal(once.starts_ns, twice.starts_ns)


def test_recovery_begins_at_the_first_tick_at_or_after_t_r():
    ms = 1_000_000
    line, _, ticks = ticks_of(
        [
            (0, Mode.ROLLOUT),
            (1000 * ms, Mode.PAUSED),
            (1700 * ms, Mode.ADAPTATION),
            (2310 * ms, Mode.RECOVERY),
            (3000 * ms, Mode.IDLE),
        ]
    )
    modes = resample.modes_at(line, ticks)
    assert ticks[resample.first_with(modes, Mode.ADAPTATION)] == 1700 * ms
    assert ticks[resample.first_with(modes, Mode.RECOVERY)] == 2350 * ms  # the grid of its stretch: 1700 + 13 * 50
    assert resample.first_with(modes, Mode.DEMONSTRATION) == -1


@pytest.mark.parametrize("found", [[], [(5, Mode.IDLE)], [(5, Mode.PAUSED), (9, Mode.ESTOP)]])
def test_a_robot_that_never_acted_has_no_ticks(found):
    assert len(ticks_of(found)[2]) == 0
