"""Actor training (Algorithm 1, line 7): advantage-conditioned flow matching on the labelled chunks."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch

from rove_contract import joints as contract_joints
from rove_contract import timing
from rove_learning import frames, phases
from rove_learning.actor import Actor, flow_matching_loss, sample_time
from rove_learning.advantage import Labels
from rove_learning.buffer import Buffer
from rove_learning.config import NEGATIVE, POSITIVE, ActorConfig, RegulariseConfig
from rove_learning.critic import ema_update
from rove_learning.regularise import augment_images, noise_scale, regularise_state

IDLE_STD = 0.003  # rad; a joint that moves less in all the data carries no information
IDLE_WEIGHT = 0.1


def joint_weights(table: contract_joints.JointTable, action_std: np.ndarray, config: ActorConfig) -> np.ndarray:
    """(J,) loss weights: the block's, a tenth of it for idle joints, scaled to mean 1."""
    weight = np.array([getattr(config, f"weight_{block}") for block in table.blocks])
    weight = np.where(action_std < IDLE_STD, IDLE_WEIGHT * weight, weight)
    return weight / weight.mean()


def set_statistics(actor: Actor, buffer: Buffer, table: contract_joints.JointTable) -> None:
    """Normalisation of state and action, range of the state and loss weights from D^actor. Not touched again in later iterations."""
    config = actor.config
    for name, data in (("state", buffer.state), ("action", buffer.action)):
        getattr(actor, f"{name}_mean").copy_(torch.from_numpy(data.mean(0, dtype=np.float64)))
        getattr(actor, f"{name}_std").copy_(torch.from_numpy(np.maximum(data.std(0, dtype=np.float64), config.std_floor)))
    actor.state_lower.copy_(torch.from_numpy(buffer.state.min(0)))
    actor.state_upper.copy_(torch.from_numpy(buffer.state.max(0)))
    actor.loss_weight.copy_(torch.from_numpy(joint_weights(table, buffer.action.std(0, dtype=np.float64), config)))


def repeat(prepared, n: int):
    """Prepared context of B pictures -> of B n samples, n noise draws per picture."""
    caches, mask, pooled = prepared
    caches = [tuple(x.repeat_interleave(n, 0) for x in cache) for cache in caches]
    return caches, mask.repeat_interleave(n, 0), pooled.repeat_interleave(n, 0)


class ActorData:
    """Batches of D^actor as tensors, regularised."""

    def __init__(self, buffer: Buffer, labels: Labels, actor: Actor, regularise: RegulariseConfig, device: str = "cpu"):
        self.buffer, self.labels, self.config, self.regularise, self.device = buffer, labels, actor.config, regularise, device
        length = self.config.backbone.text_bytes
        self.texts = torch.from_numpy(frames.encode_text(buffer.tasks, length)).to(device)
        self.conditions = torch.from_numpy(frames.encode_text([NEGATIVE, POSITIVE], length)).to(device)
        self.kept = np.flatnonzero(labels.keep)
        self.sigma = noise_scale(contract_joints.load(), regularise)
        numpy = {name: getattr(actor, name).cpu().numpy() for name in
                 ("state_mean", "state_std", "action_mean", "action_std", "state_lower", "state_upper", "loss_weight")}  # fmt: skip
        self.stats = numpy
        tail = np.ones(self.config.chunk, dtype=np.float32)
        tail[2 * timing.EXECUTE_STEPS :] = self.config.weight_tail
        self.weight = tail[:, None] * numpy["loss_weight"]

    def batch(self, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """images (B, 3, S, S), text (B, L), condition (B, M); n rows per picture: state, visible, actions, weight, t, noise."""
        config, stats, n = self.config, self.stats, self.config.noise_samples
        index = rng.choice(self.kept, config.batch)
        images = augment_images(self.buffer.images(index), self.regularise, rng)
        chunks, valid = self.buffer.chunks(index, config.chunk)
        actions = (chunks - stats["action_mean"]) / stats["action_std"]
        repeated = np.repeat(self.buffer.state[index], n, axis=0)
        state, visible = regularise_state(repeated, self.sigma, stats["state_lower"], stats["state_upper"], self.regularise, rng)
        count = config.batch * n

        def tensor(values):
            return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self.device)

        return {
            "images": frames.to_tensor(images, self.device),
            "text": self.texts[self.buffer.task[index]],
            "condition": self.conditions[self.labels.positive[index].astype(np.int64)],
            "state": tensor((state - stats["state_mean"]) / stats["state_std"]),
            "visible": torch.from_numpy(visible).to(self.device),
            "actions": tensor(np.repeat(actions, n, axis=0)),
            "weight": tensor(np.repeat(valid[:, :, None] * self.weight, n, axis=0)),
            "t": sample_time(tensor(rng.beta(config.beta_a, config.beta_b, count))),
            "noise": tensor(rng.standard_normal((count, config.chunk, actions.shape[2]), dtype=np.float32)),
        }


def train_actor(
    buffer: Buffer, labels: Labels, config: ActorConfig, work: Path, *, seed: int = 0, previous: Actor | None = None,
    regularise: RegulariseConfig | None = None, device: str = "cpu", progress: bool = True, stop=lambda: False,
) -> tuple[Actor, dict[str, list]]:  # fmt: skip
    """Train on the labelled D^actor. previous: actor of iteration k - 1 to start from. Returns the averaged actor and its loss history."""
    torch.manual_seed(seed)
    actor = Actor(config, len(buffer.names)).to(device)
    if previous is None:
        set_statistics(actor, buffer, contract_joints.load())
    else:
        if previous.joints != actor.joints:
            raise ValueError(f"the previous actor has {previous.joints} joints, the dataset {actor.joints}")
        actor.load_state_dict(previous.state_dict())
    average = copy.deepcopy(actor).requires_grad_(False).eval()
    data = ActorData(buffer, labels, actor, regularise or RegulariseConfig(), device)

    def loss(rng):
        b = data.batch(rng)
        prepared = repeat(actor.encode(b["images"], b["text"], b["condition"]), config.noise_samples)
        return flow_matching_loss(actor, prepared, b["state"], b["visible"], b["actions"], b["weight"], b["t"], b["noise"]), {}

    def after():
        ema_update(average, actor, 1.0 - config.weight_ema)

    steps, lr = (config.steps, config.lr) if previous is None else (config.steps_next, config.lr_next)
    phase = phases.Phase("actor", steps, lr, config.weight_decay, {"online": actor, "average": average}, loss, after)
    history = {"actor": phases.run(phase, work, seed, progress=progress, stop=stop)}
    return average.eval(), history
