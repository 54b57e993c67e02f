# SPDX-License-Identifier: Apache-2.0
"""Small made-up datasets in the exact layout, and tiny models: for tests and for trying things out without a
simulator.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from rove_contract.modes import Mode, Outcome, Source, Stage
from rove_description import joints, robot
from rove_learning.algorithm.rewards import Normaliser
from rove_learning.config import ActorConfig, BackboneConfig, CriticConfig, TrainConfig
from rove_learning.data.buffer import Buffer

BACKBONE = BackboneConfig(image_size=48, channels=(8, 16, 32), width=32, layers=1, heads=2)
ACTOR = ActorConfig(
    backbone=BACKBONE, width=48, layers=2, heads=2, batch=16, noise_samples=2, lr_scratch=3e-3, weight_ema=0.95
)
CRITIC = CriticConfig(backbone=BACKBONE, width=32, heads=2, batch=24, lr=1e-3, mc_steps=100, steps=40)
STAGES = {"demonstration": Stage.DEMONSTRATION, "rollout": Stage.ROLLOUT, "human_video": Stage.HUMAN_VIDEO}


def episode_frames(
    seed: int, length: int = 24, outcome=Outcome.SUCCESS, kind: str = "demonstration", stages=None, t_r=-1, takeover=-1
):
    """A dot that moves with joint 0: the picture tells the progress, the action follows from it."""
    from rove_recorder.dataset.lerobot import EpisodeFrames

    rng = np.random.default_rng(seed)
    names = joints.load().names
    phase = np.linspace(0.0, 1.0, length)
    state = np.zeros((length, len(names)))
    state[:, 13] = 0.8 * np.sin(3.0 * phase) + 0.05 * rng.standard_normal()
    action = np.roll(state, -1, axis=0)
    action[-1] = state[-1]
    images = np.full((length, 48, 48, 3), 40, dtype=np.uint8)
    for i, p in enumerate(phase):
        x = int(4 + 38 * p)
        images[i, 20:28, x - 3 : x + 4] = (230, 60, 60)
    if stages is None:
        stages = np.full(length, STAGES[kind])
    if kind == "human_video":
        state = action = None
    return EpisodeFrames(
        state,
        action,
        images,
        np.asarray(stages),
        np.full(length, Source.OPERATOR),
        np.full(length, Mode.DEMONSTRATION),
        task="erase the whiteboard",
        outcome=int(outcome),
        t_r=t_r,
        takeover=takeover,
        episode_id=f"e{seed}",
        kind=kind,
        operator="test",
    )


def write_dataset(root, episodes, camera="video"):
    from rove_recorder.dataset.lerobot import DatasetWriter

    with DatasetWriter(root, robot.load().card, 20, (48, 48), camera=camera) as writer:
        for episode in episodes:
            writer.add_episode(episode)
    return root


def intervention(seed: int, outcome=Outcome.SUCCESS):
    """20 frames of rollout, 6 of adaptation, 14 of recovery."""
    stages = [Stage.ROLLOUT] * 20 + [Stage.ADAPTATION] * 6 + [Stage.RECOVERY] * 14
    return episode_frames(seed, 40, outcome, "rollout", stages, t_r=26, takeover=20)


def make_plan(
    buffer: Buffer,
    out,
    scale: float = 800.0,
    phases=("critic_mc", "critic_ove"),
    start_critic=None,
    start_actor=None,
    **config,
):
    """A plan of iteration 0 on this buffer alone, for both D^actor and D^critic, and its buffers.

    scale: of the values, in steps. phases: of the critic. start_critic, start_actor: models to start from. config:
    fields of TrainConfig.
    """
    from rove_learning.training.buffers import Buffers
    from rove_learning.training.plan import Plan

    settings = TrainConfig((), str(out), threads=1, **config)
    plan = Plan(
        settings,
        Normaliser(scale),
        iteration=0,
        previous=SimpleNamespace(actor=start_actor, critic=start_critic) if start_actor or start_critic else None,
        start_critic=start_critic,
        critic_phases=phases,
        progress=False,
    )
    buffers = Buffers(plan)
    buffers.actor = buffers.critic = buffer
    return plan, buffers
