# SPDX-License-Identifier: Apache-2.0
"""A hand between open and closed: what a device without tracked fingers (a slider, a trigger) can say about a hand."""

from __future__ import annotations

import numpy as np

from rove_description import joints, mjcf
from rove_teleop.retargeting.robot_geometry import SIDES, RobotSkeleton

CLOSED = {"proximal": 1.35, "distal": 1.35, "splay": 0.0}  # rad of the fingers of a closed hand
CLOSED_THUMB = {"abduction": 1.0, "proximal": 0.5, "distal": 0.7}
OPEN_THUMB = {"abduction": 0.3, "proximal": 0.0, "distal": 0.0}
SAMPLES = 33  # of the keypoints between open and closed: 1.5 mm apart at the fingertips, and lines between them


def shape(table: joints.JointTable, closed: bool) -> np.ndarray:
    """(15,) rad of the joints of one hand, in the table's order, within its limits; both hands have the same."""
    thumb, finger = (CLOSED_THUMB, CLOSED) if closed else (OPEN_THUMB, dict.fromkeys(CLOSED, 0.0))
    at = table.indices("hand", "left")
    values = []
    for name in (table.names[i] for i in at):
        _, digit, joint = name.split("_")
        values.append(thumb[joint] if digit == "thumb" else finger[joint])
    return np.clip(values, table.limits.lower[at], table.limits.upper[at])


class Grasp:
    """Keypoints of the robot's own hands by how far they are closed; thread-safe once made."""

    def __init__(self, skeleton: RobotSkeleton):
        table = skeleton.table
        opened, closed = shape(table, False), shape(table, True)
        self.samples = {side: np.empty((SAMPLES, 21, 3)) for side in SIDES}  # m, in the wrist's frame
        self.palms = {side: skeleton.kinematics.offset(f"{side}_palm") for side in SIDES}  # m, in the wrist's frame
        q = mjcf.home(table)
        for i, closure in enumerate(np.linspace(0.0, 1.0, SAMPLES)):
            for side in SIDES:
                q[table.indices("hand", side)] = opened + closure * (closed - opened)
            parts = skeleton.parts(q)
            for side in SIDES:
                turn = skeleton.kinematics.rotation(f"{side}_wrist")
                self.samples[side][i] = (parts[f"{side}_hand"] - parts[f"{side}_wrist"][:3]) @ turn

    def keypoints(self, side: str, closure: float) -> np.ndarray:
        """closure: 0 open to 1 closed -> (21, 3) m in the wrist's frame."""
        place = min(max(closure, 0.0), 1.0) * (SAMPLES - 1)
        i = min(int(place), SAMPLES - 2)
        a, b = self.samples[side][i : i + 2]
        return a + (place - i) * (b - a)
