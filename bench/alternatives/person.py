# SPDX-License-Identifier: Apache-2.0
"""Operator frames of a person: arms that move like the robot's, hands of human proportions, a tracker's noise."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from rove_contract.operator_frame import POSE, OperatorFrame
from rove_teleop.practice.human_hand import HumanHand
from rove_teleop.retargeting.robot_geometry import RobotSkeleton

RATE = 60.0
SIDES = ("left", "right")


class Person:
    """size: of the hands, 1 is the mean adult's. seed: of the fingers' motion, `seconds` long."""

    def __init__(self, skeleton: RobotSkeleton, seconds: float, size: float = 1.0, seed: int = 0):
        self.skeleton = skeleton
        self.hands = {side: HumanHand(side, size) for side in SIDES}
        self.fingers = {side: hand.motion(seconds, RATE, seed + k) for k, (side, hand) in enumerate(self.hands.items())}

    def frame(self, q: np.ndarray, k: int) -> OperatorFrame:
        """q: (J,) rad that body and arms are in at frame k."""
        parts = self.skeleton.parts(q)
        for side, hand in self.hands.items():
            wrist = parts[f"{side}_wrist"]
            points = hand.keypoints(self.fingers[side][k % len(self.fingers[side])])
            parts[f"{side}_hand"] = wrist[:3] + Rotation.from_quat(wrist[3:], scalar_first=True).apply(points)
        return OperatorFrame(parts, k, k / RATE)


def with_noise(frame: OperatorFrame, rng: np.random.Generator, metres: float, radians: float) -> OperatorFrame:
    """White noise of these standard deviations on every place and every rotation."""
    parts = {}
    for name, value in frame.parts.items():
        value = value.copy()
        if value.shape == POSE:
            small = Rotation.from_rotvec(rng.normal(scale=radians, size=3))
            value[3:] = (small * Rotation.from_quat(value[3:], scalar_first=True)).as_quat(scalar_first=True)
            value[:3] += rng.normal(scale=metres, size=3)
        else:
            value += rng.normal(scale=metres, size=value.shape)
        parts[name] = value
    return OperatorFrame(parts, frame.seq, frame.t, frame.source)
