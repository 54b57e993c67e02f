# SPDX-License-Identifier: Apache-2.0
"""Joint vector -> operator frame: what a suit would say about a person who stands exactly like the robot. Wire format,
version 1.

Pelvis frame, m; poses are x, y, z, qw, qx, qy, qz of the robot model's sites; 21 keypoints per hand.
"""

from __future__ import annotations

import mujoco
import numpy as np

from rove_description import mjcf
from rove_description.kinematics import Kinematics

POSES = ("head", "chest", "left_wrist", "right_wrist")
POINTS = ("left_elbow", "right_elbow")
KEYPOINT_SITES = tuple(
    ["wrist"]
    + [f"thumb_{part}" for part in ("cmc", "mcp", "ip", "tip")]
    + [f"{finger}_{part}" for finger in mjcf.FINGERS[1:] for part in ("mcp", "pip", "dip", "tip")]
)


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


def parts(kinematics: Kinematics, q: np.ndarray, noise: TrackingNoise | None = None) -> dict[str, list]:
    """q (50,) rad -> the frame's parts as nested lists. A hand's keypoints move with its wrist's noise."""
    kinematics.forward(q)
    drift = noise.values if noise is not None else {}
    result: dict[str, list] = {}
    for name in POSES:
        shift = drift.get(name, np.zeros(6))
        quat, small, turned = np.empty(4), np.empty(4), np.empty(4)
        mujoco.mju_mat2Quat(quat, kinematics.rotation(name).ravel())
        angle = float(np.linalg.norm(shift[3:]))
        mujoco.mju_axisAngle2Quat(small, shift[3:] / max(angle, 1e-12), angle)
        mujoco.mju_mulQuat(turned, small, quat)
        result[name] = [*(kinematics.position(name) + shift[:3]).tolist(), *turned.tolist()]
    for name in POINTS:
        result[name] = (kinematics.position(name) + drift.get(name, np.zeros(6))[:3]).tolist()
    for side in mjcf.SIDES:
        shift = drift.get(f"{side}_wrist", np.zeros(6))[:3]
        result[f"{side}_hand"] = [(kinematics.position(f"{side}_{site}") + shift).tolist() for site in KEYPOINT_SITES]
    return result
