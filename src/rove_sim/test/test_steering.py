# SPDX-License-Identifier: Apache-2.0
"""A steered hand reaches where it is sent, at a bounded speed, and pushes with a bounded force."""

import numpy as np
import pytest

from rove_description import joints, mjcf
from rove_description.kinematics import Kinematics, rotation_error
from rove_sim.steering import SPEED, HandSteering, rotate

PERIOD = 0.05
GRIP = np.array([0.0, 0.05, -0.10])


@pytest.fixture(scope="module")
def kinematics():
    return Kinematics(joints.load())


def steer(kinematics, **options):
    steering = HandSteering(kinematics, GRIP, {}, {"index_proximal": 1.0}, PERIOD, **options)
    steering.reset(mjcf.home())
    return steering


def test_hand_reaches_a_pose_and_turns_towards_it(kinematics):
    steering = steer(kinematics)
    point, turn = steering.measure(mjcf.home())
    goal, wanted = point + [0.05, 0.08, -0.04], rotate(turn, np.array([0.2, 0.0, 0.3]))
    q = mjcf.home()
    for _ in range(80):  # a robot that follows at once
        q = steering.move(goal, wanted, 1.0, steering.measure(q), 1.0, goal)
    reached, rotation = steering.measure(q)
    assert np.linalg.norm(reached - goal) < 0.003
    assert np.linalg.norm(rotation_error(wanted, rotation)) < 0.02
    assert q[joints.load().index["right_index_proximal"]] == pytest.approx(1.0)


def test_grip_point_is_never_faster_than_asked(kinematics):
    steering = steer(kinematics)
    q, goal = mjcf.home(), steering.position + [0.15, 0.1, 0.1]
    for _ in range(40):
        before = steering.position
        q = steering.move(goal, steering.rotation, 0.0, steering.measure(q), 0.5, goal)
        assert np.linalg.norm(steering.position - before) <= 0.5 * SPEED * PERIOD + 1e-9


def test_blocked_hand_is_corrected_within_the_bound(kinematics):
    steering = steer(kinematics, sag_limit=0.01)
    q, goal = mjcf.home(), steering.position + [0.0, 0.0, -0.05]
    held = steering.measure(q)
    for _ in range(200):
        steering.move(goal, steering.rotation, 0.0, held, 1.0, goal)
    assert np.linalg.norm(steering.sag) == pytest.approx(0.01)


def test_another_grip_point_leaves_the_hand_where_it_is(kinematics):
    steering = steer(kinematics)
    wrist = steering.position - steering.rotation @ steering.grip
    steering.regrip(np.array([0.02, 0.07, -0.11]))
    np.testing.assert_allclose(steering.position - steering.rotation @ steering.grip, wrist, atol=1e-12)


def test_head_looks_at_the_point(kinematics):
    steering, table = steer(kinematics), joints.load()
    goal = np.array([0.5, 0.25, 0.1])
    for _ in range(60):
        q = steering.move(steering.position, steering.rotation, 0.0, steering.measure(mjcf.home()), 1.0, goal)
    assert q[table.index["head_yaw"]] > 0.3
    assert q[table.index["head_pitch"]] > 0.6
