# SPDX-License-Identifier: Apache-2.0
"""Any robot's pose as operator frames: what a person in exactly the robot's pose would send, so that retargeting gives
the pose back. For pages that show the robot and let a person start from it.
"""

from __future__ import annotations

import math

import mujoco
import numpy as np

from rove_contract.operator_frame import KEYPOINT_NAMES, KEYPOINTS, PARTS
from rove_description.kinematics import Kinematics
from rove_description.robot import PERSON, Arm, Robot
from rove_teleop.retargeting import gripper
from rove_teleop.retargeting.hand_chains import KNUCKLES
from rove_teleop.retargeting.robot_geometry import RobotSkeleton

# A person's hand where the robot has none, wrist's frame: fingers hang along -z, the thumb's side is +x. m.
KNUCKLES_X, PALM_M, FINGER_M = (0.03, 0.01, -0.01, -0.03), 0.09, 0.08
THUMB = ((0.03, 0.0, -0.02), (0.05, 0.0, -0.05), (0.06, 0.0, -0.075), (0.065, 0.0, -0.095))
SLOPE = np.array([1.0, 1.0 / 3.0, -1.0 / 3.0, -1.0])  # of the knuckles' line, as `hand.palm_axes` sees it
WIDTH_M = 0.06


def make(robot: Robot) -> RobotSkeleton:
    """The skeleton of a robot: by its model's sites where they are named as parts and keypoints, else by its
    description.
    """
    names = [
        f"{part.partition('_')[0]}_{name}" if shape == KEYPOINTS else part
        for part, shape in PARTS.items()
        for name in (KEYPOINT_NAMES if shape == KEYPOINTS else ("",))
    ]
    kinematics = Kinematics(robot.table, robot.model, robot.base)
    if all(mujoco.mj_name2id(robot.model, mujoco.mjtObj.mjOBJ_SITE, name) >= 0 for name in names):
        return RobotSkeleton(robot.table, kinematics)
    return DescribedSkeleton(robot, kinematics)


class DescribedSkeleton(RobotSkeleton):
    """Parts that the robot has not are not in its frames. Of a hand the keypoints that the robot's fingers follow are
    the robot's, the others are placed so that the palm's axes are the wrist's; a gripper's hand is closed as far as the
    gripper is.
    """

    def __init__(self, robot: Robot, kinematics: Kinematics):
        self.robot = robot
        super().__init__(robot.table, kinematics)

    def _find_sites(self) -> dict[str, np.ndarray]:
        robot, found = self.robot, {}
        named = {"head": robot.head, "chest": robot.chest}
        for side, arm in robot.arms.items():
            named |= {f"{side}_elbow": arm.elbow, f"{side}_wrist": arm.wrist}
        for part, site in named.items():
            if site:
                found[part] = np.array([self.model.site(site).id])
        return found

    def parts(self, q) -> dict[str, np.ndarray]:
        """See RobotSkeleton.parts."""
        parts = super().parts(q)
        for side, arm in self.robot.arms.items():
            if len(arm.hand):
                origin, turn = self.kinematics.position(arm.wrist), self.kinematics.rotation(arm.wrist)
                own = self._fingers(arm, origin, turn) if arm.fingers else grasping(closure(arm, np.asarray(q)))
                parts[f"{side}_hand"] = origin + own @ turn.T
        return parts

    def _fingers(self, arm: Arm, origin: np.ndarray, turn: np.ndarray) -> np.ndarray:
        """(21, 3) m, wrist's frame."""
        points = grasping(0.0)
        followed = set()
        for finger in arm.fingers.values():
            base, middle, tip = PERSON[finger.person]
            sites = (finger.base, finger.middle, finger.tip)
            places = [(self.kinematics.position(site) - origin) @ turn for site in sites]
            numbers = (base, middle, tip)
            for (a, start), (b, end) in zip(zip(numbers, places), zip(numbers[1:], places[1:])):
                for k in range(a, b + 1):  # a keypoint between two of the robot's lies on the line between them
                    points[k] = start + (k - a) / (b - a) * (end - start)
            followed.add(base)
        free = [i for i, knuckle in enumerate(KNUCKLES) if knuckle not in followed]
        if free:
            _place(points, free)
        return points


def _place(points: np.ndarray, free: list[int]) -> None:
    """Move the free ones of the four knuckles (and the fingers at them) across the palm, as little as makes its axes,
    as `hand.palm_axes` sees them, those of the wrist.
    """
    knuckles = points[list(KNUCKLES)]
    fixed = [i for i in range(4) if i not in free]
    if fixed:
        knuckles[free, 2] = min(knuckles[fixed, 2].mean(), -0.01)
    conditions = np.stack([np.ones(4), SLOPE])[:, free]
    for axis, wanted in ((0, (0.0, WIDTH_M)), (1, (0.0, 0.0))):
        lacking = np.array(wanted) - np.stack([np.ones(4), SLOPE]) @ knuckles[:, axis]
        knuckles[free, axis] += np.linalg.lstsq(conditions, lacking, rcond=None)[0]
    for i in free:
        points[KNUCKLES[i] : KNUCKLES[i] + 4] += knuckles[i] - points[KNUCKLES[i]]


def closure(arm: Arm, q: np.ndarray) -> float:
    """How far the hand of pose q (J,) is between the description's open and closed, 0 to 1."""
    way = arm.closed - arm.open
    length = float(way @ way)
    return float(np.clip((q[arm.hand] - arm.open) @ way / length, 0.0, 1.0)) if length > 0.0 else 0.0


def grasping(share: float) -> np.ndarray:
    """A person's hand that is closed by `share`, 0 to 1 as `gripper.closure` measures it -> (21, 3) m, wrist's
    frame.
    """
    reach = gripper.OPEN_REACH + share * (gripper.CLOSED_REACH - gripper.OPEN_REACH)
    bend = math.acos((3.0 * reach - 1.0) / 2.0)  # three equal bones at -bend, 0 and bend from the line to the tip
    bone = FINGER_M / 3.0
    points = np.zeros((21, 3))
    points[1:5] = THUMB
    for x, (base, _) in zip(KNUCKLES_X, gripper.FINGERS):
        place = np.array([x, 0.0, -PALM_M])
        points[base] = place
        for k, angle in enumerate((-bend, 0.0, bend), start=1):
            place = place + bone * np.array([0.0, math.sin(angle), -math.cos(angle)])
            points[base + k] = place
    return points
