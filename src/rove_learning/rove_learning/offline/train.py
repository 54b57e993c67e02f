# SPDX-License-Identifier: Apache-2.0
"""OVE, IQL or MC critic on the same segments, the advantage each gives, and one and the same policy extraction (App. C
and F).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from rove_learning.algorithm import iql
from rove_learning.algorithm.advantage import threshold
from rove_learning.algorithm.losses import mc_loss, ove_loss
from rove_learning.algorithm.targets import ove_target
from rove_learning.models.actor import flow_matching_loss, sample_time
from rove_learning.models.critic import ema_update
from rove_learning.offline.episodes import Segments
from rove_learning.offline.networks import FlowActor, TwinQ, Value, waves

CRITICS = ("ove", "iql", "mc")


@dataclass(frozen=True)
class OfflineConfig:
    """The same for the three critics unless a name says otherwise. "paper": arXiv 2606.17011; "IQL": arXiv 2110.06169
    for AntMaze.
    """

    horizon: int = 16  # H, steps; chunk, bootstrap and replanning (paper, App. G)
    # per step (paper: 1; IQL: 0.99 at a tenth of the control rate); -1 per step then lies in [-1 / (1 - gamma), 0]
    gamma: float = 0.995
    tau: float = 0.9  # expectile of OVE and IQL (IQL)
    percentile: float = 70.0  # of the advantages; above is positive (paper, App. F)
    guidance: float = 1.5  # beta (config.ActorConfig)
    euler_steps: int = 5  # (config.ActorConfig)
    width: int = 128  # of the critics (IQL: 256)
    actor_width: int = 192
    layers: int = 2  # of the critics (IQL); the actor has one more
    critic_steps: int = 8000
    actor_steps: int = 4000
    batch: int = 256  # (IQL)
    lr: float = 1e-3  # (IQL: 3e-4 for 1,000,000 steps); cosine to zero
    ema: float = 0.01  # of the target networks (IQL: 0.005)

    @property
    def never(self) -> float:
        """steps; the return of never reaching the goal. It is C_fail of eq. 2 and the scale of the normalisation to
        [-1, 0].
        """
        return -1.0 / (1.0 - self.gamma)


def antmaze(config: OfflineConfig) -> OfflineConfig:
    """The settings for D4RL's AntMaze: an ant needs feedback at every step, so H = 1 as App. C writes it; the rest is
    IQL's.
    """
    steps = {} if config.critic_steps < 1000 else {"critic_steps": 300_000, "actor_steps": 200_000}
    return replace(config, horizon=1, gamma=0.99, width=256, actor_width=256, lr=3e-4, ema=0.005, **steps)


class Optimiser:
    """Adam with a cosine schedule over a fixed number of steps."""

    def __init__(self, model: nn.Module, steps: int, lr: float):
        self.adam = torch.optim.Adam(model.parameters(), lr, fused=True)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.adam, steps)

    def step(self, loss: torch.Tensor) -> None:
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        self.adam.step()
        self.schedule.step()


@dataclass(frozen=True)
class Scale:
    """States to network inputs (B, 7 S): standardised by the data's mean and standard deviation, (S,) each, then
    `waves`.
    """

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, state: np.ndarray) -> Scale:
        return cls(state.mean(0), np.maximum(state.std(0), 1e-3))

    def __call__(self, state: np.ndarray) -> torch.Tensor:
        return waves(torch.from_numpy(((state - self.mean) / self.std).astype(np.float32)))


class Tensors:
    """`Segments` as tensors, states standardised, and random batches of them."""

    def __init__(self, data: Segments, scale: Scale, seed: int):
        self.state, self.following = scale(data.state), scale(data.following)
        self.action, self.valid = torch.from_numpy(data.action), torch.from_numpy(data.valid)
        self.sums, self.discount, self.returns = (torch.from_numpy(x) for x in (data.sums, data.discount, data.returns))
        self.generator = torch.Generator().manual_seed(seed)

        self.complete = torch.from_numpy(np.flatnonzero(np.isfinite(data.returns)))  # segments whose return is known

    def batch(self, size: int) -> torch.Tensor:
        return torch.randint(len(self.state), (size,), generator=self.generator)

    def complete_batch(self, size: int) -> torch.Tensor:
        """Segments whose Monte-Carlo return is known. Raises ValueError where there is none."""
        if not len(self.complete):
            raise ValueError("no episode of the data reached the goal, so no Monte-Carlo return is known")
        return self.complete[torch.randint(len(self.complete), (size,), generator=self.generator)]


def over_all(function, *tensors, rows: int = 16384) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([function(*parts) for parts in zip(*(x.split(rows) for x in tensors))])


def train_critic(kind: str, data: Tensors, config: OfflineConfig, progress: bool = True) -> tuple[np.ndarray, Value]:
    """Train the critic "ove", "iql" or "mc" -> (advantage (M,) of every segment (Algorithm 1, line 4, or App. C),
    V).
    """
    value = Value(data.state.shape[1], config.width, config.layers)
    steps = tqdm(range(config.critic_steps), desc=f"critic {kind}", disable=not progress, leave=False)
    if kind == "iql":
        return _train_iql(value, data, config, steps)
    target, optimiser = copy.deepcopy(value).requires_grad_(False), Optimiser(value, config.critic_steps, config.lr)
    for _ in steps:
        if kind == "mc":
            i = data.complete_batch(config.batch)
            loss = mc_loss(value(data.state[i]), data.returns[i])
        else:
            i = data.batch(config.batch)
            next_value = target.value(data.following[i])
            loss = ove_loss(value(data.state[i]), data.sums[i], data.discount[i], next_value, config.tau)
        optimiser.step(loss)
        ema_update(target, value, config.ema)
    now, ahead = over_all(target.value, data.state), over_all(target.value, data.following)
    return (ove_target(data.sums, data.discount, ahead) - now).numpy(), target


def _train_iql(value: Value, data: Tensors, config: OfflineConfig, steps) -> tuple[np.ndarray, Value]:
    chunk = data.action[0].numel()
    q = TwinQ(data.state.shape[1], chunk, config.width, config.layers)
    target = copy.deepcopy(q).requires_grad_(False)
    optimisers = Optimiser(value, config.critic_steps, config.lr), Optimiser(q, config.critic_steps, config.lr)
    for _ in steps:
        i = data.batch(config.batch)
        state, action = data.state[i], data.action[i]
        optimisers[0].step(iql.v_loss(value(state), target.value(state, action), config.tau))
        optimisers[1].step(iql.q_loss(q(state, action), data.sums[i], data.discount[i], value.value(data.following[i])))
        ema_update(target, q, config.ema)
    scores = over_all(lambda s, a: iql.q_advantage(target.value(s, a), value.value(s)), data.state, data.action)
    return scores.numpy(), value


def train_actor(data: Tensors, score: np.ndarray, config: OfflineConfig, progress: bool = True) -> FlowActor:
    """Advantage-conditioned flow matching (eq. 7) on the labels I = 1{A > eta}; every segment is trained on (paper,
    App. F).
    """
    positive = torch.from_numpy(score > threshold(score, config.percentile))
    horizon, actions = data.action.shape[1:]
    actor = FlowActor(data.state.shape[1], horizon, actions, config.actor_width, config.layers + 1)
    optimiser = Optimiser(actor, config.actor_steps, config.lr)
    beta = torch.distributions.Beta(1.5, 1.0)
    for _ in tqdm(range(config.actor_steps), desc="actor", disable=not progress, leave=False):
        i = data.batch(config.batch)
        chunk, weight = data.action[i], data.valid[i, :, None].float().expand(-1, -1, actions)
        t, noise = sample_time(beta.sample((len(i),))), torch.randn(chunk.shape)
        optimiser.step(
            flow_matching_loss(actor, positive[i], data.state[i], None, chunk, weight, t, noise, predict="clean")
        )
    return actor


def policy(actor: FlowActor, scale: Scale, config: OfflineConfig):
    """state (n, S) -> action chunk (n, H, A), sampled with guidance."""

    def act(state: np.ndarray) -> np.ndarray:
        noise = torch.randn(len(state), actor.horizon, actor.actions)
        return actor.sample(scale(state), noise, config.guidance, config.euler_steps).numpy()

    return act
