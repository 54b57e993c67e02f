# SPDX-License-Identifier: Apache-2.0
"""What a watching person sees of "put the bread into the toaster": advance, trouble, and signs of it (paper, App.
G).
"""

from __future__ import annotations

import numpy as np

from rove_sim.people.watching import Watch

ATTEMPTS = (3, 5)  # misaligned insertion attempts before a person intervenes (paper, App. G)
DROPPED_S = 1.0


class TaskWatch(Watch):
    """Draws at the start of an episode how many attempts this person lets the policy make."""

    def __init__(self, state: dict, rng: np.random.Generator):
        super().__init__(state, rng)
        self.attempts = int(rng.integers(ATTEMPTS[0], ATTEMPTS[1] + 1))
        self.had = state["held"] >= 0
        self.begun = state["insertion_attempts"]

    def advance(self, state: dict) -> float:
        """Progress: it rises while the hand nears a slice, carries it and lowers it into the slot."""
        return float(state["progress"])

    def trouble(self, state: dict, now: float) -> str:
        held = state["held"] >= 0
        done = any(item["inserted"] for item in state["slices"])
        self.had = self.had or held
        if self.lasts("dropped", self.had and not held and not done, now) > DROPPED_S:
            return "slice dropped"
        if state["insertion_attempts"] - self.begun >= self.attempts:
            return f"still misaligned after {self.attempts} attempts to insert"
        return ""
