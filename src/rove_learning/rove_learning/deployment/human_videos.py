# SPDX-License-Identifier: Apache-2.0
"""`human_videos`: the simulated counterpart of the paper's human experience videos (App. G), for D^critic only.

    rove run rove_learning human_videos --task toast_bread --out runs/videos --episodes 180

Pictures without state and action, half successes and half failures, of a body that is not the robot's
(`rove_sim.people.embodiment`). They reproduce what rollouts and interventions show: mistakes, retries, incomplete work.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from rove_contract import timing
from rove_contract.modes import Mode, Outcome, Source, Stage, Trigger
from rove_description import robot
from rove_learning.deployment.simulation import FilterDrive, FrameRecorder, play_seeds
from rove_sim.people.supervision import Patience, Supervision
from rove_sim.tasks import task as tasks

CAUTIOUS, CLUMSY = (0.4, 1.0), (0.0, 0.3)  # skill of those who succeed and of those who fail
GIVES_UP_S = (0.15, 0.45)  # share of the task's time limit after which a failing person stops
GIVES_UP_AT = (0.1, 0.6)  # share of what was left to do at which a failing person takes the work for done


@dataclass(frozen=True)
class VideoConfig:
    """Videos of people doing a task, or failing to."""

    out: str  # dataset folder; appended to when it exists
    task: str = tasks.ERASE_WHITEBOARD.name
    episodes: int = 24  # every second one fails (paper: 180 per task, half failures)
    workers: int = 2
    seed: int = 40_000
    image_size: int = 192  # px
    start_stages: tuple[str, ...] = ()  # cycled in pairs of a success and a failure; empty: all of the task


class HalfDone(Supervision):
    """Ends a demonstration as failed when a drawn share of the work is done: the person takes it for done, or gives
    up.
    """

    def __init__(self, task, patience: Patience, rng: np.random.Generator):
        super().__init__(task, "demonstration", 1, patience, rng=rng)
        self.share = rng.uniform(*GIVES_UP_AT)
        self.first: float | None = None

    def _watch_work(self, view, succeed=True):
        progress = view.sim["progress"]
        self.first = progress if self.first is None else self.first
        if progress > self.first + self.share * (1.0 - self.first):
            return self._end(Trigger.FAIL, "the person stops with the work undone")
        return super()._watch_work(view, succeed)


def make_worker(config: VideoConfig) -> Callable[[int], dict]:
    """A function seed -> episode as plain arrays without state and action."""
    from rove_sim.episode import play_episode
    from rove_sim.people.embodiment import become_human
    from rove_sim.people.operator import Operator, Person

    task = tasks.get(config.task)
    world = task.make_world(config.image_size)
    world.embodiment = become_human
    drive = FilterDrive(world)
    stages = config.start_stages or task.start_stages

    def film(seed: int) -> dict:
        number = seed - config.seed
        rng = np.random.default_rng([seed, 5])
        fails = number % 2 == 1
        person = Person("person", float(rng.uniform(*(CLUMSY if fails else CAUTIOUS))))
        patience = Patience(demonstration_s=task.limit_s * rng.uniform(*GIVES_UP_S)) if fails else Patience()
        watcher = HalfDone(task, patience, rng) if fails else Supervision(task, "demonstration", 1, patience, rng=rng)
        recorder = FrameRecorder()
        episode = play_episode(
            world,
            drive,
            watcher,
            seed=seed,
            start_stage=stages[number // 2 % len(stages)],
            operator=Operator(task, person, rng, 1.0 / timing.POLICY_HZ, world.table),
            observers=(recorder,),
        )
        n = episode.frames
        labels = {
            "stage": np.full(n, Stage.HUMAN_VIDEO),
            "source": np.full(n, Source.NONE),
            "mode": np.full(n, Mode.IDLE),
            "state": None,
            "action": None,
        }
        name = f"video-{seed:06d}"
        return recorder.frames(episode, episode_id=name, kind="human_video", operator="person") | labels

    return film


def film(config: VideoConfig, progress: bool = True) -> dict:
    """Write the dataset; every video is kept with its true outcome. Returns counts."""
    from rove_recorder.dataset.lerobot import DatasetWriter, EpisodeFrames

    task = tasks.get(config.task)
    counts = {"episodes": 0, "successes": 0, "frames": 0}
    size = (config.image_size, config.image_size)
    with DatasetWriter(config.out, robot.load().card, round(timing.POLICY_HZ), size) as writer:
        seeds = range(config.seed, config.seed + config.episodes)
        played = play_seeds(make_worker, config, seeds, config.workers)
        for episode in tqdm(played, total=config.episodes, desc="human videos", unit="episode", disable=not progress):
            writer.add_episode(EpisodeFrames(**episode, task=task.instruction))
            counts["episodes"] += 1
            counts["successes"] += episode["outcome"] == Outcome.SUCCESS
            counts["frames"] += len(episode["stage"])
    return {"task": task.name} | {key: int(value) for key, value in counts.items()} | {"dataset": config.out}


def main() -> int:
    import tyro

    try:
        print(json.dumps(film(tyro.cli(VideoConfig, description=__doc__, prog="rove run rove_learning human_videos"))))
    except (ValueError, OSError) as error:
        print(f"human_videos: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
