# SPDX-License-Identifier: Apache-2.0
"""`collect`: demonstrations in-process, faster than real time, by people who err or by the expert, through the real
command filter, no ROS.

    rove run rove_learning collect --task toast_bread --out runs/demonstrations --episodes 80 --workers 2
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from rove_contract import timing
from rove_contract.modes import Outcome
from rove_description import robot
from rove_learning.deployment.simulation import FilterDrive, FrameRecorder, play_seeds
from rove_learning.deployment.truth import TruthRecorder, save_truth
from rove_sim.tasks import task as tasks


@dataclass(frozen=True)
class CollectConfig:
    """Demonstrations of one task."""

    out: Path  # dataset folder; appended to when it exists
    task: str = tasks.ERASE_WHITEBOARD.name
    episodes: int = 80
    workers: int = 2  # processes
    seed: int = 1000  # of the first episode; episode i uses seed + i
    people: Literal["crew", "expert"] = "crew"  # four operators in turn, with their teleoperation gaps; or the expert
    failures: bool = False  # keep demonstrations that failed; people record a failed one again
    image_size: int = 192  # px, square
    cameras: tuple[str, ...] = ("ego",)  # also left_wrist, right_wrist
    start_stages: tuple[str, ...] = ()  # cycled over the episodes (paper, sec. 3.1); empty: all of the task


def make_worker(config: CollectConfig) -> Callable[[int], dict]:
    """A function seed -> episode as plain arrays; the world is made once."""
    from rove_sim.episode import play_episode
    from rove_sim.people.operator import CREW, EXPERT, Operator
    from rove_sim.people.supervision import Supervision

    task = tasks.get(config.task)
    world = task.make_world(config.image_size)
    drive = FilterDrive(world)
    people = CREW if config.people == "crew" else (EXPERT,)
    stages = config.start_stages or task.start_stages

    def demonstrate(seed: int) -> dict:
        number = seed - config.seed
        person = people[number % len(people)]
        rng = np.random.default_rng([seed, 7])
        operator = Operator(task, person, rng, 1.0 / timing.POLICY_HZ, world.table)
        recorder, truth = FrameRecorder(config.cameras), TruthRecorder(task)
        episode = play_episode(
            world,
            drive,
            Supervision(task, "demonstration", 1, rng=rng),
            seed=seed,
            start_stage=stages[number // len(people) % len(stages)],
            operator=operator,
            observers=(recorder, truth),
            cameras=config.cameras,
        )
        name = f"demonstration-{seed:06d}"
        frames = recorder.frames(episode, episode_id=name, kind="demonstration", operator=person.name)
        return {
            "frames": frames,
            "truth": truth.columns(),
            "mistakes": episode.mistakes,
            "reasons": episode.reasons,
        }

    return demonstrate


def collect(config: CollectConfig, progress: bool = True) -> dict:
    """Write the dataset; every episode is kept with its true outcome, or only successes. Returns counts."""
    from rove_recorder.dataset.lerobot import DatasetWriter, EpisodeFrames

    task = tasks.get(config.task)
    written = successes = frames = 0
    mistakes: Counter[str] = Counter()
    size = dict.fromkeys(config.cameras, (config.image_size, config.image_size))
    with DatasetWriter(config.out, robot.load().card, round(timing.POLICY_HZ), size) as writer:
        seeds = range(config.seed, config.seed + config.episodes)
        bar = tqdm(
            play_seeds(make_worker, config, seeds, config.workers),
            total=config.episodes,
            desc="demonstrations",
            unit="episode",
            disable=not progress,
        )
        for row in bar:
            episode = row["frames"]
            success = episode["outcome"] == Outcome.SUCCESS
            successes += success
            mistakes.update(row["mistakes"])
            bar.set_postfix(success=successes)
            if success or config.failures:
                writer.add_episode(EpisodeFrames(**episode, task=task.instruction))
                save_truth(config.out, episode["episode_id"], row["truth"])
                written += 1
                frames += len(episode["stage"])
    return {
        "task": task.name,
        "episodes": written,
        "attempts": config.episodes,
        "frames": frames,
        "successes": int(successes),
        "mistakes": dict(mistakes),
        "dataset": str(config.out),
    }


def main() -> int:
    import tyro

    try:
        print(json.dumps(collect(tyro.cli(CollectConfig, description=__doc__, prog="rove run rove_learning collect"))))
    except (ValueError, OSError) as error:
        print(f"collect: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
