# SPDX-License-Identifier: Apache-2.0
"""The operator aligns with a paused robot, adapts after takeover, then works; the frame says what a suit would say."""

import msgpack
import numpy as np
import pytest

from rove_contract import timing
from rove_contract.modes import Mode
from rove_contract.operator_frame import OperatorFrame, encode
from rove_contract.thresholds import TAKEOVER_RAD
from rove_description import joints, mjcf
from rove_description.kinematics import Kinematics
from rove_sim.people import suit
from rove_sim.people.operator import CREW, EXPERT, Operator
from rove_sim.tasks import task as tasks
from rove_teleop.command_filter.filter import CommandFilter

TABLE = joints.load()
TASK = tasks.TOAST_BREAD


@pytest.fixture(scope="module")
def world():
    world = TASK.make_world(32)
    yield world
    world.close()


def make(person, seed=0, period_s=1 / 60):
    return Operator(TASK, person, np.random.default_rng(seed), period_s, TABLE)


def test_the_frame_of_the_home_pose_has_every_part_of_the_wire_format():
    parts = suit.parts(Kinematics(TABLE), mjcf.home(TABLE))
    assert {name: len(value) for name, value in parts.items()} == {
        **dict.fromkeys(("head", "chest", "left_wrist", "right_wrist"), 7),
        **dict.fromkeys(("left_elbow", "right_elbow"), 3),
        **dict.fromkeys(("left_hand", "right_hand"), 21),
    }
    message = msgpack.unpackb(encode(OperatorFrame(parts, 5, 12.5)))
    assert (message["v"], message["seq"], message["t"], message["parts"]) == (1, 5, 12.5, parts)


def test_at_zero_every_site_frame_is_upright():
    parts = suit.parts(Kinematics(TABLE), np.zeros(len(TABLE)))
    for name in ("head", "chest", "left_wrist", "right_wrist"):
        assert np.allclose(np.abs(parts[name][3:]), [1, 0, 0, 0], atol=1e-9)


def test_tracking_noise_is_small_and_smooth():
    noise = suit.TrackingNoise(np.random.default_rng(1))
    values = []
    for _ in range(600):
        noise.advance(1 / 60)
        values.append(noise.values["right_wrist"].copy())
    values = np.array(values)
    assert 0.0005 < values[:, :3].std() < 0.004
    assert np.abs(np.diff(values[:, :3], axis=0)).max() < 0.004


@pytest.mark.parametrize("person", CREW, ids=lambda person: person.name)
def test_while_paused_it_takes_the_robots_pose_up_to_a_residual_below_the_takeover_threshold(person):
    operator = make(person)
    q = mjcf.home(TABLE)
    q[TABLE.indices("arm", "right")] += np.array([-0.5, -0.3, 0.5, 0.5, 1.2, 0.4, -0.5])
    first = np.abs(operator.pose(Mode.PAUSED, q, None) - q).max()
    for _ in range(60 * 5):
        ghost = operator.pose(Mode.PAUSED, q, None)
    error = np.abs(ghost - q).max()
    assert first > 1.0 and 0.01 < error < TAKEOVER_RAD


def test_after_takeover_a_person_adapts_for_seconds_and_the_expert_works_at_once(world):
    world.reset(0, "start")
    q, state = world.q.copy(), world.state()
    for person, shortest, longest in ((EXPERT, 0.0, 0.0), (CREW[0], 1.0, 3.0), (CREW[-1], 1.3, 4.5)):
        operator = make(person, period_s=1 / 20)
        for _ in range(80):
            operator.pose(Mode.PAUSED, q, state)
        adapting = 0
        for _ in range(100):
            operator.pose(Mode.ADAPTATION, q, state)
            adapting += operator.adapting
        assert shortest <= adapting / 20 <= longest, person.name
        assert not operator.adapting


@pytest.mark.parametrize("mode", [Mode.ADAPTATION, Mode.RECOVERY, Mode.DEMONSTRATION])
def test_a_person_who_comes_back_in_the_middle_of_the_work_stands_as_the_robot_does_and_goes_on(world, mode):
    """As after a crash of the operator's process: nothing of the pause was seen."""
    world.reset(0, "start")
    q, state = world.q.copy(), world.state()
    operator = make(CREW[0], period_s=1 / 20)
    body = [i for i, block in enumerate(TABLE.blocks) if block != "hand"]  # fingers may open at once
    assert np.abs(operator.pose(mode, q, state) - q)[body].max() < 0.1
    for _ in range(20 * 6):
        operator.pose(mode, q, state)
    assert not operator.adapting and operator.behaviour == "work"


def test_the_same_seed_gives_the_same_poses(world):
    world.reset(1, "start")
    q, state = world.q.copy(), world.state()
    runs = []
    for _ in range(2):
        operator = make(CREW[-1], seed=3, period_s=1 / 20)
        operator.pose(Mode.PAUSED, q, state)
        runs.append([operator.pose(Mode.ADAPTATION, q, state).copy() for _ in range(60)])
    np.testing.assert_array_equal(runs[0], runs[1])


def test_poses_stay_within_the_joint_limits_and_do_not_jump(world):
    world.reset(2, "grasped")
    q, state = world.q.copy(), world.state()
    operator = make(CREW[-1], seed=5, period_s=1 / 20)
    for _ in range(60):
        before = operator.pose(Mode.PAUSED, q, state)
    for _ in range(120):
        pose = operator.pose(Mode.ADAPTATION, q, state)
        assert (pose >= TABLE.limits.lower).all() and (pose <= TABLE.limits.upper).all()
        # 0.9 of the joints' speed, and the wandering error of suit and retargeting
        assert (np.abs(pose - before) <= TABLE.limits.velocity / 20 + 0.05).all()
        before = pose


@pytest.mark.parametrize("stage", ["grasped", "above_slot"])
def test_a_demonstration_that_begins_with_a_slice_in_the_hand_keeps_it(world, stage):
    world.reset(3, stage)
    command_filter = CommandFilter(TABLE.limits, timing.CONTROL_PERIOD_S)
    command_filter.reset(np.array(world.data.ctrl))
    operator = make(EXPERT, period_s=1 / timing.POLICY_HZ)
    operator.pose(Mode.IDLE, world.q.copy(), world.state())
    for _ in range(20):
        assert world.state()["held"] >= 0
        pose = operator.pose(Mode.DEMONSTRATION, world.q.copy(), world.state())
        for _ in range(5):
            world.step(command_filter.step(pose))
