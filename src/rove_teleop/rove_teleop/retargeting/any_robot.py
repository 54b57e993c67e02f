# SPDX-License-Identifier: Apache-2.0
"""Retargeting to a robot that the closed forms do not fit: the same input, smoothing, modes, limits and bounds, each
part solved on the robot's model as its description names it.

Head and chest turn the joints of their blocks; an arm has any number of joints, with or without an elbow; a hand has
any number of fingers, or is a gripper.
"""

from __future__ import annotations

import numpy as np

from rove_description.kinematics import Kinematics
from rove_description.robot import Robot
from rove_teleop.retargeting import hand_chains, robot_geometry
from rove_teleop.retargeting import rotations as rot
from rove_teleop.retargeting.calibration import ArmReach, Calibration
from rove_teleop.retargeting.chain_ik import ELBOW_WEIGHT, ChainIK, Goal
from rove_teleop.retargeting.gripper import Gripper
from rove_teleop.retargeting.hand import Hand
from rove_teleop.retargeting.intake import LIMITED, Intake
from rove_teleop.retargeting.retarget import Retargeter


def make(robot: Robot, **settings) -> Retargeter:
    """The retargeter for a robot: closed forms where its arms, waist and neck are as they need, else `AnyRobot`.

    settings: see `Retargeter`.
    """
    try:
        robot_geometry.read(robot.table, robot.model)
    except (robot_geometry.GeometryError, KeyError):
        return AnyRobot(robot, **settings)
    return Retargeter(robot.table, **settings)


class AnyRobot(Retargeter):
    """A `Retargeter` on the model of a robot's description; the interface is the same."""

    def __init__(
        self,
        robot: Robot,
        mode: str = "absolute",
        smoothing: bool = True,
        velocity_limited: bool = True,
        calibration: Calibration | None = None,
    ):
        self._settings(robot.table, mode, velocity_limited, calibration)
        self.robot = robot
        self.kinematics = kinematics = Kinematics(robot.table, robot.model, robot.base)
        limits = robot.table.limits
        self.waist_index, self.neck_index = robot.table.indices("waist"), robot.table.indices("head")
        self.arm_index = {side: arm.joints for side, arm in robot.arms.items()}
        self.hand_index: dict[str, np.ndarray] = {}
        self.hands: dict[str, Hand | Gripper] = {}  # type: ignore[assignment]
        self._chains = {f"{side}_wrist": ChainIK(kinematics, arm.joints) for side, arm in robot.arms.items()}
        for part, site, index in (("chest", robot.chest, self.waist_index), ("head", robot.head, self.neck_index)):
            if site and len(index):
                self._chains[part] = ChainIK(kinematics, index)
        self._length = {side: _length(kinematics, side, robot) for side in robot.arms}
        for side, arm in robot.arms.items():
            if arm.fingers:
                chains = hand_chains.read(kinematics, side, arm)
                self.hand_index[side] = chains.index
                self.hands[side] = Hand(chains, limits.lower[chains.index], limits.upper[chains.index], smoothing)
            elif len(arm.hand):
                self.hand_index[side] = arm.hand
                self.hands[side] = Gripper(arm.open, arm.closed, smoothing)
        self._begin(Intake(smoothing), robot.home)

    def _follow_parts(self, q: np.ndarray, dt: float) -> None:
        poses, points = self.intake.poses, self.intake.points
        self._chest = poses.get("chest")
        reach = self.table.limits.velocity * dt if self.velocity_limited else np.full(len(q), 0.25)
        for part, site in (("chest", self.robot.chest), ("head", self.robot.head)):
            if part in poses and part in self._chains:
                self._turn(q, part, site, poses[part], reach)
        for side, arm in self.robot.arms.items():
            if f"{side}_wrist" in poses:
                elbow = points.get(f"{side}_elbow") if arm.elbow else None
                self._reach(q, side, poses[f"{side}_wrist"], elbow, reach)

    def trunk(self) -> tuple[tuple, dict[str, tuple], tuple]:
        """See Retargeter.trunk."""
        self.kinematics.forward(self.solution)
        data, origin = self.kinematics.data, self.kinematics.origin

        def anchor(joint: int) -> tuple:
            return tuple((data.xanchor[self.kinematics.joint_ids[joint]] - origin).tolist())

        waist = anchor(int(self.waist_index[0])) if len(self.waist_index) else (0.0, 0.0, 0.0)
        shoulders = {side: anchor(int(arm.joints[0])) for side, arm in self.robot.arms.items()}
        chest = self.robot.chest
        turn = tuple(self.kinematics.rotation(chest).ravel().tolist()) if chest else rot.IDENTITY
        return waist, shoulders, self.targets["chest"][0] if "chest" in self.targets else turn

    def _turn(self, q: np.ndarray, part: str, site: str, pose, reach: np.ndarray) -> None:
        """Chest and head: their rotation only; the robot's base stands still."""
        rotation, position = pose
        if self.mode == "relative":
            self.kinematics.forward(q)
            now = tuple(self.kinematics.rotation(site).ravel().tolist())
            rotation, _ = self._anchored(part, rotation, position, now, position)
        self.targets[part] = (rotation, None)
        self._solve(q, part, [Goal(site, None, np.reshape(rotation, (3, 3)))], reach)

    def _reach(self, q: np.ndarray, side: str, pose, elbow, reach: np.ndarray) -> None:
        arm, name = self.robot.arms[side], f"{side}_wrist"
        rotation, wrist = pose
        self.kinematics.forward(q)
        shoulder = self.kinematics.data.xanchor[self.kinematics.joint_ids[arm.joints[0]]] - self.kinematics.origin
        wrist, elbow = self._resized(side, tuple(shoulder.tolist()), wrist, elbow)
        if self.mode == "relative":
            now = tuple(self.kinematics.rotation(arm.wrist).ravel().tolist())
            here = tuple(self.kinematics.position(arm.wrist).tolist())
            rotation, wrist = self._anchored(name, rotation, wrist, now, here)
            if elbow is not None:
                here = tuple(self.kinematics.position(arm.elbow).tolist())
                _, elbow = self._anchored(f"{side}_elbow", rot.IDENTITY, elbow, rot.IDENTITY, here)
        self.targets[name] = (rotation, wrist)
        goals = [Goal(arm.wrist, np.array(wrist), np.reshape(rotation, (3, 3)))]
        if elbow is not None:
            self.targets[f"{side}_elbow"] = (None, elbow)
            goals.append(Goal(arm.elbow, np.array(elbow), None, ELBOW_WEIGHT))
        self._solve(q, name, goals, reach)

    def _solve(self, q: np.ndarray, part: str, goals: list[Goal], reach: np.ndarray) -> None:
        chain = self._chains[part]
        solved, met = chain.solve(q, goals, None if part in self._fresh else reach[chain.columns])
        q[chain.columns] = solved
        self._fresh.discard(part)
        if not met:
            self.report[part] = LIMITED

    def _resized(self, side: str, shoulder, wrist, elbow):
        """Wrist and elbow of an operator with the robot's arms; the shoulder (3,) m is the robot's."""
        size = self.calibration.side(side)
        if size is None:
            return wrist, elbow
        if isinstance(size, ArmReach):
            k, own = self._length[side] / size.length, shoulder
        elif self._chest is not None:
            rotation, position = self._chest
            k = self._length[side] / (size.upper_arm + size.forearm)
            own = tuple(a + b for a, b in zip(position, rot.apply(rotation, size.shoulder)))
        else:
            return wrist, elbow
        scaled = [
            None if p is None else tuple(s + k * (a - o) for s, a, o in zip(shoulder, p, own)) for p in (wrist, elbow)
        ]
        return scaled[0], scaled[1]


def _length(kinematics: Kinematics, side: str, robot: Robot) -> float:
    """m from an arm's first joint over its elbow to its wrist, at zero joint angles."""
    arm = robot.arms[side]
    kinematics.forward(np.zeros(len(robot.table)))
    places = [kinematics.data.xanchor[kinematics.joint_ids[arm.joints[0]]] - kinematics.origin]
    places += [kinematics.position(site) for site in (arm.elbow, arm.wrist) if site]
    return float(sum(np.linalg.norm(b - a) for a, b in zip(places, places[1:])))
