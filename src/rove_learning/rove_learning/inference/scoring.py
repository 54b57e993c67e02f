# SPDX-License-Identifier: Apache-2.0
"""What a critic says about the frames of a buffer: values and advantages."""

from __future__ import annotations

import numpy as np
import torch

from rove_learning.algorithm.advantage import h_step_advantage
from rove_learning.algorithm.rewards import Normaliser
from rove_learning.config import RewardConfig
from rove_learning.data.buffer import Buffer
from rove_learning.data.observations import Observations, PictureObservations
from rove_learning.models.critic import Critic


@torch.no_grad()
def values(
    critic: Critic,
    buffer: Buffer,
    device: str = "cpu",
    batch: int = 256,
    observe: Observations | None = None,
    processes=None,
) -> np.ndarray:
    """(N,) float64 V(s) in [-1, 0] of every frame of the buffer.

    observe: where observations come from, by default pictures. processes: the accelerate.Accelerator of several
    processes: each computes a part, all call this and get everything.
    """
    observe = observe or PictureObservations(buffer, device)
    index, count = (processes.process_index, processes.num_processes) if processes else (0, 1)
    value = torch.zeros(len(buffer), dtype=torch.float64, device=device)
    # The batches are the same for every number of processes, and so are the values, to the last bit.
    for frames in np.array_split(np.arange(len(buffer)), max(1, -(-len(buffer) // batch)))[index::count]:
        value[torch.from_numpy(frames).to(device)] = critic.value(observe(frames)).double()
    if count > 1:
        value = processes.reduce(value, "sum")
    return value.cpu().numpy()


def advantages(
    buffer: Buffer, value: np.ndarray, reward: RewardConfig, normaliser: Normaliser, horizon: int
) -> np.ndarray:
    """(N,) advantages in steps (Algorithm 1, line 4) of normalised values (N,)."""
    r = buffer.rewards(reward)
    return np.concatenate(
        [h_step_advantage(r[s], normaliser.steps(value[s]), horizon, reward.gamma) for s in buffer.slices()]
    )
