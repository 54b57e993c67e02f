# SPDX-License-Identifier: Apache-2.0
"""The panel's ghost: the robot's pose as lines in the front view, from the frames of its description. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from rove_description.kinematics import Kinematics
from rove_description.robot import Robot

TRUNK = "trunk"  # the line that comes first


class Figure:
    """Front views of a robot. lines: name -> names of its points, from the middle outwards: "trunk", per side "SIDE
    arm" and one line per finger, and "shoulders" where there are two arms.
    """

    def __init__(self, robot: Robot):
        self.table = robot.table
        self._kinematics = kinematics = Kinematics(robot.table, robot.model, robot.base)
        self._points: dict[str, Callable[[], np.ndarray]] = {"base": lambda: np.zeros(3)}
        trunk = ["base"] + [self._site(site) for site in (robot.chest, robot.head) if site]
        self.lines = {TRUNK: trunk} if len(trunk) > 1 else {}
        shoulders = []
        for side, arm in robot.arms.items():
            shoulder = f"{side} shoulder"
            self._points[shoulder] = partial(self._anchor, int(kinematics.joint_ids[arm.joints[0]]))
            shoulders.append(shoulder)
            places = dict.fromkeys(self._site(site) for site in (arm.elbow, arm.wrist, arm.palm) if site)
            self.lines[f"{side} arm"] = [shoulder, *places]
            for name, finger in arm.fingers.items():
                chain = [self._site(site) for site in (arm.palm, finger.base, finger.middle, finger.tip)]
                self.lines[f"{side} {name}"] = chain
        if len(shoulders) > 1:
            self.lines["shoulders"] = [shoulders[0], trunk[-2] if len(trunk) > 2 else trunk[-1], shoulders[1]]

    def _site(self, site: str) -> str:
        self._points[site] = partial(self._kinematics.position, site)
        return site

    def _anchor(self, joint: int) -> np.ndarray:
        return self._kinematics.data.xanchor[joint] - self._kinematics.origin

    def points(self, q: np.ndarray) -> dict[str, np.ndarray]:
        """q: (J,) rad, contract order -> name: (3,) m, base frame."""
        self._kinematics.forward(q)
        return {name: np.array(position()) for name, position in self._points.items()}

    def front(self, q: np.ndarray) -> list[list[list[float]]]:
        """q: (J,) rad -> polylines of [y, z] in m, base frame, rounded to mm; NaN joints (not in the message) count
        as 0.
        """
        points = {
            name: [round(float(p[1]), 3), round(float(p[2]), 3)] for name, p in self.points(np.nan_to_num(q)).items()
        }
        return [[points[name] for name in line] for line in self.lines.values()]
