# SPDX-License-Identifier: Apache-2.0
"""Critic training (Algorithm 1, line 3): MC pretraining (eq. 3) where no critic is given, then OVE (eq. 4 and 5)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch

from rove_learning.algorithm.losses import mc_loss, ove_loss
from rove_learning.algorithm.rewards import Normaliser
from rove_learning.data.augmentation import draw_augmentation
from rove_learning.data.observations import Observations
from rove_learning.models.backbone import pretrained_backbone
from rove_learning.models.critic import Critic, ema_update
from rove_learning.report.statistics import spearman
from rove_learning.training import phases
from rove_learning.training.batches import BatchPart
from rove_learning.training.buffers import Buffers, observations
from rove_learning.training.phases import Phase
from rove_learning.training.plan import Plan


@dataclass(frozen=True)
class CriticResult:
    """critic: frozen. history: per phase the metrics of every step."""

    critic: Critic
    history: dict[str, list[dict]]


def train_critic(
    plan: Plan, buffers: Buffers, observe: Observations | None = None, fold: int | None = None
) -> CriticResult:
    """Run the plan's critic phases on D^critic; each resumes from the plan's work folder.

    observe: where observations come from; None: what suits the backbone. fold: number of the episodes that it must not
    know (`labels.folds`); it starts from nothing, for the iteration before knew them.
    """
    if fold is not None:
        plan = plan.from_nothing()
    torch.manual_seed(plan.config.seed)
    start = plan.start_critic
    critic = Critic(plan.config.critic, pretrained_backbone(start))
    if start is not None:
        critic.load_state_dict(start.state_dict())
    critic.to(plan.config.device)
    observe = observe or observations(plan, buffers.critic, critic.backbone, in_memory=True)
    data = CriticData(plan, buffers, observe, fold)
    history: dict[str, list[dict]] = {}
    for name in plan.critic_phases:
        critic, history[name + data.phase] = PHASES[name](plan, data, critic)
    critic.set_scale(plan.normaliser.scale)
    return CriticResult(critic.requires_grad_(False).eval(), history)


class CriticData:
    """Batches of D^critic as tensors; of a fold, of the episodes outside it."""

    def __init__(self, plan: Plan, buffers: Buffers, observe: Observations, fold: int | None = None):
        self.plan, self.buffer, self.observe = plan, buffers.critic, observe
        self.phase = "" if fold is None else f"_fold_{fold}"  # behind the names of its phases
        self.held_out = (
            self.buffer.held_out(plan.config.held_out)
            if fold is None
            else self.buffer.folds(plan.config.labels.folds) == fold
        )

    def split(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Some frames (N,) bool of the buffer -> numbers of those that train, and of those held out."""
        trained = frames & ~self.held_out
        return np.flatnonzero(trained if trained.any() else frames), np.flatnonzero(frames & self.held_out)

    def tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self.plan.config.device)

    @functools.cached_property
    def returns(self) -> np.ndarray:
        """(N,) steps, of the frames' own episodes (eq. 2)."""
        reward = self.plan.config.reward
        return self.buffer.monte_carlo(self.buffer.rewards(reward), reward.gamma)

    def rank_correlation(self, frames: np.ndarray, model: Critic) -> dict[str, float]:
        """Spearman of V and the return within the episodes of some frames (n,), mean, on every eighth frame."""
        ranks = []
        for number in np.unique(self.buffer.episode[frames]):
            index = np.flatnonzero(self.buffer.episode == number)[::8]
            value = model.value(self.observe(index)).float().cpu().numpy()
            ranks.append(spearman(value, self.returns[index]))
        known = [rank for rank in ranks if np.isfinite(rank)]
        return {"rank_correlation": float(np.mean(known))} if known else {}

    def draw(self, part: BatchPart, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """This part of the global batch: frames (B,) of the buffer and their augmentation."""
        config = self.plan.config
        rng, rows = part.rng(), part.rows(config.critic.batch)
        total = part.count * config.critic.batch
        index = rng.choice(frames, total)
        gain, shift = draw_augmentation(total, config.regularise, rng)
        return index[rows], gain[rows], shift[rows]


def pretrain(plan: Plan, data: CriticData, critic: Critic) -> tuple[Critic, list[dict]]:
    """MC pretraining on the demonstrations of robots and people (all episodes where there are none), C_fail =
    -(mean length).

    Its returns are shorter than those of fine-tuning (no C_fail of -500), so they have a normalisation of their own, in
    which a scalar head sees all of [-1, 0]; afterwards the values are brought to the plan's.
    """
    config, buffer = plan.config, data.buffer
    demonstrated = np.array([e.kind != "rollout" for e in buffer.episodes])[buffer.episode]
    frames = demonstrated if demonstrated.any() else np.ones(len(buffer), dtype=bool)
    returns = buffer.monte_carlo(buffer.rewards(config.reward, pretraining=True), config.reward.gamma)
    worst = max(1.0, -float(returns[frames].min()))
    normaliser = Normaliser(worst) if critic.can_rescale else plan.normaliser
    critic.set_scale(normaliser.scale)
    history = _regress("critic_mc", plan, data, critic, frames, returns / normaliser.scale, config.critic.mc_steps)
    critic.set_scale(plan.normaliser.scale)
    return critic, history


def fine_tune_mc(plan: Plan, data: CriticData, critic: Critic) -> tuple[Critic, list[dict]]:
    """Fine-tuning by MC regression on all frames: the critic of RECAP and of Fig. 6."""
    config, buffer = plan.config, data.buffer
    returns = buffer.monte_carlo(buffer.rewards(config.reward), config.reward.gamma)
    critic.set_scale(plan.normaliser.scale)
    frames, normalised = np.ones(len(buffer), dtype=bool), plan.normaliser.returns(returns)
    return critic, _regress("critic_mc_fine", plan, data, critic, frames, normalised, config.critic.steps)


def _regress(
    name: str, plan: Plan, data: CriticData, critic: Critic, frames: np.ndarray, returns: np.ndarray, steps: int
) -> list[dict]:
    """MC regression (eq. 3) of the normalised returns (N,) on the given frames (N,) bool."""
    histogram = critic.histogram

    def batch(part: BatchPart, frames: np.ndarray):
        index, gain, shift = data.draw(part, frames)
        return data.observe(index, gain=gain, shift=shift), data.tensor(returns[index])

    def loss(model, batch):
        observation, target = batch
        return mc_loss(model(observation), target, histogram), {}

    return phases.optimise(
        _phase(plan, name, steps, {"online": critic}, data, data.split(frames), batch, loss), **plan.loop
    )


def fine_tune_ove(plan: Plan, data: CriticData, critic: Critic) -> tuple[Critic, list[dict]]:
    """Fine-tuning by OVE (eq. 4 and 5). Returns the critic whose values make the labels: V_phi as Algorithm 1, line 4
    prints it, or the EMA target critic (`critic.values_from`).
    """
    config, buffer = plan.config, data.buffer
    critic.set_scale(plan.normaliser.scale)
    sums, following, discount = buffer.segments(
        buffer.rewards(config.reward), config.critic.horizon, config.reward.gamma, plan.normaliser
    )
    models = {"online": critic, "target": phases.frozen_copy(critic)}
    trained = dict(models)  # while weights are sharded, others stand in `models`
    histogram = critic.histogram

    def batch(part: BatchPart, frames: np.ndarray):
        index, gain, shift = data.draw(part, frames)
        now, ahead = data.observe(index, gain=gain, shift=shift), data.observe(following[index])
        return now, ahead, data.tensor(sums[index]), data.tensor(discount[index])

    def loss(model, batch):
        now, ahead, sums_, discount_ = batch
        next_value = models["target"].value(ahead)
        return ove_loss(model(now), sums_, discount_, next_value, config.critic.tau, histogram), {}

    def follow() -> None:
        ema_update(models["target"], models["online"], config.critic.ema)

    split = data.split(np.ones(len(buffer), dtype=bool))
    phase = _phase(plan, "critic_ove", config.critic.steps, models, data, split, batch, loss, after_step=follow)
    history = phases.optimise(phase, **plan.loop)
    return trained[config.critic.values_from], history


PHASES = {"critic_mc": pretrain, "critic_ove": fine_tune_ove, "critic_mc_fine": fine_tune_mc}


def _phase(plan: Plan, name: str, steps: int, models: dict, data: CriticData, split, batch, loss, **options) -> Phase:
    """With the critic's settings; the learning rate is `lr_next` where a later iteration fine-tunes (App. G). split:
    numbers of the frames that train and of those held out. batch(part, frames) draws from some of them.
    """
    config, (trained, held_out) = plan.config.critic, split
    lr = config.lr if plan.first or name == "critic_mc" else config.lr_next
    if len(held_out):
        options |= {
            "held_out": lambda part: batch(part, held_out),
            "judge": functools.partial(data.rank_correlation, held_out),
            "patience": config.patience,
            "evaluate_every": config.evaluate_every,
        }
    draw = functools.partial(batch, frames=trained)
    return Phase(
        name + data.phase, steps, lr, config.weight_decay, models, draw, loss, accumulate=config.accumulate, **options
    )
