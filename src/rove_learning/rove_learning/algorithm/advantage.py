# SPDX-License-Identifier: Apache-2.0
"""H-step advantage, threshold and ROVE's improvement labels (paper, Algorithm 1 lines 4-6, App. F)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rove_learning.algorithm.targets import Floats, ove_target, segment_rewards

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Frames:
    """What the labelling methods know of the N frames of D^actor beside their advantage; (N,) bool each.

    demonstration, adaptation, recovery: the frame's stage (none of them: the policy acts). success: its episode
    succeeded.
    """

    demonstration: Flags
    adaptation: Flags
    recovery: Flags
    success: Flags

    def __len__(self) -> int:
        return len(self.success)

    @property
    def intervention(self) -> Flags:
        """A person has taken over."""
        return self.adaptation | self.recovery


@dataclass(frozen=True)
class Labels:
    """Per frame of D^actor: positive (N,) bool = I_t; keep (N,) bool = the chunk is trained on; threshold: eta in
    steps, NaN without a critic.
    """

    positive: Flags
    keep: Flags
    threshold: float


def h_step_advantage(r: Floats, value: Floats, horizon: int, gamma: float = 1.0) -> Floats:
    """Algorithm 1, line 4: A(s_t, a_{t:t+H-1}) (T,) of one episode. r: (T,) rewards and value: (T,) V(s_t), in the same
    unit.
    """
    sums, following, discount = segment_rewards(r, horizon, gamma)
    return ove_target(sums, discount, value[following]) - value


def threshold(advantage: Floats, percentile: float = 70.0) -> float:
    """eta: the 70th percentile of the advantages in D^actor (App. F), linear between neighbours."""
    return float(np.percentile(advantage, percentile))


def centred(advantage: Floats, group: NDArray[np.int64]) -> Floats:
    """(N,) advantages minus the mean of their group (N,): takes out what a critic's bias adds to a whole group. Not in
    the paper.
    """
    out = np.asarray(advantage, dtype=np.float64).copy()
    for number in np.unique(group):
        out[group == number] -= out[group == number].mean()
    return out


def label_rove(advantage: Floats, frames: Frames, percentile: float) -> Labels:
    """I = 1{A > eta} (Algorithm 1, line 6); every chunk is trained on, negatives under the negative condition."""
    eta = threshold(advantage, percentile)
    return Labels(advantage > eta, np.ones(len(frames), dtype=bool), eta)
