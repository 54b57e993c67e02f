# SPDX-License-Identifier: Apache-2.0
"""Retargeting of an operator frame to the robot's 50 joints: head -> neck, chest -> waist, wrist + elbow -> arm,
keypoints -> hand.

Own closed forms (arm_ik, hand_ik) on the robot model's dimensions; no optimisation library. Each body part stands
alone: one that is lost, non-finite or an outlier holds and is reported while the rest moves. Output: always finite,
always within the joint limits, and never faster than the joints' velocity limits between two frames.
"""

from __future__ import annotations

from math import pi

import numpy as np

from rove_contract.operator_frame import OperatorFrame
from rove_description import joints, mjcf
from rove_description.kinematics import Kinematics
from rove_teleop.retargeting import hand_chains, robot_geometry
from rove_teleop.retargeting import rotations as rot
from rove_teleop.retargeting.arm import Arm
from rove_teleop.retargeting.arm_ik import ArmIK
from rove_teleop.retargeting.calibration import ArmReach, Calibration
from rove_teleop.retargeting.hand import Hand
from rove_teleop.retargeting.intake import LIMITED, LONG_LOSS_S, Intake

TOLERANCE = 1e-9  # rad; rounding is no limit
FREE_STEP = np.full(7, 0.25)  # rad per frame of an arm whose velocity is not limited: beyond it is a flip
SIDES = robot_geometry.SIDES


class Retargeter:
    """Operator frames -> joint targets; keeps the previous solution as the seed of the next.

    table: contract joints. mode: "absolute" (the robot takes the operator's pose) or "relative" (motions since `reset`,
    applied to the robot's pose then). smoothing: One-Euro on the input. velocity_limited: bound the step between frames
    by the joints' velocity limits (from the frames' timestamps). calibration: the operator's arms, None = the robot's
    own proportions.

    report: part -> "ok", "lost", "not finite", "wrong shape", "outlier" (held), or "limited" (followed as far as limits
    allow). solution: (J,) the target before the velocity bound; alignment is measured against it. targets: followed
    part -> (rotation or None, position or None), pelvis frame: where the robot's part was asked to be, after
    calibration and relative mode. hands: side -> Hand, with what it learnt of the operator's.
    """

    def __init__(
        self,
        table: joints.JointTable | None = None,
        mode: str = "absolute",
        smoothing: bool = True,
        velocity_limited: bool = True,
        calibration: Calibration | None = None,
    ):
        self._settings(table or joints.load(), mode, velocity_limited, calibration)
        kinematics = Kinematics(self.table)
        self.geometry = geometry = robot_geometry.read(self.table, kinematics.model)
        limits, index = self.table.limits, self.table.index
        self.waist_index = np.array([index[name] for name in robot_geometry.WAIST])
        self.neck_index = np.array([index[name] for name in robot_geometry.NECK])
        self.arm_index = {side: np.array([index[f"{side}_{name}"] for name in robot_geometry.ARM]) for side in SIDES}
        self._bounds = {
            "chest": [(limits.lower[i], limits.upper[i]) for i in self.waist_index],
            "head": [(limits.lower[i], limits.upper[i]) for i in self.neck_index],
        }
        self.arms = {
            side: ArmIK(
                Arm(geometry.shoulder[side], geometry.upper_arm, geometry.forearm, limits.lower[at], limits.upper[at])
            )
            for side, at in self.arm_index.items()
        }
        self._arm_velocity = {side: limits.velocity[at] for side, at in self.arm_index.items()}
        chains = {side: hand_chains.read(kinematics, side) for side in SIDES}
        self.hand_index = {side: chain.index for side, chain in chains.items()}
        self.hands = {
            side: Hand(chain, limits.lower[chain.index], limits.upper[chain.index], smoothing)
            for side, chain in chains.items()
        }
        self._begin(Intake(smoothing), mjcf.home(self.table))

    def _settings(self, table: joints.JointTable, mode: str, velocity_limited: bool, calibration) -> None:
        if mode not in ("absolute", "relative"):
            raise ValueError(f"retargeting mode {mode!r}; expected 'absolute' or 'relative'")
        self.table = table
        self.mode = mode
        self.velocity_limited = velocity_limited
        self.calibration = calibration or Calibration()

    def _begin(self, intake: Intake, home: np.ndarray) -> None:
        self.intake = intake
        self.report = intake.report
        self._output = home
        self.reset(home)
        self._seeded = False

    def reset(self, q) -> None:
        """Start from the robot's pose q (J,) rad: the next output is there or moves on from there. NaN entries keep the
        last value.
        """
        q = np.asarray(q, dtype=np.float64)
        if q.shape != (len(self.table),):
            raise ValueError(f"reset needs ({len(self.table)},) joint positions, got shape {q.shape}")
        limits = self.table.limits
        self._output = np.clip(np.where(np.isfinite(q), q, self._output), limits.lower, limits.upper)
        self.solution = self._output.copy()
        self.intake.reset()
        self.targets: dict[str, tuple] = {}
        for hand in self.hands.values():
            hand.lose()
        self._anchors: dict[str, tuple] = {}
        self._fresh: set[str] = set()  # parts that need not go on from the solution before
        self.free_arms()
        self._chest: tuple | None = None
        self._seeded = True

    def free_arms(self) -> None:
        """The next frame need not go on from the posture before: nothing moves by it, so an elbow may change sides at
        once.
        """
        self._fresh |= {f"{side}_wrist" for side in SIDES}

    def retarget(self, frame: OperatorFrame) -> np.ndarray:
        """OperatorFrame -> joint targets (J,) rad, contract order, within limits. Never raises for any values in the
        frame.
        """
        intake = self.intake
        dt = intake.period(frame.t)
        intake.take(frame.parts, dt)
        for name, lost_s in intake.lost_s.items():
            if lost_s > LONG_LOSS_S:
                self._anchors.pop(name, None)
                self._fresh.add(name)
        self.targets.clear()
        q = self.solution
        self._follow_parts(q, dt)
        for side in self.hands:
            self._hand(q, side, dt)
        limits = self.table.limits
        np.minimum(np.maximum(q, limits.lower, out=q), limits.upper, out=q)
        if self.velocity_limited and self._seeded:
            step = limits.velocity * dt
            output = self._output + np.minimum(np.maximum(q - self._output, -step), step)
            self._output = np.minimum(np.maximum(output, limits.lower), limits.upper)
        else:
            self._output = q.copy()
            self._seeded = True
        return self._output.copy()

    def _follow_parts(self, q, dt: float) -> None:
        """Head, chest and arms of this frame, into q (J,) rad."""
        intake = self.intake
        self._body(q, intake.poses)
        for side in SIDES:
            if f"{side}_wrist" in intake.poses:
                self._arm(q, side, dt, intake.poses[f"{side}_wrist"], intake.points.get(f"{side}_elbow"))

    # -- body
    # ----------------------------------------------------------------------------------------------------------------

    def _anchored(self, name: str, rotation, position, robot_rotation, robot_position):
        """Relative mode: the robot's pose at the anchor, moved as the operator moved since (pelvis frame)."""
        if name not in self._anchors:
            self._anchors[name] = (rotation, position, robot_rotation, robot_position)
        r0, p0, robot_r0, robot_p0 = self._anchors[name]
        turned = rot.mul(rot.mul(rotation, rot.transpose(r0)), robot_r0)
        return turned, tuple(b + p - a for b, p, a in zip(robot_p0, position, p0))

    def _follow(self, q, name: str, index, rotation) -> None:
        """Three joints in the order yaw, roll, pitch that make `rotation`, clipped to their limits."""
        angles, before = list(rot.angles_zxy(rotation)), q[index].tolist()
        if abs(angles[1]) > 1.4:  # rad; near +-pi/2 yaw and pitch are one rotation: hold
            self.report[name] = LIMITED
            return
        for k, (low, high) in enumerate(self._bounds[name]):
            if not low - TOLERANCE <= angles[k] <= high + TOLERANCE:
                self.report[name] = LIMITED
                # Of the angles that are one rotation the nearest counts, or an operator who turns past pi would swing
                # the robot around.
                angles[k] += 2 * pi * round((before[k] - angles[k]) / (2 * pi))
            angles[k] = min(max(angles[k], low), high)
        q[index] = angles

    def _body(self, q, pose) -> None:
        """Chest -> waist, head -> neck; leaves the torso's pose for the arms."""
        before = rot.zxy(*q[self.waist_index].tolist())
        if "chest" in pose:
            rotation, position = pose["chest"]
            self._chest = (rotation, position)
            if self.mode == "relative":
                rotation, _ = self._anchored("chest", rotation, position, before, position)
            self.targets["chest"] = (rotation, None)
            self._follow(q, "chest", self.waist_index, rotation)
        yaw, roll, pitch = q[self.waist_index].tolist()
        self._torso = rot.zxy(yaw, roll, pitch)
        g = self.geometry
        self._torso_origin = tuple(a + b for a, b in zip(g.waist, rot.apply(rot.zxy(yaw, roll, 0.0), g.torso)))
        if "head" in pose:
            rotation, position = pose["head"]
            if self.mode == "relative":
                now = rot.mul(before, rot.zxy(*q[self.neck_index].tolist()))
                rotation, _ = self._anchored("head", rotation, position, now, position)
            self.targets["head"] = (rotation, None)
            self._follow(q, "head", self.neck_index, rot.mul(rot.transpose(self._torso), rotation))

    def trunk(self) -> tuple[tuple, dict[str, tuple], tuple]:
        """Waist (m), shoulder (m) of each side and rotation of the trunk, as the chest was asked to be, pelvis frame:
        for drawing.
        """
        g = self.geometry
        asked = self.targets["chest"][0] if "chest" in self.targets else None
        turn = asked or rot.zxy(*self.solution[self.waist_index].tolist())

        def plus(point, offset):
            return tuple(a + b for a, b in zip(point, rot.apply(turn, offset)))

        return g.waist, {side: plus(plus(g.waist, g.torso), g.shoulder[side]) for side in SIDES}, turn

    # -- arms
    # ----------------------------------------------------------------------------------------------------------------

    def _to_torso(self, point):
        o = self._torso_origin
        return rot.apply_t(self._torso, (point[0] - o[0], point[1] - o[1], point[2] - o[2]))

    def _from_torso(self, point):
        return tuple(a + b for a, b in zip(self._torso_origin, rot.apply(self._torso, point)))

    def _scaled(self, side: str, wrist, elbow):
        """Operator's wrist and elbow (pelvis frame) -> those of an operator with the robot's arms (sec. "Calibration"
        of the docs).
        """
        size, g = self.calibration.side(side), self.geometry
        if isinstance(size, ArmReach):
            target = self._from_torso(g.shoulder[side])
            k = (g.upper_arm + g.forearm) / size.length
            return tuple(t + k * (w - t) for t, w in zip(target, wrist)), elbow
        if size is None or self._chest is None:
            return wrist, elbow
        rotation, position = self._chest
        shoulder = tuple(a + b for a, b in zip(position, rot.apply(rotation, size.shoulder)))
        target = self._from_torso(g.shoulder[side])
        if elbow is None:
            k = (g.upper_arm + g.forearm) / (size.upper_arm + size.forearm)
            return tuple(t + k * (w - s) for t, w, s in zip(target, wrist, shoulder)), None
        k, m = g.upper_arm / size.upper_arm, g.forearm / size.forearm
        scaled = tuple(t + k * (e - s) for t, e, s in zip(target, elbow, shoulder))
        return tuple(t + m * (w - e) for t, w, e in zip(scaled, wrist, elbow)), scaled

    def _arm(self, q, side: str, dt: float, pose, elbow) -> None:
        ik, index, name = self.arms[side], self.arm_index[side], f"{side}_wrist"
        seed = q[index].tolist()
        rotation, wrist = pose
        wrist, elbow = self._scaled(side, wrist, elbow)
        if self.mode == "relative":
            robot_elbow, robot_wrist, robot_rotation, _ = ik.arm.forward(seed)
            robot_rotation = rot.mul(self._torso, robot_rotation)
            rotation, wrist = self._anchored(name, rotation, wrist, robot_rotation, self._from_torso(robot_wrist))
            if elbow is not None:
                _, elbow = self._anchored(
                    f"{side}_elbow", rot.IDENTITY, elbow, rot.IDENTITY, self._from_torso(robot_elbow)
                )
        self.targets[name] = (rotation, wrist)
        if elbow is not None:
            self.targets[f"{side}_elbow"] = (None, elbow)
        hint = None if elbow is None else self._to_torso(elbow)
        steps = None if name in self._fresh else self._arm_velocity[side] * dt if self.velocity_limited else FREE_STEP
        solved, exact = ik.solve(
            self._to_torso(wrist), rot.mul(rot.transpose(self._torso), rotation), hint, seed, steps
        )
        if not exact:
            self.report[name] = LIMITED
        q[index] = solved
        self._fresh.discard(name)

    # -- hands
    # ----------------------------------------------------------------------------------------------------------------

    def _hand(self, q, side: str, dt: float) -> None:
        hand, index, name, intake = self.hands[side], self.hand_index[side], f"{side}_hand", self.intake
        if intake.lost_s[name] > 0.0:
            if intake.lost_s[name] > LONG_LOSS_S:
                hand.lose()
            return
        solved = hand.solve(intake.keypoints[side], intake.raw_rotation(f"{side}_wrist"), q[index], dt)
        if self.mode == "relative":
            if name not in self._anchors:
                self._anchors[name] = (solved, q[index].copy())
            start, robot_start = self._anchors[name]
            solved = robot_start + (solved - start)
        q[index] = solved
