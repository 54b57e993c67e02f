# SPDX-License-Identifier: Apache-2.0
"""`interventions`: deploy a checkpoint in the simulator with a supervisor who pauses it and operators who take over
(Algorithm 1, line 8), in-process, faster than real time.

    rove run rove_learning interventions --checkpoint runs/base --out runs/experience --episodes 40
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from rove_contract import timing
from rove_contract.modes import Outcome, Stage
from rove_description import robot
from rove_learning.deployment.simulation import FilterDrive, FrameRecorder, play_seeds
from rove_learning.deployment.truth import TruthRecorder, save_truth
from rove_learning.report.statistics import intervention_fraction
from rove_sim.tasks import task as tasks


@dataclass(frozen=True)
class InterventionConfig:
    """Deployment episodes of one checkpoint."""

    checkpoint: str
    out: str  # dataset folder; appended to when it exists
    task: str = tasks.ERASE_WHITEBOARD.name
    episodes: int = 40
    workers: int = 2
    seed: int = 5000
    takeover: float = (
        0.75  # share of the episodes with a supervisor who intervenes; the others end as the policy ends them
    )
    image_size: int = 192
    cameras: tuple[str, ...] = ("ego",)  # recorded; also left_wrist, right_wrist
    guidance: float | None = None  # beta; None: the checkpoint's
    start_stages: tuple[str, ...] = ()  # cycled over the episodes: diversity of progress (paper, sec. 3.1); empty: all


def make_worker(config: InterventionConfig) -> Callable[[int], dict]:
    """A function seed -> episode; world and checkpoint are loaded once."""
    from rove_learning.inference import checkpoint
    from rove_sim.episode import play_episode
    from rove_sim.people.operator import CREW, Operator
    from rove_sim.people.supervision import Patience, Supervision

    task = tasks.get(config.task)
    policy = checkpoint.load(config.checkpoint)
    task.check_robot(policy.robot, f"the checkpoint {config.checkpoint}")
    world = task.make_world(config.image_size)
    drive = FilterDrive(world)
    cameras = tuple(dict.fromkeys((*config.cameras, *policy.cameras)))
    stages = config.start_stages or task.start_stages

    def deploy(seed: int) -> dict:
        number = seed - config.seed
        rng = np.random.default_rng([seed, 11])
        person = CREW[number % len(CREW)]
        watched = rng.random() < config.takeover
        recorder, truth = FrameRecorder(config.cameras), TruthRecorder(task)

        def act(images, q):
            return policy.act(images, q, task.instruction, guidance=config.guidance, rng=rng)

        episode = play_episode(
            world,
            drive,
            Supervision(task, "rollout", 1, Patience(autonomous_s=task.limit_s), intervene=watched, rng=rng),
            seed=seed,
            start_stage=stages[number // len(CREW) % len(stages)],
            policy=act,
            cameras=cameras,
            operator=Operator(task, person, rng, 1.0 / timing.POLICY_HZ, world.table),
            observers=(recorder, truth),
        )
        operator = person.name if episode.takeover >= 0 else ""
        frames = recorder.frames(episode, episode_id=f"rollout-{seed:06d}", kind="rollout", operator=operator)
        return {
            "frames": frames,
            "truth": truth.columns(),
            "reasons": episode.reasons,
            "mistaken": episode.mistaken,
            "mistakes": episode.mistakes,
        }

    return deploy


def collect(config: InterventionConfig, progress: bool = True) -> dict:
    """Write the dataset. Returns counts and the share of time under intervention (paper, Table 2)."""
    from rove_recorder.dataset.lerobot import DatasetWriter, EpisodeFrames

    task = tasks.get(config.task)
    size = dict.fromkeys(config.cameras, (config.image_size, config.image_size))
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    recoveries: list[int] = []
    taken_over: list[tuple[int, int]] = []  # frames under human control, frames
    seeds = range(config.seed, config.seed + config.episodes)
    with DatasetWriter(config.out, robot.load().card, round(timing.POLICY_HZ), size) as writer:
        rows = play_seeds(make_worker, config, seeds, config.workers)
        for row in tqdm(rows, total=config.episodes, desc="deployment", unit="episode", disable=not progress):
            episode = row["frames"]
            writer.add_episode(EpisodeFrames(**episode, task=task.instruction))
            save_truth(config.out, episode["episode_id"], row["truth"])
            stage, taken = episode["stage"], episode["takeover"] >= 0
            success = episode["outcome"] == Outcome.SUCCESS
            counts["episodes"] += 1
            counts["frames"] += len(stage)
            counts["failures"] += not success
            counts["autonomous_successes"] += success and not taken
            counts["interventions"] += taken
            counts["mistaken_pauses"] += row["mistaken"]
            if taken:
                counts["recovered_successes"] += success
                taken_over.append((int(np.isin(stage, (Stage.ADAPTATION, Stage.RECOVERY)).sum()), len(stage)))
                recoveries.append(int(np.sum(stage == Stage.RECOVERY)))
                reasons[row["reasons"][0]] += 1
    return {
        "task": task.name,
        **{key: int(value) for key, value in counts.items()},
        "intervention_fraction": round(intervention_fraction(taken_over), 3),
        "median_recovery_frames": float(np.median(recoveries)) if recoveries else None,
        "reasons": dict(reasons),
        "dataset": config.out,
    }


def main() -> int:
    import tyro

    try:
        config = tyro.cli(InterventionConfig, description=__doc__, prog="rove run rove_learning interventions")
        print(json.dumps(collect(config)))
    except (ValueError, OSError) as error:
        print(f"interventions: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
