# SPDX-License-Identifier: Apache-2.0
"""Actor training (Algorithm 1, line 7): advantage-conditioned flow matching on the labelled chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rove_contract import timing
from rove_description.joints import BLOCKS
from rove_learning.algorithm.advantage import Labels
from rove_learning.config import CONDITIONS, UNCONDITIONAL, ActorConfig, RegulariseConfig
from rove_learning.data.augmentation import draw_augmentation, noise_scale, regularise_state
from rove_learning.data.buffer import Buffer
from rove_learning.data.observations import Observations, PictureObservations
from rove_learning.models.actor import Actor, flow_matching_loss, sample_time
from rove_learning.models.backbone import pretrained_backbone
from rove_learning.models.critic import ema_update
from rove_learning.training import phases
from rove_learning.training.batches import BatchPart
from rove_learning.training.buffers import Buffers, observations
from rove_learning.training.plan import Plan

IDLE_STD = 0.003  # rad; a joint that moves less in all the data carries no information


def joint_weights(blocks: Sequence[str], action_std: np.ndarray, config: ActorConfig) -> np.ndarray:
    """blocks: (J,) of the joints -> (J,) loss weights: the block's, 1 for a block of the robot's own, `idle_weight`
    of it for idle joints, scaled to mean 1.
    """
    weight = np.array([getattr(config, f"weight_{block}") if block in BLOCKS else 1.0 for block in blocks])
    weight = np.where(action_std < IDLE_STD, config.idle_weight * weight, weight)
    return weight / weight.mean()


def set_statistics(actor: Actor, buffer: Buffer) -> None:
    """Normalisation of state and action and loss weights from D^actor. Not touched again in later iterations."""
    config = actor.config
    for name, data in (("state", buffer.state), ("action", buffer.action)):
        getattr(actor, f"{name}_mean").copy_(torch.from_numpy(data.mean(0, dtype=np.float64)))
        getattr(actor, f"{name}_std").copy_(
            torch.from_numpy(np.maximum(data.std(0, dtype=np.float64), config.std_floor))
        )
    weight = joint_weights(buffer.robot.blocks, buffer.action.std(0, dtype=np.float64), config)
    actor.loss_weight.copy_(torch.from_numpy(weight))


def extend_range(actor: Actor, buffer: Buffer) -> None:
    """Extend the range that noisy states are clipped to (App. G: "the original value range") by the states of D^actor,
    in every iteration: real states are never clipped.
    """
    lower, upper = (
        torch.from_numpy(bound).to(actor.state_lower) for bound in (buffer.state.min(0), buffer.state.max(0))
    )
    actor.state_lower.copy_(torch.where(actor.state_lower.isfinite(), actor.state_lower.minimum(lower), lower))
    actor.state_upper.copy_(torch.where(actor.state_upper.isfinite(), actor.state_upper.maximum(upper), upper))


class ActorData:
    """Batches of D^actor as tensors, regularised."""

    def __init__(
        self,
        buffer: Buffer,
        labels: Labels,
        actor: Actor,
        regularise: RegulariseConfig,
        device: str = "cpu",
        observe: Observations | None = None,
        frames: np.ndarray | None = None,
    ):
        """frames: (N,) bool, those to draw from; None: all that the labels keep."""
        self.buffer, self.labels, self.config = buffer, labels, actor.config
        self.regularise, self.device = regularise, device
        self.observe = observe or PictureObservations(buffer, device)
        kept = labels.keep & labels.positive if self.config.negatives == "drop" else labels.keep
        self.kept = np.flatnonzero(kept if frames is None else kept & frames)
        self.chunk_weight = np.where(labels.positive, 1.0, self.config.negative_weight)  # (N,)
        self.sigma = noise_scale(buffer.robot.blocks, regularise)
        self.stats = {
            name: getattr(actor, name).cpu().numpy()
            for name in (
                "state_mean",
                "state_std",
                "action_mean",
                "action_std",
                "state_lower",
                "state_upper",
                "loss_weight",
            )
        }
        tail = np.ones(self.config.chunk, dtype=np.float32)
        tail[2 * timing.EXECUTE_STEPS :] = self.config.weight_tail
        self.weight = tail[:, None] * self.stats["loss_weight"]
        self.total_weight = np.cumsum(self.weight.sum(1, dtype=np.float64))  # of a chunk with 1, 2, ... valid steps

    def conditions(self, index: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(B,) frames -> numbers of `config.CONDITIONS`: the label, or none where it is hidden."""
        positive = self.labels.positive[index]
        hidden = ~positive & (self.config.negatives == "unconditional")
        if self.config.condition_dropout > 0:
            hidden |= rng.random(len(index)) < self.config.condition_dropout
        return np.where(hidden, CONDITIONS.index(UNCONDITIONAL), positive)

    def tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self.device)

    def batch(self, part: BatchPart) -> dict:
        """Arguments of `flow_matching_loss`: observation of B pictures, n samples per picture of the rest."""
        config, stats, n, rng = self.config, self.stats, self.config.noise_samples, part.rng()
        pictures, samples = part.rows(config.batch), part.rows(config.batch * n)
        total = part.count * config.batch
        index = rng.choice(self.kept, total)
        gain, shift = draw_augmentation(total, self.regularise, rng)
        states = np.repeat(self.buffer.state[index], n, axis=0)
        state, visible = regularise_state(
            states, self.sigma, stats["state_lower"], stats["state_upper"], self.regularise, rng
        )
        t = rng.beta(config.beta_a, config.beta_b, total * n)
        conditions = self.conditions(index, rng)
        steps = np.minimum(self.buffer.last[index] - index + 1, config.chunk)  # valid steps of each chunk
        frames = index[pictures]
        chunks, valid = self.buffer.chunks(frames, config.chunk)
        actions = (chunks - stats["action_mean"]) / stats["action_std"]
        weight = self.chunk_weight[frames, None, None] * valid[:, :, None] * self.weight
        return {
            "observation": self.observe(frames, conditions[pictures], gain[pictures], shift[pictures]),
            "state": self.tensor((state[samples] - stats["state_mean"]) / stats["state_std"]),
            "visible": torch.from_numpy(visible[samples]).to(self.device),
            "actions": self.tensor(np.repeat(actions, n, axis=0)),
            "weight": self.tensor(np.repeat(weight, n, axis=0)),
            "t": sample_time(self.tensor(t[samples])),
            "noise": self.tensor(part.normal(samples, actions.shape[1:])),
            # the whole global batch's weight, so that the mean over the parts is the global batch's weighted mean
            "normaliser": n * float(self.chunk_weight[index] @ self.total_weight[steps - 1]) / part.count,
        }


@dataclass(frozen=True)
class ActorResult:
    """actor: the averaged weights. history: per phase the metrics of every step."""

    actor: Actor
    history: dict[str, list[dict]]


def train_actor(plan: Plan, buffers: Buffers, labels: Labels, observe: Observations | None = None) -> ActorResult:
    """Train on the labelled D^actor; resumes from the plan's work folder.

    observe: where observations come from; None: what suits the backbone.
    """
    settings, buffer = plan.config.actor, buffers.actor
    torch.manual_seed(plan.config.seed)
    previous = plan.previous_actor
    actor = Actor(settings, len(buffer.names), pretrained_backbone(previous)).to(plan.config.device)
    if previous is None:
        set_statistics(actor, buffer)
    else:
        if previous.joints != actor.joints:
            raise ValueError(f"the previous actor has {previous.joints} joints, the dataset {actor.joints}")
        actor.load_state_dict(previous.state_dict())
    extend_range(actor, buffer)
    average = phases.frozen_copy(actor)
    observe = observe or observations(plan, buffer, actor.backbone, conditions=settings.trained_conditions)
    parts = buffer, labels, actor, plan.config.regularise, plan.config.device, observe
    held_out = buffer.held_out(plan.config.held_out) & (settings.patience > 0)
    data, held_data = ActorData(*parts, ~held_out), ActorData(*parts, held_out)
    models = {"online": actor, "average": average}

    def loss(model, batch):
        return flow_matching_loss(model, predict=settings.predict, **batch), {}

    def average_weights() -> None:
        ema_update(models["average"], models["online"], 1.0 - settings.weight_ema)

    steps = settings.steps if previous is None else settings.steps_next
    lr = settings.lr_scratch if previous is None else settings.lr if plan.first else settings.lr_next
    phase = phases.Phase(
        "actor",
        steps,
        lr,
        settings.weight_decay,
        models,
        data.batch,
        loss,
        average_weights,
        settings.accumulate,
        held_data.batch if len(held_data.kept) else None,
        patience=settings.patience,
        evaluate_every=settings.evaluate_every,
    )
    return ActorResult(average, {"actor": phases.optimise(phase, **plan.loop)})
