# SPDX-License-Identifier: Apache-2.0
"""OVE, IQL and MC on maze navigation (paper, App. C and Fig. 7): success of the policy that each critic's advantages
lead to.

PointMaze medium and large of gymnasium-robotics, data from a waypoint controller as D4RL made its own ("play":
hand-picked goals, "diverse": any), cut into episodes none of which shows the way from start to goal. Same segments,
networks, steps, labels and policy extraction for the three critics; the losses are the ones that train the humanoid's.
With --antmaze, also D4RL's AntMaze files.

Finished arms are kept in --results; the same command goes on after a kill. Prints a table; the last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads must not spin on the cores of the other process

import numpy as np
import torch
from tqdm import tqdm

from rove_learning.algorithm.rewards import Normaliser
from rove_learning.offline import d4rl, train, waypoints
from rove_learning.offline.episodes import segments
from rove_learning.offline.evaluate import success_rate
from rove_learning.offline.point_maze import PointMazes

ROOT = Path(__file__).parents[1]
TASKS = ("medium-play", "medium-diverse", "large-play", "large-diverse")
NAMES = {"ove": "OVE", "iql": "IQL", "mc": "MC"}
COLOURS = {"ove": "#1f6f8b", "iql": "#e0a458", "mc": "#9aa5ab"}


@dataclasses.dataclass(frozen=True)
class Arm:
    """One task and seed: the three critics on the same data. task: one of TASKS, or the path of a D4RL AntMaze file."""

    task: str
    seed: int
    frames: int
    episodes: int  # of evaluation
    config: train.OfflineConfig
    antmaze: bool = False

    @property
    def key(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


def run(arm: Arm) -> list[dict]:
    """Rows {task, seed, critic, success, steps, ...} of one arm, on one thread."""
    torch.set_num_threads(1)
    config, rng = arm.config, np.random.default_rng(arm.seed)
    if arm.antmaze:
        data, mazes = d4rl.read(arm.task), d4rl.AntMazes(d4rl.size_of(arm.task), arm.episodes)
    else:
        size, variety = arm.task.split("-")
        mazes = PointMazes(size, arm.episodes)
        data = waypoints.collect(mazes, variety, arm.frames, rng, progress=False)
    scale, normaliser = train.Scale.of(data.state), Normaliser(-config.never)
    parts = segments(data, config.horizon, config.never, normaliser, config.gamma)
    rows = []
    for critic in train.CRITICS:
        began = time.process_time()
        torch.manual_seed(arm.seed)
        tensors = train.Tensors(parts, scale, arm.seed)
        advantage, _ = train.train_critic(critic, tensors, config, progress=False)
        actor = train.train_actor(tensors, advantage, config, progress=False)
        policy = train.policy(actor, scale, config)
        success, steps = success_rate(mazes, policy, config.horizon, np.random.default_rng(1000 + arm.seed))
        rows.append(
            {
                "task": Path(arm.task).stem,
                "seed": arm.seed,
                "critic": critic,
                "success": success,
                "steps": steps,
                "data_success": float(data.success.mean()),
                "frames": len(data),
                "cpu_s": time.process_time() - began,
            }
        )
    mazes.close()
    return rows


def run_all(arms: list[Arm], jobs: int, results: Path | None) -> list[dict]:
    """Rows of all arms; those that `results` already holds are not run again."""
    known = {}
    if results and results.exists():
        text = results.read_text()
        if text and not text.endswith("\n"):
            results.write_text(text + "\n")  # a kill cut the last line short; the next must not be glued to it
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                known[entry["key"]] = entry["rows"]
            except (json.JSONDecodeError, KeyError):
                continue  # its arm runs again
    todo = [arm for arm in arms if arm.key not in known]
    if results:
        results.parent.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    bar = tqdm(total=len(arms), initial=len(arms) - len(todo), desc="tasks x seeds")
    with bar, context.Pool(min(jobs, max(1, len(todo)))) as pool:
        for key, rows in pool.imap_unordered(_keyed, todo):
            known[key] = rows
            if results:
                with results.open("a") as file:
                    file.write(json.dumps({"key": key, "rows": rows}) + "\n")
            bar.update()
        pool.close()
        pool.join()
    return [row for arm in arms for row in known[arm.key]]


def _keyed(arm: Arm) -> tuple[str, list[dict]]:
    return arm.key, run(arm)


def summarise(rows: list[dict]) -> dict:
    """{task: {critic: success of every seed in %}}."""
    table: dict = {}
    for row in rows:
        table.setdefault(row["task"], {}).setdefault(row["critic"], []).append(100 * row["success"])
    return table


def plot(table: dict, path: Path, note: str) -> None:
    """Grouped bars as in Fig. 7: mean over seeds, standard deviation, and every seed as a point."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.2 + 1.9 * len(table), 3.4), layout="constrained")
    axes = figure.subplots()
    for k, critic in enumerate(train.CRITICS):
        x = np.arange(len(table)) + 0.27 * (k - 1)
        values = [row[critic] for row in table.values()]
        mean, spread = np.mean(values, axis=1), np.std(values, axis=1)
        axes.bar(x, mean, 0.25, yerr=spread, capsize=3, color=COLOURS[critic], label=NAMES[critic])
        for centre, seeds in zip(x, values):
            axes.plot(centre + np.linspace(-0.05, 0.05, len(seeds)), seeds, ".", color="black", ms=4, alpha=0.6)
    axes.set_xticks(range(len(table)), list(table))
    axes.set(ylabel="success / %", ylim=(0, 105), title=note)
    axes.title.set_fontsize(10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), ncols=3, frameon=False, loc="outside lower center")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one task, one seed, a few training steps: shows that it runs, not who wins",
    )
    parser.add_argument(
        "--seeds", type=int, default=3, help="data, networks and evaluation of each seed are its own (default 3)"
    )
    parser.add_argument("--first-seed", type=int, default=0, help="the settings were chosen on seed 100 (default 0)")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS, help="default: all")
    parser.add_argument(
        "--antmaze", nargs="+", default=[], metavar="FILE", help="D4RL AntMaze HDF5 files, medium or large, in addition"
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="processes, one thread each (default: all cores)"
    )
    parser.add_argument(
        "--results", type=Path, default=ROOT / "runs" / "offline_rl.jsonl", help="finished arms, to go on from"
    )
    parser.add_argument(
        "--plot", type=Path, default=ROOT / "docs" / "img" / "offline_rl.png", help="not drawn with --quick"
    )
    args = parser.parse_args()
    config, frames, episodes = train.OfflineConfig(), 500_000, 200
    tasks, seeds = args.tasks, range(args.first_seed, args.first_seed + args.seeds)
    if args.quick:
        config, frames, episodes = dataclasses.replace(config, critic_steps=60, actor_steps=60), 20_000, 20
        tasks, seeds = tasks[-1:], seeds[:1]
    for path in args.antmaze:
        if not Path(path).exists():
            parser.error(f"--antmaze: there is no {path}")
        d4rl.size_of(path)
    arms = [Arm(task, seed, frames, episodes, config) for task in tasks for seed in seeds]
    arms += [
        Arm(path, seed, 0, 2 if args.quick else 100, train.antmaze(config), True)
        for path in args.antmaze
        for seed in seeds
    ]
    began = time.perf_counter()
    rows = run_all(arms, args.jobs, None if args.quick else args.results)
    table = summarise(rows)
    print(f"success in % of {episodes} episodes, mean +- standard deviation over {len(seeds)} seed(s)")
    print(f"{'task':28s}" + "".join(f"{NAMES[c]:>16s}" for c in train.CRITICS))
    for task, row in table.items():
        print(f"{task:28s}" + "".join(f"{np.mean(row[c]):9.1f} +- {np.std(row[c]):4.1f}" for c in train.CRITICS))
    if args.quick:
        print(
            "quick: a few training steps only, so these rates say nothing about the critics; the full run takes "
            "tens of minutes"
        )
    else:
        plot(table, args.plot, f"success of each critic's policy in mazes; {len(seeds)} seeds")
    mean = {task: {c: float(np.mean(v)) for c, v in row.items()} for task, row in table.items()}
    average = {c: float(np.mean([row[c] for row in mean.values()])) for c in train.CRITICS}
    result = {
        "bench": "offline_rl",
        "quick": args.quick,
        "seeds": list(seeds),
        "episodes": episodes,
        "success_percent": mean,
        "average": average,
        "ove_minus_iql": {task: row["ove"] - row["iql"] for task, row in mean.items()},
        "ove_minus_mc": {task: row["ove"] - row["mc"] for task, row in mean.items()},
        "cpu_s_per_arm": {c: float(np.mean([r["cpu_s"] for r in rows if r["critic"] == c])) for c in train.CRITICS},
        "wall_s": time.perf_counter() - began,
    }
    print(json.dumps(result, default=float))
    return 0


if __name__ == "__main__":
    sys.exit(main())
