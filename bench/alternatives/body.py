# SPDX-License-Identifier: Apache-2.0
"""mink (differential IK by QP) for head, waist and arms."""

from __future__ import annotations

import mujoco
import numpy as np

from rove_description import mjcf

SIDES = mjcf.SIDES


class MinkBody:
    """One QP step per frame (mink's own teleoperation examples) on the robot without its fingers; head, chest, wrists,
    elbows.
    """

    def __init__(self, table, q, steps: int, period_s: float):
        import mink

        self.mink, self.table, self.steps, self.period_s = mink, table, steps, period_s
        spec = mujoco.MjSpec.from_string(mjcf.mjcf(table))
        fingers = [f"{side}_thumb_base" for side in SIDES] + [
            f"{side}_{f}_proximal" for side in SIDES for f in mjcf.FINGERS[1:]
        ]
        for actuator in list(spec.actuators):
            spec.delete(actuator)
        for name in fingers:
            spec.delete(spec.body(name))
        self.model = spec.compile()
        self.names = [name for name, block in zip(table.names, table.blocks) if block != "hand"]
        self.index = np.array([table.index[name] for name in self.names])
        self.adr = np.array([self.model.joint(name).qposadr[0] for name in self.names])
        self.configuration = mink.Configuration(self.model)
        start = self.configuration.q.copy()
        start[self.adr] = q[self.index]
        self.configuration.update(start)
        costs = {"head": (0.0, 1.0), "chest": (0.0, 1.0)}
        costs |= {f"{side}_wrist": (10.0, 1.0) for side in SIDES} | {f"{side}_elbow": (1.0, 0.0) for side in SIDES}
        self.tasks = {
            n: mink.FrameTask(n, "site", position_cost=p, orientation_cost=o, lm_damping=1e-6)
            for n, (p, o) in costs.items()
        }
        self.limits = [mink.ConfigurationLimit(self.model)]
        mujoco.mj_kinematics(self.model, self.configuration.data)
        self.pelvis = self.configuration.data.body("pelvis").xpos.copy()

    def solve(self, frame, q) -> None:
        mink = self.mink
        for name, task in self.tasks.items():
            part = frame.parts[name]
            rotation = mink.SO3(part[3:]) if len(part) == 7 else mink.SO3.identity()
            task.set_target(mink.SE3.from_rotation_and_translation(rotation, part[:3] + self.pelvis))
        for _ in range(self.steps):
            velocity = mink.solve_ik(
                self.configuration, list(self.tasks.values()), self.period_s, "daqp", damping=1e-6, limits=self.limits
            )
            self.configuration.integrate_inplace(velocity, self.period_s)
        q[self.index] = self.configuration.q[self.adr]
