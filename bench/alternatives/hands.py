# SPDX-License-Identifier: Apache-2.0
"""dex-retargeting (vector and DexPilot) and mink for one hand whose keypoints are in the wrist's frame.

Each has `solve(points (21, 3) m, scale) -> (n,) rad` in the order of `chains.index`, going on from its own last
solution. scale: robot's size / operator's.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import mujoco
import numpy as np

from rove_description import mjcf
from rove_description.kinematics import Kinematics
from rove_teleop.retargeting.hand_chains import HandChains

TIPS = [4, 8, 12, 16, 20]
MIDDLES = [2, 6, 10, 14, 18]  # thumb mcp, finger pip
KINDS = ("vector", "DexPilot")


def hand_urdf(model: mujoco.MjModel, side: str) -> str:
    """URDF of one hand, base = the wrist frame; a link per joint and one per fingertip and middle site."""
    links, rows = [f'<link name="{side}_wrist_link"/>'], []

    def rpy(quat):
        matrix = np.empty(9)
        mujoco.mju_quat2Mat(matrix, quat)
        m = matrix.reshape(3, 3)
        return (
            np.arctan2(m[2, 1], m[2, 2]),
            np.arctan2(-m[2, 0], np.hypot(m[2, 1], m[2, 2])),
            np.arctan2(m[1, 0], m[0, 0]),
        )

    def add(name, parent, kind, xyz, angles=(0, 0, 0), axis=None, limit=None):
        links.append(f'<link name="{name}"/>')
        own = name if kind == "revolute" else f"{name}_fixed"
        text = f'<joint name="{own}" type="{kind}"><parent link="{parent}"/><child link="{name}"/>'
        text += f'<origin xyz="{" ".join(map(str, xyz))}" rpy="{" ".join(map(str, angles))}"/>'
        if axis is not None:
            text += (
                f'<axis xyz="{" ".join(map(str, axis))}"/><limit lower="{limit[0]}" upper="{limit[1]}" effort="1" '
                f'velocity="6"/>'
            )
        rows.append(text + "</joint>")

    def walk(body, parent):
        last, xyz, angles = parent, model.body_pos[body], rpy(model.body_quat[body])
        for j in range(model.body_jntadr[body], model.body_jntadr[body] + model.body_jntnum[body]):
            add(model.joint(j).name, last, "revolute", xyz, angles, model.jnt_axis[j], model.jnt_range[j])
            last, xyz, angles = model.joint(j).name, (0, 0, 0), (0, 0, 0)
        for s in range(model.nsite):
            if model.site_bodyid[s] == body:
                add("site_" + model.site(s).name, last, "fixed", model.site_pos[s])
        for child in range(model.nbody):
            if model.body_parentid[child] == body:
                walk(child, last)

    root = model.body(f"{side}_wrist_link").id
    for child in range(model.nbody):
        if model.body_parentid[child] == root:
            walk(child, f"{side}_wrist_link")
    return f'<robot name="{side}_hand">{"".join(links)}{"".join(rows)}</robot>'


class DexHand:
    """One hand of dex-retargeting, without its low-pass. kind: see KINDS."""

    def __init__(self, kinematics: Kinematics, chains: HandChains, side: str, kind: str, start: np.ndarray):
        from dex_retargeting.retargeting_config import RetargetingConfig

        names = [kinematics.table.names[i] for i in chains.index]
        tips = [f"site_{side}_{finger}_tip" for finger in mjcf.FINGERS]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{side}.urdf"
            path.write_text(hand_urdf(kinematics.model, side))
            common = {"urdf_path": str(path), "target_joint_names": names, "low_pass_alpha": 1.0}
            if kind == "vector":
                middles = [f"site_{side}_thumb_mcp"] + [f"site_{side}_{finger}_pip" for finger in mjcf.FINGERS[1:]]
                config = RetargetingConfig(
                    type="vector",
                    target_origin_link_names=[f"{side}_wrist_link"] * 10,
                    target_task_link_names=tips + middles,
                    target_link_human_indices=np.array([[0] * 10, TIPS + MIDDLES]),
                    **common,
                )
            else:
                config = RetargetingConfig(
                    type="dexpilot", wrist_link_name=f"{side}_wrist_link", finger_tip_link_names=tips, **common
                )
            self.hand = config.build()
        self.pairs = np.asarray(self.hand.optimizer.target_link_human_indices)
        dofs = list(self.hand.optimizer.robot.dof_joint_names)
        self._back = np.array([dofs.index(name) for name in names])
        order = np.array([names.index(name) for name in dofs])
        self.hand.set_qpos(np.asarray(start, dtype=np.float32)[order])

    def solve(self, points: np.ndarray, scale: float) -> np.ndarray:
        origin, task = self.pairs
        return np.asarray(self.hand.retarget(scale * (points[task] - points[origin])))[self._back]


class MinkHand:
    """One hand by mink: position tasks on the fingertips, one QP step per frame, wrist fixed."""

    def __init__(self, kinematics: Kinematics, chains: HandChains, side: str, start: np.ndarray, period_s: float):
        import mink

        self.mink, self.period_s, self.side = mink, period_s, side
        model = kinematics.model
        self.configuration = mink.Configuration(model)
        self.adr = model.jnt_qposadr[kinematics.joint_ids[chains.index]]
        q = self.configuration.q.copy()
        q[self.adr] = start
        self.configuration.update(q)
        fixed = np.setdiff1d(np.arange(model.nv), model.jnt_dofadr[kinematics.joint_ids[chains.index]])
        self.freeze = mink.DofFreezingTask(model, fixed.tolist())
        self.tasks = [
            mink.FrameTask(f"{side}_{f}_tip", "site", position_cost=1.0, orientation_cost=0.0, lm_damping=1e-6)
            for f in mjcf.FINGERS
        ]
        self.limits = [mink.ConfigurationLimit(model)]
        self.wrist = self.configuration.data.site(f"{side}_wrist").xpos.copy()
        self.turn = self.configuration.data.site(f"{side}_wrist").xmat.reshape(3, 3).copy()

    def solve(self, points: np.ndarray, scale: float) -> np.ndarray:
        mink = self.mink
        for task, place in zip(self.tasks, scale * points[TIPS] @ self.turn.T + self.wrist):
            task.set_target(mink.SE3.from_rotation_and_translation(mink.SO3.identity(), place))
        velocity = mink.solve_ik(
            self.configuration,
            self.tasks,
            self.period_s,
            "daqp",
            damping=1e-6,
            limits=self.limits,
            constraints=[self.freeze],
        )
        self.configuration.integrate_inplace(velocity, self.period_s)
        return self.configuration.q[self.adr].copy()
