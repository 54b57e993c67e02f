"""Advantages and labels of D^actor (Algorithm 1, lines 4-6), written to labels.npz beside the checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rove_learning.advantage import LABELERS, NEEDS_CRITIC, Labels, h_step_advantage
from rove_learning.buffer import Buffer
from rove_learning.config import CriticConfig, LabelConfig, RewardConfig
from rove_learning.critic import Critic
from rove_learning.rewards import Normaliser
from rove_learning.train_critic import values


def label(
    buffer: Buffer, critic: Critic | None, method: str, reward: RewardConfig, critic_config: CriticConfig, config: LabelConfig,
    device: str = "cpu",
) -> tuple[Labels, np.ndarray, np.ndarray]:  # fmt: skip
    """Labels, V(s) (N,) normalised and advantages (N,) in steps; NaN without a critic. Raises ValueError where the method needs one."""
    n = len(buffer)
    value, advantage = np.full(n, np.nan), np.full(n, np.nan)
    if critic is not None:
        normaliser = Normaliser.of(reward.c_fail, reward.max_steps)
        value = values(critic, buffer, device)
        r = buffer.rewards(reward)
        for s in buffer.slices():
            advantage[s] = h_step_advantage(r[s], normaliser.steps(value[s]), critic_config.horizon, reward.gamma)
    elif method in NEEDS_CRITIC:
        raise ValueError(f"the method {method} labels with advantages and needs a critic")
    labels = LABELERS[method](advantage, buffer.stage, buffer.outcome, config.percentile)
    if not labels.keep.any():
        raise ValueError(f"the method {method} keeps none of the {n} frames; {method} needs e.g. successful demonstrations in the dataset")
    return labels, value, advantage


def save(path: Path, buffer: Buffer, labels: Labels, value: np.ndarray, advantage: np.ndarray) -> None:
    """labels.npz: one row per frame of D^actor, in the buffer's order, and the threshold."""
    np.savez_compressed(
        path, episode=buffer.episode, frame=np.arange(len(buffer)) - buffer.first, stage=buffer.stage, outcome=buffer.outcome,
        value=value, advantage=advantage, positive=labels.positive, keep=labels.keep, threshold=labels.threshold,
        episode_id=np.array([e.episode_id for e in buffer.episodes]), kind=np.array([e.kind for e in buffer.episodes]),
    )  # fmt: skip
