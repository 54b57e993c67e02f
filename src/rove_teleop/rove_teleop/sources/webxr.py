# SPDX-License-Identifier: Apache-2.0
"""WebXR frames of the headset page: wire format, version 1, and the way from the headset's reference space to the
pelvis frame and back.

A reference space has x right, y up, z back, its origin and heading wherever the session started. A headset knows
nothing of the trunk, so: the neck's pivot follows from the head's pose, the trunk stands upright below it, and its
heading is the head's at the start of the session (or a re-centring), dragged along when the head turns further than the
robot's neck can. So walking moves nothing, and looking around moves the neck only.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

import mujoco
import numpy as np

from rove_contract.operator_frame import MAX_TIME_S, WEBXR_KEPT, FrameError, OperatorFrame
from rove_description import joints
from rove_description.robot import EGO, FOVY_DEG, Robot
from rove_teleop.retargeting import skeleton as skeletons
from rove_teleop.retargeting.robot_geometry import SIDES, RobotSkeleton
from rove_teleop.sources.grasp import Grasp

MAGIC = b"RVX1"
HEADER = struct.Struct("<4sIdddd")  # magic, flags, seq, t, clock offset, round trip
HEAD, LEFT, RIGHT, RECENTRED = 1, 2, 4, 8  # flags: what is tracked; the operator re-centred the headset
HELD = {"left": 16, "right": 32}  # flags: a controller instead of a hand; pose 0 is its grip, x of pose 1 its closure
JOINTS = 25  # of a hand, in WebXR's order, wrist first
POSES = 1 + 2 * JOINTS
SIZE = HEADER.size + 4 * 7 * POSES
PARTS = frozenset({"head", "left_wrist", "right_wrist", "left_hand", "right_hand"})
# Columns: the reference space's x, y, z in a frame with x forward, y left, z up.
TO_ROBOT = np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
# WebXR's wrist: -z to the fingers, y out of the back of the hand. The robot's: -z to the fingers, x to the thumb.
WRIST = {"left": np.eye(3), "right": np.diag([-1.0, -1.0, 1.0])}
# A controller's grip space: -z along a held rod to the thumb, x out of the back of the right hand and into that of the
# left, so y to the elbow. Columns: the robot's wrist (x to the thumb, z to the elbow) in it, the same on both sides.
GRIP = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])


@dataclass(frozen=True)
class Message:
    """One frame of the page, reference space. Poses are x, y, z, qx, qy, qz, qw (WebXR's order), float64.

    head: (7,). hands: side -> (25, 7). grips: side -> ((7,) pose of a controller's grip, closure from 0 open to 1
    closed). What is not tracked is missing. t: headset's clock, s. offset_s: its estimate of
    (robot's monotonic clock - headset's clock) and rtt_s of the exchange it comes from; None before the first.
    recentred: heading starts anew.
    """

    seq: int
    t: float
    head: np.ndarray | None
    hands: dict[str, np.ndarray]
    offset_s: float | None = None
    rtt_s: float = 0.0
    recentred: bool = False
    grips: dict[str, tuple[np.ndarray, float]] = field(default_factory=dict)


def parse(data: bytes) -> Message:
    """Raises FrameError: "size", "version", "seq", "time". Poses that are not finite or not rotations are left out as
    untracked.
    """
    if len(data) != SIZE:
        raise FrameError("size", f"{len(data)} bytes, expected {SIZE}")
    magic, flags, seq, t, offset, rtt = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise FrameError("version", f"begins with {magic!r}, this receiver reads {MAGIC!r}; reload the page")
    if not (0 <= seq < 2**53 and seq == int(seq)):
        raise FrameError("seq", f"seq is {seq}, expected a whole number from 0")
    if not 0 <= t < MAX_TIME_S:
        raise FrameError("time", f"t is {t}, expected the headset's time in seconds")
    poses = np.frombuffer(data, "<f4", 7 * POSES, HEADER.size).reshape(POSES, 7).astype(np.float64)
    square = (poses[:, 3:] ** 2).sum(axis=1)
    good = np.isfinite(poses).all(axis=1) & (square > 0.25) & (square < 4.0)
    hands, grips = {}, {}
    for side, flag, start in (("left", LEFT, 1), ("right", RIGHT, 1 + JOINTS)):
        if flags & HELD[side] and good[start : start + 2].all():
            grips[side] = poses[start], float(min(max(poses[start + 1, 0], 0.0), 1.0))
        elif flags & flag and good[start : start + JOINTS].all():
            hands[side] = poses[start : start + JOINTS]
    known = math.isfinite(offset) and 0.0 <= rtt < 60.0
    head = poses[0] if flags & HEAD and good[0] else None
    return Message(
        int(seq), t, head, hands, offset if known else None, rtt if known else 0.0, bool(flags & RECENTRED), grips
    )


def pack(message: Message) -> bytes:
    """Inverse of `parse`: what the page sends."""
    poses = np.full((POSES, 7), np.nan, dtype="<f4")
    flags = RECENTRED if message.recentred else 0
    if message.head is not None:
        poses[0], flags = message.head, flags | HEAD
    for side, flag, start in (("left", LEFT, 1), ("right", RIGHT, 1 + JOINTS)):
        if side in message.hands:
            poses[start : start + JOINTS] = message.hands[side]
            flags |= flag
        if side in message.grips:
            poses[start], closure = message.grips[side]
            poses[start + 1], flags = [closure, 0, 0, 0, 0, 0, 1], flags | HELD[side]
    offset = math.nan if message.offset_s is None else message.offset_s
    return HEADER.pack(MAGIC, flags, message.seq, message.t, offset, message.rtt_s) + poses.tobytes()


def matrix(quaternion) -> np.ndarray:
    """qx, qy, qz, qw -> (3, 3)."""
    x, y, z, w = quaternion
    out = np.empty(9)
    mujoco.mju_quat2Mat(out, np.array([w, x, y, z]) / math.sqrt(w * w + x * x + y * y + z * z))
    return out.reshape(3, 3)


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """(3, 3) -> qw, qx, qy, qz."""
    out = np.empty(4)
    mujoco.mju_mat2Quat(out, np.ascontiguousarray(rotation).ravel())
    return out


def yaw_of(rotation: np.ndarray) -> float:
    """Heading of a head's rotation in the reference space, rad, positive to the left; steady when it looks straight
    down or up.
    """
    forward, up = -rotation[:, 2], rotation[:, 1]
    ahead = forward - forward[1] * up  # looking down, the top of the head points ahead
    return math.atan2(-ahead[0], -ahead[2])


class Trunk:
    """Where the operator's trunk is, from the head alone; turns reference-space poses into operator frames and robot
    points back.

    The operator's eyes are where the robot's camera is: `eyes` (3,) m from the neck's pivot, head frame; `neck` (3,) m
    in the pelvis frame. slack: (lower, upper) rad that the head may turn before the trunk turns along. grasp: hands of
    those who hold controllers.
    """

    def __init__(self, neck: np.ndarray, eyes: np.ndarray, slack: tuple[float, float], grasp: Grasp):
        self.neck, self.eyes, self._slack, self._grasp = neck, eyes, slack, grasp
        self.heading: float | None = None

    @staticmethod
    def level(heading: float) -> np.ndarray:
        """heading: rad -> (3, 3) rotation, reference space -> pelvis frame."""
        c, s = math.cos(heading), math.sin(heading)
        return TO_ROBOT @ np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])

    def _turn(self, head: np.ndarray, recentred: bool) -> None:
        yaw = yaw_of(head)
        if self.heading is None or recentred:
            self.heading = yaw
            return
        off = math.remainder(yaw - self.heading, 2 * math.pi)
        low, high = self._slack
        self.heading += off - min(max(off, low), high)

    def frame(self, message: Message, source: str) -> OperatorFrame:
        """Operator frame of a message. Without the head nothing can be placed: no parts."""
        if message.head is None:
            return OperatorFrame({}, message.seq, message.t, source)
        head = matrix(message.head[3:])
        self._turn(head, message.recentred)
        level = self.level(self.heading)
        in_robot_axes = head @ TO_ROBOT.T
        pivot = message.head[:3] - in_robot_axes @ self.eyes

        def pose(position, rotation):
            return np.concatenate([level @ (position - pivot) + self.neck, quaternion(rotation)])

        parts = {"head": pose(message.head[:3], level @ in_robot_axes)}
        for side, hand in message.hands.items():
            parts[f"{side}_wrist"] = pose(hand[0, :3], level @ matrix(hand[0, 3:]) @ WRIST[side])
            parts[f"{side}_hand"] = (hand[WEBXR_KEPT, :3] - pivot) @ level.T + self.neck
        for side, (grip, closure) in message.grips.items():
            turn = matrix(grip[3:]) @ GRIP
            wrist = grip[:3] - turn @ self._grasp.palms[side]  # the grip is in the palm
            parts[f"{side}_wrist"] = pose(wrist, level @ turn)
            hand = wrist + self._grasp.keypoints(side, closure) @ turn.T
            parts[f"{side}_hand"] = (hand - pivot) @ level.T + self.neck
        return OperatorFrame(parts, message.seq, message.t, source)

    def to_headset(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) pelvis frame, m -> reference-space axes, m from the neck's pivot: the page adds where the pivot is
        now.
        """
        return (points - self.neck) @ self.level(self.heading or 0.0)

    def turn_to_headset(self, rotation: np.ndarray) -> np.ndarray:
        """(3, 3) of a camera (x right, y up, z back), pelvis frame -> its qx, qy, qz, qw in the reference space."""
        return np.roll(quaternion(self.level(self.heading or 0.0).T @ rotation), -1)


class Scene:
    """What the headset shows of the robot: both hands and the camera, reference-space axes from the neck's pivot.

    skeleton: of the person, who has the default robot's proportions until calibrated. described: the robot that is
    shown; None: the default one.
    """

    def __init__(self, skeleton: RobotSkeleton | None = None, described: Robot | None = None):
        self.skeleton = skeleton or RobotSkeleton(joints.load())
        self.sides = SIDES if described is None else tuple(described.arms)
        self._drawn = self.skeleton if described is None else skeletons.make(described)
        ego = None if described is None else described.cameras.get(EGO)
        self._camera = EGO if described is None else "" if ego is None else ego.frame
        table, model, data = self.skeleton.table, self.skeleton.model, self.skeleton.data
        self.skeleton.parts(np.zeros(len(table)))
        mujoco.mj_camlight(model, data)
        self.neck = data.body("neck").xpos - data.body("pelvis").xpos
        self.eyes = data.cam("ego").xpos - data.body("neck").xpos
        shown = self._drawn.model
        self.fovy_rad = math.radians(float(shown.cam(self._camera).fovy[0]) if self._camera else FOVY_DEG)
        yaw = table.index["head_yaw"]
        self._slack = (float(table.limits.lower[yaw]), float(table.limits.upper[yaw]))
        self.grasp = Grasp(self.skeleton)

    def trunk(self) -> Trunk:
        """The trunk of an operator of this robot."""
        return Trunk(self.neck, self.eyes, self._slack, self.grasp)

    def describe(self, q: np.ndarray, trunk: Trunk) -> dict:
        """q: (J,) rad, finite -> {"hands": side -> [63 m], "camera": {"position": [3], "orientation": [qx, qy, qz,
        qw]}}; no camera where the robot has none.
        """
        parts, kinematics = self._drawn.parts(q), self._drawn.kinematics
        found: dict = {"hands": {}}
        for side in self.sides:
            points = parts.get(f"{side}_hand")
            if points is None:  # a wrist without a hand is shown as an open one
                x, turn = parts[f"{side}_wrist"], matrix(np.roll(parts[f"{side}_wrist"][3:], -1))
                points = x[:3] + skeletons.grasping(0.0) @ turn.T
            found["hands"][side] = np.round(trunk.to_headset(points).ravel(), 4).tolist()
        if self._camera:
            mujoco.mj_comPos(kinematics.model, kinematics.data)
            mujoco.mj_camlight(kinematics.model, kinematics.data)
            camera = kinematics.data.cam(self._camera)
            found["camera"] = {
                "position": np.round(trunk.to_headset(camera.xpos - kinematics.origin), 4).tolist(),
                "orientation": np.round(trunk.turn_to_headset(camera.xmat.reshape(3, 3)), 5).tolist(),
            }
        return found
