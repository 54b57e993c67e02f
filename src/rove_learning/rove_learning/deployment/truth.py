# SPDX-License-Identifier: Apache-2.0
"""What the simulator knew of each frame, beside a dataset: to judge critics and labels with, never to train on.

DATASET/meta/truth/<episode id>.npz: advance (T,) float32, how far the work is as a watching person sees it
(`rove_sim.people.watching.Watch.advance`); milestone (T,) int8, index into the task's; behaviour (T,) str, what the
operator was doing ("work", what an adaptation consists of, or the mistake being made), "" while the policy drove.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rove_contract import files
from rove_contract.modes import Mode
from rove_sim.episode import Tick

FOLDER = "meta/truth"


class TruthRecorder:
    """Observer of `rove_sim.episode.play_episode`, with the frames of `simulation.FrameRecorder`. task: of
    `rove_sim.tasks`.
    """

    def __init__(self, task):
        self.task, self.watch = task, None
        self.rows: list[tuple[float, int, str]] = []

    def __call__(self, tick: Tick) -> None:
        if tick.mode in (Mode.IDLE, Mode.PAUSED):
            return
        if self.watch is None:
            self.watch = self.task.make_watch(tick.state, np.random.default_rng(0))
        milestone = self.task.milestones.index(tick.state["milestone"])
        self.rows.append((self.watch.advance(tick.state), milestone, tick.behaviour))

    def columns(self) -> dict[str, np.ndarray]:
        """What is stored of the episode."""
        advance, milestone, behaviour = zip(*self.rows) if self.rows else ((), (), ())
        return {
            "advance": np.array(advance, dtype=np.float32),
            "milestone": np.array(milestone, dtype=np.int8),
            "behaviour": np.array(behaviour, dtype=np.str_),
        }


def save_truth(root: str | Path, episode_id: str, columns: dict[str, np.ndarray]) -> None:
    """Write the columns of one episode of the dataset in `root`."""
    folder = Path(root) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with files.replaced(folder / f"{episode_id}.npz", durable=False) as part, open(part, "wb") as stream:
        np.savez_compressed(stream, **columns)


def load_truth(root: str | Path, episode_id: str) -> dict[str, np.ndarray] | None:
    """The columns of one episode; None for a dataset without."""
    file = Path(root) / FOLDER / f"{episode_id}.npz"
    if not file.is_file():
        return None
    with np.load(file) as columns:
        return dict(columns)
