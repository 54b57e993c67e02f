"""Calibration: an operator of another size moves the robot as the robot's own size would."""

import numpy as np
import pytest

from rove_contract import joints, robot
from rove_teleop.calibration import ArmSize, Calibration, CalibrationError, calibrate, fit_sphere, load
from rove_teleop.frames import OperatorFrame
from rove_teleop.retarget import Retargeter
from rove_teleop.robot_geometry import RobotSkeleton

TABLE = joints.load()
SKELETON = RobotSkeleton(TABLE)
HOME = robot.home(TABLE)
ARMS = TABLE.indices("arm")


def arm_swing(n=300, seed=0):
    """Poses in which both arms go forward, sideways and up."""
    rng = np.random.default_rng(seed)
    t = np.arange(n)[:, None] / 60
    lower, upper = TABLE.limits.lower[ARMS], TABLE.limits.upper[ARMS]
    q = np.tile(HOME, (n, 1))
    q[:, ARMS] = (lower + upper) / 2 + 0.6 * (upper - lower) / 2 * np.sin(2 * np.pi * rng.uniform(0.1, 0.4, 14) * t + rng.uniform(0, 6, 14))
    q[:, TABLE.index["waist_yaw"]] = 0.3 * np.sin(t[:, 0])
    return q


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


def test_noise_of_a_real_tracker_costs_millimetres():
    rng = np.random.default_rng(1)
    frames = []
    for k, q in enumerate(arm_swing()):
        frame = scaled(SKELETON.frame(q, k, k / 60), 1.1)
        frames.append(OperatorFrame({n: v + rng.normal(scale=0.003, size=v.shape) for n, v in frame.parts.items()}, k, k / 60))
    calibration = calibrate(frames)
    geometry = Retargeter(TABLE).geometry
    assert calibration.left.upper_arm == pytest.approx(1.1 * geometry.upper_arm, abs=0.01)
    assert calibration.right.forearm == pytest.approx(1.1 * geometry.forearm, abs=0.01)


def test_arms_that_hang_still_are_refused_with_advice():
    frames = [SKELETON.frame(HOME, k, k / 60) for k in range(200)]
    with pytest.raises(CalibrationError, match="swing the arm"):
        calibrate(frames)


def test_missing_parts_are_refused_by_name():
    frames = [OperatorFrame({"head": np.zeros(7)}, k) for k in range(200)]
    with pytest.raises(CalibrationError, match="left elbow"):
        calibrate(frames)


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
    for text in ("", "[]", '{"left": {"shoulder": [0, 0, 0], "upper_arm": 5, "forearm": 0.2}}', '{"left": {"upper_arm": 1}}'):
        path.write_text(text)
        with pytest.raises(CalibrationError, match="operator.json"):
            load(path)


def test_no_calibration_is_the_robots_own_size():
    assert Calibration().side("left") is None
