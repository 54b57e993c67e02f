# SPDX-License-Identifier: Apache-2.0
"""How far each part of the robot is from where the operator wants it, in millimetres and degrees: what a person can act
on.
"""

from __future__ import annotations

from math import acos, degrees

import numpy as np

from rove_teleop.retargeting import rotations as rot
from rove_teleop.retargeting.hand import Hand
from rove_teleop.retargeting.retarget import Retargeter


def tracking_error(retargeter: Retargeter, robot_parts: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """robot_parts: forward kinematics of the robot, see RobotSkeleton.parts -> followed part -> {"mm": …, "deg": …},
    what applies.

    A hand's is its worst fingertip, seen from the wrist and scaled to the robot's hand; none in relative mode, where
    fingers copy motions and not places.
    """
    errors: dict[str, dict[str, float]] = {}
    for part, (rotation, position) in retargeter.targets.items():
        robot = robot_parts[part].tolist()
        error = errors[part] = {}
        if position is not None:
            error["mm"] = 1e3 * rot.norm([a - b for a, b in zip(position, robot[:3])])
        if rotation is not None:
            off = rot.mul(rotation, rot.transpose(rot.from_quaternion(*robot[3:])))
            error["deg"] = degrees(acos(min(max(0.5 * (off[0] + off[4] + off[8] - 1.0), -1.0), 1.0)))
    if retargeter.mode == "absolute":
        for side, hand in retargeter.hands.items():
            part = f"{side}_hand"
            if retargeter.intake.lost_s[part] > 0.0 or hand.tips is None or not isinstance(hand, Hand):
                continue
            points, wrist = robot_parts[part], robot_parts[f"{side}_wrist"]
            turn = np.reshape(rot.from_quaternion(*wrist[3:].tolist()), (3, 3))
            off = hand.tips - (points[hand.ik.chains.keypoints[:, 2]] - points[0]) @ turn
            errors[part] = {"mm": 1e3 * float(np.linalg.norm(off, axis=1).max())}
    return errors
