# SPDX-License-Identifier: Apache-2.0
"""The headset of an operator who stands exactly like the robot: `Trunk.frame` backwards. Serves tests and
emulations.
"""

from __future__ import annotations

import numpy as np

from rove_contract.operator_frame import WEBXR_KEPT
from rove_teleop.retargeting.robot_geometry import SIDES
from rove_teleop.sources.webxr import GRIP, JOINTS, TO_ROBOT, WRIST, Message, Trunk, matrix, quaternion


def _xr(rotation: np.ndarray) -> np.ndarray:
    return np.roll(quaternion(rotation), -1)


def message_of(
    parts: dict[str, np.ndarray], trunk: Trunk, eyes=(0.0, 1.6, 0.0), heading: float = 0.0, seq: int = 0, t: float = 0.0
) -> Message:
    """parts: of `RobotSkeleton.parts`. eyes: (3,) m, where the headset is; heading: rad, where the trunk faces; in the
    reference space.

    The 4 metacarpals that the robot lacks are put half way between wrist and knuckle; all joints of a hand have the
    wrist's orientation.
    """
    eyes, level = np.asarray(eyes, dtype=np.float64), trunk.level(heading)
    head = level.T @ matrix(np.roll(parts["head"][3:], -1)) @ TO_ROBOT
    pivot = eyes - head @ TO_ROBOT.T @ trunk.eyes
    hands = {}
    for side in SIDES:
        keypoints = parts[f"{side}_hand"]
        points = np.empty((JOINTS, 3))
        points[WEBXR_KEPT] = keypoints
        for i in set(range(JOINTS)) - set(WEBXR_KEPT):
            points[i] = 0.5 * (keypoints[0] + points[i + 1])
        wrist = level.T @ matrix(np.roll(parts[f"{side}_wrist"][3:], -1)) @ WRIST[side].T
        hands[side] = np.hstack([(points - trunk.neck) @ level + pivot, np.tile(_xr(wrist), (JOINTS, 1))])
    return Message(seq, t, np.concatenate([eyes, _xr(head)]), hands)


def holding(message: Message, palms: dict[str, np.ndarray], closure: float) -> Message:
    """The same operator with controllers: palms (3,) m in the wrist's frame, see Grasp; trigger `closure`."""
    grips = {}
    for side, hand in message.hands.items():
        turn = matrix(hand[0, 3:]) @ WRIST[side]
        grips[side] = np.concatenate([hand[0, :3] + turn @ palms[side], _xr(turn @ GRIP.T)]), closure
    return Message(message.seq, message.t, message.head, {}, grips=grips)
