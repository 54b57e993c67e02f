# SPDX-License-Identifier: Apache-2.0
"""Joint vector -> operator frame: what a suit would say about a person who stands exactly like the robot. Wire format,
version 1.

Pelvis frame, m; poses are x, y, z, qw, qx, qy, qz of the robot model's sites; 21 keypoints per hand.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from rove_contract.operator_frame import KEYPOINT_NAMES
from rove_description import mjcf
from rove_description.kinematics import Kinematics

POSES = ("head", "chest", "left_wrist", "right_wrist")
POINTS = ("left_elbow", "right_elbow")


class TrackingNoise:
    """Slow drift of a suit: first-order noise per part, so that it does not jitter from frame to frame.

    position: standard deviation, m. angle: rad. smooth_s: correlation time.
    """

    def __init__(self, rng: np.random.Generator, position: float = 0.002, angle: float = 0.006, smooth_s: float = 0.5):
        self.rng, self.smooth_s = rng, smooth_s
        self.scale = np.array([position] * 3 + [angle] * 3)
        self.values = {name: np.zeros(6) for name in (*POSES, *POINTS)}

    def advance(self, dt: float) -> None:
        """dt: s since the last frame."""
        keep = np.exp(-dt / self.smooth_s)
        for name, value in self.values.items():
            self.values[name] = keep * value + np.sqrt(1.0 - keep**2) * self.scale * self.rng.normal(size=6)


def parts(kinematics: Kinematics, q: np.ndarray, noise: TrackingNoise | None = None) -> dict:
    """q (50,) rad -> the frame's parts as nested lists. A hand's keypoints move with its wrist's noise."""
    kinematics.forward(q)
    drift = noise.values if noise is not None else {}
    result: dict[str, list] = {}
    for name in POSES:
        shift = drift.get(name, np.zeros(6))
        turned = Rotation.from_rotvec(shift[3:]) * Rotation.from_matrix(kinematics.rotation(name))
        quaternion = turned.as_quat(scalar_first=True)
        result[name] = [*(kinematics.position(name) + shift[:3]).tolist(), *quaternion.tolist()]
    for name in POINTS:
        result[name] = (kinematics.position(name) + drift.get(name, np.zeros(6))[:3]).tolist()
    for side in mjcf.SIDES:
        shift = drift.get(f"{side}_wrist", np.zeros(6))[:3]
        result[f"{side}_hand"] = [(kinematics.position(f"{side}_{site}") + shift).tolist() for site in KEYPOINT_NAMES]
    return result
