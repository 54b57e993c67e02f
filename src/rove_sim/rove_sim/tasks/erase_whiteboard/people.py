# SPDX-License-Identifier: Apache-2.0
"""How people err when they erase the whiteboard (paper, sec. 3.1 and App. G)."""

from __future__ import annotations

import numpy as np

from rove_sim.people.mistakes import Mistake

FORCES = ("press",)  # fields of `Manner` that a person who feels no force gets wrong


def perceive(state: dict, error: np.ndarray) -> dict:
    """The state as a person takes it to be: an eraser that is not in the hand, and the ink, elsewhere.

    error: (2, 3) m, of the thing to grasp and of the place where it goes.
    """
    ink = [[stroke, u + error[1, 0], v + error[1, 1], amount] for stroke, u, v, amount in state["ink"]]
    if state["held"]:
        return state | {"ink": ink}
    return state | {"ink": ink, "eraser_pos": (np.array(state["eraser_pos"]) + error[0]).tolist()}


def _miss(manner, rng: np.random.Generator) -> None:
    manner.grasp_offset = manner.grasp_offset + [rng.choice([-1, 1]) * rng.uniform(0.03, 0.05), 0.01, 0.02]


def _press_lightly(manner, rng: np.random.Generator) -> None:
    manner.press = float(rng.uniform(0.05, 0.25)) * manner.press


def _press_hard(manner, rng: np.random.Generator) -> None:
    manner.press = float(rng.uniform(1.8, 2.5)) * manner.press
    manner.speed = 0.6 * manner.speed


def _wipe_beside(manner, rng: np.random.Generator) -> None:
    manner.wipe_offset = rng.choice([-1.0, 1.0], 2) * rng.uniform(0.04, 0.08, 2)


def _dawdle(manner, rng: np.random.Generator) -> None:
    manner.speed = 0.35 * manner.speed


MISTAKES = (
    Mistake("misses the eraser", ("descend",), 0.40, _miss, 3.0),
    Mistake("presses too lightly", ("press", "wipe"), 0.30, _press_lightly, 2.5),
    Mistake("presses too hard", ("press", "wipe"), 0.15, _press_hard, 2.5),
    Mistake("wipes where nothing is", ("carry",), 0.35, _wipe_beside, 4.0),
    Mistake("hesitates", ("approach", "carry", "press"), 0.25, _dawdle, 1.5),
)
