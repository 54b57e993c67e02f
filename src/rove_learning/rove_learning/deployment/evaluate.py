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

import numpy as np
from tqdm import tqdm

from rove_contract import timing
from rove_learning.deployment.simulation import episodes
from rove_learning.report.statistics import wilson


@dataclass(frozen=True)
class EvaluateConfig:
    """Episodes of one checkpoint in the simulator."""

    checkpoint: str
    episodes: int = 30
    seed: int = 900_000  # of the first episode; away from the demonstrations' seeds
    workers: int = 2  # processes
    guidance: float | None = None  # beta; None: the checkpoint's
    execute: int = timing.EXECUTE_STEPS  # steps executed per chunk (paper, App. G)
    max_seconds: float = 12.0  # robot time
    image_size: int = 192  # px of the simulated camera
    latency_steps: int = 0  # policy steps between observation and hand-over
    start_stage: str = "start"
    out: str = ""  # JSON file; empty: print only


def worker(config: EvaluateConfig) -> Callable[[int], dict]:
    """A function seed -> row of the result; simulation and checkpoint are loaded once."""
    from rove_learning.deployment.simulation import Simulation
    from rove_learning.inference import checkpoint

    policy, sim = checkpoint.load(config.checkpoint), Simulation(config.image_size)
    return lambda seed: run_episode(sim, policy, config, seed)


def run_episode(sim, policy, config: EvaluateConfig, seed: int) -> dict:
    """One episode; returns its row of the result. A chunk comes into force `latency_steps` after its observation, later
    rows first.
    """
    sim.reset(seed, config.start_stage)
    env, rng = sim.env, np.random.default_rng([seed, 3])
    pending = None
    best = 0.0
    while sim.tick < round(config.max_seconds * timing.POLICY_HZ) and not env.success:
        if sim.tick % config.execute == 0:
            chunk = policy.act(env.render(), env.q.copy(), env.task.instruction, guidance=config.guidance, rng=rng)
            pending = (sim.tick + config.latency_steps, chunk[config.latency_steps :])
        if pending is not None and sim.tick >= pending[0]:
            sim.load(pending[1])
            pending = None
        sim.play()
        best = max(best, env.state()["progress"])
    state = env.state()
    return {
        "seed": seed,
        "success": bool(env.success),
        "seconds": round(env.time, 2),
        "progress": state["progress"],
        "best_progress": best,
        "grasped": best > 0.0,
        "marks_left": state["marks_left"],
    }


def evaluate(config: EvaluateConfig, progress: bool = True) -> dict:
    """Success rate, its 95 % interval and one row per episode; written to `out` where given."""
    begin = time.monotonic()
    rows = []
    name = f"evaluating {Path(config.checkpoint).name}"
    played = episodes(worker, config, range(config.seed, config.seed + config.episodes), config.workers)
    with tqdm(played, total=config.episodes, desc=name, unit="episode", disable=not progress) as bar:
        for row in bar:
            rows.append(row)
            bar.set_postfix(success=sum(r["success"] for r in rows))
    successes = sum(row["success"] for row in rows)
    low, high = wilson(successes, len(rows))
    result = {
        "checkpoint": config.checkpoint,
        "episodes": len(rows),
        "successes": successes,
        "success_rate": successes / max(1, len(rows)),
        "wilson95": [round(low, 4), round(high, 4)],
        "grasp_rate": sum(row["grasped"] for row in rows) / max(1, len(rows)),
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
        Path(config.out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def main() -> int:
    import tyro

    try:
        result = evaluate(tyro.cli(EvaluateConfig, description=__doc__))
    except (ValueError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    print(json.dumps({key: value for key, value in result.items() if key != "rows"}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
