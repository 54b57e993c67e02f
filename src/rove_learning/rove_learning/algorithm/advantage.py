# SPDX-License-Identifier: Apache-2.0
"""H-step advantage, threshold and improvement labels (paper, Algorithm 1 lines 4-6, App. E and F)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rove_contract.modes import Outcome, Stage
from rove_learning.algorithm.targets import ove_target, segment_rewards


@dataclass(frozen=True)
class Labels:
    """Per frame of D^actor: positive (N,) bool = I_t; keep (N,) bool = the chunk is trained on; threshold: eta, NaN
    without a critic.
    """

    positive: np.ndarray
    keep: np.ndarray
    threshold: float


def h_step_advantage(r: np.ndarray, value: np.ndarray, horizon: int, gamma: float = 1.0) -> np.ndarray:
    """Algorithm 1, line 4: A(s_t, a_{t:t+H-1}) (T,) of one episode. r: (T,) rewards and value: (T,) V(s_t), in the same
    unit.
    """
    sums, following, discount = segment_rewards(r, horizon, gamma)
    return ove_target(sums, discount, value[following]) - value


def threshold(advantage: np.ndarray, percentile: float = 70.0) -> float:
    """eta: the 70th percentile of the advantages in D^actor (App. F), linear between neighbours."""
    return float(np.percentile(advantage, percentile))


def rove(advantage: np.ndarray, stage: np.ndarray, outcome: np.ndarray, percentile: float = 70.0) -> Labels:
    """I = 1{A > eta}; every chunk is trained on, negatives under the negative condition."""
    eta = threshold(advantage, percentile)
    return Labels(advantage > eta, np.ones(len(advantage), dtype=bool), eta)


def recap(advantage: np.ndarray, stage: np.ndarray, outcome: np.ndarray, percentile: float = 70.0) -> Labels:
    """As `rove` with the advantages of an MC critic, and the intervention after adaptation is positive throughout (App.
    E).
    """
    eta = threshold(advantage, percentile)
    return Labels((advantage > eta) | (stage == Stage.RECOVERY), np.ones(len(advantage), dtype=bool), eta)


def filtered_bc(advantage: np.ndarray, stage: np.ndarray, outcome: np.ndarray, percentile: float = 70.0) -> Labels:
    """Rollout and intervention chunks with A <= eta or from failed episodes are dropped, demonstrations stay; then
    plain BC (App. E).
    """
    eta = threshold(advantage, percentile)
    good = (advantage > eta) & (outcome == Outcome.SUCCESS)
    return Labels(np.ones(len(advantage), dtype=bool), good | _demonstrated(stage, outcome), eta)


def hg_dagger(advantage: np.ndarray, stage: np.ndarray, outcome: np.ndarray, percentile: float = 70.0) -> Labels:
    """Demonstrations and every human-intervention action, adaptation included, as positives; the policy's own are
    dropped (App. E).
    """
    human = (stage == Stage.ADAPTATION) | (stage == Stage.RECOVERY)
    return Labels(np.ones(len(stage), dtype=bool), human | _demonstrated(stage, outcome), float("nan"))


def sft(advantage: np.ndarray, stage: np.ndarray, outcome: np.ndarray, percentile: float = 70.0) -> Labels:
    """Plain imitation of the demonstrations that succeeded."""
    return Labels(np.ones(len(stage), dtype=bool), _demonstrated(stage, outcome), float("nan"))


def _demonstrated(stage: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    return (stage == Stage.DEMONSTRATION) & (outcome == Outcome.SUCCESS)


LABELERS = {"rove": rove, "recap": recap, "filtered_bc": filtered_bc, "hg_dagger": hg_dagger, "sft": sft}
NEEDS_CRITIC = ("rove", "recap", "filtered_bc")
CONDITIONED = ("rove", "recap")  # trained with both text conditions; the others know the positive one only
