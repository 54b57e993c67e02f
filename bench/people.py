# SPDX-License-Identifier: Apache-2.0
"""The people of the simulator in numbers: demonstrations per operator, and interventions beside the paper's Table 2.

    python bench/people.py [--seeds 40] [--checkpoint RUN] [--quick]

Without a checkpoint the robot is driven by a policy that stands still, so every rollout ends in an intervention; with
one, reasons and times are those of a real deployment. Prints tables, then one JSON line.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
from collections import Counter

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np

from rove_contract import timing
from rove_contract.modes import Mode, Outcome
from rove_learning.deployment.simulation import FilterDrive
from rove_sim.episode import play_episode
from rove_sim.people.operator import CREW, EXPERT, Operator
from rove_sim.people.supervision import Patience, Supervision
from rove_sim.tasks import task as tasks

PEOPLE = (EXPERT, *CREW)


def stand_still(images, q):
    """A chunk that stays where the robot is."""
    return np.tile(q, (timing.CHUNK_STEPS, 1))


@functools.cache
def make_world(task: str, size: int):
    """One world per process, task and picture size."""
    return tasks.get(task).make_world(size)


@functools.cache
def load_policy(checkpoint: str):
    """The policy of a checkpoint, once per process."""
    from rove_learning.inference.checkpoint import load

    return load(checkpoint)


def play(task_name: str, kind: str, number: int, seed: int, checkpoint: str) -> dict:
    """One episode: outcome, seconds by mode, mistakes, reason of the pause."""
    task, person, rng = tasks.get(task_name), PEOPLE[number], np.random.default_rng([seed, number, 21])
    world = make_world(task_name, 96 if checkpoint else 32)

    def act(images, q):
        return load_policy(checkpoint).act(images["ego"], q, task.instruction, rng=rng)

    modes: Counter[Mode] = Counter()
    episode = play_episode(
        world,
        FilterDrive(world),
        Supervision(task, kind, 1, Patience(autonomous_s=task.limit_s), rng=rng),
        seed=seed,
        start_stage=task.start_stages[seed % len(task.start_stages)],
        policy=act if checkpoint else stand_still,
        operator=Operator(task, person, rng, 1.0 / timing.POLICY_HZ, world.table),
        observers=(lambda tick: modes.update([tick.mode]),),
        cameras=("ego",) if checkpoint else (),
    )
    return {
        "person": number,
        "success": episode.outcome is Outcome.SUCCESS,
        "frames": {mode.name: count for mode, count in modes.items()},
        "mistakes": episode.mistakes,
        "takeover": episode.takeover >= 0,
        "mistaken": episode.mistaken,
        "reason": episode.reasons[0],
    }


def seconds(rows: list[dict], mode: Mode) -> list[float]:
    """s of one mode in each episode that has it."""
    return [row["frames"][mode.name] / timing.POLICY_HZ for row in rows if mode.name in row["frames"]]


def tell_demonstrations(name: str, rows: list[dict]) -> dict:
    """Table and numbers of the demonstrations of one task."""
    print(f"\n{name}: demonstrations from all start stages\n| who | success | median s | mistakes per episode |")
    print("|---|---|---|---|")
    result, base = {}, None
    for number, person in enumerate(PEOPLE):
        own = [row for row in rows if row["person"] == number]
        rate = sum(row["success"] for row in own) / len(own)
        median = float(np.median(seconds(own, Mode.DEMONSTRATION)))
        base = base or median
        mistakes = sum(len(row["mistakes"]) for row in own) / len(own)
        print(f"| {person.name} | {rate:.0%} of {len(own)} | {median:.1f} ({median / base:.1f} x) | {mistakes:.1f} |")
        result[person.name] = {"success": rate, "median_s": median, "mistakes": mistakes}
    counts = Counter(mistake for row in rows for mistake in row["mistakes"])
    print("mistakes: " + ", ".join(f"{mistake} {count}" for mistake, count in counts.most_common()))
    return result | {"mistakes": dict(counts)}


def tell_interventions(name: str, rows: list[dict]) -> dict:
    """Table and numbers of the interventions of one task."""
    taken = [row for row in rows if row["takeover"]]
    human = sum(row["frames"].get(m.name, 0) for row in taken for m in (Mode.ADAPTATION, Mode.RECOVERY))
    total = human + sum(row["frames"].get(Mode.ROLLOUT.name, 0) for row in taken)
    recovery = [row["frames"].get(Mode.RECOVERY.name, 0) for row in taken]
    result = {
        "episodes": len(rows),
        "interventions": len(taken),
        "success_of_interventions": sum(row["success"] for row in taken) / max(1, len(taken)),
        "intervention_fraction": human / max(1, total),
        "median_adaptation_s": float(np.median(seconds(taken, Mode.ADAPTATION))) if taken else None,
        "median_recovery_frames": float(np.median(recovery)) if taken else None,
        "mistaken_pauses": sum(row["mistaken"] for row in rows),
        "reasons": dict(Counter(row["reason"] for row in taken)),
    }
    print(f"\n{name}: interventions by the crew")
    for key, value in result.items():
        print(f"  {key.replace('_', ' ')}: {f'{value:.2f}' if isinstance(value, float) else value}")
    print(f"  (H = {timing.EXECUTE_STEPS} frames; the recovery shall be at least {3 * timing.EXECUTE_STEPS})")
    return result


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="+", default=[task.name for task in tasks.TASKS], help="names of tasks")
    parser.add_argument("--seeds", type=int, default=40, help="episodes per person, and as many interventions per task")
    parser.add_argument("--first", type=int, default=2000, help="first seed")
    parser.add_argument("--checkpoint", default="", help="policy of the interventions; one task only")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--quick", action="store_true", help="2 seeds per person")
    options = parser.parse_args()
    if options.checkpoint and len(options.task) != 1:
        parser.error("--checkpoint is of one task: give --task too")
    count = 2 if options.quick else options.seeds
    seeds, result = range(options.first, options.first + count), {}
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        for name in options.task:
            trials = [(name, "demonstration", number, seed, "") for number in range(len(PEOPLE)) for seed in seeds]
            demonstrations = pool.starmap(play, trials, chunksize=1)
            trials = [(name, "rollout", 1 + seed % len(CREW), seed, options.checkpoint) for seed in seeds]
            interventions = pool.starmap(play, trials, chunksize=1)
            result[name] = {
                "demonstrations": tell_demonstrations(name, demonstrations),
                "interventions": tell_interventions(name, interventions),
            }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
