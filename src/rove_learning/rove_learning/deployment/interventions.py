# SPDX-License-Identifier: Apache-2.0
"""`interventions`: deployment episodes in-process: the policy runs, a scripted supervisor pauses it near failure, the
expert takes over.

The same stages, penalties and file layout as a session over ROS, at several times real time; for studies that need many
episodes.

    rove run rove_learning interventions --checkpoint runs/base --out runs/experience --episodes 40
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from rove_contract import timing
from rove_contract.modes import Mode, Outcome, Source, Stage
from rove_description import joints
from rove_learning.deployment.simulation import episodes

MODE = {Stage.ROLLOUT: Mode.ROLLOUT, Stage.ADAPTATION: Mode.ADAPTATION, Stage.RECOVERY: Mode.RECOVERY}


@dataclass(frozen=True)
class InterventionConfig:
    """Deployment episodes of one checkpoint with scripted supervision."""

    checkpoint: str
    out: str  # dataset folder; appended to when it exists
    episodes: int = 40
    workers: int = 2
    seed: int = 5000
    imperfection: float = 1.0  # 0..1 of the operator who takes over
    patience_s: float = 2.5  # robot time without progress after which the supervisor pauses
    takeover: float = (
        0.75  # share of the paused episodes that the operator finishes; the others end as autonomous failures
    )
    max_seconds: float = 20.0
    image_size: int = 192
    guidance: float | None = None  # beta; None: the checkpoint's
    start_stages: tuple[str, ...] = ("start",)  # cycled over the episodes: diversity of progress (paper, sec. 3.1)


def run_episode(sim, policy, config: InterventionConfig, seed: int) -> dict:
    """One episode as plain arrays (see rove_recorder.dataset.lerobot.EpisodeFrames); the pause takes no frames."""
    from rove_sim.tasks.erase_whiteboard.adaptation_end import AdaptationEnd
    from rove_sim.tasks.erase_whiteboard.env_expert import Expert

    start_stage = config.start_stages[seed % len(config.start_stages)]
    sim.reset(seed, start_stage)
    env, rng = sim.env, np.random.default_rng([seed, 11])
    takes_over = rng.random() < config.takeover
    stage, best, best_at, t_r, takeover = Stage.ROLLOUT, env.state()["progress"], 0.0, -1, -1
    expert: Expert | None = None
    adaptation_end: AdaptationEnd | None = None
    columns: dict[str, list] = {key: [] for key in ("state", "images", "stage", "action")}
    failed = False
    while not env.success and env.time < config.max_seconds:
        state = env.state()
        if state["progress"] > best:
            best, best_at = state["progress"], env.time
        if stage is Stage.ADAPTATION and adaptation_end.over(state, env.time):
            stage, t_r = Stage.RECOVERY, sim.tick
        if stage is Stage.ROLLOUT and env.time - best_at > config.patience_s:
            if not takes_over or not state["recoverable"]:
                failed = True
                break
            stage, takeover = Stage.ADAPTATION, sim.tick
            adaptation_end, expert = AdaptationEnd(state), Expert(env, rng, config.imperfection)
            expert.reset(env.q)
        for key, value in zip(columns, (*sim.observe(), int(stage))):
            columns[key].append(value)
        if expert is not None:
            sim.follow(expert.target(env.q, state))
            columns["action"].append(np.array(sim.command))
            continue
        if sim.tick % timing.EXECUTE_STEPS == 0:
            sim.load(
                policy.act(columns["images"][-1], env.q.copy(), env.task.instruction, guidance=config.guidance, rng=rng)
            )
        sim.play()
        columns["action"].append(np.array(sim.command))
    outcome = Outcome.SUCCESS if env.success and not failed else Outcome.FAILURE
    arrays = {key: np.array(values) for key, values in columns.items()}
    source = np.where(arrays["stage"] == Stage.ROLLOUT, Source.POLICY, Source.OPERATOR)
    mode = np.array([MODE[Stage(s)] for s in arrays["stage"]])
    return {
        **arrays,
        "source": source,
        "mode": mode,
        "outcome": int(outcome),
        "t_r": t_r,
        "takeover": takeover,
        "episode_id": f"rollout-{seed:06d}",
        "kind": "rollout",
        "operator": "scripted",
        "start_stage": start_stage,
    }


def worker(config: InterventionConfig) -> Callable[[int], dict]:
    """A function seed -> episode; simulation and checkpoint are loaded once."""
    from rove_learning.deployment.simulation import Simulation
    from rove_learning.inference import checkpoint

    policy, sim = checkpoint.load(config.checkpoint), Simulation(config.image_size)
    return lambda seed: run_episode(sim, policy, config, seed)


def collect(config: InterventionConfig, progress: bool = True) -> dict:
    """Write the dataset. Returns counts and the share of time under intervention."""
    from rove_recorder.dataset.lerobot import DatasetWriter, EpisodeFrames
    from rove_sim.tasks.task import ERASE_WHITEBOARD

    size = (config.image_size, config.image_size)
    counts = {
        "episodes": 0,
        "autonomous_successes": 0,
        "interventions": 0,
        "failures": 0,
        "frames": 0,
        "intervention_frames": 0,
    }
    seeds = range(config.seed, config.seed + config.episodes)
    with DatasetWriter(config.out, round(timing.POLICY_HZ), size, joints.load().names) as writer:
        rows = episodes(worker, config, seeds, config.workers)
        for episode in tqdm(rows, total=config.episodes, desc="deployment", unit="episode", disable=not progress):
            writer.add_episode(EpisodeFrames(**episode, task=ERASE_WHITEBOARD.instruction))
            counts["episodes"] += 1
            counts["interventions"] += episode["takeover"] >= 0
            counts["failures"] += episode["outcome"] == Outcome.FAILURE
            counts["autonomous_successes"] += episode["outcome"] == Outcome.SUCCESS and episode["takeover"] < 0
            counts["frames"] += len(episode["stage"])
            counts["intervention_frames"] += int(np.sum(episode["stage"] != Stage.ROLLOUT))
    return {key: int(value) for key, value in counts.items()} | {"dataset": config.out}


def main() -> int:
    import tyro

    print(json.dumps(collect(tyro.cli(InterventionConfig, description=__doc__))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
