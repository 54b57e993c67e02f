# SPDX-License-Identifier: Apache-2.0
"""Advantages and improvement labels of D^actor (Algorithm 1, lines 4-6)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rove_learning.algorithm.advantage import Labels, centred
from rove_learning.data.buffer import Buffer
from rove_learning.inference.scoring import advantages, values
from rove_learning.models.critic import Critic
from rove_learning.training import processes
from rove_learning.training.buffers import Buffers, observations
from rove_learning.training.plan import Plan


@dataclass(frozen=True)
class Scores:
    """Per frame of a buffer: value (N,) in [-1, 0] and advantage (N,) in steps; NaN without a critic."""

    value: np.ndarray
    advantage: np.ndarray

    def at(self, frames: np.ndarray) -> Scores:
        """The scores of some frames (N,) bool."""
        return Scores(self.value[frames], self.advantage[frames])


def score(plan: Plan, buffers: Buffers, critic: Critic, folds: Sequence[Critic] = ()) -> Scores:
    """Score the frames of D^critic, every process a part of them (Algorithm 1, line 4). folds: critics of
    `labels.folds`, each for the episodes that it does not know.
    """
    config, buffer = plan.config, buffers.critic
    observe = observations(plan, buffer, critic.backbone) if critic.backbone.fingerprint else None
    group = processes.group(config.device)
    values_ = [values(each, buffer, config.device, observe=observe, processes=group) for each in folds or (critic,)]
    value = np.choose(buffer.folds(len(values_)), values_)
    return Scores(value, advantages(buffer, value, config.reward, plan.normaliser, config.critic.horizon))


def assign(plan: Plan, buffer: Buffer, advantage: np.ndarray) -> Labels:
    """Label D^actor (Algorithm 1, lines 5 and 6; App. E). advantage: (N,) steps, NaN without a critic. Raises
    ValueError.
    """
    name = plan.config.method
    if plan.method.critic is not None and not np.isfinite(advantage).all():
        raise ValueError(f"the method {name} labels with advantages and needs a critic")
    labels = plan.method.label(advantage, buffer.label_frames(), plan.config.labels.percentile)
    if not labels.keep.any():
        raise ValueError(
            f"the method {name} keeps none of the {len(buffer)} frames; it needs e.g. successful demonstrations "
            f"in the data"
        )
    return labels


def centre(plan: Plan, buffer: Buffer, scores: Scores) -> Scores:
    """The scores with the advantages that the labels compare with the threshold (`labels.centre`)."""
    by = plan.config.labels.centre
    if by == "none" or plan.method.critic is None:
        return scores
    return replace(
        scores, advantage=centred(scores.advantage, buffer.stage if by == "stage" else buffer.dataset_numbers())
    )


def unscored(buffer: Buffer) -> Scores:
    """The scores of a run without a critic."""
    return Scores(np.full(len(buffer), np.nan), np.full(len(buffer), np.nan))


def digest(labels: Labels) -> str:
    """12 hex digits of the labels: an actor is resumed on the labels it was begun with."""
    return hashlib.sha256(labels.positive.tobytes() + labels.keep.tobytes()).hexdigest()[:12]


def shares(labels: Labels) -> dict:
    """Share of kept frames, of positive ones among them, and the threshold in steps (None without a critic)."""
    return {
        "kept": float(labels.keep.mean()),
        "positive": float(labels.positive[labels.keep].mean()),
        "threshold_steps": labels.threshold if math.isfinite(labels.threshold) else None,
    }
