# SPDX-License-Identifier: Apache-2.0
"""Link lengths and joint order of the robot, read from its MuJoCo model, and a check that the closed forms of this
package apply to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from rove_contract.operator_frame import KEYPOINT_NAMES, KEYPOINTS, PARTS, POINT, OperatorFrame
from rove_description import joints, mjcf
from rove_description.kinematics import Kinematics

SIDES = mjcf.SIDES
NECK = ("head_yaw", "head_roll", "head_pitch")
WAIST = ("waist_yaw", "waist_roll", "waist_pitch")
ARM = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow", "wrist_yaw", "wrist_pitch", "wrist_roll")
X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


class GeometryError(ValueError):
    """The robot model lacks what the closed forms need; the message names the joint or body."""


@dataclass(frozen=True)
class Geometry:
    """Robot dimensions, m, in the frame of the body named first.

    waist (pelvis -> waist axes), torso (waist -> pitch axis), shoulder[side] (torso -> shoulder centre), upper_arm,
    forearm.
    """

    waist: tuple[float, float, float]
    torso: tuple[float, float, float]
    shoulder: dict[str, tuple[float, float, float]]
    upper_arm: float
    forearm: float

    def shoulder_at_rest(self, side: str) -> np.ndarray:
        """(3,) m, pelvis frame: the shoulder of an upright trunk."""
        return np.add(np.add(self.waist, self.torso), self.shoulder[side])


def read(table: joints.JointTable, model: mujoco.MjModel | None = None) -> Geometry:
    """Geometry of the robot model of `table`. Raises GeometryError when axes do not intersect as the closed forms
    assume.
    """
    model = model or Kinematics(table).model

    def body(name):
        return np.array(model.body(name).pos)

    def site(name):
        return np.array(model.site(name).pos)

    expected = dict(zip(NECK, (Z, X, Y))) | dict(zip(WAIST, (Z, X, Y)))
    for side in SIDES:
        expected |= {f"{side}_{joint}": axis for joint, axis in zip(ARM, (Y, X, Z, Y, Z, Y, X))}
    for name, axis in expected.items():
        joint = model.joint(name)
        if not np.allclose(joint.axis, axis) or not np.allclose(joint.pos, 0.0):
            raise GeometryError(
                f"joint {name}: axis {joint.axis} at {joint.pos}, the closed form needs {axis} at its body's origin"
            )

    def along(name, offset, axis):
        rest = np.delete(offset, axis)
        if not np.allclose(rest, 0.0):
            raise GeometryError(
                f"{name} is offset by {offset}; the closed form needs an offset along axis {'xyz'[axis]} only"
            )
        return float(abs(offset[axis]))

    shoulder, lengths = {}, []
    for side in SIDES:
        along(f"{side}_upper_arm", body(f"{side}_upper_arm"), 1)  # on the pitch axis, so the shoulder is spherical
        shoulder[side] = tuple((body(f"{side}_shoulder") + body(f"{side}_upper_arm")).tolist())
        lengths.append(
            (
                along(f"{side}_forearm", body(f"{side}_forearm"), 2),
                along(f"{side}_wrist_link", body(f"{side}_wrist_link"), 2),
            )
        )
        along(f"{side}_wrist", site(f"{side}_wrist"), 2)
    if not np.allclose(lengths[0], lengths[1]):
        raise GeometryError(f"the arms differ: {lengths}")
    return Geometry(
        waist=tuple(body("waist").tolist()),
        torso=tuple(body("torso").tolist()),
        shoulder=shoulder,
        upper_arm=lengths[0][0],
        forearm=lengths[0][1],
    )


class RobotSkeleton:
    """The robot's pose as operator frames: what an operator in exactly the robot's pose would send.

    Serves tests, the benchmark, the drag page and previews; the retargeter itself does not need it. kinematics: of a
    model whose sites are named as parts and keypoints are, see `skeleton.make`; None: the default robot's.
    """

    def __init__(self, table: joints.JointTable | None = None, kinematics: Kinematics | None = None):
        self.kinematics = kinematics or Kinematics(table)
        self.table, self.model, self.data = self.kinematics.table, self.kinematics.model, self.kinematics.data
        self._sites = self._find_sites()

    def _find_sites(self) -> dict[str, np.ndarray]:
        """Part -> numbers of the model's sites."""
        found = {}
        for part, shape in PARTS.items():
            side = part.split("_")[0]
            names = [f"{side}_{name}" for name in KEYPOINT_NAMES] if shape == KEYPOINTS else [part]
            found[part] = np.array([self.model.site(name).id for name in names])
        return found

    def parts(self, q) -> dict[str, np.ndarray]:
        """q: (J,) rad, contract order -> parts of an OperatorFrame, pelvis frame, m."""
        self.kinematics.forward(q)
        parts = {}
        quat = np.empty(4)
        for part, ids in self._sites.items():
            points = self.data.site_xpos[ids] - self.kinematics.origin
            shape = PARTS[part]
            if shape == KEYPOINTS:
                parts[part] = points
            elif shape == POINT:
                parts[part] = points[0]
            else:
                mujoco.mju_mat2Quat(quat, self.data.site_xmat[ids[0]])
                parts[part] = np.concatenate([points[0], quat])
        return parts

    def frame(self, q, seq: int = 0, t: float = 0.0, source: str = "robot") -> OperatorFrame:
        """`parts` as an OperatorFrame."""
        return OperatorFrame(self.parts(q), seq, t, source)
