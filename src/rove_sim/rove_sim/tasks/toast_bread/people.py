# SPDX-License-Identifier: Apache-2.0
"""How people err when they put the bread into the toaster (paper, sec. 3.1 and App. G)."""

from __future__ import annotations

import numpy as np

from rove_sim.people.mistakes import Mistake

FORCES = ("push",)  # fields of `Manner` that a person who feels no force gets wrong


def perceive(state: dict, error: np.ndarray) -> dict:
    """The state as a person takes it to be: slices that are not in the hand, and the slots, elsewhere.

    error: (2, 3) m, of the thing to grasp and of the place where it goes.
    """
    slices = [
        item if item["held"] else item | {"position": (np.array(item["position"]) + error[0]).tolist()}
        for item in state["slices"]
    ]
    aside = error[1] * [1.0, 1.0, 0.0]  # people see when a slice touches the rim: the height is not mistaken
    slots = [slot | {"position": (np.array(slot["position"]) + aside).tolist()} for slot in state["slots"]]
    return state | {"slices": slices, "slots": slots}


def _miss(manner, rng: np.random.Generator) -> None:
    manner.grasp_offset = manner.grasp_offset + [rng.choice([-1, 1]) * rng.uniform(0.02, 0.035), 0.0, 0.012]


def _misalign(manner, rng: np.random.Generator) -> None:
    manner.insertion_offset = np.array([rng.uniform(-0.006, 0.006), rng.choice([-1, 1]) * rng.uniform(0.006, 0.012)])
    manner.insertion_turn = float(rng.uniform(-0.08, 0.08))
    manner.tolerance = 3.0 * manner.tolerance


def _push(manner, rng: np.random.Generator) -> None:
    _misalign(manner, rng)
    manner.push, manner.patience_s = 2.0 * manner.push, float(rng.uniform(1.5, 2.5))


def _grip_weakly(manner, rng: np.random.Generator) -> None:
    manner.grip = float(rng.uniform(0.80, 0.90))


def _let_go_early(manner, rng: np.random.Generator) -> None:
    manner.release_height = float(rng.uniform(0.015, 0.035))


def _dawdle(manner, rng: np.random.Generator) -> None:
    manner.speed = 0.35 * manner.speed


MISTAKES = (
    Mistake("misses the slice", ("descend",), 0.40, _miss, 3.0),
    Mistake("grips weakly", ("close",), 0.15, _grip_weakly, 3.0),
    Mistake("inserts misaligned", ("align",), 0.40, _misalign, 3.0),
    Mistake("pushes a misaligned slice", ("align",), 0.25, _push, 4.0),
    Mistake("lets go early", ("insert",), 0.10, _let_go_early, 2.0),
    Mistake("hesitates", ("approach", "carry", "align"), 0.25, _dawdle, 1.5),
)
