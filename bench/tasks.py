# SPDX-License-Identifier: Apache-2.0
"""The simulated tasks: how often the expert succeeds from every start stage, and how fast the simulation runs.

    python bench/tasks.py [--task toast_bread ...] [--seeds 200] [--first 1000] [--workers 2] [--quick]

The expert has privileged state and no imperfection; its targets at 20 Hz are interpolated and pass the real command
filter at 100 Hz. An episode that has not succeeded after 30 s of robot time counts as a failure. Speed: robot seconds
per second of processor time of one process, expert and command filter included, without pictures and with the ego and
both wrist pictures at 20 Hz. Prints one table per task, then one JSON line. Targets: success >= 95 % from every stage;
>= 5 x real time with pictures.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import multiprocessing
import os
import statistics
import time

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "0")  # software GL draws in the calling thread: workers do not fight over cores

import numpy as np

from rove_contract import timing
from rove_contract.modes import Outcome
from rove_learning.deployment.simulation import FilterDrive
from rove_sim.episode import play_episode
from rove_sim.people.operator import EXPERT, Operator
from rove_sim.people.supervision import Patience, Supervision
from rove_sim.tasks import task as tasks

LIMIT_S = 30.0
CAMERAS = ("ego", "left_wrist", "right_wrist")
SIZES = (96, 128)  # pixels
SPEED_SEEDS = 3


@functools.cache
def make_world(task: str, size: int):
    """One world per process, task and picture size."""
    return tasks.get(task).make_world(size)


def play(task: str, stage: str, seed: int, size: int = 32, pictures: bool = False) -> dict:
    """One episode of the expert: success, robot seconds, processor seconds."""
    world, played = make_world(task, size), tasks.get(task)
    rng = np.random.default_rng(seed)
    cameras = CAMERAS if pictures else ()
    for camera in cameras:
        world.render(camera)  # the first picture makes the GL context
    started = time.process_time()
    episode = play_episode(
        world,
        FilterDrive(world),
        Supervision(played, "demonstration", 1, Patience(demonstration_s=LIMIT_S), rng=rng),
        seed=seed,
        start_stage=stage,
        operator=Operator(played, EXPERT, rng, 1.0 / timing.POLICY_HZ, world.table),
        cameras=cameras,
    )
    return {
        "stage": stage,
        "seed": seed,
        "success": episode.outcome is Outcome.SUCCESS,
        "s": world.time,
        "cpu_s": time.process_time() - started,
    }


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a success rate (Wilson, 1927)."""
    z, rate = 1.96, successes / trials
    middle = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    return middle - half, middle + half


def measure_success(task: tasks.Task, stages: list[str], seeds: range, workers: int) -> dict:
    """Success and seconds by start stage."""
    result = {}
    print(f"\n{task.name}: expert, {len(seeds)} seeds ({seeds[0]}-{seeds[-1]}) per start stage")
    print("| start stage | success | 95 % interval | median s | 90th percentile s | failed seeds |")
    print("|---|---|---|---|---|---|", flush=True)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for stage in stages:
            episodes = pool.starmap(play, [(task.name, stage, seed) for seed in seeds], chunksize=4)
            good = [episode["s"] for episode in episodes if episode["success"]]
            failed = [str(episode["seed"]) for episode in episodes if not episode["success"]]
            low, high = wilson(len(good), len(episodes))
            median, slow = (statistics.median(good), float(np.quantile(good, 0.9))) if good else (math.nan, math.nan)
            rate = f"{len(good)}/{len(episodes)} = {100 * len(good) / len(episodes):.1f} %"
            interval = f"{100 * low:.1f}-{100 * high:.1f} %"
            row = (stage, rate, interval, f"{median:.1f}", f"{slow:.1f}", ", ".join(failed) or "none")
            print(f"| {' | '.join(row)} |", flush=True)
            result[stage] = {"success": len(good), "trials": len(episodes), "median_s": median, "p90_s": slow}
    return result


def measure_speed(task: tasks.Task, seeds: range) -> dict:
    """Robot seconds per processor second."""
    result = {}
    print(f"\n{task.name}: robot seconds per processor second of one process")
    print("| pictures | x real time |\n|---|---|")
    for label, size, pictures in (("none", 32, False), *((f"3 of {size} px at 20 Hz", size, True) for size in SIZES)):
        episodes = [play(task.name, task.start_stages[0], seed, size, pictures) for seed in seeds]
        result[label] = sum(episode["s"] for episode in episodes) / sum(episode["cpu_s"] for episode in episodes)
        print(f"| {label} | {result[label]:.1f} |")
    return result


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="+", default=[task.name for task in tasks.TASKS], help="names of tasks")
    parser.add_argument("--stages", nargs="+", help="start stages; all of the task")
    parser.add_argument("--seeds", type=int, default=200, help="episodes per start stage")
    parser.add_argument("--first", type=int, default=1000, help="first seed")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--quick", action="store_true", help="5 seeds")
    options = parser.parse_args()
    seeds = range(options.first, options.first + (5 if options.quick else options.seeds))
    result = {}
    for name in options.task:
        task = tasks.get(name)
        success = measure_success(task, options.stages or list(task.start_stages), seeds, options.workers)
        result[name] = {"success": success, "speed": measure_speed(task, seeds[:SPEED_SEEDS])}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
