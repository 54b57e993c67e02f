# SPDX-License-Identifier: Apache-2.0
"""A robot as a tree of frames that joints connect, one degree of freedom each: what ROS calls links (URDF, tf).

Bodies of the model are links by their names; one with several joints has a link `BODY/JOINT` before it for each but the
last. Frames that robot.yaml names (hands, fingers, head) hang on them, called `NAME_frame` where a body is called NAME,
and the cameras' optical frames. The tree's root is
`base_link` (REP-105): the place of the robot's base, axes of the model's world, as all kinematics here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import mujoco
import numpy as np

from rove_description.coupling import couplings
from rove_description.robot import Robot

ROOT = "base_link"
FLIP = np.array([0.0, 1.0, 0.0, 0.0])  # MuJoCo's cameras look along -z, y up; optical frames along z, y down
IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])
KINDS = {int(mujoco.mjtJoint.mjJNT_HINGE): "revolute", int(mujoco.mjtJoint.mjJNT_SLIDE): "prismatic"}


@dataclass(frozen=True)
class Link:
    """A frame and how it hangs on its parent. joint: number in the model, -1 = fixed. kind: fixed, revolute, prismatic.
    position (3,) m, quaternion (4,) w first: pose in the parent's frame at joint value 0. axis: (3,), own frame.
    body: number in the model, -1 for a frame between or beside bodies.
    """

    name: str
    parent: str
    position: np.ndarray
    quaternion: np.ndarray
    joint: int = -1
    kind: str = "fixed"
    axis: np.ndarray = field(default_factory=lambda: np.array([0.0, 0.0, 1.0]))
    body: int = -1


class LinkTree:
    """robot: the description. optical: camera name -> name of its optical frame."""

    def __init__(self, robot: Robot, optical: Mapping[str, str]):
        self.robot, self.model = robot, robot.model
        self._names = {body: self.model.body(body).name or f"body_{body}" for body in range(self.model.nbody)}
        taken = set(self._names.values())
        self.root = ROOT if ROOT not in taken else "robot_base"
        self.links = [*self._bodies(), *self._frames(taken), *self._cameras(optical)]
        self.moving = [link for link in self.links if link.joint >= 0]
        self.fixed = [link for link in self.links if link.joint < 0]
        self._couplings = couplings(self.model)
        table_joints = [self.model.joint(name).id for name in robot.table.names]
        self._table_joints = np.array(table_joints, dtype=np.intp)
        self._joints = np.array([link.joint for link in self.moving], dtype=np.intp)
        self._slides = np.array([link.kind == "prismatic" for link in self.moving], dtype=bool)
        self._axes = np.array([link.axis for link in self.moving]).reshape(-1, 3)
        self._rest = poses_of(self.moving)
        self._slide_axes = np.array([rotate(link.quaternion, link.axis) for link in self.moving]).reshape(-1, 3)
        self._values = np.zeros(self.model.njnt)

    def transforms(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """q (J,) rad in the table's order -> (positions (M, 3) m, quaternions (M, 4) w first) of `moving`, each in its
        parent's frame.
        """
        self._values[self._table_joints] = q
        for coupling in self._couplings:
            leader = self._values[coupling.leader] if coupling.leader >= 0 else 0.0
            self._values[coupling.follower] = coupling.angle(leader)
        value = self._values[self._joints]
        position, rest = self._rest
        slide = np.where(self._slides, value, 0.0)[:, None]
        half = np.where(self._slides, 0.0, 0.5 * value)
        turn = np.concatenate([np.cos(half)[:, None], np.sin(half)[:, None] * self._axes], axis=1)
        return position + slide * self._slide_axes, multiply(rest, turn)

    def _bodies(self) -> Iterator[Link]:
        model = self.model
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        base = model.body(self.robot.base).id
        top = int(model.body_rootid[base])
        for body in range(1, model.nbody):
            if model.body_rootid[body] != top:
                continue
            if body == top:
                parent, position = self.root, model.body_pos[body] - data.xpos[base]
            else:
                parent, position = self._names[int(model.body_parentid[body])], np.array(model.body_pos[body])
            yield from self._joints_of(body, parent, position)

    def _joints_of(self, body: int, parent: str, position: np.ndarray) -> Iterator[Link]:
        """MuJoCo turns a body about each joint's anchor in turn, by the difference to qpos0; a URDF's joint turns about
        its child's origin, by its value. So each link lies in its joint's anchor, and the last may need a step back.
        """
        model, name = self.model, self._names[body]
        quaternion = np.array(model.body_quat[body])
        first = int(model.body_jntadr[body])
        joints = [j for j in range(first, first + model.body_jntnum[body]) if int(model.jnt_type[j]) in KINDS]
        anchor = np.zeros(3)
        for n, joint in enumerate(joints):
            last = n == len(joints) - 1
            shift = np.array(model.jnt_pos[joint]) - anchor
            anchor = np.array(model.jnt_pos[joint])
            axis, kind = np.array(model.jnt_axis[joint]), KINDS[int(model.jnt_type[joint])]
            zero = float(model.qpos0[model.jnt_qposadr[joint]])
            position = position + rotate(quaternion, shift - (zero * axis if kind == "prismatic" else 0.0))
            if kind == "revolute":
                quaternion = multiply(quaternion, np.array([np.cos(-zero / 2), *(np.sin(-zero / 2) * axis)]))
            whole = last and not anchor.any()
            link = name if whole else f"{name}/{model.joint(joint).name}"
            yield Link(link, parent, position, quaternion, joint, kind, axis, body if whole else -1)
            parent, position, quaternion = link, np.zeros(3), IDENTITY
        if not joints or anchor.any():
            yield Link(name, parent, position - anchor if joints else position, quaternion, body=body)

    def _frames(self, taken: set[str]) -> Iterator[Link]:
        robot, model = self.robot, self.model
        named = [robot.head, robot.chest]
        for arm in robot.arms.values():
            named += [arm.elbow, arm.wrist, arm.palm]
            for finger in arm.fingers.values():
                named += [finger.base, finger.middle, finger.tip]
        for name in dict.fromkeys(named):
            if not name:
                continue
            site = model.site(name)
            parent, position, quaternion = self._names[int(site.bodyid[0])], np.array(site.pos), np.array(site.quat)
            if name == parent and not position.any() and np.array_equal(quaternion, IDENTITY):
                continue  # the body itself
            yield Link(f"{name}_frame" if name in taken else name, parent, position, quaternion)

    def _cameras(self, optical: Mapping[str, str]) -> Iterator[Link]:
        for name, camera in self.robot.cameras.items():
            view = self.model.camera(camera.frame)
            quaternion = multiply(np.array(view.quat), FLIP)
            yield Link(optical[name], self._names[int(view.bodyid[0])], np.array(view.pos), quaternion)


def poses_of(links: list[Link]) -> tuple[np.ndarray, np.ndarray]:
    """(positions (n, 3) m, quaternions (n, 4) w first) of links at joint value 0, each in its parent's frame."""
    positions = np.array([link.position for link in links]).reshape(-1, 3)
    return positions, np.array([link.quaternion for link in links]).reshape(-1, 4)


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Product of quaternions (..., 4), w first."""
    aw, av, bw, bv = a[..., :1], a[..., 1:], b[..., :1], b[..., 1:]
    w = aw * bw - (av * bv).sum(-1, keepdims=True)
    return np.concatenate([w, aw * bv + bw * av + np.cross(av, bv)], axis=-1)


def rotate(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """(3,) vector turned by a quaternion (4,)."""
    turned = np.empty(3)
    mujoco.mju_rotVecQuat(turned, np.asarray(vector, dtype=np.float64), quaternion)
    return turned
