# SPDX-License-Identifier: Apache-2.0
"""`train_actor`: actor training (Algorithm 1, line 7): advantage-conditioned flow matching on the labelled chunks.

    rove run rove_learning train_actor --dataset runs/demonstrations runs/session --init runs/base --out runs/policy

Needs the labels that `label` left in --out; writes the checkpoint there. Killed, the same command resumes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from rove_contract import timing
from rove_description import joints as contract_joints
from rove_learning import command_line
from rove_learning.algorithm.advantage import CONDITIONED, Labels
from rove_learning.config import ActorConfig, RegulariseConfig, to_dict
from rove_learning.data.augmentation import draw_augmentation, noise_scale, regularise_state
from rove_learning.data.buffer import Buffer
from rove_learning.data.sources import PictureSource, Source
from rove_learning.inference import checkpoint
from rove_learning.models.actor import Actor, flow_matching_loss, sample_time
from rove_learning.models.critic import ema_update
from rove_learning.training import label, phases
from rove_learning.training.phases import Share
from rove_learning.training.run import Run, command, write
from rove_learning.training.train_critic import recent, waits

IDLE_STD = 0.003  # rad; a joint that moves less in all the data carries no information
IDLE_WEIGHT = 0.1


def joint_weights(table: contract_joints.JointTable, action_std: np.ndarray, config: ActorConfig) -> np.ndarray:
    """(J,) loss weights: the block's, a tenth of it for idle joints, scaled to mean 1."""
    weight = np.array([getattr(config, f"weight_{block}") for block in table.blocks])
    weight = np.where(action_std < IDLE_STD, IDLE_WEIGHT * weight, weight)
    return weight / weight.mean()


def set_statistics(actor: Actor, buffer: Buffer, table: contract_joints.JointTable) -> None:
    """Normalisation of state and action, range of the state and loss weights from D^actor. Not touched again in later
    iterations.
    """
    config = actor.config
    for name, data in (("state", buffer.state), ("action", buffer.action)):
        getattr(actor, f"{name}_mean").copy_(torch.from_numpy(data.mean(0, dtype=np.float64)))
        getattr(actor, f"{name}_std").copy_(
            torch.from_numpy(np.maximum(data.std(0, dtype=np.float64), config.std_floor))
        )
    actor.state_lower.copy_(torch.from_numpy(buffer.state.min(0)))
    actor.state_upper.copy_(torch.from_numpy(buffer.state.max(0)))
    actor.loss_weight.copy_(torch.from_numpy(joint_weights(table, buffer.action.std(0, dtype=np.float64), config)))


class ActorData:
    """Batches of D^actor as tensors, regularised."""

    def __init__(
        self,
        buffer: Buffer,
        labels: Labels,
        actor: Actor,
        regularise: RegulariseConfig,
        device: str = "cpu",
        source: Source | None = None,
    ):
        self.buffer, self.labels, self.config, self.regularise, self.device = (
            buffer,
            labels,
            actor.config,
            regularise,
            device,
        )
        self.source = source or PictureSource(buffer, device)
        self.kept = np.flatnonzero(labels.keep)
        self.sigma = noise_scale(contract_joints.load(), regularise)
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

    def tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self.device)

    def batch(self, share: Share) -> dict:
        """Arguments of `flow_matching_loss`: observation of B pictures, n rows per picture of the rest."""
        config, stats, n, rng = self.config, self.stats, self.config.noise_samples, share.rng()
        pictures, samples = share.rows(config.batch), share.rows(config.batch * n)
        total = share.count * config.batch
        index = rng.choice(self.kept, total)
        gain, shift = draw_augmentation(total, self.regularise, rng)
        states = np.repeat(self.buffer.state[index], n, axis=0)
        state, visible = regularise_state(
            states, self.sigma, stats["state_lower"], stats["state_upper"], self.regularise, rng
        )
        t = rng.beta(config.beta_a, config.beta_b, total * n)
        steps = np.minimum(self.buffer.last[index] - index + 1, config.chunk)  # valid steps of each chunk
        mine = index[pictures]
        chunks, valid = self.buffer.chunks(mine, config.chunk)
        actions = (chunks - stats["action_mean"]) / stats["action_std"]
        return {
            "observation": self.source(mine, self.labels.positive[mine], gain[pictures], shift[pictures]),
            "state": self.tensor((state[samples] - stats["state_mean"]) / stats["state_std"]),
            "visible": torch.from_numpy(visible[samples]).to(self.device),
            "actions": self.tensor(np.repeat(actions, n, axis=0)),
            "weight": self.tensor(np.repeat(valid[:, :, None] * self.weight, n, axis=0)),
            "t": sample_time(self.tensor(t[samples])),
            "noise": self.tensor(share.normal(samples, actions.shape[1:])),
            # the whole global batch's weight, so that the mean over the shares is the global batch's weighted mean
            "normaliser": n * float(self.total_weight[steps - 1].sum()) / share.count,
        }


def train_actor(
    buffer: Buffer,
    labels: Labels,
    config: ActorConfig,
    work: Path,
    *,
    seed: int = 0,
    previous: Actor | None = None,
    first: bool = True,
    regularise: RegulariseConfig | None = None,
    device: str = "cpu",
    progress: bool = True,
    stop=lambda: False,
    source: Source | None = None,
    features=None,
) -> tuple[Actor, dict[str, list]]:
    """Train on the labelled D^actor. previous: actor to start from. first: iteration 0 (decides the learning rate).

    source: where observations come from, by default pictures, or `features(buffer, backbone, conditions=True)` for a
    pretrained backbone. Returns the averaged actor and its loss history.
    """
    torch.manual_seed(seed)
    actor = Actor(config, len(buffer.names)).to(device)
    if previous is None:
        set_statistics(actor, buffer, contract_joints.load())
    else:
        if previous.joints != actor.joints:
            raise ValueError(f"the previous actor has {previous.joints} joints, the dataset {actor.joints}")
        actor.load_state_dict(previous.state_dict())
    average = phases.frozen_copy(actor)
    if source is None and features is not None and actor.backbone.fingerprint:
        source = features(buffer, actor.backbone, conditions=True)
    data = ActorData(buffer, labels, actor, regularise or RegulariseConfig(), device, source)

    def loss(model, batch):
        return flow_matching_loss(model, predict=config.predict, **batch), {}

    def after():
        ema_update(models["average"], models["online"], 1.0 - config.weight_ema)

    steps = config.steps if previous is None else config.steps_next
    lr = config.lr_scratch if previous is None else config.lr if first else config.lr_next
    models = {"online": actor, "average": average}
    phase = phases.Phase("actor", steps, lr, config.weight_decay, models, loss, after, config.accumulate, data.batch)
    history = {"actor": phases.run(phase, work, seed, device, progress=progress, stop=stop)}
    return average, history


def step(run: Run) -> dict:
    """Train the run's actor on the labels in OUT and write the checkpoint. Returns the run's summary, also in
    OUT/train.json.
    """
    config, buffer = run.config, run.actor_buffer
    labels = label.load(run.need("labels.npz", "label"), buffer)
    run.claim("actor", actor=config.actor, regularise=config.regularise, labels=label.digest(labels))
    previous = run.previous.actor if run.previous else None
    actor, history = train_actor(buffer, labels, config.actor, run.work, previous=previous, **run.options())
    if run.main:
        run.add_history(history)
        critic = run.previous.critic if run.previous else None
        if run.labelling is not None:
            critic = run.labelling[0]
        elif run.trains_critic:
            run.need("critic.json", "train_critic")
            critic = checkpoint.load_critic(run.out, config.device)[0]
        guidance = config.actor.guidance if config.method in CONDITIONED else 1.0
        info = {
            "train": command_line.to_plain(to_dict(config)),
            "joints": list(buffer.names),
            "instructions": buffer.tasks,
            "iteration": run.iteration,
        }
        checkpoint.save(run.out, actor, critic, guidance=guidance, info=info)
    summary = {
        "out": str(run.out),
        "method": config.method,
        "iteration": run.iteration,
        "episodes": len(buffer.episodes),
        "frames": len(buffer),
        **label.shares(labels),
    }
    if run.main:
        everything = json.loads((run.out / "history.json").read_text(encoding="utf-8"))
        summary |= {"loss": recent(everything), "waited_for_data": waits(everything)}
        write(run.out / "train.json", json.dumps(summary, indent=1) + "\n")
    run.synchronise()
    return summary


def main() -> int:
    return command("train_actor", step, __doc__)


if __name__ == "__main__":
    sys.exit(main())
