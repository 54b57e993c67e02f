# SPDX-License-Identifier: Apache-2.0
"""A hand between open and closed: what a device without tracked fingers (a slider, a trigger) can say about a hand."""

from __future__ import annotations

import numpy as np

from rove_description import joints, mjcf
from rove_description.robot import Robot
from rove_teleop.retargeting.robot_geometry import SIDES, RobotSkeleton

# rad by closure: a flat hand, one that is ready to take a bar or a handle (thumb across, fingers hooked), a fist.
CLOSURES = (0.0, 0.4, 1.0)
THUMB = {"abduction": (0.3, 1.2, 1.2), "proximal": (0.0, 1.2, 1.2), "distal": (0.0, 0.5, 0.6)}
FINGER = {"splay": (0.0, 0.0, 0.0), "proximal": (0.0, 0.05, 0.95), "distal": (0.0, 0.9, 1.8)}
DIGITS = ("thumb", "index", "middle", "ring", "little")
SAMPLES = 41  # of the keypoints between open and closed: 2 mm apart at the fingertips, and lines between them


def shapes(table: joints.JointTable) -> np.ndarray:
    """(3, 15) rad of the joints of one hand at CLOSURES, in the table's order, within its limits; both hands have the
    same. No joint bends back on the way.
    """
    at = table.indices("hand", "left")
    columns = []
    for name in (table.names[i] for i in at):
        _, digit, joint = name.split("_")
        columns.append((THUMB if digit == "thumb" else FINGER)[joint])
    return np.clip(np.array(columns).T, table.limits.lower[at], table.limits.upper[at])


def poses(robot: Robot, side: str) -> tuple[np.ndarray, np.ndarray]:
    """(K,) closures and (K, n) rad of the joints of one hand there: `shapes` of hands jointed as the default robot's,
    else the description's open and closed.
    """
    arm = robot.arms[side]
    names = {f"{side}_{digit}_{joint}" for digit in DIGITS for joint in (THUMB if digit == "thumb" else FINGER)}
    if {robot.table.names[i] for i in arm.hand} == names:
        return np.array(CLOSURES), shapes(robot.table)
    return np.array([0.0, 1.0]), np.stack([arm.open, arm.closed])


def between(closure: float, closures, knots: np.ndarray) -> np.ndarray:
    """(n,) rad at a closure on the lines through knots (K, n) at closures (K,)."""
    return np.array([np.interp(closure, closures, column) for column in knots.T])


class Grasp:
    """Keypoints of the robot's own hands by how far they are closed; thread-safe once made."""

    def __init__(self, skeleton: RobotSkeleton):
        table = skeleton.table
        knots = shapes(table)
        self.samples = {side: np.empty((SAMPLES, 21, 3)) for side in SIDES}  # m, in the wrist's frame
        self.palms = {side: skeleton.kinematics.offset(f"{side}_palm") for side in SIDES}  # m, in the wrist's frame
        q = mjcf.home(table)
        for i, closure in enumerate(np.linspace(0.0, 1.0, SAMPLES)):
            for side in SIDES:
                q[table.indices("hand", side)] = between(closure, CLOSURES, knots)
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
