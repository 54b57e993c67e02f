# SPDX-License-Identifier: Apache-2.0
"""A critic and what it says about every frame of some datasets, for the pages that judge critics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rove_learning import command_line
from rove_learning.algorithm.rewards import Normaliser
from rove_learning.config import RewardConfig, from_dict
from rove_learning.data.buffer import Buffer
from rove_learning.data.dataset import Dataset
from rove_learning.inference import checkpoint
from rove_learning.inference.scoring import advantages, values


@dataclass(frozen=True)
class ScoredCritic:
    """value, advantage, returns: (N,) steps, of the buffer's frames; returns: the episodes' own. horizon: H, steps."""

    buffer: Buffer
    value: np.ndarray
    advantage: np.ndarray
    returns: np.ndarray
    horizon: int


def score_critic(
    folder: str | Path,
    datasets: Sequence[Dataset],
    human_videos: bool,
    device: str = "cpu",
    progress: bool = True,
) -> ScoredCritic:
    """folder: a run of `train` or `train_critic`, whose rewards and cameras count. Raises ValueError."""
    critic, _ = checkpoint.load_critic(folder, device)
    reward = from_dict(RewardConfig, command_line.read_yaml(str(Path(folder) / "config.yaml"))["reward"])
    seen = critic.config.backbone
    buffer = Buffer(list(datasets), seen.image_size, human_videos, progress, cameras=seen.cameras)
    normaliser, horizon = Normaliser(float(critic.scale)), critic.config.horizon
    value = values(critic, buffer, device)
    advantage = advantages(buffer, value, reward, normaliser, horizon)
    returns = buffer.monte_carlo(buffer.rewards(reward), reward.gamma)
    return ScoredCritic(buffer, normaliser.steps(value), advantage, returns, horizon)
