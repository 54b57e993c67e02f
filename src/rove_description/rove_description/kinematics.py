# SPDX-License-Identifier: Apache-2.0
"""Forward kinematics, Jacobians and damped-least-squares IK of the robot alone, on its own MuJoCo data; pelvis
frame.
"""

from __future__ import annotations

import mujoco
import numpy as np

from rove_description import joints, mjcf
from rove_sim.tasks.erase_whiteboard import scene


class Kinematics:
    """FK of one joint vector at a time: call `forward`, then read sites.

    table: the contract's joints; the robot model is built from it.
    """

    def __init__(self, table: joints.JointTable | None = None):
        self.table = table or joints.load()
        self.model = mujoco.MjModel.from_xml_string(mjcf.mjcf(self.table))
        self.data = mujoco.MjData(self.model)
        ids = [mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_JOINT, name) for name in self.table.names]
        self._qpos = self.model.jnt_qposadr[ids]
        self._dof = self.model.jnt_dofadr[ids]
        self._origin = np.array([0.0, 0.0, mjcf.PELVIS_HEIGHT])
        self._jacobian = np.empty((6, self.model.nv))

    def forward(self, q: np.ndarray) -> None:
        """Set q (J,) rad in contract order."""
        self.data.qpos[self._qpos] = q
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)

    def position(self, site: str) -> np.ndarray:
        """(3,) m of a site."""
        return self.data.site(site).xpos - self._origin

    def rotation(self, site: str) -> np.ndarray:
        """(3, 3) site frame -> pelvis frame."""
        return self.data.site(site).xmat.reshape(3, 3).copy()

    def jacobian(self, site: str) -> np.ndarray:
        """(6, J): linear then angular velocity of a site, columns in contract order."""
        mujoco.mj_jacSite(self.model, self.data, self._jacobian[:3], self._jacobian[3:], self.model.site(site).id)
        return self._jacobian[:, self._dof]


def rotation_error(target: np.ndarray, current: np.ndarray) -> np.ndarray:
    """(3,) rotation vector, pelvis frame, that turns `current` (3, 3) into `target` (3, 3)."""
    quat, error = np.empty(4), np.empty(3)
    mujoco.mju_mat2Quat(quat, (target @ current.T).ravel())
    mujoco.mju_quat2Vel(error, quat, 1.0)
    return error


def solve(
    kinematics: Kinematics,
    q: np.ndarray,
    site: str,
    position: np.ndarray,
    rotation: np.ndarray,
    columns: np.ndarray,
    posture: np.ndarray,
    *,
    iterations: int = 4,
    damping: float = 0.03,
    rotation_weight: float = 0.3,
    joint_cost: np.ndarray | None = None,
    posture_gain: float = 0.05,
) -> np.ndarray:
    """Damped least squares: q (J,) moved so that `site` approaches the pose; only `columns` move; joint limits hold.

    joint_cost: (n,) relative reluctance of each moving joint (1 = as ready as any). posture (J,): pulled to in the null
    space. rotation_weight: metres per radian. Returns a new (J,) array.
    """
    q = q.copy()
    lower, upper = kinematics.table.limits.lower, kinematics.table.limits.upper
    cost = np.ones(len(columns)) if joint_cost is None else joint_cost
    scale = 1.0 / np.sqrt(cost)
    for _ in range(iterations):
        kinematics.forward(q)
        error = np.concatenate(
            [
                position - kinematics.position(site),
                rotation_weight * rotation_error(rotation, kinematics.rotation(site)),
            ]
        )
        jacobian = kinematics.jacobian(site)[:, columns].copy()
        jacobian[3:] *= rotation_weight
        jacobian *= scale
        inverse = jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + damping**2 * np.eye(6))
        null = posture_gain * (posture[columns] - q[columns]) / scale
        step = scale * (inverse @ error + null - inverse @ (jacobian @ null))
        q[columns] = np.clip(q[columns] + np.clip(step, -0.3, 0.3), lower[columns], upper[columns])
    return q


WAIST_COST = 100.0  # the waist carries the whole upper body, and the camera: let the arm move first


def reach_columns(table: joints.JointTable) -> tuple[np.ndarray, np.ndarray]:
    """((10,) indices of waist and right arm, (10,) their joint cost)."""
    waist, arm = table.indices("waist"), table.indices("arm", "right")
    return np.concatenate([waist, arm]), np.concatenate([np.full(len(waist), WAIST_COST), np.ones(len(arm))])


def hold_eraser(
    kinematics: Kinematics, q: np.ndarray, eraser: np.ndarray, iterations: int = 60, posture: np.ndarray | None = None
):
    """(J,) rad with the right hand flat towards the board and the eraser's place in it at `eraser` (3,) m, pelvis
    frame.
    """
    rotation = scene.wiping_hand()
    columns, cost = reach_columns(kinematics.table)
    palm = np.array([0.0, 0.035, -0.085])  # the palm site in the hand's frame
    target = eraser + rotation @ (palm - scene.ERASER_IN_HAND)
    posture = mjcf.home(kinematics.table) if posture is None else posture
    return solve(
        kinematics, q, "right_palm", target, rotation, columns, posture, iterations=iterations, joint_cost=cost
    )
