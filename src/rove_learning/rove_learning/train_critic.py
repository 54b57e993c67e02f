"""Critic training (Algorithm 1, line 3): MC pretraining (eq. 3) where no critic is given, then OVE (eq. 4, 5)."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch

from rove_learning import frames, phases
from rove_learning.buffer import Buffer
from rove_learning.config import CriticConfig, RegulariseConfig, RewardConfig
from rove_learning.critic import Critic, ema_update
from rove_learning.regularise import augment_images
from rove_learning.rewards import Normaliser
from rove_learning.targets import expectile_loss, ove_target

PLAIN = RegulariseConfig(image_gain=0.0)


class CriticData:
    """Batches of D^critic for the losses; pictures and texts become tensors here."""

    def __init__(self, buffer: Buffer, config: CriticConfig, device: str = "cpu"):
        self.buffer, self.device = buffer, device
        self.texts = torch.from_numpy(frames.encode_text(buffer.tasks, config.backbone.text_bytes)).to(device)

    def observation(self, index, regularise: RegulariseConfig = PLAIN, rng=None) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) frames -> pictures (B, 3, S, S), texts (B, L)."""
        images = self.buffer.images(index)
        if rng is not None:
            images = augment_images(images, regularise, rng)
        return frames.to_tensor(images, self.device), self.texts[self.buffer.task[index]]


def tensor(values: np.ndarray, device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)


def mc_loss(critic: Critic, observation, returns: torch.Tensor) -> torch.Tensor:
    """Eq. 3: mean of (V(s_t) - sum of gamma^(i - t) r_i)^2; returns (B,) in [-1, 0]."""
    return ((critic(*observation) - returns) ** 2).mean()


def ove_loss(critic: Critic, target_critic: Critic, observation, following, sums, discount, tau: float) -> torch.Tensor:
    """Eq. 5 on the target of eq. 4, clipped to [-1, 0] (App. G). following: observation at t + H; sums, discount: (B,), see targets.py."""
    with torch.no_grad():
        target = ove_target(sums, discount, target_critic.value(*following)).clamp(-1.0, 0.0)
    return expectile_loss(target, critic(*observation), tau).mean()


def train_critic(
    buffer: Buffer, config: CriticConfig, reward: RewardConfig, work: Path, *, seed: int = 0, previous: Critic | None = None,
    regularise: RegulariseConfig | None = None, device: str = "cpu", progress: bool = True, stop=lambda: False,
) -> tuple[Critic, dict[str, list]]:  # fmt: skip
    """Train on D^critic. previous: critic of iteration k - 1, or None = MC pretraining first. Returns the critic and its loss history.

    Resumes from `work`. Pretraining uses demonstrations of robots and people where there are any, otherwise all episodes.
    """
    regularise = regularise or RegulariseConfig()
    normaliser = Normaliser.of(reward.c_fail, reward.max_steps)
    data = CriticData(buffer, config, device)
    torch.manual_seed(seed)
    critic = Critic(config).to(device)
    history: dict[str, list] = {}
    if previous is not None:
        critic.load_state_dict(previous.state_dict())

    def pretrain():
        returns = buffer.returns(buffer.rewards(reward, pretraining=True), reward.gamma, normaliser)
        kinds = np.array([e.kind != "rollout" for e in buffer.episodes])[buffer.episode]
        frames_ = np.flatnonzero(kinds) if kinds.any() else np.arange(len(buffer))
        return regress(frames_, returns, "critic_mc", config.mc_steps, config.lr)

    def regress(frames_, returns, name, steps, lr):
        def loss(rng):
            index = rng.choice(frames_, config.batch)
            return mc_loss(critic, data.observation(index, regularise, rng), tensor(returns[index], device)), {}

        phase = phases.Phase(name, steps, lr, config.weight_decay, {"online": critic}, loss)
        return phases.run(phase, work, seed, progress=progress, stop=stop)

    if previous is None and config.mc_steps > 0:
        history["critic_mc"] = pretrain()
    if config.steps == 0:  # pretraining only
        return critic.eval(), history
    lr = config.lr if previous is None else config.lr_next
    r = buffer.rewards(reward)
    if config.target == "mc":
        returns = buffer.returns(r, reward.gamma, normaliser)
        history["critic_mc_fine"] = regress(np.arange(len(buffer)), returns, "critic_mc_fine", config.steps, lr)
        return critic.eval(), history

    sums, following, discount = buffer.segments(r, config.horizon, reward.gamma, normaliser)
    target_critic = copy.deepcopy(critic).requires_grad_(False).eval()

    def loss(rng):
        index = rng.integers(0, len(buffer), config.batch)
        observation = data.observation(index, regularise, rng)
        next_observation = data.observation(following[index])
        value = ove_loss(
            critic, target_critic, observation, next_observation, tensor(sums[index], device), tensor(discount[index], device), config.tau
        )
        return value, {}

    models = {"online": critic, "target": target_critic}
    phase = phases.Phase(
        "critic_ove", config.steps, lr, config.weight_decay, models, loss, lambda: ema_update(target_critic, critic, config.ema)
    )
    history["critic_ove"] = phases.run(phase, work, seed, progress=progress, stop=stop)
    # The EMA critic is the less noisy of the two; its values make the labels.
    return target_critic.eval(), history


@torch.no_grad()
def values(critic: Critic, buffer: Buffer, device: str = "cpu", batch: int = 256) -> np.ndarray:
    """(N,) float64 V(s) in [-1, 0] of every frame of the buffer."""
    data = CriticData(buffer, critic.config, device)
    parts = [critic.value(*data.observation(index)) for index in np.array_split(np.arange(len(buffer)), max(1, -(-len(buffer) // batch)))]
    return torch.cat(parts).double().cpu().numpy()
