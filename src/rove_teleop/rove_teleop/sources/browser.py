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
from rove_description import joints
from rove_teleop.retargeting.robot_geometry import NECK, SIDES, WAIST, RobotSkeleton
from rove_teleop.sources import RobotView, grasp
from rove_teleop.sources.webxr import matrix

MAGIC = b"RVD1"
# magic, flags, seq, t, clock offset, round trip; waist 3, head 3 (yaw, roll, pitch, rad), closure left, right,
# left wrist 7, right wrist 7 (x, y, z, qw, qx, qy, qz)
FORMAT = struct.Struct("<4sIdddd22f")
FOLLOWS = 1  # flag: nothing was dragged, the puppet is the robot
PARTS = frozenset({"head", "chest", "left_wrist", "right_wrist", "left_hand", "right_hand"})
MAX_REACH_M = 2.0  # of a wrist from the pelvis


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

    def __init__(self, table: joints.JointTable | None = None):
        self.skeleton = RobotSkeleton(table or joints.load())
        self.table = table = self.skeleton.table
        self._waist = [table.index[name] for name in WAIST]
        self._head = [table.index[name] for name in NECK]
        self._hand = {side: table.indices("hand", side) for side in SIDES}
        self._knots = grasp.shapes(table)
        self._closures = np.linspace(0.0, 1.0, grasp.SAMPLES)
        self._path = np.array([grasp.between(c, grasp.CLOSURES, self._knots) for c in self._closures])
        self._robot: np.ndarray | None = None  # last complete pose of the robot
        self._start: np.ndarray | None = None  # its pose when it was followed last
        self._driven = False
        self._lock = threading.Lock()

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
        q[self._waist], q[self._head] = message.waist, message.head
        for side in SIDES:
            q[self._hand[side]] = self._fingers(side, message.closure[side])
        limits = self.table.limits
        parts = self.skeleton.parts(np.clip(q, limits.lower, limits.upper))
        for side in SIDES:
            del parts[f"{side}_elbow"]  # nobody drags it; retargeting chooses it
            here, there = parts[f"{side}_wrist"], message.wrists[side]
            turn = matrix(np.roll(there[3:], -1)) @ matrix(np.roll(here[3:], -1)).T
            parts[f"{side}_hand"] = (parts[f"{side}_hand"] - here[:3]) @ turn.T + there[:3]
            parts[f"{side}_wrist"] = there
        return parts

    def closure_of(self, q: np.ndarray, side: str) -> float:
        """How far the hand of pose q (J,) is closed, 0 to 1."""
        return float(self._closures[((self._path - q[self._hand[side]]) ** 2).sum(axis=1).argmin()])

    def _fingers(self, side: str, closure: float) -> np.ndarray:
        """(15,) rad: from open over the robot's own fingers at the start to closed.

        Closing bends no joint back, also where the hand holds something in another way than a fist does.
        """
        own, at = self._start[self._hand[side]], self.closure_of(self._start, side)
        flexing = self._knots[2] > self._knots[0]  # the rest spreads the fingers
        closures, knots = [at], [own]
        for c, knot in zip(grasp.CLOSURES, self._knots):
            if c != at:
                beyond = np.maximum(own, knot) if c > at else np.minimum(own, knot)
                closures.append(c)
                knots.append(np.where(flexing, beyond, knot))
        order = np.argsort(closures)
        return grasp.between(closure, np.array(closures)[order], np.array(knots)[order])

    # -- what the page draws --

    def geometry(self) -> dict:
        """Constants of the page: geoms of the robot [body, type, size 3, position 3, quaternion wxyz 4, rgb 3], the
        hands' bodies, ranges of waist and head, the palms in the wrist's frame, the camera's vertical angle (rad).
        """
        model, limits = self.skeleton.kinematics.model, self.table.limits
        geoms = []
        for i in range(model.ngeom):
            geom = model.geom(i)
            kind = mujoco.mjtGeom(int(geom.type[0])).name.removeprefix("mjGEOM_").lower()
            numbers = np.concatenate([geom.size, geom.pos, geom.quat, geom.rgba[:3]]).round(5).tolist()
            geoms.append([int(geom.bodyid[0]), kind, *numbers])
        hands: dict[str, list[int]] = {side: [] for side in SIDES}
        for i in range(model.nbody):
            for side in SIDES:
                wrist, body = model.body(f"{side}_wrist_link").id, i
                while body not in (0, wrist):
                    body = int(model.body_parentid[body])
                if body == wrist:
                    hands[side].append(i)
        kinematics = self.skeleton.kinematics
        return {
            "geoms": geoms,
            "hands": hands,
            "waist": [[float(limits.lower[i]), float(limits.upper[i])] for i in self._waist],
            "head": [[float(limits.lower[i]), float(limits.upper[i])] for i in self._head],
            "palms": {side: kinematics.offset(f"{side}_palm").tolist() for side in SIDES},
            "fovy": math.radians(float(model.cam("ego").fovy[0])),
            "frame_bytes": FORMAT.size,
        }

    def describe(self) -> dict:
        """The robot's pose as the page needs it; {} while it is unknown. Poses: x, y, z, qw, qx, qy, qz."""
        with self._lock:
            q = self._robot
            if q is None:
                return {}
            parts, data = self.skeleton.parts(q), self.skeleton.kinematics.data
            mujoco.mj_camlight(self.skeleton.kinematics.model, data)
            pelvis = data.body("pelvis").xpos
            bodies = np.hstack([data.xpos - pelvis, data.xquat]).round(4)
            camera, quaternion = data.cam("ego"), np.empty(4)
            mujoco.mju_mat2Quat(quaternion, camera.xmat.ravel())
            return {
                "bodies": bodies.tolist(),
                "camera": np.concatenate([camera.xpos - pelvis, quaternion]).round(5).tolist(),
                "pose": {
                    "waist": q[self._waist].round(5).tolist(),
                    "head": q[self._head].round(5).tolist(),
                    "closure": {side: round(self.closure_of(q, side), 4) for side in SIDES},
                    "wrists": {side: parts[f"{side}_wrist"].round(6).tolist() for side in SIDES},
                },
            }
