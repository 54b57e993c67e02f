# SPDX-License-Identifier: Apache-2.0
"""What a human operator does wrong just after takeover (paper, sec. 3.1): hesitates, retracts the hand, adapts
slowly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rove_sim.tasks.erase_whiteboard import scene


@dataclass(frozen=True)
class Adaptation:
    """One draw of operator imperfection; all zero means none. Times in s since takeover, lengths in m, pelvis frame.

    hesitate_s: the hand hovers with `wander`. retract_s: then it is pulled back by `retract`. offset: misalignment of
    hand and intent, decays with offset_decay_s. turn: (3,) rad, the same for the wrist. slow_s: time until full speed,
    from slow_from.
    """

    hesitate_s: float = 0.0
    retract_s: float = 0.0
    retract: tuple[float, float, float] = (0.0, 0.0, 0.0)
    wander: float = 0.0
    wander_phase: float = 0.0
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    offset_decay_s: float = 1.0
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)
    slow_s: float = 0.0
    slow_from: float = 1.0

    @property
    def idle_s(self) -> float:
        """Time before the operator works towards the task again."""
        return self.hesitate_s + self.retract_s

    def idle_goal(self, time: float, start: np.ndarray) -> np.ndarray:
        """(3,) where the hand is drawn to while it hesitates and retracts; `start`: where takeover found it."""
        phase = self.wander_phase + 5.0 * time  # 0.8 Hz: a hand that looks for its place
        hover = self.wander * np.array([np.sin(phase), np.cos(0.7 * phase), np.sin(1.3 * phase)])
        return start + hover + (np.array(self.retract) if time >= self.hesitate_s else 0.0)

    def fade(self, time: float) -> float:
        """1 -> 0: what is left of offset and turn."""
        return float(np.exp(-max(0.0, time - self.idle_s) / self.offset_decay_s))

    def speed(self, time: float) -> float:
        """Fraction of the usual speed, slow_from -> 1."""
        if self.slow_s <= 0.0:
            return 1.0
        return self.slow_from + (1.0 - self.slow_from) * min(1.0, time / (self.idle_s + self.slow_s))


def draw(rng: np.random.Generator, imperfection: float) -> Adaptation:
    """Adaptation of an operator of `imperfection` in [0, 1]; 0: none. At 1 about 1.3 s pass before the task goes on."""
    if imperfection <= 0.0:
        return Adaptation()
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    pull = rng.uniform(0.05, 0.12) * scene.BOARD_N + rng.uniform(-0.02, 0.06) * np.array([0.0, 0.0, 1.0])
    return Adaptation(
        hesitate_s=imperfection * rng.uniform(0.3, 0.9),
        retract_s=imperfection * rng.uniform(0.4, 0.9),
        retract=tuple(imperfection * pull),
        wander=imperfection * rng.uniform(0.006, 0.015),
        wander_phase=rng.uniform(0.0, 2 * np.pi),
        offset=tuple(imperfection * rng.uniform(0.03, 0.06) * direction),
        offset_decay_s=0.4 + imperfection * rng.uniform(0.4, 0.9),
        turn=tuple(imperfection * rng.uniform(-0.2, 0.2, 3)),
        slow_s=imperfection * rng.uniform(1.0, 2.0),
        slow_from=1.0 - 0.5 * imperfection,
    )
