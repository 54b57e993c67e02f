# SPDX-License-Identifier: Apache-2.0
"""Robots that the closed forms do not fit: six-joint arms, three fingers or a gripper, with and without head, waist and
elbows."""

import shutil

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from rove_contract.operator_frame import PARTS, OperatorFrame
from rove_description import robot
from rove_description.kinematics import Kinematics
from rove_teleop.command_filter.filter import CommandFilter
from rove_teleop.command_filter.guard import Guard
from rove_teleop.command_filter.operator_track import OperatorTrack
from rove_teleop.practice.human_hand import RELAXED, HumanHand
from rove_teleop.retargeting.any_robot import AnyRobot, make
from rove_teleop.retargeting.calibration import ArmReach, Calibration
from rove_teleop.retargeting.gripper import Gripper, closure
from rove_teleop.retargeting.intake import LIMITED, OK
from rove_teleop.retargeting.retarget import Retargeter

ROBIN = robot.load("robin_h1")
LIMITS = ROBIN.table.limits
BODY = [i for i, block in enumerate(ROBIN.table.blocks) if block != "hand"]
FIST = np.array([0.6] * 4 + [0.0, 1.3, 1.6] * 4)


def frame(found, q, k=0, hand=RELAXED):
    """An operator whose head, chest, elbows and wrists are where the robot's are in q, with hands of human shape."""
    kinematics = Kinematics(found.table, found.model, found.base)
    kinematics.forward(q)

    def pose(site):
        turn = Rotation.from_matrix(kinematics.rotation(site)).as_quat(scalar_first=True)
        return np.append(kinematics.position(site), turn)

    parts = {name: pose(site) for name, site in (("head", found.head), ("chest", found.chest)) if site}
    for side, arm in found.arms.items():
        parts[f"{side}_wrist"] = pose(arm.wrist)
        if arm.elbow:
            parts[f"{side}_elbow"] = kinematics.position(arm.elbow)
        parts[f"{side}_hand"] = kinematics.position(arm.wrist) + HumanHand(side).keypoints(hand) @ (
            kinematics.rotation(arm.wrist).T
        )
    return OperatorFrame(parts, k, k / 60)


def misses(found, wanted, q):
    """Per side distance (m) and angle (rad) of the wrist from the operator's."""
    kinematics, off = Kinematics(found.table, found.model, found.base), []
    kinematics.forward(q)
    for side, arm in found.arms.items():
        pose = wanted.parts[f"{side}_wrist"]
        turn = Rotation.from_quat(pose[3:], scalar_first=True).inv() * Rotation.from_matrix(
            kinematics.rotation(arm.wrist)
        )
        off.append((np.linalg.norm(kinematics.position(arm.wrist) - pose[:3]), turn.magnitude()))
    return np.array(off)


def motion(n, seed=0, share=0.5):
    """(n, J) rad: slow sines of body and arms around home."""
    rng = np.random.default_rng(seed)
    half = share * (LIMITS.upper - LIMITS.lower) / 2
    centre = np.clip(ROBIN.home, LIMITS.lower + half, LIMITS.upper - half)
    t = np.arange(n)[:, None] / 60
    waves = np.sin(2 * np.pi * rng.uniform(0.05, 0.25, len(half)) * t + rng.uniform(0, 6, len(half)))
    path = np.tile(ROBIN.home, (n, 1))
    path[:, BODY] = (centre + half * waves)[:, BODY]
    return path


def changed(tmp_path, *edits):
    """robin_h1 with other lines in its robot.yaml."""
    folder = shutil.copytree(robot.ROBOTS / "robin_h1", tmp_path / "robin")
    text = (folder / "robot.yaml").read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    (folder / "robot.yaml").write_text(text)
    return robot.load(folder)


def test_the_model_decides_between_closed_forms_and_the_general_solver():
    assert type(make(robot.load("iron_r01"))) is Retargeter
    assert type(make(ROBIN)) is AnyRobot


def test_wrists_that_the_robot_can_reach_are_met():
    retargeter, off = AnyRobot(ROBIN, smoothing=False), []
    path = motion(300)
    retargeter.reset(path[0])
    for k, q in enumerate(path):
        wanted = frame(ROBIN, q, k)
        off.append(misses(ROBIN, wanted, retargeter.retarget(wanted)))
        assert retargeter.report["left_wrist"] == OK and retargeter.report["right_hand"] == OK
    assert np.array(off)[:, :, 0].max() < 5e-3 and np.array(off)[:, :, 1].max() < 0.05


def test_head_and_chest_turn_what_the_robot_has():
    retargeter = AnyRobot(ROBIN, smoothing=False, velocity_limited=False)
    q = ROBIN.home.copy()
    for name, angle in (("torso_turn", 0.5), ("head_pan", -0.4), ("head_tilt", 0.3)):
        q[ROBIN.table.index[name]] = angle
    for k in range(30):
        out = retargeter.retarget(frame(ROBIN, q, k))
    for name in ("torso_turn", "head_pan", "head_tilt"):
        assert out[ROBIN.table.index[name]] == pytest.approx(q[ROBIN.table.index[name]], abs=0.01)


def test_no_joint_moves_faster_than_its_limit_between_frames():
    retargeter, before = AnyRobot(ROBIN), ROBIN.home
    retargeter.reset(before)
    for k, q in enumerate(np.repeat(motion(400, seed=3, share=0.9)[::40], 8, axis=0)):
        out = retargeter.retarget(frame(ROBIN, q, k))
        assert (np.abs(out - before) <= LIMITS.velocity / 60 + 1e-9).all()
        before = out


number = st.floats(-3, 3) | st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_output_is_finite_and_within_limits_for_any_input(data):
    retargeter = AnyRobot(ROBIN, mode=data.draw(st.sampled_from(["absolute", "relative"])))
    for k in range(3):
        names = data.draw(st.sets(st.sampled_from(list(PARTS))))
        parts = {name: data.draw(hnp.arrays(np.float64, PARTS[name], elements=number, fill=number)) for name in names}
        q = retargeter.retarget(OperatorFrame(parts, k, data.draw(number)))
        assert np.isfinite(q).all() and (q >= LIMITS.lower).all() and (q <= LIMITS.upper).all()


def test_a_wrist_out_of_reach_is_approached_and_reported():
    retargeter = AnyRobot(ROBIN, smoothing=False)
    retargeter.reset(ROBIN.home)
    wanted = frame(ROBIN, ROBIN.home)
    wanted.parts["left_wrist"][:3] += [1.0, 0.0, 0.3]
    before = misses(ROBIN, wanted, ROBIN.home)[0, 0]
    for k in range(60):
        q = retargeter.retarget(OperatorFrame(wanted.parts, k, k / 60))
    assert retargeter.report["left_wrist"] == LIMITED
    assert misses(ROBIN, wanted, q)[0, 0] < before - 0.2


def test_relative_mode_starts_where_the_robot_is():
    retargeter = AnyRobot(ROBIN, mode="relative", smoothing=False)
    retargeter.reset(ROBIN.home)
    wanted = frame(ROBIN, motion(1, seed=5)[0])
    np.testing.assert_allclose(retargeter.retarget(wanted)[BODY], ROBIN.home[BODY], atol=2e-3)


def test_three_fingers_close_when_the_operators_do():
    retargeter = AnyRobot(ROBIN)
    for angles, closed in ((0.1 * RELAXED, False), (FIST, True)):
        retargeter.reset(ROBIN.home)
        for k in range(90):
            q = retargeter.retarget(frame(ROBIN, ROBIN.home, k, hand=angles))
        for name in ("digit_lb1", "digit_lb2", "digit_rc1", "digit_rc2"):
            assert (q[ROBIN.table.index[name]] > 0.7) == closed


def test_a_gripper_follows_the_closure_of_the_hand(tmp_path):
    lines = (robot.ROBOTS / "robin_h1" / "robot.yaml").read_text().splitlines()
    fingers = [line for line in lines if "person:" in line or line.strip() == "fingers:"]
    found = changed(tmp_path, *((line + "\n", "") for line in fingers))
    retargeter = make(found)
    assert isinstance(retargeter.hands["left"], Gripper)
    arm = found.arms["left"]
    for angles, wanted in ((0.0 * RELAXED, arm.open), (FIST, arm.closed)):
        retargeter.reset(found.home)
        for k in range(90):
            q = retargeter.retarget(frame(found, found.home, k, hand=angles))
        np.testing.assert_allclose(q[arm.hand], wanted, atol=0.15)


def test_closure_grows_from_a_flat_hand_to_a_fist():
    human = HumanHand("left", 0.9)
    shares = [closure(human.keypoints(share * FIST)) for share in np.linspace(0.0, 1.0, 9)]
    assert shares[0] == 0.0 and shares[-1] > 0.9 and (np.diff(shares) >= 0.0).all()


def test_a_robot_without_head_chest_and_elbows_still_reaches(tmp_path):
    found = changed(tmp_path, ("frames: {head: head, chest: chest}", "frames: {}"), ('elbow: "elbow_{s}", ', ""))
    retargeter = make(found, smoothing=False)
    path = motion(120, seed=7, share=0.3)
    path[:, found.table.index["torso_turn"]] = 0.0
    retargeter.reset(path[0])
    for k, q in enumerate(path):
        wanted = frame(found, q, k)
        assert misses(found, wanted, retargeter.retarget(wanted))[:, 0].max() < 5e-3


def test_a_calibrated_operator_of_another_size_reaches_as_far_as_the_robot():
    scale, arm = 0.8, ROBIN.arms["left"]
    kinematics = Kinematics(ROBIN.table, ROBIN.model)
    kinematics.forward(ROBIN.home)
    shoulder = kinematics.data.xanchor[kinematics.joint_ids[arm.joints[0]]] - kinematics.origin
    length = AnyRobot(ROBIN)._length["left"]
    wanted = frame(ROBIN, ROBIN.home)
    pose = wanted.parts["left_wrist"].copy()
    pose[:3] = shoulder + scale * (pose[:3] - shoulder)
    retargeter = AnyRobot(ROBIN, smoothing=False, calibration=Calibration(left=ArmReach(scale * length)))
    retargeter.reset(ROBIN.home)
    q = retargeter.retarget(OperatorFrame({"left_wrist": pose}))
    assert misses(ROBIN, wanted, q)[0, 0] < 5e-3


def test_the_whole_command_path_of_another_robot_stops_before_its_links_touch():
    """The operator's right hand goes through the robot's torso: retargeting, track, command filter and guard."""
    retargeter, track = AnyRobot(ROBIN), OperatorTrack(LIMITS)
    limiter, guard = CommandFilter(LIMITS, 0.01), Guard(ROBIN.table, 0.01, robot=ROBIN)
    for part in (limiter, guard, retargeter):
        part.reset(ROBIN.home)
    start = frame(ROBIN, ROBIN.home)
    path, k = [], 0
    for n in range(400):
        while k / 60 <= n * 0.01 + 1e-9:
            parts = {name: value.copy() for name, value in start.parts.items()}
            shift = min(k / 120, 1.0) * (np.array([0.0, 0.0, 0.35]) - parts["right_wrist"][:3])
            parts["right_wrist"][:3] += shift
            parts["right_hand"] += shift
            track.add(retargeter.retarget(OperatorFrame(parts, k, k / 60)), n * 0.01)
            k += 1
        path.append(guard.step(limiter, *track.target(n * 0.01)))
    kinematics = Kinematics(ROBIN.table, ROBIN.model)
    model = ROBIN.model
    pairs = [(model.geom(a).id, model.geom(b).id) for a, b in guard.clearance.pairs if b != "workspace"]
    assert guard.interventions > 0
    for q in path[::8]:
        kinematics.forward(q)
        assert min(mujoco.mj_geomDistance(model, kinematics.data, a, b, 1.0, None) for a, b in pairs) > 0.0
    path = np.vstack([ROBIN.home, ROBIN.home, ROBIN.home, path])
    for order, limit in ((1, LIMITS.velocity), (2, LIMITS.acceleration), (3, LIMITS.jerk)):
        assert np.all(np.abs(np.diff(path, n=order, axis=0)) / 0.01**order <= limit * (1 + 1e-8))
