# SPDX-License-Identifier: Apache-2.0
"""The panel's ghost: the robot's pose as lines in the front view. Pure."""

from __future__ import annotations

import numpy as np

from rove_description import joints, mjcf
from rove_description.kinematics import Kinematics

# Polylines of the front view: names of bodies or sites, from the middle outwards.
LINES = (
    ("pelvis", "torso", "neck", "head"),
    *(
        (f"{side}_shoulder", f"{side}_forearm", f"{side}_wrist_link", f"{side}_middle_mcp", f"{side}_middle_tip")
        for side in mjcf.SIDES
    ),
    *((f"{side}_wrist_link", f"{side}_thumb_mcp", f"{side}_thumb_tip") for side in mjcf.SIDES),
    ("left_shoulder", "neck", "right_shoulder"),
)


class Figure:
    """Front views of the robot of `table`."""

    def __init__(self, table: joints.JointTable | None = None):
        self._kinematics = kinematics = Kinematics(table)
        self.table = kinematics.table
        bodies = {kinematics.model.body(i).name for i in range(kinematics.model.nbody)}
        self._points = {
            name: kinematics.body_position if name in bodies else kinematics.position for line in LINES for name in line
        }

    def points(self, q: np.ndarray) -> dict[str, np.ndarray]:
        """q: (J,) rad, contract order -> name: (3,) m, pelvis frame."""
        self._kinematics.forward(q)
        return {name: position(name) for name, position in self._points.items()}

    def front(self, q: np.ndarray) -> list[list[list[float]]]:
        """q: (J,) rad -> polylines of [y, z] in m, pelvis frame, rounded to mm; NaN joints (not in the message) count
        as 0.
        """
        points = self.points(np.nan_to_num(q))
        return [
            [[round(float(points[name][1]), 3), round(float(points[name][2]), 3)] for name in line] for line in LINES
        ]
