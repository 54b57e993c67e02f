# SPDX-License-Identifier: Apache-2.0
"""What differs between the operator's body and the robot's: shoulder places and arm lengths. Finger lengths need no
calibration pose: the retargeter learns them from the keypoints, since bones keep their length in every pose.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from rove_contract import files
from rove_contract.operator_frame import OperatorFrame
from rove_description import joints
from rove_teleop.retargeting import robot_geometry

SIDES = ("left", "right")
MIN_FRAMES = 60
MIN_REACH_M, MAX_REACH_M = 0.35, 1.0  # shoulder to wrist of a stretched arm
HELD_M = 0.03  # a stretch counts where the wrist stays within this of its farthest place for MIN_HELD frames
MIN_HELD = 10
MIN_SPREAD_M = 0.05  # of the elbow across its sphere; less and the shoulder's place is a guess


class CalibrationError(ValueError):
    """The recorded frames do not determine the operator's body; the message says what to do."""


@dataclass(frozen=True)
class ArmSize:
    """One arm of the operator. shoulder: (3,) m in the chest part's frame. upper_arm, forearm: m."""

    shoulder: tuple[float, float, float]
    upper_arm: float
    forearm: float

    def __str__(self) -> str:
        return f"upper arm {self.upper_arm:.3f} m, forearm {self.forearm:.3f} m"


@dataclass(frozen=True)
class ArmReach:
    """One arm of an operator whose elbow is not tracked. length: m from the robot's shoulder to the stretched wrist."""

    length: float

    def __str__(self) -> str:
        return f"arm {self.length:.3f} m"


@dataclass(frozen=True)
class Calibration:
    """The operator's arms; a side that is missing is taken to be the robot's own."""

    left: ArmSize | ArmReach | None = None
    right: ArmSize | ArmReach | None = None

    def side(self, name: str) -> ArmSize | ArmReach | None:
        return self.left if name == "left" else self.right

    def __str__(self) -> str:
        return ", ".join(f"{side}: {self.side(side) or 'as the robot'}" for side in SIDES)

    def save(self, path: str | Path) -> None:
        """Write as JSON."""
        files.write(Path(path).expanduser(), json.dumps(asdict(self), indent=2) + "\n")


def load(path: str | Path) -> Calibration:
    """Calibration from `Calibration.save`'s file. Raises CalibrationError naming the file and what is wrong."""
    try:
        sides = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
        sizes: dict = {}
        for side, v in sides.items():
            if v is not None and "length" in v:
                sizes[side] = ArmReach(float(v["length"]))
            elif v is not None:
                sizes[side] = ArmSize(
                    tuple(map(float, v["shoulder"])),  # type: ignore[arg-type]
                    float(v["upper_arm"]),
                    float(v["forearm"]),
                )
        calibration = Calibration(**sizes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CalibrationError(
            f"{path} is not a calibration ({error}); make one with `rove run rove_teleop calibrate {path}`"
        ) from error
    for side, size in sizes.items():
        if isinstance(size, ArmReach):
            if not MIN_REACH_M < size.length < MAX_REACH_M:
                raise CalibrationError(f"{path}: the {side} arm is {size}; expected {MIN_REACH_M} to {MAX_REACH_M} m")
        elif (
            len(size.shoulder) != 3
            or not np.isfinite(size.shoulder).all()
            or not (0.1 < size.upper_arm < 0.6 and 0.1 < size.forearm < 0.6)
        ):
            raise CalibrationError(f"{path}: the {side} arm is {size}; expected lengths of 0.1 to 0.6 m")
    return calibration


def fit_sphere(points: np.ndarray) -> tuple[np.ndarray, float, float]:
    """(N, 3) points on a sphere -> (centre (3,), radius, smallest spread of the points, m). Linear least squares."""
    mean = points.mean(axis=0)
    p = points - mean
    a = np.column_stack([2 * p, np.ones(len(p))])
    solution = np.linalg.lstsq(a, (p * p).sum(axis=1), rcond=None)[0]
    centre = solution[:3]
    spread = float(np.sqrt(max(np.linalg.eigvalsh(p.T @ p / len(p))[0], 0.0)))
    return centre + mean, float(np.sqrt(max(solution[3] + centre @ centre, 0.0))), spread


def _stretch(frames: list[OperatorFrame], side: str) -> ArmReach:
    """The longest that the wrist was held away from the place of the robot's shoulder."""
    shoulder = robot_geometry.read(joints.load()).shoulder_at_rest(side)
    wrists = np.array([f.parts[f"{side}_wrist"][:3] for f in frames if f"{side}_wrist" in f.parts]).reshape(-1, 3)
    distance = np.linalg.norm(wrists[np.isfinite(wrists).all(axis=1)] - shoulder, axis=1)
    if len(distance) < MIN_FRAMES:
        raise CalibrationError(
            f"{len(distance)} frames with the {side} wrist, expected at least {MIN_FRAMES}; check that it is tracked"
        )
    length = float(np.sort(distance)[-MIN_HELD])
    if distance.max() - length > HELD_M or not MIN_REACH_M < length < MAX_REACH_M:
        raise CalibrationError(
            f"the {side} wrist was held {length:.2f} m from the shoulder at most; stretch both arms forward and hold "
            "them for a moment"
        )
    return ArmReach(length)


def calibrate(frames: list[OperatorFrame]) -> Calibration:
    """Frames of about 5 s in which the operator swings both arms forward, sideways and up -> Calibration.

    The elbow moves on a sphere around the shoulder, seen from the chest. Where no elbow is tracked, as with a headset,
    one stretch of the arms gives their length from the robot's shoulder on. Raises CalibrationError when an arm hardly
    moved.
    """
    sizes: dict[str, ArmSize | ArmReach] = {}
    for side in SIDES:
        if not any(f"{side}_elbow" in frame.parts for frame in frames):
            sizes[side] = _stretch(frames, side)
            continue
        chests, elbows, wrists = [], [], []
        for frame in frames:
            parts = frame.parts
            if "chest" not in parts or f"{side}_elbow" not in parts or f"{side}_wrist" not in parts:
                continue
            chest, elbow, wrist = parts["chest"], parts[f"{side}_elbow"], parts[f"{side}_wrist"]
            if not (np.isfinite(chest).all() and np.isfinite(elbow).all() and np.isfinite(wrist).all()):
                continue
            chests.append(chest)
            elbows.append(elbow)
            wrists.append(wrist[:3])
        if len(elbows) < MIN_FRAMES:
            raise CalibrationError(
                f"{len(elbows)} frames with chest, {side} elbow and {side} wrist, expected at least {MIN_FRAMES}; "
                "check that they are tracked"
            )
        chest, elbow = np.array(chests), np.array(elbows)
        points = Rotation.from_quat(chest[:, 3:], scalar_first=True).inv().apply(elbow - chest[:, :3])
        forearms = np.linalg.norm(np.array(wrists) - elbow, axis=1)
        centre, radius, spread = fit_sphere(points)
        if spread < 0.1 * MIN_SPREAD_M or np.ptp(points, axis=0).max() < 4 * MIN_SPREAD_M or not 0.15 < radius < 0.5:
            raise CalibrationError(
                f"the {side} elbow hardly moved (upper arm would be {radius:.2f} m); swing the arm forward, "
                f"sideways and up"
            )
        sizes[side] = ArmSize(tuple(centre.tolist()), radius, float(np.median(forearms)))
    return Calibration(**sizes)
