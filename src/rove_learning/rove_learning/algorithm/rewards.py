# SPDX-License-Identifier: Apache-2.0
"""Rewards from stage and outcome (paper, eq. 2) and the one normalisation of returns to [-1, 0]."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def penalty_frame(length: int, success: bool, adaptation_end: int, takeover: int, penalty_at: str = "recovery") -> int:
    """Frame of the intervention penalty, -1 for none.

    adaptation_end: first frame behind the initial adaptation stage, -1 without an intervention, `length` where it
    lasts to the end. takeover: its first frame. penalty_at "recovery": the penalty is at adaptation_end = t_r (paper,
    sec. 3.1); "takeover": at the stage's start (ablation, Table 1).

    The paper: "t_r marks the end of the initial adaptation stage, after which intervention begins to produce sustained
    task progress". So a second takeover of the same episode adds no second penalty. Where the paper is silent (ours):
    an operator who hands back to the policy while still adapting ends the stage there; an intervention that reached
    success while adapting is penalised at the last frame but one, because eq. 2 gives the last frame the success
    reward and without the penalty the adaptation would count as a perfect recovery.
    """
    if takeover < 0 and adaptation_end < 0:
        return -1
    frame = takeover if penalty_at == "takeover" and takeover >= 0 else adaptation_end
    if success:
        return min(frame, max(length - 2, 0))
    return frame if frame < length else -1  # the failure at T says it already


def rewards(length: int, success: bool, *, c_fail: float, penalty: int = -1) -> Floats:
    """Eq. 2: (T,) rewards in steps; T = length, the last frame is the paper's t = T.

    0 at the last frame of a success, c_fail at the last frame of a failure and at `penalty` (see `penalty_frame`), -1
    otherwise; the first case that matches counts, as printed. A failure under the operator's hands gets c_fail too: eq.
    2 names autonomous rollouts only, but without it a failed recovery would look like a success (ours). Raises
    ValueError for an empty episode and a penalty outside it.
    """
    if length < 1:
        raise ValueError(f"an episode needs at least one frame, got {length}")
    if not -1 <= penalty < length:
        raise ValueError(f"the penalty frame {penalty} is outside the episode of {length} frames")
    r = np.full(length, -1.0)
    if penalty >= 0:
        r[penalty] = c_fail
    r[-1] = 0.0 if success else c_fail
    return r


def pretraining_c_fail(lengths: Iterable[int]) -> float:
    """C_fail of pretraining: minus the mean episode length of the task (paper, sec. 3.1)."""
    return -float(np.mean(list(lengths)))


PENALTIES = 2  # C_fail that can meet in one return: at t_r and at T (eq. 2)


@dataclass(frozen=True)
class Normaliser:
    """Returns in steps <-> [-1, 0]: divided by `scale`, a number of steps that no return exceeds (App. G).

    Linear, so rewards are divided by the same number and sums stay sums. Nothing is clipped.
    """

    scale: float

    @classmethod
    def of(cls, c_fail: float, longest: int) -> Normaliser:
        """The scale of episodes of at most `longest` steps: their steps and as many C_fail as can meet in one."""
        return cls(longest + PENALTIES * abs(c_fail))

    def rewards(self, r: Floats) -> Floats:
        """Rewards in steps -> normalised."""
        return r / self.scale

    def returns(self, g: Floats) -> Floats:
        """Returns in steps -> [-1, 0]. Raises ValueError for one beyond the scale."""
        worst = float(np.min(g, initial=0.0))
        if worst < -self.scale * (1 + 1e-9):
            raise ValueError(f"a return of {worst:g} steps is beyond the normalisation's scale of {self.scale:g} steps")
        return g / self.scale

    def steps(self, value: Floats) -> Floats:
        """Normalised values -> steps."""
        return value * self.scale
