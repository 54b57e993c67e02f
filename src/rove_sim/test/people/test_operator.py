# SPDX-License-Identifier: Apache-2.0
"""The scripted operator: valid frames, aligns while the robot is paused, finishes the task after takeover."""

import msgpack
import numpy as np
import pytest

from rove_contract.modes import Mode
from rove_contract.operator_frame import OperatorFrame, encode
from rove_description import joints, mjcf
from rove_description.kinematics import Kinematics
from rove_sim import rollout
from rove_sim.people import suit
from rove_sim.people.operator import ScriptedOperator
from rove_sim.tasks.erase_whiteboard.env import WhiteboardEnv

TABLE = joints.load()


def test_a_frame_has_every_part_with_unit_quaternions_and_the_wrist_as_first_keypoint():
    parts = suit.parts(Kinematics(TABLE), mjcf.home(TABLE))
    assert set(parts) == {
        "head",
        "chest",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hand",
        "right_hand",
    }
    for name in ("head", "chest", "left_wrist", "right_wrist"):
        assert len(parts[name]) == 7 and np.isclose(np.linalg.norm(parts[name][3:]), 1.0)
    for side in ("left", "right"):
        hand = np.array(parts[f"{side}_hand"])
        assert hand.shape == (21, 3)
        assert np.allclose(hand[0], parts[f"{side}_wrist"][:3])
        assert (np.linalg.norm(hand - hand[0], axis=1) < 0.25).all()


def test_at_zero_every_site_frame_is_upright():
    parts = suit.parts(Kinematics(TABLE), np.zeros(len(TABLE)))
    for name in ("head", "chest", "left_wrist", "right_wrist"):
        assert np.allclose(np.abs(parts[name][3:]), [1, 0, 0, 0], atol=1e-9)


def test_the_wire_message_is_version_1_and_json_like():
    parts = suit.parts(Kinematics(TABLE), mjcf.home(TABLE), suit.TrackingNoise(np.random.default_rng(0)))
    message = msgpack.unpackb(encode(OperatorFrame(parts, 5, 12.5)))
    assert message["v"] == 1 and message["seq"] == 5 and message["t"] == 12.5 and message["parts"] == parts


def test_tracking_noise_is_small_and_smooth():
    noise = suit.TrackingNoise(np.random.default_rng(1))
    values = []
    for _ in range(600):
        noise.advance(1 / 60)
        values.append(noise.values["right_wrist"].copy())
    values = np.array(values)
    assert 0.0005 < values[:, :3].std() < 0.004
    assert np.abs(np.diff(values[:, :3], axis=0)).max() < 0.004


def test_while_paused_it_takes_the_robots_pose_up_to_a_residual_below_the_takeover_threshold():
    operator = ScriptedOperator(np.random.default_rng(0), imperfection=1.0)
    q = mjcf.home(TABLE)
    q[TABLE.indices("arm", "right")] += np.array([-0.5, -0.3, 0.5, 0.5, 1.2, 0.4, -0.5])
    first = np.abs(operator.pose(Mode.PAUSED, q, None) - q).max()
    for _ in range(60 * 5):
        ghost = operator.pose(Mode.PAUSED, q, None)
    error = np.abs(ghost - q).max()
    assert first > 1.0 and 0.01 < error < 0.3


@pytest.mark.parametrize("imperfection", [0.0, 1.0])
def test_after_takeover_in_mid_task_the_operator_finishes(imperfection):
    env = WhiteboardEnv(image_size=96)
    for seed in range(3):
        env.reset(seed, "grasped" if seed == 2 else "start")
        operator = ScriptedOperator(np.random.default_rng(seed), imperfection, period_s=1 / 20)
        rollout.run(env, lambda q, state, o=operator: (o.pose(Mode.ROLLOUT, q, state), np.array(env.data.ctrl))[1], 0.5)
        rollout.run(env, lambda q, state, o=operator: (o.pose(Mode.PAUSED, q, state), np.array(env.data.ctrl))[1], 3.0)
        assert rollout.run(env, lambda q, state, o=operator: o.pose(Mode.ADAPTATION, q, state), 15.0), seed
