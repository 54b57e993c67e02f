# SPDX-License-Identifier: Apache-2.0
"""What a watching person sees of "erase the whiteboard": advance, trouble, and signs of it (paper, App. G)."""

from __future__ import annotations

import numpy as np

from rove_sim.people.watching import Watch

DROPPED_S, FIST_S = 1.0, 1.5
FIST = 0.9  # rad, mean flexion: open fingers have 0.3, around the bar 1.3
BESIDE_S = 1.5  # of wiping where no ink goes before a person says so
DONE_S = 2.0  # off the board with ink left
NEAR_M = 0.30  # from here on an approach is seen as one
APPROACH = 0.10  # share of the task that an approach counts for


class TaskWatch(Watch):
    """Remembers since when the eraser was held and how much ink was there."""

    def __init__(self, state: dict, rng: np.random.Generator):
        super().__init__(state, rng)
        self.had = state["held"]
        self.least = state["ink_left"]

    def advance(self, state: dict) -> float:
        """Progress, and how near the hand is to the eraser or the held felt to the nearest ink."""
        return float(state["progress"]) + APPROACH * self._nearness(state)

    @staticmethod
    def _nearness(state: dict) -> float:
        eraser = np.array(state["eraser_pos"])
        if not state["held"]:
            distance = float(np.linalg.norm(eraser - state["hand_pos"])) - 0.05
        elif not state["ink"]:
            return 1.0 + float(np.clip(state["felt_height"] / 0.05, 0.0, 1.0))
        else:
            board = np.array(state["board"]).reshape(3, 3)
            away = eraser - board[0]
            u, v = board[1] @ away, board[2] @ away
            cells = np.array([cell[1:3] for cell in state["ink"]])
            distance = float(np.linalg.norm(cells - [u, v], axis=1).min()) + max(0.0, state["felt_height"])
        return float(np.clip(1.0 - distance / NEAR_M, 0.0, 1.0)) + (1.0 if state["held"] else 0.0)

    def trouble(self, state: dict, now: float) -> str:
        held = state["held"]
        self.had = self.had or held
        wiping = held and state["pressed"] > 0.5
        worn = state["ink_left"] < self.least - 0.002
        self.least = min(self.least, state["ink_left"])
        if self.lasts("dropped", self.had and not held and not state["success"], now) > DROPPED_S:
            return "eraser dropped"
        if self.lasts("fist", not held and state["hand_closure"] > FIST, now) > FIST_S:
            return "the hand closed without the eraser"
        if self.lasts("beside", wiping and not worn, now) > BESIDE_S:
            return "wiping does not advance toward the ink"
        partly = held and 0.02 < state["ink_left"] < 0.9 and state["felt_height"] > 0.05
        if self.lasts("partly", partly, now) > DONE_S:
            return "board partly erased, and the robot has stopped wiping"
        return ""
