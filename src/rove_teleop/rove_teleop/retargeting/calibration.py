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

from rove_contract.operator_frame import OperatorFrame

SIDES = ("left", "right")
MIN_FRAMES = 60
MIN_SPREAD_M = 0.05  # of the elbow across its sphere; less and the shoulder's place is a guess


class CalibrationError(ValueError):
    """The recorded frames do not determine the operator's body; the message says what to do."""


@dataclass(frozen=True)
class ArmSize:
    """One arm of the operator. shoulder: (3,) m in the chest part's frame. upper_arm, forearm: m."""

    shoulder: tuple[float, float, float]
    upper_arm: float
    forearm: float


@dataclass(frozen=True)
class Calibration:
    """The operator's arms; a side that is missing is taken to be the robot's own."""

    left: ArmSize | None = None
    right: ArmSize | None = None

    def side(self, name: str) -> ArmSize | None:
        return self.left if name == "left" else self.right

    def save(self, path: str | Path) -> None:
        """Write as JSON."""
        Path(path).expanduser().write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def load(path: str | Path) -> Calibration:
    """Calibration from `Calibration.save`'s file. Raises CalibrationError naming the file and what is wrong."""
    try:
        sides = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
        sizes = {}
        for side, v in sides.items():
            if v is not None:
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
        if (
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


def calibrate(frames: list[OperatorFrame]) -> Calibration:
    """Frames of about 5 s in which the operator swings both arms forward, sideways and up -> Calibration.

    The elbow moves on a sphere around the shoulder, seen from the chest. Raises CalibrationError when an arm hardly
    moved.
    """
    sizes = {}
    for side in SIDES:
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
