# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rove_teleop.command_filter.chunk_player import ChunkError, ChunkPlayer

TIMES = np.arange(50) / 20.0


def ramp(speed=1.0, joints=3):
    return np.outer(TIMES * speed, np.ones(joints))


def test_the_target_at_a_step_is_the_steps_own_and_between_steps_it_moves_on():
    player = ChunkPlayer()
    player.load(ramp(), TIMES, age_s=0.0, now=100.0)
    for t in (0.0, 0.05, 0.6, 2.45):
        np.testing.assert_allclose(player.target(100.0 + t)[0], t, atol=1e-9)
    q, dq = player.target(100.625)
    np.testing.assert_allclose(q, 0.625)
    np.testing.assert_allclose(dq, 1.0)


def test_a_first_step_that_is_due_later_is_come_to_at_its_own_velocity():
    player = ChunkPlayer()
    player.load(ramp()[1:], TIMES[1:], age_s=0.0, now=100.0)
    for t in (0.0, 0.02, 0.05, 0.3):
        q, dq = player.target(100.0 + t)
        np.testing.assert_allclose(q, t, atol=1e-9)
        np.testing.assert_allclose(dq, 1.0)
    player.load(ramp()[1:], TIMES[1:] + 10.0, age_s=0.0, now=100.0)
    np.testing.assert_allclose(player.target(100.0)[0], 0.0, atol=1e-9)  # never further back than one step


def test_time_runs_from_the_observation_not_from_the_receipt():
    player = ChunkPlayer()
    player.load(ramp(), TIMES, age_s=0.2, now=100.0)
    np.testing.assert_allclose(player.target(100.1)[0], 0.3)


@pytest.mark.parametrize("age", [-0.001, -3600.0, 3600.0, float("nan")])
def test_an_age_that_no_inference_explains_is_a_clock_step_and_is_not_used(age):
    player = ChunkPlayer()
    player.load(ramp(), TIMES, age_s=age, now=100.0)
    np.testing.assert_allclose(player.target(100.1)[0], 0.1)
    assert player.clock_suspect == 1


def test_an_exhausted_or_cleared_chunk_has_no_target():
    player = ChunkPlayer()
    assert player.target(0.0) is None
    player.load(ramp(), TIMES, 0.0, now=100.0)
    assert player.target(102.45) is not None
    assert player.target(102.46) is None
    player.clear()
    assert player.target(100.1) is None
    assert not player.loaded


def test_a_new_chunk_replaces_the_old_at_once():
    player = ChunkPlayer()
    player.load(ramp(1.0), TIMES, 0.0, now=100.0)
    player.load(ramp(-1.0), TIMES, 0.0, now=100.5)
    np.testing.assert_allclose(player.target(100.6)[0], -0.1, atol=1e-9)


def wrong_chunks():
    holed = ramp()
    holed[7, 1] = np.nan
    return [
        (holed, TIMES, "1 positions that are not finite"),
        (ramp(), TIMES[::-1], "must increase"),
        (ramp(), np.zeros(50), "must increase"),
        (ramp(), TIMES - 1.0, "must increase from 0 on"),
        (ramp(), TIMES[:-1], "expected H points"),
        (np.empty((0, 3)), np.empty(0), "expected H points"),
    ]


@pytest.mark.parametrize(("positions", "times", "message"), wrong_chunks())
def test_a_wrong_chunk_is_refused_and_the_one_in_force_goes_on(positions, times, message):
    player = ChunkPlayer()
    player.load(ramp(), TIMES, 0.0, now=100.0)
    with pytest.raises(ChunkError, match=message):
        player.load(positions, times, 0.0, now=100.2)
    np.testing.assert_allclose(player.target(100.3)[0], 0.3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_velocity_is_the_derivative_of_the_position_and_has_no_jumps(seed):
    player = ChunkPlayer()
    player.load(np.random.default_rng(seed).normal(0, 1, (50, 4)).cumsum(axis=0), TIMES, 0.0, now=0.0)
    t = np.arange(0.5001, 1.0, 0.001)
    samples = [player.target(x) for x in t]
    q, dq = np.array([s[0] for s in samples]), np.array([s[1] for s in samples])
    np.testing.assert_allclose(np.diff(q, axis=0) * 1000, (dq[1:] + dq[:-1]) / 2, atol=0.002 * np.abs(dq).max() + 0.05)
    assert np.abs(np.diff(dq, axis=0)).max() < 0.15 * np.abs(dq).max() + 1.0
