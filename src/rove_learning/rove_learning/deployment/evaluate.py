# SPDX-License-Identifier: Apache-2.0
"""`evaluate`: a checkpoint in the simulator on given seeds, in-process, through the real command filter; success with
its Wilson interval.

    rove run rove_learning evaluate --checkpoint runs/base --episodes 30 --out runs/base/evaluation.json

Timing is that of the running system (see `simulation`); computing takes no robot time (`latency_steps` delays the
hand-over of a chunk as a slow computer would).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from rove_contract import files, timing
from rove_contract.modes import Outcome
from rove_learning.deployment.simulation import FilterDrive, play_seeds
from rove_learning.report.statistics import wilson
from rove_sim.episode import Episode, Observer, Tick, play_episode
from rove_sim.people.supervision import Patience, Supervision
from rove_sim.tasks import task as tasks


@dataclass(frozen=True)
class EvaluateConfig:
    """Episodes of one checkpoint in the simulator."""

    checkpoint: str
    task: str = tasks.ERASE_WHITEBOARD.name
    episodes: int = 30
    seed: int = 900_000  # of the first episode; away from the demonstrations' seeds
    workers: int = 2  # processes
    guidance: float | None = None  # beta; None: the checkpoint's
    execute: int = timing.EXECUTE_STEPS  # steps executed per chunk (paper, App. G)
    max_seconds: float = 0.0  # robot time; 0: the task's limit
    image_size: int = 192  # px of the simulated camera
    latency_steps: int = 0  # policy steps between observation and hand-over
    start_stage: str = "start"
    out: str = ""  # JSON file; empty: print only


def make_player(config: EvaluateConfig) -> tuple[Callable[..., Episode], Any]:
    """(a function (seed, *observers) -> Episode that nobody interrupts, its world); both are loaded once."""
    from rove_learning.inference import checkpoint

    task = tasks.get(config.task)
    policy = checkpoint.load(config.checkpoint)
    task.check_robot(policy.robot, f"the checkpoint {config.checkpoint}")
    world = task.make_world(config.image_size)
    drive = FilterDrive(world)
    patience = Patience(autonomous_s=config.max_seconds or task.limit_s)

    def play(seed: int, *observers: Observer) -> Episode:
        rng = np.random.default_rng([seed, 3])

        def act(images, q):
            return policy.act(images, q, task.instruction, guidance=config.guidance, rng=rng)

        return play_episode(
            world,
            drive,
            Supervision(task, "rollout", 1, patience, intervene=False, rng=np.random.default_rng([seed, 4])),
            seed=seed,
            start_stage=config.start_stage,
            policy=act,
            cameras=policy.cameras,
            observers=observers,
            execute=config.execute,
            latency_steps=config.latency_steps,
        )

    return play, world


def make_worker(config: EvaluateConfig) -> Callable[[int], dict]:
    """A function seed -> row of the result."""
    play, _ = make_player(config)

    def row(seed: int) -> dict:
        best = 0.0

        def observe(tick: Tick) -> None:
            nonlocal best
            best = max(best, tick.state["progress"])

        episode = play(seed, observe)
        return {
            "seed": seed,
            "success": episode.outcome == Outcome.SUCCESS,
            "seconds": round(episode.frames / timing.POLICY_HZ, 2),
            "progress": episode.state["progress"],
            "best_progress": best,
            "milestone": episode.milestone,
            "reason": episode.reasons[-1],
        }

    return row


def evaluate(config: EvaluateConfig, progress: bool = True) -> dict:
    """Success rate, its 95 % interval and one row per episode; written to `out` where given."""
    begin = time.monotonic()
    rows = []
    name = f"evaluating {Path(config.checkpoint).name}"
    played = play_seeds(make_worker, config, range(config.seed, config.seed + config.episodes), config.workers)
    with tqdm(played, total=config.episodes, desc=name, unit="episode", disable=not progress) as bar:
        for row in bar:
            rows.append(row)
            bar.set_postfix(success=sum(r["success"] for r in rows))
    successes = sum(row["success"] for row in rows)
    names = tasks.get(config.task).milestones

    def reached(row: dict, name: str) -> bool:
        return names.index(row["milestone"]) >= names.index(name)

    low, high = wilson(successes, len(rows))
    result = {
        "checkpoint": config.checkpoint,
        "episodes": len(rows),
        "successes": successes,
        "success_rate": successes / max(1, len(rows)),
        "wilson95": [round(low, 4), round(high, 4)],
        "milestones": {name: sum(reached(row, name) for row in rows) / max(1, len(rows)) for name in names[1:]},
        "mean_progress": float(np.mean([row["progress"] for row in rows])),
        "guidance": config.guidance,
        "execute": config.execute,
        "seed": config.seed,
        "config": asdict(config),
        "wall_s": round(time.monotonic() - begin, 1),
        "rows": rows,
    }
    if config.out:
        Path(config.out).parent.mkdir(parents=True, exist_ok=True)
        files.write(config.out, json.dumps(result, indent=1) + "\n")
    return result


def main() -> int:
    import tyro

    try:
        result = evaluate(tyro.cli(EvaluateConfig, description=__doc__, prog="rove run rove_learning evaluate"))
    except (ValueError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    print(json.dumps({key: value for key, value in result.items() if key != "rows"}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
