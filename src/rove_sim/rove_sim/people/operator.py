# SPDX-License-Identifier: Apache-2.0
"""The person in the suit, scripted: which pose the operator takes in which mode. Core without ROS or sockets.

Rests at home while the policy runs; when the robot is paused, takes the robot's pose, slowly and not exactly; after
takeover hesitates, retracts and adapts (`imperfection`), then does the task like the expert; in a demonstration does
the task from the start.
"""

from __future__ import annotations

import numpy as np

from rove_contract.modes import Mode
from rove_description import joints, mjcf
from rove_description.kinematics import Kinematics
from rove_sim.tasks.erase_whiteboard.env_expert import Expert

ALIGN_TIME_S = 0.5  # time constant of taking the robot's pose; with the speed limit an alignment takes 1.5-3 s
ALIGN_SPEED = 1.2  # rad/s
REST_SPEED = 0.8  # rad/s
RESIDUAL = 0.10  # rad per arm joint at imperfection 1: 3-4 cm at the hand, well below the takeover threshold of 0.35


class ScriptedOperator:
    """rng: all randomness. imperfection in [0, 1] after takeover; demonstration_imperfection: in demonstrations.
    period_s: of `pose`.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        imperfection: float = 0.7,
        demonstration_imperfection: float = 0.0,
        period_s: float = 1.0 / 60.0,
        table: joints.JointTable | None = None,
    ):
        self.table = table or joints.load()
        self.rng = rng
        self.imperfection, self.demonstration_imperfection = imperfection, demonstration_imperfection
        self.period = period_s
        self.kinematics = Kinematics(self.table)
        self.expert = Expert(self.kinematics, rng, period_s=period_s)
        self.home = mjcf.home(self.table)
        self.ghost = self.home.copy()
        self.mode = Mode.IDLE
        self.residual = np.zeros(len(self.table))

    def _towards(self, goal: np.ndarray, speed: float, time_constant: float) -> None:
        step = (goal - self.ghost) * min(1.0, self.period / time_constant)
        self.ghost = self.ghost + np.clip(step, -speed * self.period, speed * self.period)

    def _enter(self, mode: Mode) -> None:
        driving = (Mode.ADAPTATION, Mode.RECOVERY)
        if mode is Mode.PAUSED:
            self.residual = np.zeros(len(self.table))
            arm = self.table.indices("arm", "right")
            self.residual[arm] = np.clip(self.imperfection * RESIDUAL * self.rng.normal(size=len(arm)), -0.22, 0.22)
        elif mode in driving and self.mode not in driving:
            self.expert.imperfection = self.imperfection
            self.expert.reset(self.ghost)
        elif mode is Mode.DEMONSTRATION:
            self.expert.imperfection = self.demonstration_imperfection
            self.expert.reset(self.ghost)
        self.mode = mode

    def pose(self, mode: Mode, q: np.ndarray | None, state: dict | None) -> np.ndarray:
        """The operator's own pose as a joint vector (50,) rad, one period later.

        q (50,): the robot's measured pose; state: the simulator's; either may be None when not known yet.
        """
        if mode is not self.mode:
            self._enter(mode)
        if mode is Mode.PAUSED and q is not None:
            self._towards(q + self.residual, ALIGN_SPEED, ALIGN_TIME_S)
        elif mode in (Mode.ADAPTATION, Mode.RECOVERY, Mode.DEMONSTRATION):
            if q is not None and state is not None:
                self.ghost = self.expert.target(q, state)
        elif mode in (Mode.IDLE, Mode.ROLLOUT):
            self._towards(self.home, REST_SPEED, 1.0)
        self.ghost = np.clip(self.ghost, self.table.limits.lower, self.table.limits.upper)
        return self.ghost
