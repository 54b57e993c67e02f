# SPDX-License-Identifier: Apache-2.0
"""Calibration: an operator of another size moves the robot as the robot's own size would."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from rove_contract.operator_frame import OperatorFrame
from rove_description import joints, mjcf
from rove_teleop.retargeting.calibration import ArmSize, Calibration, CalibrationError, calibrate, fit_sphere, load
from rove_teleop.retargeting.retarget import Retargeter
from rove_teleop.retargeting.robot_geometry import RobotSkeleton
from rove_teleop.retargeting.rotations import from_quaternion

TABLE = joints.load()
SKELETON = RobotSkeleton(TABLE)
HOME = mjcf.home(TABLE)
TIPS = [4, 8, 12, 16, 20]
ARMS = TABLE.indices("arm")


def arm_swing(n=300, seed=0):
    """Poses in which both arms go forward, sideways and up."""
    rng = np.random.default_rng(seed)
    t = np.arange(n)[:, None] / 60
    lower, upper = TABLE.limits.lower[ARMS], TABLE.limits.upper[ARMS]
    q = np.tile(HOME, (n, 1))
    q[:, ARMS] = (lower + upper) / 2 + 0.6 * (upper - lower) / 2 * np.sin(
        2 * np.pi * rng.uniform(0.1, 0.4, 14) * t + rng.uniform(0, 6, 14)
    )
    q[:, TABLE.index["waist_yaw"]] = 0.3 * np.sin(t[:, 0])
    return q


SWING = [SKELETON.frame(q, k, k / 60) for k, q in enumerate(arm_swing(150))]


def scaled(frame, scale):
    """The frame of an operator whose whole body is `scale` times the robot's."""
    parts = {}
    for name, value in frame.parts.items():
        value = value.copy()
        value[..., :3] *= scale
        parts[name] = value
    return OperatorFrame(parts, frame.seq, frame.t)


@pytest.mark.parametrize("scale", [0.85, 1.0, 1.2])
def test_a_scaled_operator_is_recovered(scale):
    frames = [scaled(SKELETON.frame(q, k, k / 60), scale) for k, q in enumerate(arm_swing())]
    calibration = calibrate(frames)
    geometry = Retargeter(TABLE).geometry
    for side in ("left", "right"):
        size = calibration.side(side)
        assert size.upper_arm == pytest.approx(scale * geometry.upper_arm, abs=1e-4)
        assert size.forearm == pytest.approx(scale * geometry.forearm, abs=1e-4)
    retargeter = Retargeter(TABLE, smoothing=False, velocity_limited=False, calibration=calibration)
    for q in arm_swing(40, seed=3):
        retargeter.reset(HOME)
        np.testing.assert_allclose(retargeter.retarget(scaled(SKELETON.frame(q), scale)), q, atol=2e-3)


def of_another_build(frame, upper, fore, hand, trunk):
    """The frame of a person whose upper arms, forearms, hands and trunk are so many times the robot's, in the same
    joint angles.
    """
    parts = {name: value.copy() for name, value in frame.parts.items()}
    turn = np.reshape(from_quaternion(*frame.parts["chest"][3:]), (3, 3))
    parts["chest"][:3] *= trunk
    parts["head"][:3] *= trunk
    for side, sign in (("left", 1), ("right", -1)):
        elbow, wrist = frame.parts[f"{side}_elbow"], frame.parts[f"{side}_wrist"][:3]
        # The robot's shoulder from its chest site (0.08 m before and 0.08 m below it), then the person's.
        offset = np.array([-0.08, 0.23 * sign, 0.08])
        shoulder = frame.parts["chest"][:3] + turn @ offset
        own = parts["chest"][:3] + turn @ (trunk * offset)
        parts[f"{side}_elbow"] = own + upper * (elbow - shoulder)
        parts[f"{side}_wrist"][:3] = parts[f"{side}_elbow"] + fore * (wrist - elbow)
        points = frame.parts[f"{side}_hand"]
        parts[f"{side}_hand"] = parts[f"{side}_wrist"][:3] + hand * (points - points[0])
    return OperatorFrame(parts, frame.seq, frame.t)


ratio = st.floats(0.8, 1.3)
# Hands of nearly the robot's size are followed in place and not in proportion, see `hand`.
hand_ratio = st.sampled_from([0.8, 0.85, 1.0, 1.15, 1.3])


@settings(max_examples=10, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(ratio, ratio, hand_ratio, ratio, st.integers(0, 1000))
def test_an_operator_of_any_build_is_recovered(upper, fore, hand, trunk, seed):
    """Each segment of its own scale: the calibration finds the arms, and the robot takes the operator's joint angles,
    fingers included.
    """
    frames = [of_another_build(frame, upper, fore, hand, trunk) for frame in SWING]
    calibration = calibrate(frames)
    retargeter = Retargeter(TABLE, smoothing=False, velocity_limited=False, calibration=calibration)
    for side in ("left", "right"):
        size = calibration.side(side)
        assert size.upper_arm == pytest.approx(upper * retargeter.geometry.upper_arm, abs=1e-4)
        assert size.forearm == pytest.approx(fore * retargeter.geometry.forearm, abs=1e-4)
    rng = np.random.default_rng(seed)
    middle, half = (TABLE.limits.upper + TABLE.limits.lower) / 2, (TABLE.limits.upper - TABLE.limits.lower) / 2
    for q in middle + 0.8 * half * rng.uniform(-1, 1, size=(3, 50)):
        retargeter.reset(HOME)
        out = retargeter.retarget(of_another_build(SKELETON.frame(q), upper, fore, hand, trunk))
        wanted, got = SKELETON.parts(q), SKELETON.parts(out)
        for side in ("left", "right"):
            assert np.linalg.norm(wanted[f"{side}_wrist"][:3] - got[f"{side}_wrist"][:3]) < 1e-3
            # The elbow gives way a little where a joint comes near its limit: 0 in most poses, 3 mm in one of 1000.
            assert np.linalg.norm(wanted[f"{side}_elbow"] - got[f"{side}_elbow"]) < 6e-3
            tips = [parts[f"{side}_hand"][TIPS] - parts[f"{side}_hand"][0] for parts in (wanted, got)]
            # A closing gap between thumb and finger is the operator's own and not in proportion.
            assert np.linalg.norm(tips[0] - tips[1], axis=1).max() < 5e-3


def test_noise_of_a_real_tracker_costs_millimetres():
    rng = np.random.default_rng(1)
    frames = []
    for k, q in enumerate(arm_swing()):
        frame = scaled(SKELETON.frame(q, k, k / 60), 1.1)
        frames.append(
            OperatorFrame({n: v + rng.normal(scale=0.003, size=v.shape) for n, v in frame.parts.items()}, k, k / 60)
        )
    calibration = calibrate(frames)
    geometry = Retargeter(TABLE).geometry
    assert calibration.left.upper_arm == pytest.approx(1.1 * geometry.upper_arm, abs=0.01)
    assert calibration.right.forearm == pytest.approx(1.1 * geometry.forearm, abs=0.01)


def test_arms_that_hang_still_are_refused_with_advice():
    frames = [SKELETON.frame(HOME, k, k / 60) for k in range(200)]
    with pytest.raises(CalibrationError, match="swing the arm"):
        calibrate(frames)


def test_missing_parts_are_refused_by_name():
    frames = [OperatorFrame({"head": np.zeros(7), "left_elbow": np.zeros(3)}, k) for k in range(200)]
    with pytest.raises(CalibrationError, match="left elbow"):
        calibrate(frames)
    with pytest.raises(CalibrationError, match="left wrist"):
        calibrate([OperatorFrame({"head": np.zeros(7)}, k) for k in range(200)])


def headset_frames(scale, share=1.0):
    """An operator without tracked elbows, arms `scale` times the robot's, who stretches them forward to `share`."""
    geometry, frames = Retargeter(TABLE).geometry, []
    length = geometry.upper_arm + geometry.forearm
    for k in range(180):
        reach = share * scale * length * min(1.0, 0.6 + 0.4 * k / 60)
        parts = {}
        for side in ("left", "right"):
            wrist = geometry.shoulder_at_rest(side) + reach * np.array([0.98, 0.0, -0.2]) / np.hypot(0.98, 0.2)
            parts[f"{side}_wrist"] = np.append(wrist, [1.0, 0.0, 0.0, 0.0])
        frames.append(OperatorFrame(parts, k, k / 60))
    return frames


@pytest.mark.parametrize("scale", [0.85, 1.0, 1.2])
def test_one_stretch_of_the_arms_is_enough_for_a_headset(scale, tmp_path):
    calibrate(headset_frames(scale)).save(tmp_path / "operator.json")
    calibration = load(tmp_path / "operator.json")
    retargeter = Retargeter(TABLE, smoothing=False, velocity_limited=False, calibration=calibration)
    geometry = retargeter.geometry
    for side in ("left", "right"):
        assert calibration.side(side).length == pytest.approx(scale * (geometry.upper_arm + geometry.forearm), abs=0.01)
    wanted = SKELETON.parts(HOME)
    parts = {}
    for side in ("left", "right"):
        pose, shoulder = wanted[f"{side}_wrist"].copy(), geometry.shoulder_at_rest(side)
        pose[:3] = shoulder + scale * (pose[:3] - shoulder)
        parts[f"{side}_wrist"] = pose
    retargeter.reset(HOME)
    got = SKELETON.parts(retargeter.retarget(OperatorFrame(parts)))
    for side in ("left", "right"):
        np.testing.assert_allclose(got[f"{side}_wrist"][:3], wanted[f"{side}_wrist"][:3], atol=0.01)


def test_arms_that_are_not_stretched_are_refused_with_advice():
    with pytest.raises(CalibrationError, match="stretch both arms"):
        calibrate(headset_frames(1.0, share=0.5))


def test_sphere_fit_finds_centre_and_radius():
    rng = np.random.default_rng(0)
    v = rng.normal(size=(200, 3))
    points = np.array([0.1, 0.2, 0.3]) + 0.28 * v / np.linalg.norm(v, axis=1, keepdims=True)
    centre, radius, _ = fit_sphere(points)
    np.testing.assert_allclose(centre, [0.1, 0.2, 0.3], atol=1e-9)
    assert radius == pytest.approx(0.28)


def test_a_calibration_file_comes_back_and_a_broken_one_is_named(tmp_path):
    path = tmp_path / "operator.json"
    size = ArmSize((0.0, 0.2, 0.1), 0.3, 0.26)
    Calibration(size, size).save(path)
    assert load(path) == Calibration(size, size)
    for text in (
        "",
        "[]",
        '{"left": {"shoulder": [0, 0, 0], "upper_arm": 5, "forearm": 0.2}}',
        '{"left": {"upper_arm": 1}}',
    ):
        path.write_text(text)
        with pytest.raises(CalibrationError, match="operator.json"):
            load(path)


def test_no_calibration_is_the_robots_own_size():
    assert Calibration().side("left") is None
