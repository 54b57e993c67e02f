# SPDX-License-Identifier: Apache-2.0
"""What a person sees who watches the robot at a task, and how attentive that person is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


class Watch:
    """Base of a task's watch; one per episode. state: at its start. rng: of the person."""

    def __init__(self, state: dict, rng: np.random.Generator):
        self.since: dict[str, float] = {}

    def lasts(self, name: str, condition: bool, now: float) -> float:
        """s for which a condition has held without a gap; 0 when it does not hold."""
        if not condition:
            self.since.pop(name, None)
            return 0.0
        return now - self.since.setdefault(name, now)

    def advance(self, state: dict) -> float:
        """How far the work is, rising with every productive motion; 1 is about the whole task."""
        raise NotImplementedError

    def trouble(self, state: dict, now: float) -> str:
        """What is going wrong, in words; empty when nothing is."""
        raise NotImplementedError


@dataclass(frozen=True)
class Attention:
    """How a supervisor watches. reaction_s: median from seeing trouble to pressing pause; spread: of its logarithm.

    miss_rate: share of troubles that are not noticed at first; missed_s: until they are. false_alarm_hz: pauses per
    second of a rollout in which nothing is wrong. mark_s: median from the beginning of sustained progress to marking
    it.
    """

    reaction_s: float = 0.6
    spread: float = 0.35
    miss_rate: float = 0.10
    missed_s: float = 4.0
    false_alarm_hz: float = 0.01
    mark_s: float = 0.5

    def react(self, rng: np.random.Generator) -> float:
        """s until the person acts on a trouble."""
        late = self.missed_s if rng.random() < self.miss_rate else 0.0
        return late + self.reaction_s * float(np.exp(self.spread * rng.normal()))

    def mark(self, rng: np.random.Generator) -> float:
        """s until the person marks the beginning of recovery."""
        return self.mark_s * float(np.exp(self.spread * rng.normal()))


RISE = 0.012  # of `Watch.advance`: about 3 cm of a purposeful approach, 1.5 cm of a wiped stroke
SUSTAINED_S = 0.4  # for which the advance keeps its rise before a person trusts it


class AdaptationEnd:
    """When the adaptation of an intervention is over (t_r), seen from outside: "intervention begins to produce
    sustained task progress" (paper, sec. 3.1). Begun at takeover; `over` is called once per step.
    """

    def __init__(self, watch: Watch, state: dict, delay_s: float):
        self.watch, self.delay_s = watch, delay_s
        self.lowest = watch.advance(state)
        self.since: float | None = None

    def over(self, state: dict, now: float) -> bool:
        """True from the moment on when a watching person says "recovered". now: s."""
        if state["success"]:
            return True
        advance = self.watch.advance(state)
        self.lowest = min(self.lowest, advance)
        if advance - self.lowest < RISE:
            self.since = None
            return False
        if self.since is None:
            self.since = now
        return now - self.since >= SUSTAINED_S + self.delay_s
