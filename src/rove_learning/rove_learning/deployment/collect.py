# SPDX-License-Identifier: Apache-2.0
"""`collect`: demonstrations in-process, faster than real time: environment, scripted expert and the real command
filter, no ROS.

rove run rove_learning collect --out runs/demonstrations --episodes 80 --workers 2
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rove_contract import timing
from rove_contract.modes import Mode, Outcome, Source, Stage
from rove_description import joints
from rove_learning.deployment.simulation import episodes


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


def worker(config: CollectConfig) -> Callable[[int], dict]:
    """A function seed -> episode as plain arrays; the simulation is made once."""
    from rove_learning.deployment.simulation import Simulation
    from rove_sim.tasks.erase_whiteboard.env_expert import Expert

    sim = Simulation(config.image_size)

    def demonstrate(seed: int) -> dict:
        start_stage = config.start_stages[(seed - config.seed) % len(config.start_stages)]
        sim.reset(seed, start_stage)
        env = sim.env
        expert = Expert(env, np.random.default_rng([seed, 7]), config.imperfection)
        expert.reset(env.q)
        columns: dict[str, list] = {key: [] for key in ("state", "images", "action")}
        while sim.tick < round(config.max_seconds * timing.POLICY_HZ) and not env.success:
            for key, value in zip(columns, sim.observe()):
                columns[key].append(value)
            sim.follow(expert.target(env.q, env.state()))
            columns["action"].append(np.array(sim.command))
        outcome = Outcome.SUCCESS if env.success else Outcome.FAILURE
        return {
            **{key: np.array(values) for key, values in columns.items()},
            "outcome": int(outcome),
            "start_stage": start_stage,
            "episode_id": f"demonstration-{seed:06d}",
        }

    return demonstrate


def collect(config: CollectConfig, progress: bool = True) -> dict:
    """Write the dataset; every episode is kept with its true outcome. Returns counts and the success rate."""
    from rove_recorder.dataset.lerobot import DatasetWriter, EpisodeFrames
    from rove_sim.tasks.task import ERASE_WHITEBOARD

    table = joints.load()
    successes = frames = 0
    with DatasetWriter(
        config.out, round(timing.POLICY_HZ), (config.image_size, config.image_size), table.names
    ) as writer:
        rows = episodes(worker, config, range(config.seed, config.seed + config.episodes), config.workers)
        bar = tqdm(rows, total=config.episodes, desc="demonstrations", unit="episode", disable=not progress)
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

    try:
        print(json.dumps(collect(tyro.cli(CollectConfig, description=__doc__))))
    except (ValueError, OSError) as error:
        print(f"collect: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
