"""`collect`: demonstrations in-process, faster than real time: environment, scripted expert and the real command filter, no ROS.

    rove run rove_learning collect --out runs/demonstrations --episodes 80 --workers 2
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rove_contract import joints, timing
from rove_contract.modes import Mode, Outcome, Source, Stage

STEPS_PER_TICK = round(timing.CONTROL_HZ / timing.POLICY_HZ)


@dataclass(frozen=True)
class CollectConfig:
    """Scripted demonstrations of "erase the whiteboard"."""

    out: Path  # dataset folder; appended to when it exists
    episodes: int = 80
    workers: int = 2  # processes
    seed: int = 1000  # of the first episode; episode i uses seed + i
    imperfection: float = 0.0  # 0..1, hesitation and misalignment of the operator
    image_size: int = 192  # px, square
    max_seconds: float = 15.0  # robot time after which an episode counts as failed
    start_stages: tuple[str, ...] = ("start",)  # cycled over the episodes (paper, sec. 3.1)


def _demonstrate(config: CollectConfig, number: int) -> tuple[int, dict]:
    """One episode as plain arrays, in a worker process (its environment is kept for the next one)."""
    from rove_sim.env import WhiteboardEnv
    from rove_sim.expert import Expert
    from rove_teleop.command_filter import CommandFilter

    state = _demonstrate.__dict__
    if state.get("size") != config.image_size:
        table = joints.load()
        state.update(size=config.image_size, env=WhiteboardEnv(image_size=config.image_size),
                     filter=CommandFilter(table.limits, timing.CONTROL_PERIOD_S))  # fmt: skip
    env, command_filter = state["env"], state["filter"]
    seed = config.seed + number
    stage = config.start_stages[number % len(config.start_stages)]
    env.reset(seed, stage)
    expert = Expert(env, np.random.default_rng([seed, 7]), config.imperfection)
    command = np.array(env.data.ctrl)  # what the environment holds after its reset
    command_filter.reset(command)
    expert.reset(env.q)
    previous = command
    q, action, images = [], [], []
    limit = round(config.max_seconds * timing.POLICY_HZ)
    while len(q) < limit and not env.success:
        q.append(env.q.copy())
        action.append(np.array(command))
        images.append(env.render())
        target = expert.target(env.q, env.state())
        for i in range(STEPS_PER_TICK):
            command = command_filter.step(previous + (target - previous) * (i + 1) / STEPS_PER_TICK)
            env.step(command)
        previous = target
    outcome = Outcome.SUCCESS if env.success else Outcome.FAILURE
    return number, {"state": np.array(q), "action": np.array(action), "images": np.array(images), "outcome": int(outcome),
                    "start_stage": stage, "episode_id": f"demonstration-{seed:06d}"}  # fmt: skip


def _start_worker() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MUJOCO_GL", "egl")


def _job(job) -> tuple[int, dict]:
    return _demonstrate(*job)


def episodes(config: CollectConfig) -> Iterator[dict]:
    """The demonstrations in the order of their seeds."""
    jobs = [(config, i) for i in range(config.episodes)]
    if config.workers <= 1:
        _start_worker()
        yield from (_job(job)[1] for job in jobs)
        return
    with multiprocessing.get_context("spawn").Pool(config.workers, _start_worker) as pool:
        for _, episode in pool.imap(_job, jobs):
            yield episode


def collect(config: CollectConfig, progress: bool = True) -> dict:
    """Write the dataset; every episode is kept with its true outcome. Returns counts and the success rate."""
    from rove_recorder.lerobot import DatasetWriter, EpisodeFrames
    from rove_sim.tasks import ERASE_WHITEBOARD

    table = joints.load()
    successes = frames = 0
    with DatasetWriter(config.out, round(timing.POLICY_HZ), (config.image_size, config.image_size), table.names) as writer:
        bar = tqdm(episodes(config), total=config.episodes, desc="demonstrations", unit="episode", disable=not progress)
        for episode in bar:
            n = len(episode["state"])
            writer.add_episode(
                EpisodeFrames(
                    **episode,
                    stage=np.full(n, Stage.DEMONSTRATION),
                    source=np.full(n, Source.OPERATOR),
                    mode=np.full(n, Mode.DEMONSTRATION),
                    task=ERASE_WHITEBOARD.instruction,
                    kind="demonstration",
                    operator="scripted",
                )
            )
            successes += episode["outcome"] == Outcome.SUCCESS
            frames += n
            bar.set_postfix(success=successes)
    return {"episodes": config.episodes, "frames": frames, "successes": int(successes), "dataset": str(config.out)}


def main() -> int:
    import json

    import tyro

    print(json.dumps(collect(tyro.cli(CollectConfig, description=__doc__))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
