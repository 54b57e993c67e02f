# SPDX-License-Identifier: Apache-2.0
"""`train_critic`: critic training (Algorithm 1, line 3): MC pretraining (eq. 3) where no critic is given, then OVE (eq.
4, 5).

    rove run rove_learning train_critic --dataset runs/demonstrations runs/session --init runs/base --out runs/policy

Writes critic.safetensors into --out; `label` and `train_actor` go on from there. Killed, the same command resumes.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from rove_learning.algorithm.advantage import NEEDS_CRITIC
from rove_learning.algorithm.rewards import Normaliser
from rove_learning.algorithm.targets import expectile_loss, ove_target
from rove_learning.config import CriticConfig, RegulariseConfig, RewardConfig
from rove_learning.data.augmentation import draw_augmentation
from rove_learning.data.buffer import Buffer
from rove_learning.data.sources import MemorySource, PictureSource, Source
from rove_learning.inference import checkpoint
from rove_learning.models.critic import Critic, ema_update
from rove_learning.training import phases
from rove_learning.training.phases import Share
from rove_learning.training.run import Run, command


def mc_loss(critic, observation, returns: torch.Tensor) -> torch.Tensor:
    """Eq. 3: mean of (V(s_t) - sum of gamma^(i - t) r_i)^2; returns (B,) in [-1, 0]."""
    return ((critic(observation) - returns) ** 2).mean()


def ove_loss(critic, target_critic: Critic, observation, following, sums, discount, tau: float) -> torch.Tensor:
    """Eq. 5 on the target of eq. 4, clipped to [-1, 0] (App. G). following: observation at t + H; sums, discount: (B,),
    see targets.py.
    """
    target = ove_target(sums, discount, target_critic.value(following)).clamp(-1.0, 0.0)
    return expectile_loss(target, critic(observation), tau).mean()


class CriticTraining:
    """The phases of one critic's training on D^critic; each resumes from `work`."""

    def __init__(
        self,
        buffer: Buffer,
        config: CriticConfig,
        reward: RewardConfig,
        work: Path,
        seed: int = 0,
        regularise: RegulariseConfig | None = None,
        device: str = "cpu",
        progress: bool = True,
        stop=lambda: False,
        source: Source | None = None,
        features=None,
        critic: Critic | None = None,
    ):
        self.buffer, self.config, self.reward = buffer, config, reward
        self.regularise = regularise or RegulariseConfig()
        self.device, self.given, self.features, self.progress = device, source, features, progress
        self.normaliser = Normaliser.of(reward.c_fail, reward.max_steps)
        self.run = lambda phase: phases.run(phase, work, seed, device, progress=progress, stop=stop)
        torch.manual_seed(seed)
        self.critic = (critic or Critic(config)).to(device)

    @functools.cached_property
    def source(self) -> Source:
        """Observations; a frozen backbone runs once per frame. First asked for when the critic's starting weights are
        in place.
        """
        if self.given is not None:
            return self.given
        backbone = self.critic.backbone
        if any(p.requires_grad for p in backbone.parameters()):
            return PictureSource(self.buffer, self.device)
        if backbone.fingerprint:
            return self.features(self.buffer, backbone) if self.features else PictureSource(self.buffer, self.device)
        return MemorySource(self.buffer, backbone, self.device, progress=self.progress and phases.main_process())

    def tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self.device)

    def draw(self, share: Share, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """This share's rows of the global batch: frames (B,) of the buffer and their augmentation."""
        rng, rows = share.rng(), share.rows(self.config.batch)
        total = share.count * self.config.batch
        index = rng.choice(frames, total)
        gain, shift = draw_augmentation(total, self.regularise, rng)
        return index[rows], gain[rows], shift[rows]

    def regress(self, name: str, frames: np.ndarray, returns: np.ndarray, steps: int, lr: float) -> list[dict]:
        """MC regression (eq. 3) of the normalised returns (N,) on the given frames."""

        source = self.source

        def batch(share):
            index, gain, shift = self.draw(share, frames)
            return source(index, gain=gain, shift=shift), self.tensor(returns[index])

        def loss(critic, drawn):
            return mc_loss(critic, *drawn), {}

        config, models = self.config, {"online": self.critic}
        return self.run(
            phases.Phase(name, steps, lr, config.weight_decay, models, loss, accumulate=config.accumulate, batch=batch)
        )

    def pretrain(self) -> list[dict]:
        """MC pretraining on the demonstrations of robots and people (all episodes where there are none), C_fail =
        -(mean length).

        Its returns are shorter than those of fine-tuning (no C_fail of -500), so they have their own normalisation, in
        which the head sees all of [-1, 0]; afterwards the values are brought to the one that every saved critic has.
        """
        shown = np.array([e.kind != "rollout" for e in self.buffer.episodes])[self.buffer.episode]
        frames = np.flatnonzero(shown) if shown.any() else np.arange(len(self.buffer))
        r = self.buffer.rewards(self.reward, pretraining=True)
        worst = max(1.0, -float(self.buffer.monte_carlo(r, self.reward.gamma)[frames].min()))
        scale = Normaliser(worst)
        history = self.regress(
            "critic_mc", frames, self.buffer.returns(r, self.reward.gamma, scale), self.config.mc_steps, self.config.lr
        )
        self.critic.rescale(scale.scale / self.normaliser.scale)
        return history

    def monte_carlo(self, lr: float) -> list[dict]:
        """Fine-tuning by MC regression: the critic of RECAP and of Fig. 6."""
        returns = self.buffer.returns(self.buffer.rewards(self.reward), self.reward.gamma, self.normaliser)
        return self.regress("critic_mc_fine", np.arange(len(self.buffer)), returns, self.config.steps, lr)

    def optimistic(self, lr: float) -> list[dict]:
        """Fine-tuning by OVE. Afterwards `critic` is the EMA critic: the less noisy of the two; its values make the
        labels.
        """
        config, online, source = self.config, self.critic, self.source
        sums, following, discount = self.buffer.segments(
            self.buffer.rewards(self.reward), config.horizon, self.reward.gamma, self.normaliser
        )
        target_critic = phases.frozen_copy(online)
        frames = np.arange(len(self.buffer))

        def batch(share):
            index, gain, shift = self.draw(share, frames)
            observation, ahead = source(index, gain=gain, shift=shift), source(following[index])
            return observation, ahead, self.tensor(sums[index]), self.tensor(discount[index])

        def loss(critic, drawn):
            observation, ahead, rewards, factor = drawn
            return ove_loss(critic, models["target"], observation, ahead, rewards, factor, config.tau), {}

        models = {"online": online, "target": target_critic}
        history = self.run(
            phases.Phase(
                "critic_ove",
                config.steps,
                lr,
                config.weight_decay,
                models,
                loss,
                lambda: ema_update(models["target"], models["online"], config.ema),
                config.accumulate,
                batch,
            )
        )
        self.critic = target_critic
        return history


def train_critic(
    buffer: Buffer,
    config: CriticConfig,
    reward: RewardConfig,
    work: Path,
    *,
    previous: Critic | None = None,
    first: bool = True,
    **options,
) -> tuple[Critic, dict[str, list]]:
    """Train on D^critic. previous: critic to start from, or None = MC pretraining first. first: iteration 0 (decides
    the learning rate).

    options: see `CriticTraining`. Returns the critic and its loss history.
    """
    training = CriticTraining(buffer, config, reward, work, **options)
    history: dict[str, list] = {}
    if previous is not None:
        training.critic.load_state_dict(previous.state_dict())
    elif config.mc_steps > 0:
        history["critic_mc"] = training.pretrain()
    if config.steps > 0:
        lr = config.lr if first else config.lr_next
        name = "critic_mc_fine" if config.target == "mc" else "critic_ove"
        history[name] = training.monte_carlo(lr) if config.target == "mc" else training.optimistic(lr)
    return training.critic.requires_grad_(False).eval(), history


@torch.no_grad()
def values(
    critic: Critic, buffer: Buffer, device: str = "cpu", batch: int = 256, source: Source | None = None, processes=None
) -> np.ndarray:
    """(N,) float64 V(s) in [-1, 0] of every frame of the buffer.

    processes: the accelerate.Accelerator of several processes: each computes a part, all call this and get everything.
    """
    source = source or PictureSource(buffer, device)
    index, count = (processes.process_index, processes.num_processes) if processes else (0, 1)
    found = torch.zeros(len(buffer), dtype=torch.float64, device=device)
    # The batches are the same for every number of processes, and so are the values, to the last bit.
    for rows in np.array_split(np.arange(len(buffer)), max(1, -(-len(buffer) // batch)))[index::count]:
        found[torch.from_numpy(rows).to(device)] = critic.value(source(rows)).double()
    if count > 1:
        found = processes.reduce(found, "sum")
    return found.cpu().numpy()


def step(run: Run) -> dict:
    """Train the run's critic on D^critic and leave it in OUT. Methods that imitate get MC pretraining only. Returns its
    losses.
    """
    config = run.config
    if not run.trains_critic:
        return {"critic": None, "reason": "this run trains none"}
    settings = config.critic if config.method in NEEDS_CRITIC else replace(config.critic, steps=0)
    run.claim("critic", critic=settings, regularise=config.regularise)
    start = run.previous.critic if run.previous and config.critic_from != "scratch" else None
    critic, history = train_critic(
        run.critic_buffer, settings, config.reward, run.work, previous=start, **run.options()
    )
    if run.main:
        checkpoint.save_critic(run.out, critic)
        run.add_history(history)
    run.synchronise()
    return {"critic": str(run.out / "critic.safetensors"), "loss": recent(history), "waited_for_data": waits(history)}


def recent(history: dict[str, list], rows: int = 50) -> dict[str, float]:
    """Mean loss of the last steps of each phase."""
    return {
        name: sum(row["loss"] for row in steps[-rows:]) / len(steps[-rows:]) for name, steps in history.items() if steps
    }


def waits(history: dict[str, list]) -> dict[str, float]:
    """Share of each phase's time in which its steps waited for their data."""
    return {
        name: sum(row["waited"] for row in steps) / sum(row["seconds"] for row in steps)
        for name, steps in history.items()
        if steps and all("waited" in row for row in steps)
    }


def main() -> int:
    return command("train_critic", step, __doc__)


if __name__ == "__main__":
    sys.exit(main())
