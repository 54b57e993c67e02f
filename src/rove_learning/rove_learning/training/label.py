# SPDX-License-Identifier: Apache-2.0
"""`label`: advantages and improvement labels of D^actor (Algorithm 1, lines 4-6).

    rove run rove_learning label --dataset runs/demonstrations runs/session --init runs/base --out runs/policy

Needs the critic that `train_critic` left in --out (or --critic-checkpoint). Writes labels.npz there, and value,
advantage and label of every frame beside each dataset (meta/scores/<name of --out>.parquet), where `rove run
rove_recorder review` shows them.
"""

from __future__ import annotations

import hashlib
import math
import re
import sys
from pathlib import Path

import numpy as np

from rove_contract.files import replaced
from rove_learning.algorithm.advantage import LABELERS, NEEDS_CRITIC, Labels, h_step_advantage
from rove_learning.algorithm.rewards import Normaliser
from rove_learning.config import LabelConfig, RewardConfig
from rove_learning.data.buffer import Buffer
from rove_learning.inference import checkpoint
from rove_learning.training.run import Run, command
from rove_learning.training.train_critic import values
from rove_recorder.dataset.scores import write_scores


def advantages(buffer: Buffer, value: np.ndarray, reward: RewardConfig, horizon: int) -> np.ndarray:
    """(N,) advantages in steps (Algorithm 1, line 4) of normalised values (N,)."""
    normaliser = Normaliser.of(reward.c_fail, reward.max_steps)
    r = buffer.rewards(reward)
    return np.concatenate(
        [h_step_advantage(r[s], normaliser.steps(value[s]), horizon, reward.gamma) for s in buffer.slices()]
    )


def assign(buffer: Buffer, advantage: np.ndarray, method: str, config: LabelConfig) -> Labels:
    """Labels of D^actor (Algorithm 1, lines 5 and 6; App. E). advantage: (N,), NaN without a critic. Raises
    ValueError.
    """
    if method in NEEDS_CRITIC and not np.isfinite(advantage).all():
        raise ValueError(f"the method {method} labels with advantages and needs a critic")
    labels = LABELERS[method](advantage, buffer.stage, buffer.outcome, config.percentile)
    if not labels.keep.any():
        raise ValueError(
            f"the method {method} keeps none of the {len(buffer)} frames; it needs e.g. successful demonstrations "
            f"in the data"
        )
    return labels


def save(path: Path, buffer: Buffer, labels: Labels, value: np.ndarray, advantage: np.ndarray) -> None:
    """labels.npz: one row per frame of D^actor, in the buffer's order, and the threshold."""
    columns = dict(
        episode=buffer.episode,
        frame=np.arange(len(buffer)) - buffer.first,
        stage=buffer.stage,
        outcome=buffer.outcome,
        value=value,
        advantage=advantage,
        positive=labels.positive,
        keep=labels.keep,
        threshold=labels.threshold,
        episode_id=np.array([e.episode_id for e in buffer.episodes]),
        kind=np.array([e.kind for e in buffer.episodes]),
    )
    with replaced(path) as part:
        np.savez_compressed(part, **columns)


def load(path: Path, buffer: Buffer) -> Labels:
    """Labels that `save` wrote for this buffer. Raises ValueError when they belong to other data."""
    with np.load(path) as file:
        if not np.array_equal(file["episode"], buffer.episode) or file["episode_id"].tolist() != [
            e.episode_id for e in buffer.episodes
        ]:
            raise ValueError(
                f"{path} labels {len(file['episode'])} frames, not the {len(buffer)} frames of these datasets; "
                f"label again"
            )
        return Labels(file["positive"], file["keep"], float(file["threshold"]))


def digest(labels: Labels) -> str:
    """12 hex digits of the labels: an actor is resumed on the labels it was begun with."""
    return hashlib.sha256(labels.positive.tobytes() + labels.keep.tobytes()).hexdigest()[:12]


def store_scores(run: Run, value: np.ndarray, advantage: np.ndarray, labels: Labels, critic_hash: str) -> list[str]:
    """Write the scores of all frames of D^critic beside their datasets; human videos have no label. Returns the files
    written.
    """
    buffer = run.critic_buffer
    positive = np.zeros(len(buffer), dtype=bool)
    positive[buffer.has_robot] = labels.positive
    root = np.array(buffer.roots)[buffer.episode]
    index = np.array([e.index for e in buffer.episodes])[buffer.episode]
    frame = np.arange(len(buffer)) - buffer.first
    name = re.sub(r"[^A-Za-z0-9._-]", "_", run.out.resolve().name).lstrip("._-")[:64] or "critic"
    files = []
    for folder in dict.fromkeys(buffer.roots):
        rows = root == folder
        try:
            files.append(
                str(
                    write_scores(
                        folder,
                        name,
                        index[rows],
                        frame[rows],
                        value=value[rows],
                        advantage=advantage[rows],
                        positive=positive[rows],
                        threshold=labels.threshold,
                        scale=run.normaliser.scale,
                        checkpoint=critic_hash,
                    )
                )
            )
        except OSError as error:
            print(f"label: scores are not stored beside {folder}: {error}", file=sys.stderr)
    return files


def shares(labels: Labels) -> dict:
    """Kept frames, positive ones among them, and the threshold in steps (None without a critic)."""
    return {
        "kept": float(labels.keep.mean()),
        "positive": float(labels.positive[labels.keep].mean()),
        "threshold_steps": labels.threshold if math.isfinite(labels.threshold) else None,
    }


def step(run: Run) -> dict:
    """Score D^critic, all processes a part of it, label D^actor, write both. Returns shares of positive and kept
    frames.
    """
    config, buffer = run.config, run.actor_buffer
    run.claim("label", method=config.method, labels=config.labels, horizon=config.critic.horizon)
    scored = run.critic_buffer if run.trains_critic or run.labelling is not None else None
    summary: dict = {}
    value = advantage = np.full(len(buffer), np.nan)
    scores = None
    if scored is not None:
        if run.labelling is not None:
            critic, critic_hash = run.labelling
        else:
            run.need("critic.json", "train_critic")
            critic, critic_hash = checkpoint.load_critic(run.out, config.device)
        cached = config.feature_cache and critic.backbone.fingerprint  # the critic's training has computed them
        source = run.features(scored, critic.backbone) if cached else None
        value = values(critic, scored, config.device, source=source, processes=run.processes)
    if run.main:
        if scored is not None:
            advantage = advantages(scored, value, config.reward, config.critic.horizon)
            scores = (value, advantage)
            value, advantage = value[scored.has_robot], advantage[scored.has_robot]
        labels = assign(buffer, advantage, config.method, config.labels)
        save(run.out / "labels.npz", buffer, labels, value, advantage)
        summary = {"labels": str(run.out / "labels.npz"), **shares(labels)}
        if scores is not None:
            summary["scores"] = store_scores(run, *scores, labels, critic_hash)
    run.synchronise()
    return summary


def main() -> int:
    return command("label", step, __doc__)


if __name__ == "__main__":
    sys.exit(main())
