# SPDX-License-Identifier: Apache-2.0
"""Mistakes of people at work: begun with a chance at a phase of the task, ended when the person notices."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mistake:
    """name: in words. phases: of the task's expert, in whose first moment it may begin. chance: per entry of such a
    phase for a person of skill 0. change: (manner, rng) -> None, what goes wrong. seconds: until the person notices; a
    phase that ends a while before does not end the mistake.
    """

    name: str
    phases: tuple[str, ...]
    chance: float
    change: Callable
    seconds: float


class Making:
    """The mistakes that a person makes, one at a time. factor: of the gap. made: names so far. now: name of the one
    that is being made, or "".
    """

    def __init__(self, mistakes: tuple[Mistake, ...], factor: float, rng: np.random.Generator):
        self.mistakes, self.factor, self.rng = mistakes, factor, rng
        self.made: list[str] = []
        self.phase, self.left_s = "", 0.0
        self.usual = None
        self.now = ""

    def follow(self, expert, period_s: float) -> None:
        """Once per period, after the expert has decided on its phase."""
        if self.usual is not None:
            self.left_s -= period_s
            if self.left_s <= 0.0:
                expert.manner, self.usual, self.now = self.usual, None, ""
        entered, self.phase = expert.phase != self.phase, expert.phase
        if not entered or self.usual is not None:
            return
        for mistake in self.mistakes:
            if expert.phase in mistake.phases and self.rng.random() < mistake.chance * self.factor:
                self.usual = expert.manner
                expert.manner = copy.deepcopy(expert.manner)
                mistake.change(expert.manner, self.rng)
                self.left_s = mistake.seconds
                self.made.append(mistake.name)
                self.now = mistake.name
                return
