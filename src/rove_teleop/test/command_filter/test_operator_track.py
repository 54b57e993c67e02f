# SPDX-License-Identifier: Apache-2.0
"""The operator's targets between samples: noise stays out of the drives, and motion is followed without overshoot."""

import numpy as np
import pytest

from rove_description import joints, mjcf
from rove_teleop.command_filter.filter import CommandFilter
from rove_teleop.command_filter.operator_track import OperatorTrack

TABLE = joints.load()
LIMITS = TABLE.limits
HOME = mjcf.home(TABLE)
PERIOD = 0.01


def command(pose, seconds):
    """(T, J) rad: the command filter's output for targets `pose(k)` (J,) rad at 60 Hz."""
    track, limiter = OperatorTrack(LIMITS), CommandFilter(LIMITS, PERIOD)
    limiter.reset(pose(0))
    path, k = [], 0
    for n in range(int(seconds / PERIOD)):
        while k / 60 <= n * PERIOD + 1e-9:
            track.add(pose(k), n * PERIOD)
            k += 1
        path.append(limiter.step(*track.target(n * PERIOD)))
    return np.array(path)


def test_a_trackers_noise_keeps_accelerations_below_a_tenth_and_the_jerk_off_its_limit():
    """3 mrad in every joint is what 0.5 mm and 4 mrad of a tracker become."""
    rng = np.random.default_rng(0)
    path = command(lambda k: HOME + rng.normal(scale=0.003, size=len(TABLE)), 6.0)[100:]
    acceleration = np.diff(path, n=2, axis=0) / PERIOD**2 / LIMITS.acceleration
    jerk = np.abs(np.diff(path, n=3, axis=0)) / PERIOD**3
    arms = TABLE.indices("arm")
    assert np.sqrt((acceleration[:, arms] ** 2).mean()) <= 0.1
    assert (jerk[:, arms] >= 0.95 * LIMITS.jerk[arms]).mean() <= 0.1


def test_the_noise_keeps_to_a_tenth_while_the_arms_reach():
    """The motion of bench/hands.py, itself 0.05 of the limits."""
    rng, arms = np.random.default_rng(0), TABLE.indices("arm")
    reach = {
        "shoulder_pitch": (0.3, 0.40),
        "shoulder_yaw": (0.2, 0.30),
        "elbow": (0.4, 0.45),
        "wrist_pitch": (0.2, 0.50),
    }

    def pose(k):
        q = HOME + rng.normal(scale=0.003, size=len(TABLE))
        for name, (size, hertz) in reach.items():
            for side in ("left", "right"):
                q[TABLE.index[f"{side}_{name}"]] += size * np.sin(2 * np.pi * hertz * k / 60)
        return q

    path = command(pose, 6.0)[100:]
    acceleration = np.diff(path, n=2, axis=0) / PERIOD**2 / LIMITS.acceleration
    assert np.sqrt((acceleration[:, arms] ** 2).mean()) <= 0.1


@pytest.mark.parametrize("frequency", [0.5, 1.0, 2.0])
def test_a_sine_at_six_tenths_of_the_limits_is_overshot_by_less_than_3_percent_and_followed_within_80_ms(frequency):
    joint = TABLE.index["left_elbow"]
    w = 2 * np.pi * frequency
    size = 0.6 * min(LIMITS.velocity[joint] / w, LIMITS.acceleration[joint] / w**2, LIMITS.jerk[joint] / w**3)

    def pose(k):
        q = HOME.copy()
        q[joint] = -1.2 + size * np.sin(w * k / 60)
        return q

    path = command(pose, 6.0)[200:, joint] + 1.2
    t = 2.0 + PERIOD * np.arange(len(path))
    assert np.abs(path).max() <= 1.03 * size
    delay = -np.arctan2(path @ np.cos(w * t), path @ np.sin(w * t)) / w
    assert 0.0 < delay < 0.080


def test_the_less_noise_a_tracker_has_the_sooner_it_is_followed():
    """By at least a period of the filter for each step from 3 mrad over 0.3 mrad to none."""
    joint, w, delays = TABLE.index["left_elbow"], 2 * np.pi * 0.5, []
    for size in (0.003, 0.0003, 0.0):
        rng = np.random.default_rng(0)

        def pose(k, size=size, rng=rng):
            q = HOME + rng.normal(scale=size, size=len(TABLE))
            q[joint] += 0.1 * np.sin(w * k / 60)
            return q

        path = command(pose, 6.0)[200:, joint]
        t = 2.0 + PERIOD * np.arange(len(path))
        path = path - path.mean()
        delays.append(-np.arctan2(path @ np.cos(w * t), path @ np.sin(w * t)) / w)
    assert delays[0] > delays[1] + PERIOD and delays[1] >= delays[2]


def test_what_is_known_of_a_trackers_noise_outlives_a_silence():
    rng, calm, rough = np.random.default_rng(0), OperatorTrack(LIMITS), OperatorTrack(LIMITS)
    for k in range(120):
        calm.add(HOME, k / 60)
        rough.add(HOME + rng.normal(scale=0.003, size=len(TABLE)), k / 60)
    ends = []
    for track in (calm, rough):
        track.clear()
        for k in range(3):
            track.add(HOME + 0.01 * (k > 0), 10.0 + k / 60)
        ends.append(track.target(10.0 + 3 / 60)[0][0] - HOME[0])
    assert ends[0] > 1.2 * ends[1] > 0.0


def test_the_velocity_is_the_derivative_of_the_position():
    track = OperatorTrack(LIMITS)
    positions, velocities = [], []
    for n in range(300):
        if n % 2 == 0:
            track.add(HOME + 0.1 * np.sin(2 * np.pi * 0.5 * n * PERIOD), n * PERIOD)
        q, v = track.target(n * PERIOD)
        positions.append(q)
        velocities.append(v)
    numeric = (np.array(positions)[51:] - np.array(positions)[49:-2]) / (2 * PERIOD)
    np.testing.assert_allclose(np.array(velocities)[50:-1], numeric, atol=0.02)


def test_asking_twice_for_the_same_time_changes_nothing():
    track = OperatorTrack(LIMITS)
    track.add(HOME, 0.0)
    track.add(HOME + 0.02, 0.016)
    first = track.target(0.02)
    for a, b in zip(first, track.target(0.02)):
        np.testing.assert_array_equal(a, b)


def test_after_a_silence_the_track_begins_anew_at_rest():
    track = OperatorTrack(LIMITS)
    for k in range(30):
        track.add(HOME + 0.01 * k, k / 60)
    track.add(HOME, 5.0)
    q, v = track.target(5.0)
    np.testing.assert_array_equal(q, HOME)
    assert not v.any()
