# SPDX-License-Identifier: Apache-2.0
"""How far each part of the robot is from where the operator wants it, in millimetres and degrees: what a person can act
on.
"""

from __future__ import annotations

from math import acos, degrees

import numpy as np

from rove_teleop.retargeting import rotations as rot
from rove_teleop.retargeting.retarget import Retargeter

BASES, TIPS = [1, 5, 9, 13, 17], [4, 8, 12, 16, 20]


def tracking_error(retargeter: Retargeter, robot_parts: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """robot_parts: forward kinematics of the robot, see RobotSkeleton.parts -> followed part -> {"mm": …, "deg": …},
    what applies.

    A hand's is its worst fingertip, seen from the digit's base and scaled to the robot's fingers; None in relative
    mode, where fingers copy motions and not places.
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
    believed = [
        part
        for part in ("left_hand", "right_hand")
        if retargeter.intake.lost_s[part] == 0.0 and retargeter.intake.seen(part)
    ]
    if believed and retargeter.mode == "absolute":
        local = retargeter.hands.local
        operator, robot = (
            local(retargeter.intake.keypoints),
            local(np.stack([robot_parts["left_hand"], robot_parts["right_hand"]])),
        )
        reach = retargeter.finger_scale[:, :, None] * (operator[:, TIPS] - operator[:, BASES])
        off = np.linalg.norm(reach - (robot[:, TIPS] - robot[:, BASES]), axis=2).max(axis=1)
        for part in believed:
            errors[part] = {"mm": 1e3 * float(off[int(part == "right_hand")])}
    return errors
