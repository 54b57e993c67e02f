"""`evaluate`: a checkpoint in the simulator on given seeds, in-process, through the real command filter; success with its Wilson interval.

    rove run rove_learning evaluate --checkpoint runs/base --episodes 30 --out runs/base/evaluation.json

Timing is that of the running system: a chunk is predicted from the picture and state of a tick, its row i is the target i / 20 s later,
16 rows are executed. Computing takes no robot time here (`latency_steps` delays the hand-over of a chunk as a slow computer would).
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rove_contract import joints, timing

STEPS_PER_TICK = round(timing.CONTROL_HZ / timing.POLICY_HZ)


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


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95 % Wilson score interval of a success rate (E. B. Wilson, 1927)."""
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


class ChunkPlayer:
    """Chunk rows at 20 Hz -> target and its velocity at any time in between, linear, as the command filter node plays them.

    chunk: (H, J) rad; begin: s, time of row 0.
    """

    def __init__(self, chunk: np.ndarray, begin: float):
        self.chunk, self.begin = chunk, begin
        self.velocity = np.gradient(chunk, 1.0 / timing.POLICY_HZ, axis=0)

    def __call__(self, now: float) -> tuple[np.ndarray, np.ndarray]:
        at = min(max((now - self.begin) * timing.POLICY_HZ, 0.0), len(self.chunk) - 1.001)
        i = int(at)
        w = at - i
        return (1 - w) * self.chunk[i] + w * self.chunk[i + 1], (1 - w) * self.velocity[i] + w * self.velocity[i + 1]


def run_episode(env, policy, command_filter, config: EvaluateConfig, seed: int, on_tick=None) -> dict:
    """One episode; returns its row of the result. on_tick(q, command, image or None, state) is called at 20 Hz before each step."""
    env.reset(seed, config.start_stage)
    rng = np.random.default_rng([seed, 3])
    command = np.array(env.data.ctrl)
    command_filter.reset(command)
    player = pending = None
    ticks = round(config.max_seconds * timing.POLICY_HZ)
    best = 0.0
    for tick in range(ticks):
        now = env.time
        if tick % config.execute == 0:
            chunk = policy.act(env.render(), env.q.copy(), env.task.instruction, guidance=config.guidance, rng=rng)
            pending = (tick + config.latency_steps, ChunkPlayer(chunk, now))
        if pending is not None and tick >= pending[0]:
            player, pending = pending[1], None
        if on_tick is not None:
            on_tick(env.q.copy(), np.array(command), env.state())
        for i in range(STEPS_PER_TICK):
            if player is None:
                command = command_filter.step(None)
            else:
                command = command_filter.step(*player(now + (i + 1) * timing.CONTROL_PERIOD_S))
            env.step(command)
        best = max(best, env.state()["progress"])
        if env.success:
            break
    state = env.state()
    return {"seed": seed, "success": bool(env.success), "seconds": round(env.time, 2), "progress": state["progress"], "best_progress": best,
            "grasped": best > 0.0, "marks_left": state["marks_left"]}  # fmt: skip


_worker: dict = {}


def _start(config: EvaluateConfig) -> None:
    os.environ.setdefault("MUJOCO_GL", "egl")
    import torch

    from rove_learning import checkpoint
    from rove_sim.env import WhiteboardEnv
    from rove_teleop.command_filter import CommandFilter

    torch.set_num_threads(1)
    _worker.update(config=config, env=WhiteboardEnv(image_size=config.image_size), policy=checkpoint.load(config.checkpoint),
                   filter=CommandFilter(joints.load().limits, timing.CONTROL_PERIOD_S))  # fmt: skip


def _run(seed: int) -> dict:
    return run_episode(_worker["env"], _worker["policy"], _worker["filter"], _worker["config"], seed)


def _rows(config: EvaluateConfig) -> Iterator[dict]:
    seeds = range(config.seed, config.seed + config.episodes)
    if config.workers <= 1:
        _start(config)
        yield from map(_run, seeds)
        return
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # inherited by the workers; one thread each
    try:
        with multiprocessing.get_context("spawn").Pool(config.workers, _start, (config,)) as pool:
            yield from pool.imap(_run, seeds)
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def evaluate(config: EvaluateConfig, progress: bool = True) -> dict:
    """Success rate, its 95 % interval and one row per episode; written to `out` where given."""
    begin = time.monotonic()
    rows = []
    name = f"evaluating {Path(config.checkpoint).name}"
    with tqdm(_rows(config), total=config.episodes, desc=name, unit="episode", disable=not progress) as bar:
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
        "wall_s": round(time.monotonic() - begin, 1),
        "rows": rows,
    }
    if config.out:
        Path(config.out).parent.mkdir(parents=True, exist_ok=True)
        Path(config.out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def main() -> int:
    import tyro

    result = evaluate(tyro.cli(EvaluateConfig, description=__doc__))
    print(json.dumps({key: value for key, value in result.items() if key != "rows"}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
