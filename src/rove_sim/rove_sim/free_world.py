# SPDX-License-Identifier: Apache-2.0
"""`FreeWorld`: any robot before nothing, for sessions without one of our tasks. It has the interface of
`rove_sim.world.World` as far as the robot node needs it.

Kinematic: joints are where the command asks them to be, one first-order lag later; nothing has mass and nothing is
touched. A description's model need not have masses, motors or gains that make sense, and a task with contact has a
world of its own.
"""

from __future__ import annotations

import numpy as np

from rove_contract import timing
from rove_description.kinematics import Kinematics
from rove_description.robot import Robot
from rove_sim.camera import Camera
from rove_sim.tasks.task import FREE_SPACE

LAG_S = 0.03  # time constant between command and joint: what a position-controlled arm has


class FreeWorld:
    """A robot that follows its commands. image_size: (H, W) px, or the side of square pictures. seed: counted only."""

    def __init__(self, robot: Robot, image_size: int | tuple[int, int] = 192, seed: int = 0):
        self.robot, self.table = robot, robot.table
        self.kinematics = Kinematics(robot.table, robot.model, robot.base)
        model, self.data = self.kinematics.model, self.kinematics.data
        self._address = model.jnt_qposadr[self.kinematics.joint_ids]
        model.vis.map.znear, model.vis.map.zfar = 0.02 / model.stat.extent, 20.0 / model.stat.extent
        model.vis.quality.shadowsize = model.vis.quality.offsamples = 0  # ten times as fast in software
        model.light_castshadow[:] = 0
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        model.vis.global_.offheight = max(model.vis.global_.offheight, size[0])
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, size[1])
        self.camera = Camera(model, size)
        self._share = 1.0 - np.exp(-timing.CONTROL_PERIOD_S / LAG_S)
        self.seed = seed - 1
        self.reset(seed)

    def reset(self, seed: int | None = None, start_stage: str | None = None) -> None:
        """The robot at home and at rest. Raises ValueError for a start stage other than "start"."""
        if start_stage not in (None, *FREE_SPACE.start_stages):
            raise ValueError(f"unknown start stage {start_stage!r}; {FREE_SPACE.name} has start")
        self.seed, self.start_stage, self.time = self.seed + 1 if seed is None else int(seed), "start", 0.0
        self.command = self.robot.home.copy()
        self.q, self.dq = self.command.copy(), np.zeros(len(self.table))
        self._show()

    def step(self, command: np.ndarray) -> None:
        """One control period (10 ms) with joint targets (J,) rad. Raises ValueError for a wrong shape or NaN/Inf."""
        command = np.asarray(command, dtype=np.float64)
        if command.shape != self.q.shape or not np.isfinite(command).all():
            raise ValueError(f"expected a finite command {self.q.shape}, got {command.shape}")
        self.command = command
        step = self._share * (command - self.q)
        self.q, self.dq = self.q + step, step / timing.CONTROL_PERIOD_S
        self.time += timing.CONTROL_PERIOD_S
        self._show()

    def _show(self) -> None:
        self.kinematics.forward(self.q)

    @property
    def qpos(self) -> np.ndarray:
        """(nq,) of the model, for `camera.render`."""
        return self.data.qpos

    @property
    def success(self) -> bool:
        """There is nothing to do: a person says how an episode ended."""
        return False

    def state(self) -> dict:
        """The keys of `World.state` that every world has."""
        return {
            "task": FREE_SPACE.name,
            "seed": self.seed,
            "start_stage": self.start_stage,
            "time": round(self.time, 4),
            "milestone": FREE_SPACE.milestones[0],
            "progress": 0.0,
            "success": False,
            "recoverable": True,
        }

    def close(self) -> None:
        """Free the GL context."""
        self.camera.close()


def make_world(task_name: str, robot: Robot, image_size: int | tuple[int, int], seed: int):
    """The world of a session: the task's, or a `FreeWorld`. Raises ValueError where the task is built for another
    robot.
    """
    from rove_sim.tasks import task as tasks

    if task_name == FREE_SPACE.name:
        return FreeWorld(robot, image_size, seed)
    return tasks.get(task_name).check_robot(robot.card).make_world(image_size, seed, table=robot.table)
