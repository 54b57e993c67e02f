# SPDX-License-Identifier: Apache-2.0
"""The drag page's frames: wire format, version 1, and the way from what a person dragged to an operator frame.

The person moves a puppet that looks like the robot: wrists by dragging, fingers between an open and a closed hand,
waist and head by angles. While nobody drives and nothing was dragged, the puppet is the robot itself (flag FOLLOWS), so
a takeover moves nothing. Frame: pelvis, x forward, y left, z up, metres.
"""

from __future__ import annotations

import math
import struct
import threading
from dataclasses import dataclass

import mujoco
import numpy as np

from rove_contract.modes import OPERATOR_DRIVES
from rove_contract.operator_frame import MAX_TIME_S, FrameError, OperatorFrame
from rove_description import robot
from rove_description.robot import Robot
from rove_teleop.retargeting import skeleton
from rove_teleop.retargeting.robot_geometry import SIDES
from rove_teleop.sources import RobotView, grasp
from rove_teleop.sources.webxr import matrix

MAGIC = b"RVD1"
# magic, flags, seq, t, clock offset, round trip; waist 3, head 3 (yaw, roll, pitch, rad), closure left, right,
# left wrist 7, right wrist 7 (x, y, z, qw, qx, qy, qz)
FORMAT = struct.Struct("<4sIdddd22f")
FOLLOWS = 1  # flag: nothing was dragged, the puppet is the robot
PARTS = frozenset({"head", "chest", "left_wrist", "right_wrist", "left_hand", "right_hand"})
MAX_REACH_M = 4.0  # of a wrist from the base, which may stand on the floor
BEFORE_CHEST = np.array([0.15, 0.0, -0.26])  # m, from between the shoulders: where hands are, which the page looks at
AXES = (1, 2, 0)  # places of rotations about x, y and z among yaw, roll and pitch
ABSENT = np.array([0.0, 0, 0, 1, 0, 0, 0])  # pose of what the robot has not
VISIBLE_GROUPS = 3  # as MuJoCo's viewers


@dataclass(frozen=True)
class DragMessage:
    """One frame of the page. waist, head: (3,) rad. closure: side -> 0 open to 1 closed. wrists: side -> (7,) pelvis
    frame. follows: the puppet is the robot. The rest: see page_source.Message.
    """

    seq: int
    t: float
    waist: np.ndarray
    head: np.ndarray
    closure: dict[str, float]
    wrists: dict[str, np.ndarray]
    follows: bool = False
    offset_s: float | None = None
    rtt_s: float = 0.0


def parse(data: bytes) -> DragMessage:
    """Raises FrameError: "size", "version", "seq", "time", "value"."""
    if len(data) != FORMAT.size:
        raise FrameError("size", f"{len(data)} bytes, expected {FORMAT.size}")
    magic, flags, seq, t, offset, rtt, *values = FORMAT.unpack(data)
    if magic != MAGIC:
        raise FrameError("version", f"begins with {magic!r}, this receiver reads {MAGIC!r}; reload the page")
    if not (0 <= seq < 2**53 and seq == int(seq)):
        raise FrameError("seq", f"seq is {seq}, expected a whole number from 0")
    if not 0 <= t < MAX_TIME_S:
        raise FrameError("time", f"t is {t}, expected the page's time in seconds")
    array = np.array(values, dtype=np.float64)
    wrists = array[8:].reshape(2, 7)
    square = (wrists[:, 3:] ** 2).sum(axis=1)
    sound = np.isfinite(array).all() and (square > 0.25).all() and (square < 4.0).all()
    if not (sound and (np.abs(array[:8]) < math.tau).all() and (np.abs(wrists[:, :3]) < MAX_REACH_M).all()):
        raise FrameError("value", "a value is not finite, no rotation or out of range")
    known = math.isfinite(offset) and 0.0 <= rtt < 60.0
    closure = {side: float(min(max(c, 0.0), 1.0)) for side, c in zip(SIDES, array[6:8])}
    return DragMessage(
        int(seq),
        t,
        array[:3],
        array[3:6],
        closure,
        dict(zip(SIDES, wrists)),
        bool(flags & FOLLOWS),
        offset if known else None,
        rtt if known else 0.0,
    )


def pack(message: DragMessage) -> bytes:
    """Inverse of `parse`: what the page sends."""
    closure, wrists = (tuple(values[side] for side in SIDES) for values in (message.closure, message.wrists))
    offset = math.nan if message.offset_s is None else message.offset_s
    flags = FOLLOWS if message.follows else 0
    values = np.concatenate([message.waist, message.head, closure, *wrists])
    return FORMAT.pack(MAGIC, flags, message.seq, message.t, offset, message.rtt_s, *values)


class Puppet:
    """The robot as the person moves it. Thread-safe: frames are made in one thread, the robot is shown in another."""

    def __init__(self, described: Robot | None = None):
        self.robot = described = described or robot.load()
        self.skeleton = skeleton.make(described)
        self.table = described.table
        self.sides = tuple(described.arms)
        self.parts = PARTS & (set(self.skeleton.parts(described.home)))
        self._turns = {block: self._axes(block) for block in ("waist", "head")}
        self._hand = {side: arm.hand for side, arm in described.arms.items()}
        self._knots = {side: grasp.poses(described, side) for side in self.sides}
        self._closures = np.linspace(0.0, 1.0, grasp.SAMPLES)
        self._path = {
            side: np.array([grasp.between(c, closures, knots) for c in self._closures])
            for side, (closures, knots) in self._knots.items()
        }
        self._robot: np.ndarray | None = None  # last complete pose of the robot
        self._start: np.ndarray | None = None  # its pose when it was followed last
        self._driven = False
        self._lock = threading.Lock()

    def _axes(self, block: str) -> list[tuple[int, float]]:
        """(joint, sign) that turn waist or head about z, x and y; joint -1 where none does. Of several about one axis
        the first; the others stay.
        """
        kinematics = self.skeleton.kinematics
        kinematics.forward(np.zeros(len(self.table)))
        found = [(-1, 1.0)] * 3
        for i in self.table.indices(block):
            axis = kinematics.data.xaxis[kinematics.joint_ids[i]]
            k = int(np.argmax(np.abs(axis)))
            if i not in self.table.slides and found[AXES[k]][0] < 0:
                found[AXES[k]] = (int(i), math.copysign(1.0, axis[k]))
        return found

    def _angles(self, q: np.ndarray, block: str) -> list[float]:
        """rad about z, x and y of waist or head."""
        return [round(float(sign * q[i]), 5) if i >= 0 else 0.0 for i, sign in self._turns[block]]

    def _ranges(self, block: str) -> list[list[float]]:
        lower, upper = self.table.limits.lower, self.table.limits.upper
        return [
            sorted((float(sign * lower[i]), float(sign * upper[i]))) if i >= 0 else [0.0, 0.0]
            for i, sign in self._turns[block]
        ]

    def show(self, view: RobotView) -> None:
        """What the robot does now."""
        with self._lock:
            self._driven = view.mode in {mode.name for mode in OPERATOR_DRIVES}
            if view.measured is None or not np.isfinite(view.measured).all():
                self._robot = None
                return
            self._robot = view.measured.copy()
            if self._start is None:
                self._start = self._robot

    def frame(self, message: DragMessage, source: str) -> OperatorFrame:
        """Operator frame of a message; without a robot there is no pose to start from: no parts."""
        with self._lock:
            if self._start is None or (self._robot is None and message.follows):
                return OperatorFrame({}, message.seq, message.t, source)
            if message.follows:
                # A page learns late that the operator drives: then the pose stays, or the robot would follow itself.
                if not self._driven and self._robot is not None:
                    self._start = self._robot
                return self.skeleton.frame(self._start, message.seq, message.t, source)
            return OperatorFrame(self._parts(message), message.seq, message.t, source)

    def _parts(self, message: DragMessage) -> dict[str, np.ndarray]:
        q = self._start.copy()
        for block, asked in (("waist", message.waist), ("head", message.head)):
            for (i, sign), angle in zip(self._turns[block], asked):
                if i >= 0:
                    q[i] = sign * angle
        for side in self.sides:
            q[self._hand[side]] = self._fingers(side, message.closure[side])
        limits = self.table.limits
        parts = self.skeleton.parts(np.clip(q, limits.lower, limits.upper))
        for side in self.sides:
            parts.pop(f"{side}_elbow", None)  # nobody drags it; retargeting chooses it
            here, there = parts[f"{side}_wrist"], message.wrists[side]
            turn = matrix(np.roll(there[3:], -1)) @ matrix(np.roll(here[3:], -1)).T
            if f"{side}_hand" in parts:
                parts[f"{side}_hand"] = (parts[f"{side}_hand"] - here[:3]) @ turn.T + there[:3]
            parts[f"{side}_wrist"] = there
        return parts

    def closure_of(self, q: np.ndarray, side: str) -> float:
        """How far the hand of pose q (J,) is closed, 0 to 1."""
        return float(self._closures[((self._path[side] - q[self._hand[side]]) ** 2).sum(axis=1).argmin()])

    def _fingers(self, side: str, closure: float) -> np.ndarray:
        """(n,) rad: from open over the robot's own fingers at the start to closed.

        Closing bends no joint back, also where the hand holds something in another way than a fist does.
        """
        own, at = self._start[self._hand[side]], self.closure_of(self._start, side)
        shares, shapes = self._knots[side]
        flexing = np.sign(shapes[-1] - shapes[0])  # 0: the joint spreads the fingers, or has no part in closing
        closures, knots = [at], [own]
        for c, knot in zip(shares, shapes):
            if c != at:
                further = (knot - own) * flexing * (1.0 if c > at else -1.0) > 0.0
                closures.append(c)
                knots.append(np.where((flexing == 0.0) | further, knot, own))
        order = np.argsort(closures)
        return grasp.between(closure, np.array(closures)[order], np.array(knots)[order])

    # -- what the page draws --

    def geometry(self) -> dict:
        """Constants of the page: geoms of the robot [body, type, size 3, position 3, quaternion wxyz 4, rgb 3], the
        hands' bodies, ranges of waist and head, the palms in the wrist's frame, the camera's vertical angle (rad).
        """
        model, kinematics = self.skeleton.model, self.skeleton.kinematics
        geoms = [geom for i in range(model.ngeom) if (geom := _geom(model, i)) is not None]
        # Behind the bodies stand the wrists' own frames, which what is asked for is a pose of.
        hands: dict[str, list[int]] = {side: [] for side in SIDES}
        for number, side in enumerate(self.sides):
            wrist = int(model.site(self.robot.arms[side].wrist).bodyid[0])
            hands[side].append(model.nbody + number)
            for i in range(model.nbody):
                body = i
                while body not in (0, wrist):
                    body = int(model.body_parentid[body])
                if body == wrist:
                    hands[side].append(i)
        kinematics.forward(self.robot.home)
        palms = {side: [0.0, 0.0, 0.0] for side in SIDES}
        for side, arm in self.robot.arms.items():
            offset = kinematics.position(arm.palm) - kinematics.position(arm.wrist)
            palms[side] = (offset @ kinematics.rotation(arm.wrist)).tolist()
        ego = self.robot.cameras.get(robot.EGO)
        fovy_deg = None if ego is None else ego.fovy_deg or float(model.camera(ego.frame).fovy[0])
        shoulders = [kinematics.data.xanchor[kinematics.joint_ids[arm.joints[0]]] for arm in self.robot.arms.values()]
        middle = np.mean(shoulders or [kinematics.origin], axis=0) - kinematics.origin + BEFORE_CHEST
        return {
            "geoms": geoms,
            "sides": list(self.sides),
            "closes": [side for side in self.sides if len(self._hand[side])],
            "hands": hands,
            "waist": self._ranges("waist"),
            "head": self._ranges("head"),
            "palms": palms,
            "middle": middle.round(4).tolist(),
            "fovy": math.radians(fovy_deg or robot.FOVY_DEG),
            "frame_bytes": FORMAT.size,
        }

    def describe(self) -> dict:
        """The robot's pose as the page needs it; {} while it is unknown. Poses: x, y, z, qw, qx, qy, qz."""
        with self._lock:
            q = self._robot
            if q is None:
                return {}
            parts, kinematics = self.skeleton.parts(q), self.skeleton.kinematics
            data, base = kinematics.data, kinematics.origin
            mujoco.mj_comPos(kinematics.model, data)
            mujoco.mj_camlight(kinematics.model, data)
            wrists = {side: parts[f"{side}_wrist"] if side in self.sides else ABSENT for side in SIDES}
            bodies = [*np.hstack([data.xpos - base, data.xquat]), *(wrists[side] for side in self.sides)]
            ego = self.robot.cameras.get(robot.EGO)
            camera, quaternion = ABSENT, np.empty(4)
            if ego is not None:
                seen = data.cam(ego.frame)
                mujoco.mju_mat2Quat(quaternion, seen.xmat.ravel())
                camera = np.concatenate([seen.xpos - base, quaternion])
            return {
                "bodies": np.round(bodies, 4).tolist(),
                "camera": camera.round(5).tolist(),
                "pose": {
                    "waist": self._angles(q, "waist"),
                    "head": self._angles(q, "head"),
                    "closure": {
                        side: round(self.closure_of(q, side), 4) if side in self.sides else 0.0 for side in SIDES
                    },
                    "wrists": {side: wrist.round(6).tolist() for side, wrist in wrists.items()},
                },
            }


def _geom(model: mujoco.MjModel, i: int) -> list | None:
    """[body, type, size 3, position 3, quaternion wxyz 4, rgb 3] of a geom that the page can draw; of a mesh the box
    around it. None of what is not seen.
    """
    kind = mujoco.mjtGeom(int(model.geom_type[i])).name.removeprefix("mjGEOM_").lower()
    material = int(model.geom_matid[i])
    colour = model.geom_rgba[i] if material < 0 else model.mat_rgba[material]
    if model.geom_group[i] >= VISIBLE_GROUPS or colour[3] == 0.0 or kind in ("plane", "hfield"):
        return None
    size, position = model.geom_size[i], model.geom_pos[i]
    if kind in ("mesh", "sdf"):
        middle, turned = model.geom_aabb[i, :3], np.empty(3)
        mujoco.mju_rotVecQuat(turned, middle, model.geom_quat[i])
        kind, size, position = "box", model.geom_aabb[i, 3:], position + turned
    numbers = np.concatenate([size, position, model.geom_quat[i], colour[:3]]).round(5).tolist()
    return [int(model.geom_bodyid[i]), kind, *numbers]
