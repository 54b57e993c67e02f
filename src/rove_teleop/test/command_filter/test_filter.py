# SPDX-License-Identifier: Apache-2.0
"""The command filter's promises as properties; ROVE_SAFETY_EXAMPLES sets how many sequences (`make bench-safety`:
10,000).
"""

import dataclasses
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rove_description import joints
from rove_description.joints import Limits
from rove_teleop.command_filter.filter import CommandFilter
from rove_teleop.command_filter.stop_law import braking, stop_distance, turning_distance

LIMITS = joints.load().limits
PERIOD = 0.01  # s
J = len(LIMITS)
SAFETY = settings(
    max_examples=int(os.environ.get("ROVE_SAFETY_EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
SEEDS = st.integers(0, 2**32 - 1)
# Finite differences of positions rounded to 2^-52 rad: 8 * 2.2e-16 * 4 rad / (0.01 s)^3 = 7e-9 rad/s^3, against 120.
TOLERANCE = 1e-9


def violations(path, start, limits=LIMITS):
    """Largest excess over (position [rad], velocity, acceleration, jerk [share of the limit]); path: (N, J) after rest
    at start.
    """
    q = np.vstack([start, start, start, path])
    v = np.diff(q, axis=0) / PERIOD
    a = np.diff(v, axis=0) / PERIOD
    j = np.diff(a, axis=0) / PERIOD
    outside = max((limits.lower - q).max(), (q - limits.upper).max())
    return (
        outside,
        (np.abs(v) / limits.velocity).max() - 1.0,
        (np.abs(a) / limits.acceleration).max() - 1.0,
        (np.abs(j) / limits.jerk).max() - 1.0,
    )


def assert_within_limits(path, start, limits=LIMITS):
    for name, excess in zip(("position", "velocity", "acceleration", "jerk"), violations(path, start, limits)):
        assert excess <= TOLERANCE, f"{name} exceeds its limit by {excess:g}"


def run(limiter, targets, velocities=None):
    velocities = [None] * len(targets) if velocities is None else velocities
    return np.array([limiter.step(target, velocity) for target, velocity in zip(targets, velocities)])


def random_pose(rng, limits=LIMITS):
    """A pose within limits; every other joint at a limit, where mistakes show."""
    q = rng.uniform(limits.lower, limits.upper)
    edge = rng.random(len(limits)) < rng.choice([0.0, 0.5])
    return np.where(edge, np.where(rng.random(len(limits)) < 0.5, limits.lower, limits.upper), q)


BAD = ("nan", "inf", "partly nan", "short", "long", "empty", "far", "text", "scalar")


def bad_sample(kind, rng, limits=LIMITS):
    target = random_pose(rng, limits)
    if kind == "nan":
        return np.full(len(limits), np.nan)
    if kind == "inf":
        return np.full(len(limits), np.inf)
    if kind == "partly nan":
        target[rng.integers(len(limits))] = np.nan
        return target
    if kind == "far":
        target[rng.integers(len(limits))] = rng.choice([-1.0, 1.0]) * 10.0 ** rng.uniform(1, 300)
        return target
    return {"short": target[:-1], "long": np.append(target, 0.0), "empty": [], "text": "left arm up", "scalar": 0.1}[
        kind
    ]


def random_sequence(rng, steps, limits=LIMITS):
    """Targets and velocities of one sequence: jumps, ramps, noise, sines, silence, bad samples, switches between them
    at random times.
    """
    targets, velocities = [], []
    current = random_pose(rng, limits)
    while len(targets) < steps:
        kind = rng.choice(["jump", "ramp", "noise", "sine", "silence", "bad", "flip", "nudge"])
        length = int(rng.integers(1, rng.choice([3, 12, 60])))
        velocity = None
        for k in range(length):
            if kind == "jump" and k == 0:
                current = random_pose(rng, limits) + rng.normal(0, 0.05, len(limits))
            elif kind == "ramp":
                current = current + limits.velocity * PERIOD * rng.uniform(0.0, 1.5)
            elif kind == "noise":
                current = current + rng.normal(0, 0.02, len(limits))
            elif kind == "sine":
                current = current + 0.03 * np.sin(0.4 * len(targets))
            elif kind == "flip":
                current = np.where(rng.random(len(limits)) < 0.5, limits.lower, limits.upper)
            elif kind == "nudge":
                current = current + rng.choice([0.0, 1e-4, -3e-3, 8e-3], len(limits))
            current = np.clip(current, limits.lower - 0.4, limits.upper + 0.4)
            if rng.random() < 0.3:
                velocity = rng.choice([0.0, 0.5, 3.0]) * limits.velocity * rng.uniform(-1, 1, len(limits))
            if kind == "silence":
                targets.append(None)
            elif kind == "bad":
                targets.append(bad_sample(rng.choice(BAD), rng, limits))
            else:
                targets.append(current)
            velocities.append(velocity)
    return targets[:steps], velocities[:steps]


@SAFETY
@given(SEEDS)
def test_limits_hold_at_every_sample_for_any_input(seed):
    rng = np.random.default_rng(seed)
    limiter = CommandFilter(LIMITS, PERIOD)
    start = limiter.reset(random_pose(rng))
    assert_within_limits(run(limiter, *random_sequence(rng, 150)), start)


@SAFETY
@given(SEEDS)
def test_limits_hold_for_any_limits(seed):
    rng = np.random.default_rng(seed)
    n = 20
    lower = rng.uniform(-3, 0, n)
    limits = Limits(
        lower, lower + 10.0 ** rng.uniform(-2, 1, n), *(10.0 ** rng.uniform(low, low + 2, n) for low in (-1, 0, 1.5))
    )
    limiter = CommandFilter(limits, PERIOD)
    start = limiter.reset(random_pose(rng, limits))
    assert_within_limits(run(limiter, *random_sequence(rng, 120, limits)), start, limits)


@SAFETY
@given(SEEDS)
def test_a_constant_target_is_reached_without_overshoot(seed):
    rng = np.random.default_rng(seed)
    limiter = CommandFilter(LIMITS, PERIOD)
    start = limiter.reset(random_pose(rng))
    near = start + rng.normal(0, 10.0 ** rng.uniform(-4, 0), J)
    target = np.clip(near if rng.random() < 0.5 else random_pose(rng), LIMITS.lower, LIMITS.upper)
    path = run(limiter, [target] * 450)  # the longest way, 4.2 rad at 4 rad/s, takes 1.4 s
    beyond = (path - target) * np.sign(target - start)
    assert beyond.max() <= 1e-3
    np.testing.assert_allclose(path[-1], target, atol=1e-6)


@SAFETY
@given(SEEDS)
def test_a_target_that_became_constant_is_passed_only_as_far_as_the_stop_needs(seed):
    rng = np.random.default_rng(seed)
    limiter = CommandFilter(LIMITS, PERIOD)
    limiter.reset(random_pose(rng))
    run(limiter, *random_sequence(rng, 60))
    stop = np.array([limiter.position, *limiter.stop_path(100)])
    target = random_pose(rng)
    path = run(limiter, [target] * 500, [np.zeros(J)] * 500)
    assert np.all(path.max(axis=0) <= np.maximum(stop.max(axis=0), target) + 1e-3)
    assert np.all(path.min(axis=0) >= np.minimum(stop.min(axis=0), target) - 1e-3)
    np.testing.assert_allclose(path[-1], target, atol=1e-6)


@SAFETY
@given(SEEDS)
def test_without_a_target_the_robot_stops_along_the_announced_path_and_holds(seed):
    rng = np.random.default_rng(seed)
    limiter = CommandFilter(LIMITS, PERIOD)
    limiter.reset(random_pose(rng))
    run(limiter, *random_sequence(rng, 60))
    announced, position = limiter.stop_path(100), limiter.stop_position()
    path = run(limiter, [None] * 100)
    np.testing.assert_allclose(path, announced, rtol=0, atol=1e-12)
    np.testing.assert_allclose(path[-1], position, atol=1e-9)
    np.testing.assert_array_equal(path[-1], path[-2])
    assert limiter.at_rest


@SAFETY
@given(SEEDS, st.sampled_from(BAD))
def test_a_bad_sample_is_dropped_and_the_last_good_one_stays_in_force(seed, kind):
    rng = np.random.default_rng(seed)
    first, second = CommandFilter(LIMITS, PERIOD), CommandFilter(LIMITS, PERIOD)
    start, target = random_pose(rng), random_pose(rng)
    first.reset(start)
    second.reset(start)
    clean = run(first, [target] * 30)
    dirty = run(second, [target] * 10 + [bad_sample(kind, rng) for _ in range(5)] + [target] * 15)
    np.testing.assert_array_equal(clean, dirty)
    assert sum(second.dropped.values()) == 5


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("nan", "non-finite"),
        ("inf", "non-finite"),
        ("partly nan", "non-finite"),
        ("short", "wrong length"),
        ("long", "wrong length"),
        ("empty", "wrong length"),
        ("scalar", "wrong length"),
        ("far", "out of range"),
        ("text", "not numbers"),
    ],
)
def test_bad_samples_are_counted_by_reason(kind, reason):
    limiter = CommandFilter(LIMITS, PERIOD)
    limiter.reset(np.zeros(J))
    for _ in range(3):
        limiter.step(bad_sample(kind, np.random.default_rng(0)))
    assert limiter.dropped[reason] == 3 == sum(limiter.dropped.values())
    assert limiter.last_dropped == reason


def test_a_target_slightly_out_of_range_is_clipped():
    limiter = CommandFilter(LIMITS, PERIOD)
    limiter.reset(np.zeros(J))
    path = run(limiter, [LIMITS.upper + 0.2] * 300)
    np.testing.assert_allclose(path[-1], LIMITS.upper, atol=1e-6)
    assert not any(limiter.dropped.values())


@pytest.mark.parametrize("given_velocity", [False, True])
def test_a_half_hertz_sine_is_followed_within_30_ms(given_velocity):
    omega = np.pi
    amplitude = np.minimum(
        0.45 * (LIMITS.upper - LIMITS.lower), 0.5 * np.minimum(LIMITS.velocity / omega, LIMITS.acceleration / omega**2)
    )
    middle = (LIMITS.lower + LIMITS.upper) / 2
    time = np.arange(800) * PERIOD
    targets = middle + amplitude * np.sin(omega * time)[:, None]
    velocities = amplitude * omega * np.cos(omega * time)[:, None] if given_velocity else None
    limiter = CommandFilter(LIMITS, PERIOD)
    limiter.reset(middle)
    followed = run(limiter, targets, velocities)[400:] - middle
    sine, cosine = np.sin(omega * time[400:]), np.cos(omega * time[400:])
    lag = np.arctan2(-(followed.T @ cosine), followed.T @ sine) / omega  # s
    assert lag.max() <= 0.03
    assert lag.min() >= -0.005


def test_half_a_radian_of_misalignment_takes_as_long_as_the_limits_need():
    limiter = CommandFilter(LIMITS, PERIOD)
    start = np.clip(np.zeros(J), LIMITS.lower, LIMITS.upper)
    limiter.reset(start)
    target = np.clip(start + 0.5, LIMITS.lower, LIMITS.upper)
    path = run(limiter, [target] * 200)
    arrival = (np.abs(path - target) > 1e-3).sum(axis=0) * PERIOD
    distance = target - start
    v, a, j = LIMITS.velocity, LIMITS.acceleration, LIMITS.jerk
    # Lower bound of the time from rest to rest: the longest of the times under each limit alone.
    bound = np.max([distance / v, 2 * np.sqrt(distance / a), (32 * distance / j) ** (1 / 3)], axis=0)
    assert np.all(arrival <= bound + a / j + v / a + 0.02)
    assert arrival.max() < 1.0


def test_resting_at_a_limit_and_leaving_it_again():
    limiter = CommandFilter(LIMITS, PERIOD)
    start = limiter.reset(LIMITS.upper)
    away = run(limiter, [LIMITS.lower] * 3 + [LIMITS.upper] * 200)
    assert away[2].max() < LIMITS.upper.max() and np.all(away[2] < LIMITS.upper)
    assert_within_limits(away, start)


def test_reset_clips_a_pose_outside_the_limits_and_refuses_one_that_is_not_a_pose():
    limiter = CommandFilter(LIMITS, PERIOD)
    np.testing.assert_array_equal(limiter.reset(LIMITS.upper + 0.01), LIMITS.upper)
    for wrong in (np.zeros(J - 1), np.full(J, np.nan)):
        with pytest.raises(ValueError, match="50 finite joint positions"):
            limiter.reset(wrong)


def test_a_filter_that_was_never_reset_refuses_to_step():
    with pytest.raises(RuntimeError, match="call reset"):
        CommandFilter(LIMITS, PERIOD).step(np.zeros(J))


def test_results_do_not_change_under_the_callers_hands():
    limiter = CommandFilter(LIMITS, PERIOD)
    limiter.reset(np.zeros(J))
    target = np.full(J, 0.1)
    first = limiter.step(target)
    kept = first.copy()
    limiter.step(target)
    np.testing.assert_array_equal(first, kept)


def test_a_step_into_a_buffer_allocates_no_array():
    limiter, target, out = CommandFilter(LIMITS, PERIOD), np.full(J, 0.1), np.empty(J)
    limiter.reset(np.zeros(J))
    for _ in range(20):
        limiter.step(target, None, out)
    tracemalloc.start()
    try:
        for _ in range(200):
            limiter.step(target, None, out)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - now < J * 8, "an array of all joints was allocated on the way"


@SAFETY
@given(st.floats(-100, 100), st.floats(-1, 1), st.sampled_from([0.3, 1.0, 2.5, 5.0, 12.0]))
def test_stop_distance_is_what_the_stop_law_does(v, share, limit):
    a = share * limit
    expected, speed, acceleration = 0.0, v, a
    for _ in range(400 if limit >= 1.0 else 1500):
        acceleration = np.clip(braking(speed, limit), acceleration - 1.0, acceleration + 1.0)
        speed = speed + acceleration
        expected = expected + speed
    assert abs(stop_distance(v, a, limit) - expected) <= 1e-8


@SAFETY
@given(st.floats(-12, 12))
def test_turning_distance_is_how_far_the_stop_law_still_goes_before_it_turns(a):
    n = np.floor(abs(a))
    v = -np.copysign(n * (abs(a) - 0.5 * (n + 1.0)), a)  # W = 0
    travelled, farthest, limit = 0.0, 0.0, 12.0
    speed, acceleration = v, a
    for _ in range(60):
        acceleration = np.clip(braking(speed, limit), acceleration - 1.0, acceleration + 1.0)
        speed = speed + acceleration
        travelled += speed
        farthest = max(farthest, -np.copysign(travelled, a) if a else 0.0)
    assert abs(turning_distance(a)) >= farthest - 1e-9
    assert turning_distance(a) * a <= 0.0


@pytest.mark.parametrize("name", ["velocity", "acceleration", "jerk"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_limits_that_are_no_limits_are_refused(name, value):
    values = np.array(getattr(LIMITS, name))
    values[3] = value
    wrong = dataclasses.replace(LIMITS, **{name: values})
    with pytest.raises(ValueError, match=f"every {name} limit must be positive"):
        CommandFilter(wrong, PERIOD)


@pytest.mark.parametrize("velocity", [np.full(50, np.nan), np.zeros(3), "fast", np.full(50, np.inf)])
def test_of_a_bad_target_velocity_only_the_velocity_is_dropped_and_counted(velocity):
    limiter = CommandFilter(LIMITS, PERIOD)
    limiter.reset((LIMITS.lower + LIMITS.upper) / 2)
    goal = limiter.position + 0.05
    for _ in range(100):
        q = limiter.step(goal, velocity)
    np.testing.assert_allclose(q, goal, atol=1e-9)
    assert limiter.dropped["velocity"] == 100 and limiter.last_dropped == ""
