# SPDX-License-Identifier: Apache-2.0
"""What a critic says about the frames of a buffer, and what the text condition does to an actor's chunks."""

from __future__ import annotations

import numpy as np
import torch

from rove_contract import timing
from rove_learning.algorithm.advantage import h_step_advantage
from rove_learning.algorithm.rewards import Normaliser
from rove_learning.config import RewardConfig
from rove_learning.data.buffer import Buffer
from rove_learning.data.observations import Observations, PictureObservations
from rove_learning.models.actor import Actor
from rove_learning.models.backbone import Pictures
from rove_learning.models.critic import Critic
from rove_learning.models.guidance import guidance_conditions, sample

EFFECT_FRAMES = 16  # of the buffer, evenly spaced


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


@torch.no_grad()
def condition_effect(actor: Actor, buffer: Buffer, device: str = "cpu") -> dict[str, float]:
    """How far the text condition moves a chunk, beside how far another noise does: root mean square over the executed
    steps and all joints, rad. A condition whose effect drowns in the sampling noise steers nothing.

    condition_effect_rad: beta = 1 against beta = 0 from the same noise. sampling_noise_rad: beta = 1 from two noises.
    """
    generator = torch.Generator().manual_seed(0)
    frames = np.linspace(0, len(buffer) - 1, min(EFFECT_FRAMES, len(buffer))).astype(int)
    squares = []
    for frame in frames:
        index = np.array([frame])
        images = torch.from_numpy(np.array(buffer.images(index), copy=True)).to(device)
        observation = Pictures(images, buffer.texts(index), guidance_conditions(actor.config))
        state = (torch.from_numpy(buffer.state[index]).to(device) - actor.state_mean) / actor.state_std
        noise, other = (torch.randn(1, actor.config.chunk, actor.joints, generator=generator) for _ in range(2))
        positive, negative, resampled = (
            sample(actor, observation, state, x.to(device), beta)[0, : timing.EXECUTE_STEPS] * actor.action_std
            for x, beta in ((noise, 1.0), (noise, 0.0), (other, 1.0))
        )
        squares.append([float(((positive - chunk) ** 2).mean()) for chunk in (negative, resampled)])
    condition, noise_effect = np.sqrt(np.mean(squares, axis=0))
    return {"condition_effect_rad": float(condition), "sampling_noise_rad": float(noise_effect)}
