# SPDX-License-Identifier: Apache-2.0
"""The robot's forward kinematics, Jacobians and damped-least-squares inverse kinematics, on its own MuJoCo data.

Every other kinematics of this repository reads its dimensions from this model (`rove_teleop.retargeting`'s closed
forms, the guard's capsules) and is tested against it. Frame: pelvis, x forward, y left, z up, metres.
"""

from __future__ import annotations

import mujoco
import numpy as np

from rove_description import joints, mjcf
from rove_description.coupling import couplings


class Kinematics:
    """Poses of one joint vector at a time: call `forward`, then read sites and bodies.

    table: the contract's joints. model: a MuJoCo model with these joint names and a body `base` that stands still;
    None: built from the table. joint_ids: (J,) int, each joint's number in the model. origin: (3,) m, the base in the
    model's world. Raises ValueError, naming it, for a joint that the model lacks.
    """

    def __init__(
        self, table: joints.JointTable | None = None, model: mujoco.MjModel | None = None, base: str = "pelvis"
    ):
        self.table = table or joints.load()
        self.model = model or mujoco.MjModel.from_xml_string(mjcf.mjcf(self.table))
        self.data = mujoco.MjData(self.model)
        ids = [mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_JOINT, name) for name in self.table.names]
        if min(ids) < 0:
            missing = [name for name, number in zip(self.table.names, ids) if number < 0]
            raise ValueError(f"the robot model lacks joints of the joint table: {', '.join(missing)}")
        self.joint_ids = np.array(ids, dtype=np.int64)
        mujoco.mj_kinematics(self.model, self.data)
        self.base, self.origin = base, np.array(self.data.body(base).xpos)
        self._couplings = [
            (entry, self.model.jnt_qposadr[entry.follower], self.model.jnt_qposadr[max(entry.leader, 0)])
            for entry in couplings(self.model)
        ]
        self._qpos = self.model.jnt_qposadr[self.joint_ids]
        self._dof = self.model.jnt_dofadr[self.joint_ids]
        self._jacobian = np.empty((6, self.model.nv))
        self._com_known = False  # mj_jacSite needs the centres of mass, which only Jacobians need

    def forward(self, q: np.ndarray) -> None:
        """Set q (J,) rad in contract order, and with it the joints that follow others."""
        qpos = self.data.qpos
        qpos[self._qpos] = q
        for coupling, follower, leader in self._couplings:
            qpos[follower] = coupling.angle(qpos[leader] if coupling.leader >= 0 else 0.0)
        mujoco.mj_kinematics(self.model, self.data)
        self._com_known = False

    def position(self, site: str) -> np.ndarray:
        """(3,) m of a site."""
        return self.data.site(site).xpos - self.origin

    def body_position(self, body: str) -> np.ndarray:
        """(3,) m of a body's frame."""
        return self.data.body(body).xpos - self.origin

    def offset(self, site: str) -> np.ndarray:
        """(3,) m of a site in the frame of its body, whatever the pose: where the palm sits in the hand, for one."""
        return np.array(self.model.site(site).pos)

    def rotation(self, site: str) -> np.ndarray:
        """(3, 3) site frame -> pelvis frame."""
        return self.data.site(site).xmat.reshape(3, 3).copy()

    def jacobian(self, site: str) -> np.ndarray:
        """(6, J): linear then angular velocity of a site, columns in contract order."""
        if not self._com_known:
            mujoco.mj_comPos(self.model, self.data)
            self._com_known = True
        mujoco.mj_jacSite(self.model, self.data, self._jacobian[:3], self._jacobian[3:], self.model.site(site).id)
        for coupling, _, leader in reversed(self._couplings):
            if coupling.leader >= 0:
                follower, ahead = self.model.jnt_dofadr[[coupling.follower, coupling.leader]]
                self._jacobian[:, ahead] += coupling.slope(self.data.qpos[leader]) * self._jacobian[:, follower]
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


def reach_columns(table: joints.JointTable, side: str = "right") -> tuple[np.ndarray, np.ndarray]:
    """((n,) indices of waist and the arm of `side`, (n,) their joint cost)."""
    waist, arm = table.indices("waist"), table.indices("arm", side)
    return np.concatenate([waist, arm]), np.concatenate([np.full(len(waist), WAIST_COST), np.ones(len(arm))])
