# SPDX-License-Identifier: Apache-2.0
"""The person in the suit: which pose the operator takes in which mode. Core without ROS or sockets.

Rests at home while the policy runs; when the robot is paused, takes the robot's pose, slowly and not exactly; after
takeover adapts (`adaptation`), then does the task as the expert would, through the teleoperation gap (`gap`) and with
the mistakes of that task. Demonstrations are given by the same people through the same gap.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from dataclasses import dataclass

import numpy as np

from rove_contract.modes import Mode
from rove_description import joints, mjcf
from rove_description.kinematics import Kinematics
from rove_sim.people import adaptation
from rove_sim.people.gap import NO_GAP, Gap, Wander
from rove_sim.people.mistakes import Making

ALIGN_TIME_S = 0.5  # time constant of taking the robot's pose; with the speed limit an alignment takes 1.5-3 s
ALIGN_SPEED = 1.2  # rad/s
REST_SPEED = 0.8  # rad/s
RESIDUAL_LIMIT = 0.22  # rad; below the takeover threshold of 0.35
COAST_S = 0.6  # a hand that continues what was failing keeps the robot's last motion, fading with this time constant
FUMBLE_SPEED, FUMBLE_TOLERANCE, FUMBLE_M = 0.5, 2.0, 0.03  # share of speed, factor of tolerance, m of misalignment
WORKING = (Mode.ADAPTATION, Mode.RECOVERY, Mode.DEMONSTRATION)


@dataclass(frozen=True)
class Person:
    """An operator of a session. skill in [0, 1]; None: the expert without any gap."""

    name: str
    skill: float | None

    @property
    def gap(self) -> Gap:
        return NO_GAP if self.skill is None else Gap.of(self.skill)


# Four people of a lab, from practised to new; a session's episodes are shared out among them in turn.
CREW = (Person("operator 1", 0.85), Person("operator 2", 0.65), Person("operator 3", 0.45), Person("operator 4", 0.25))
EXPERT = Person("expert", None)


class Operator:
    """task: of `rove_sim.tasks`. person: who plays. rng: all randomness. period_s: time between calls of `pose`.

    adapting: whether the person, by intention, does not work yet. behaviour: what the person is doing, in a word.
    """

    def __init__(
        self,
        task,
        person: Person,
        rng: np.random.Generator,
        period_s: float = 1.0 / 60.0,
        table: joints.JointTable | None = None,
    ):
        self.table = table or joints.load()
        self.task, self.person, self.gap, self.rng, self.period = task, person, person.gap, rng, period_s
        self.kinematics = Kinematics(self.table)
        self.expert = task.make_expert(self.kinematics, rng, period_s)
        self.home = mjcf.home(self.table)
        self.ghost = self.home.copy()
        self.mode = Mode.IDLE
        self.residual = np.zeros(len(self.table))
        self.moved = np.concatenate([self.table.indices("waist"), self.table.indices("arm")])
        self.seen: deque[tuple[np.ndarray, dict]] = deque()
        self.plan: list[adaptation.Behaviour] = []
        self.behaviour = "rest"

    @property
    def adapting(self) -> bool:
        return self.mode in WORKING and self.behaviour in adaptation.KINDS

    @property
    def doing(self) -> str:
        """What the person is doing, in a word: the behaviour, or the mistake that is being made."""
        return self.making.now if self.behaviour == "work" and self.making.now else self.behaviour

    @property
    def mistakes(self) -> list[str]:
        """Names of the mistakes made since the last takeover or start."""
        return self.making.made if self.mode in WORKING else []

    # ---- modes

    def _towards(self, goal: np.ndarray, speed: float, time_constant: float) -> None:
        step = (goal - self.ghost) * min(1.0, self.period / time_constant)
        self.ghost = self.ghost + np.clip(step, -speed * self.period, speed * self.period)

    def _enter(self, mode: Mode, q: np.ndarray | None) -> None:
        before, self.mode = self.mode, mode
        self.seen.clear()
        if mode is Mode.PAUSED:
            self.residual = np.zeros(len(self.table))
            arm = self.table.indices("arm", "right")
            residual = self.gap.residual_rad * self.rng.normal(size=len(arm))
            self.residual[arm] = np.clip(residual, -RESIDUAL_LIMIT, RESIDUAL_LIMIT)
        elif mode in WORKING and before not in WORKING:
            # Who begins without a pause stands as the robot stands: one that opens its hand drops what it holds. So a
            # demonstration begins, and a person whose process was started again in the middle of the work.
            if before is not Mode.PAUSED and q is not None:
                self.ghost = np.array(q)
            self._take_over(adaptation.draw(self.rng, self.gap) if mode is Mode.ADAPTATION else ())

    def _take_over(self, plan: tuple[adaptation.Behaviour, ...]) -> None:
        self.expert.manner = self._manner()
        self.expert.reset(self.ghost)
        self.making = Making(self.task.people.MISTAKES, self.gap.mistakes, self.rng)
        self.perception = Wander(self.rng, (2, 3), self.gap.perception_m, self.gap.perception_s)
        self.tracking = Wander(self.rng, len(self.moved), self.gap.tracking_rad, self.gap.tracking_s)
        self.start = self.tracking.value.copy()  # the person has aligned: the error at this moment is the residual
        self.plan, self.left_s = list(plan), 0.0
        self.coast = np.zeros(len(self.table))
        self.behaviour = "work" if not plan else ""

    # ---- one period

    def pose(self, mode: Mode, q: np.ndarray | None, state: dict | None) -> np.ndarray:
        """The operator's own pose as a joint vector (J,) rad, one period later.

        q (J,): the robot's measured pose; state: the simulator's; either may be None when not known yet.
        """
        if mode is not self.mode:
            self._enter(mode, q)
        if mode is Mode.PAUSED and q is not None:
            self._towards(q + self.residual, ALIGN_SPEED, ALIGN_TIME_S)
        elif mode in WORKING:
            if q is not None and state is not None:
                self.ghost = self._work(np.array(q), state)
        elif mode in (Mode.IDLE, Mode.ROLLOUT):
            self._towards(self.home, REST_SPEED, 1.0)
        self.ghost = np.clip(self.ghost, self.table.limits.lower, self.table.limits.upper)
        return self.ghost

    def _work(self, q: np.ndarray, state: dict) -> np.ndarray:
        q, state = self._see(q, state)
        self._adapt(q)
        if self.behaviour == "continue":
            self.coast *= np.exp(-self.period / COAST_S)
            target = self.ghost + self.coast * self.period
        else:
            target = self.expert.target(q, self.task.people.perceive(state, self.perception.advance(self.period)))
        if self.behaviour == "work":
            self.making.follow(self.expert, self.period)
        self.aim = target
        target = target.copy()
        target[self.moved] += self.tracking.advance(self.period) - self.start
        self.start *= np.exp(-self.period / self.gap.tracking_s)
        return target

    def _see(self, q: np.ndarray, state: dict) -> tuple[np.ndarray, dict]:
        """What the person sees now: the robot and the scene as they were `delay_s` ago."""
        self.seen.append((q, state))
        while len(self.seen) > max(1, round(self.gap.delay_s / self.period)):
            self.seen.popleft()
        return self.seen[0]

    def _adapt(self, q: np.ndarray) -> None:
        """Go on to the next behaviour when the present one is over."""
        if self.behaviour == "work":
            return
        self.left_s -= self.period
        if self.left_s > 0.0:
            return
        if self.behaviour == "fumble":
            self.expert.manner = self.usual
        elif self.behaviour == "continue":
            self.expert.reset(self.ghost)
        if not self.plan:
            self.behaviour = "work"
            return
        behaviour = self.plan.pop(0)
        self.behaviour, self.left_s = behaviour.kind, behaviour.seconds
        if behaviour.kind == "hesitate":
            self.expert.hesitate(behaviour.seconds)
        elif behaviour.kind == "draw_back":
            self.expert.draw_back(behaviour.seconds, behaviour.distance)
        elif behaviour.kind == "continue":
            self.coast = self._last_motion(q)
        else:
            self._fumble()

    def _manner(self):
        """How this person works today: slower and less exact than the expert, with forces that nobody feels."""
        manner = self.task.make_manner()
        manner.speed *= (
            self.gap.speed * float(np.exp(0.05 * self.rng.normal())) if self.person.skill is not None else 1.0
        )
        manner.tolerance *= self.gap.tolerance
        for name in self.task.people.FORCES:
            setattr(manner, name, getattr(manner, name) * float(np.exp(self.gap.force * self.rng.normal())))
        return manner

    def _fumble(self) -> None:
        """Work, but slowly and beside the place."""
        offset = self.rng.normal(size=3)
        self.usual = self.expert.manner
        self.expert.manner = dataclasses.replace(
            self.usual,
            speed=FUMBLE_SPEED * self.usual.speed,
            tolerance=FUMBLE_TOLERANCE * self.usual.tolerance,
            grasp_offset=self.usual.grasp_offset + FUMBLE_M * offset / np.linalg.norm(offset),
        )

    def _last_motion(self, q: np.ndarray) -> np.ndarray:
        """(J,) rad/s towards where the arm was heading: from the seen pose to the ghost, at a hand's usual pace."""
        way = np.zeros(len(self.table))
        way[self.moved] = (self.ghost - q)[self.moved]
        largest = np.abs(way).max()
        return way * (0.2 / largest) if largest > 1e-6 else way
