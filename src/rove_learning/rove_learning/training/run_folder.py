# SPDX-License-Identifier: Apache-2.0
"""Everything that a run of training leaves on the disk, and reads back: one place for all files of --out."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rove_contract import files
from rove_learning import command_line
from rove_learning.algorithm.advantage import Labels
from rove_learning.config import to_dict
from rove_learning.data.buffer import Buffer
from rove_learning.inference import checkpoint
from rove_learning.models.actor import Actor
from rove_learning.models.critic import Critic
from rove_learning.training import processes
from rove_learning.training.label import Scores
from rove_learning.training.plan import Plan
from rove_recorder.dataset.scores import write_scores


class RunMismatch(ValueError):
    """The output folder holds a run with another configuration."""


@contextlib.contextmanager
def lock(out: Path) -> Iterator[None]:
    """Nobody else trains into the folder `out` while the block lasts. Raises RunMismatch when somebody does."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(files.inside(out, ".lock"), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW)
    except files.UnsafePath as error:
        raise RunMismatch(str(error)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise RunMismatch(f"another process is training into {out}; wait for it, or choose another --out") from None
    finally:
        if os.listdir(out) == [".lock"]:  # refused before anything was written
            shutil.rmtree(out)
        os.close(descriptor)


def _read(file: Path) -> dict | None:
    """A JSON object that `claim` or `add_history` wrote; None, and a note, when it is damaged."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"it holds a {type(values).__name__}, expected an object")
    except (ValueError, RecursionError) as error:
        print(f"note: {file} is damaged ({error})", file=sys.stderr)
        return None
    return values


class RunFolder:
    """The folder --out of a plan. Only the main process writes."""

    def __init__(self, plan: Plan):
        self._plan, self._out, self._main = plan, plan.out, processes.main_process()

    def claim(self, step: str, **settings) -> None:
        """Compare this step's settings with those it was begun with; write them when it is new. A resumed step must be
        the same step. Raises RunMismatch.
        """
        plan, config = self._plan, self._plan.config
        common = {
            "seed": config.seed,
            "precision": config.precision,
            "datasets": plan.contents,
            "init": plan.previous.hash if plan.previous else "",
            "critic_from": config.critic_from,
            "held_out": config.held_out,
            "critic_checkpoint": plan.fixed_critic[1] if plan.fixed_critic else "",
            "reward": to_dict(config.reward),
        }
        plain = {key: to_dict(value) if dataclasses.is_dataclass(value) else value for key, value in settings.items()}
        now = json.loads(json.dumps({**common, **plain}))
        file = plan.work / f"{step}.json"
        if file.is_file():
            before = _read(file)
            if before is None and self._main:  # whatever was begun may have been begun with other settings
                print(f"note: the step {step} is computed anew", file=sys.stderr)
                for saved in plan.work.glob("*.pt"):
                    saved.unlink()
            before = now if before is None else before
            changed = [key for key in now if before.get(key) != now[key]]
            if changed:
                raise RunMismatch(
                    f"{self._out} holds the step {step} with another {', '.join(changed)}; choose another --out or "
                    f"remove the folder"
                )
        if self._main:
            plan.work.mkdir(parents=True, exist_ok=True)
            files.write(file, json.dumps(now, indent=1) + "\n")
            command_line.store(config, self._out)

    def save_critic(self, critic: Critic, fold: int | None = None) -> None:
        if self._main:
            checkpoint.save_critic(self._folder(fold), critic)

    def load_critic(self, fold: int | None = None) -> tuple[Critic, str]:
        """The critic of this run, or the one that does not know a fold, and its hash. Raises ValueError saying which
        step comes first.
        """
        self._need("critic.json", "train_critic", self._folder(fold))
        return checkpoint.load_critic(self._folder(fold), self._plan.config.device)

    def _folder(self, fold: int | None) -> Path:
        """Where a critic lies. Those of folds label and are of no use afterwards."""
        return self._out if fold is None else self._plan.work / f"fold-{fold}"

    def save_labels(self, buffer: Buffer, labels: Labels, scores: Scores) -> Path:
        """labels.npz: one row per frame of D^actor, in the buffer's order; threshold, scale and horizon in steps.

        Beside the labels what the report says about them: the episode's own return (N,) in steps, whether the critic
        was not trained on the frame, and how far the robot moves within the horizon (rad).
        """
        file, config = self._out / "labels.npz", self._plan.config
        returns = buffer.monte_carlo(buffer.rewards(config.reward), config.reward.gamma)
        columns = dict(
            episode=buffer.episode,
            frame=np.arange(len(buffer)) - buffer.first,
            stage=buffer.stage,
            outcome=buffer.outcome,
            value=scores.value,
            advantage=scores.advantage,
            positive=labels.positive,
            keep=labels.keep,
            threshold=labels.threshold,
            scale=self._plan.normaliser.scale,
            horizon=config.critic.horizon,
            returns=returns,
            held_out=buffer.held_out(config.held_out),
            movement=buffer.movement(config.critic.horizon),
            episode_id=np.array([e.episode_id for e in buffer.episodes]),
            kind=np.array([e.kind for e in buffer.episodes]),
        )
        with files.replaced(file) as part:
            np.savez_compressed(part, **columns)
        return file

    def load_labels(self, buffer: Buffer) -> Labels:
        """Labels that `save_labels` wrote for this buffer. Raises ValueError when they belong to other data."""
        path = self._need("labels.npz", "label")
        with np.load(path) as file:
            identities = [e.episode_id for e in buffer.episodes]
            if not np.array_equal(file["episode"], buffer.episode) or file["episode_id"].tolist() != identities:
                raise ValueError(
                    f"{path} labels {len(file['episode'])} frames, not the {len(buffer)} frames of these datasets; "
                    f"label again"
                )
            return Labels(file["positive"], file["keep"], float(file["threshold"]))

    def save_scores(self, buffer: Buffer, scores: Scores, labels: Labels, critic_hash: str) -> list[str]:
        """Write the scores of all frames of D^critic beside their datasets, where the review page shows them; human
        videos have no label. Returns the files written.
        """
        positive = np.zeros(len(buffer), dtype=bool)
        positive[buffer.has_robot] = labels.positive
        root = np.array(buffer.roots)[buffer.episode]
        index = np.array([e.index for e in buffer.episodes])[buffer.episode]
        frame = np.arange(len(buffer)) - buffer.first
        name = re.sub(r"[^A-Za-z0-9._-]", "_", self._out.resolve().name).lstrip("._-")[:64] or "critic"
        written = []
        for folder in dict.fromkeys(buffer.roots):
            of_folder = root == folder
            columns = {"value": scores.value, "advantage": scores.advantage, "positive": positive}
            try:
                file = write_scores(
                    folder,
                    name,
                    index[of_folder],
                    frame[of_folder],
                    **{key: column[of_folder] for key, column in columns.items()},
                    threshold=labels.threshold,
                    scale=self._plan.normaliser.scale,
                    checkpoint=critic_hash,
                )
            except OSError as error:
                print(f"label: scores are not stored beside {folder}: {error}", file=sys.stderr)
            else:
                written.append(str(file))
        return written

    def save_policy(self, actor: Actor, critic: Critic | None, buffer: Buffer) -> None:
        """The checkpoint: actor and critic, and what was run."""
        if not self._main:
            return
        plan = self._plan
        info = {
            "train": command_line.to_plain(to_dict(plan.config)),
            "robot": buffer.robot.to_dict(),
            "instructions": buffer.tasks,
            "iteration": plan.iteration,
        }
        guidance = plan.config.actor.guidance if plan.method.conditioned else 1.0
        checkpoint.save(self._out, actor, critic, guidance=guidance, info=info)

    def add_history(self, history: dict[str, list[dict]]) -> dict[str, list[dict]]:
        """Merge the metrics of a step's phases into history.json. Returns those of all steps so far."""
        file = self._out / "history.json"
        merged = {**((_read(file) or {}) if file.is_file() else {}), **history}
        if self._main:
            files.write(file, json.dumps(merged))
        return merged

    def save_summary(self, summary: dict) -> None:
        if self._main:
            files.write(self._out / "train.json", json.dumps(summary, indent=1) + "\n")

    def _need(self, name: str, command: str, folder: Path | None = None) -> Path:
        """A file that an earlier step wrote. Raises ValueError saying which."""
        file = (folder or self._out) / name
        if not file.is_file():
            raise ValueError(
                f"{self._out} has no {name}: run `rove run rove_learning {command}` with the same arguments first"
            )
        return file
