# SPDX-License-Identifier: Apache-2.0
"""Rewards from stage and outcome (paper, eq. 2) and the one normalisation of returns to [-1, 0]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rove_contract.modes import Outcome


def penalty_frame(length: int, outcome: int, t_r: int, takeover: int, penalty_at: str = "recovery") -> int:
    """Frame of the intervention penalty, -1 for none.

    "recovery": t_r, the end of the adaptation stage (paper, sec. 3.1). "takeover": its start (ablation, Table 1). An
    intervention that reached success while adapting (no t_r, or t_r at the last frame) is penalised at the last frame
    but one: eq. 2 gives the last frame the success reward, and without the penalty the adaptation would count as a
    perfect recovery (ours; the paper is silent).
    """
    if takeover < 0 and t_r < 0:
        return -1
    if penalty_at == "takeover" and takeover >= 0:
        frame = takeover
    elif t_r >= 0:
        frame = t_r
    else:
        frame = length if outcome == Outcome.SUCCESS else -1
    return min(frame, max(length - 2, 0)) if outcome == Outcome.SUCCESS else frame


def rewards(length: int, outcome: int, *, c_fail: float, penalty: int = -1) -> np.ndarray:
    """Eq. 2: (T,) float64 rewards in steps; T = length, the last frame is the paper's t = T.

    0 at the last frame of a success, c_fail at the last frame of a failure and at `penalty` (see `penalty_frame`), -1
    otherwise; the first case that matches counts, as printed. A failure under the operator's hands gets c_fail too: eq.
    2 names autonomous rollouts only, but without it a failed recovery would look like a success (ours). Raises
    ValueError for other outcomes.
    """
    if length < 1:
        raise ValueError(f"an episode needs at least one frame, got {length}")
    if outcome not in (Outcome.SUCCESS, Outcome.FAILURE):
        raise ValueError(
            f"rewards need an outcome SUCCESS or FAILURE, got {Outcome(outcome).name}; such episodes are not trained on"
        )
    if not -1 <= penalty < length:
        raise ValueError(f"the penalty frame {penalty} is outside the episode of {length} frames")
    r = np.full(length, -1.0)
    if penalty >= 0:
        r[penalty] = c_fail
    r[-1] = 0.0 if outcome == Outcome.SUCCESS else c_fail
    return r


def pretraining_c_fail(lengths: Any) -> float:
    """C_fail of pretraining: minus the mean episode length of the task (paper, sec. 3.1)."""
    return -float(np.mean(lengths))


@dataclass(frozen=True)
class Normaliser:
    """Returns in steps <-> [-1, 0]: divide by scale = max_steps + |c_fail|, the return of the longest episode that
    fails (App. G).

    Linear, so rewards are divided by the same number and sums stay sums. A worse return (penalty at t_r and failure) is
    clipped to -1.
    """

    scale: float

    @classmethod
    def of(cls, c_fail: float, max_steps: int) -> Normaliser:
        return cls(max_steps + abs(c_fail))

    def rewards(self, r: Any) -> Any:
        """Rewards in steps -> normalised, not clipped."""
        return r / self.scale

    def returns(self, g: Any) -> Any:
        """Returns in steps -> [-1, 0]."""
        return np.clip(g / self.scale, -1.0, 0.0)

    def steps(self, value: Any) -> Any:
        """Normalised value -> steps, for display."""
        return value * self.scale
