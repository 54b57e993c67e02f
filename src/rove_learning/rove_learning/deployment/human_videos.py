# SPDX-License-Identifier: Apache-2.0
"""`human_videos`: the simulated counterpart of the paper's human experience videos (App. G), for D^critic only.

    rove run rove_learning human_videos --out runs/videos --episodes 24

Pictures without state and action, half successes and half failures, of a body that is not the robot's: bare hands,
sleeves, a camera that sits a little differently. The failures are those of rollouts: the hand misses the eraser, wipes
beside the marks, or stops with marks left. What is simplified: the person has the robot's proportions and moves as the
scripted expert does.
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
from rove_description import joints, mjcf
from rove_learning.deployment.simulation import episodes

SKIN, SLEEVE = (0.86, 0.66, 0.53, 1.0), (0.20, 0.32, 0.55, 1.0)
FAILURES = ("misses", "beside", "incomplete")
IDLE_S = 1.5  # s of a failed attempt's end: the hand is drawn back and the marks stay


@dataclass(frozen=True)
class VideoConfig:
    """Videos of people erasing the whiteboard, or failing to."""

    out: str  # dataset folder; appended to when it exists
    episodes: int = 24  # every second one fails (paper: 180 per task, half failures)
    workers: int = 2
    seed: int = 40_000
    imperfection: float = 0.5  # 0..1, hesitation at the start
    image_size: int = 192  # px
    max_seconds: float = 12.0
    start_stages: tuple[str, ...] = (
        "start",
        "grasped",
        "start",
        "half_erased",
    )  # cycled in pairs of a success and a failure


def dress(env, rng: np.random.Generator) -> None:
    """Hands of skin, arms in sleeves, and the camera's pose of this head (+- 1 cm, +- 1 degree)."""
    model = env.model
    for i in range(model.ngeom):
        name = model.geom(i).name
        if name.endswith("_palm") or any(f"_{finger}_" in name for finger in mjcf.FINGERS):
            model.geom_rgba[i] = SKIN
        elif name.endswith(("_forearm", "_upper_arm", "_shoulder")):
            model.geom_rgba[i] = SLEEVE
    camera = model.camera("ego").id
    if not hasattr(env, "robot_camera"):
        env.robot_camera = model.cam_pos[camera].copy(), float(model.cam_fovy[camera])
    model.cam_pos[camera] = env.robot_camera[0] + rng.uniform(-0.01, 0.01, 3)
    model.cam_fovy[camera] = env.robot_camera[1] + rng.uniform(-1.0, 1.0)


def misled(state: dict, failure: str, offset: np.ndarray) -> dict:
    """The state as the failing person sees it: eraser or marks elsewhere."""
    if failure == "misses":
        return {**state, "eraser_pos": (np.array(state["eraser_pos"]) + [0.0, offset[0], 0.0]).tolist()}
    if failure == "beside":
        return {**state, "marks": (np.array(state["marks"]) + [offset[0], 0.0]).tolist()}
    return state


def worker(config: VideoConfig) -> Callable[[int], dict]:
    """A function seed -> episode as plain arrays without state and action."""
    from rove_learning.deployment.simulation import Simulation
    from rove_sim.tasks.erase_whiteboard.env_expert import Expert

    sim = Simulation(config.image_size)

    def film(seed: int) -> dict:
        number = seed - config.seed
        rng = np.random.default_rng([seed, 5])
        start_stage = config.start_stages[number // 2 % len(config.start_stages)]
        fails = number % 2 == 1
        failure = str(rng.choice(FAILURES if start_stage == "start" else FAILURES[1:])) if fails else ""
        offset = rng.choice([-1.0, 1.0], 2) * rng.uniform(0.07, 0.12, 2)
        stops_at = rng.uniform(0.35, 0.85)  # progress at which an incomplete attempt ends
        sim.reset(seed, start_stage)
        env = sim.env
        dress(env, rng)
        expert = Expert(env, rng, config.imperfection)
        expert.reset(env.q)
        seconds = config.max_seconds if not fails else min(config.max_seconds, rng.uniform(4.0, 8.0))
        images, ends = [], None
        while sim.tick < round(config.max_seconds * timing.POLICY_HZ) and not env.success:
            state = env.state()
            if (
                fails
                and ends is None
                and (env.time > seconds or failure == "incomplete" and state["progress"] > stops_at)
            ):
                ends = env.time + IDLE_S
            if ends is not None:
                if env.time > ends:
                    break
                state = {**state, "success": True}  # the person believes so and draws the hand back
            images.append(env.render())
            sim.follow(expert.target(env.q, misled(state, failure, offset) if state["marks"] else state))
        outcome = Outcome.SUCCESS if env.success else Outcome.FAILURE
        return {
            "images": np.array(images),
            "outcome": int(outcome),
            "start_stage": start_stage,
            "episode_id": f"video-{seed:06d}",
            "operator": failure or "person",
        }

    return film


def film(config: VideoConfig, progress: bool = True) -> dict:
    """Write the dataset; every video is kept with its true outcome. Returns counts."""
    from rove_recorder.dataset.lerobot import DatasetWriter, EpisodeFrames
    from rove_sim.tasks.task import ERASE_WHITEBOARD

    counts = {"episodes": 0, "successes": 0, "frames": 0}
    size = (config.image_size, config.image_size)
    with DatasetWriter(config.out, round(timing.POLICY_HZ), size, joints.load().names) as writer:
        rows = episodes(worker, config, range(config.seed, config.seed + config.episodes), config.workers)
        for episode in tqdm(rows, total=config.episodes, desc="human videos", unit="episode", disable=not progress):
            n = len(episode["images"])
            labels = {
                "stage": np.full(n, Stage.HUMAN_VIDEO),
                "source": np.full(n, Source.NONE),
                "mode": np.full(n, Mode.IDLE),
            }
            writer.add_episode(
                EpisodeFrames(
                    None, None, **{**episode, **labels}, task=ERASE_WHITEBOARD.instruction, kind="human_video"
                )
            )
            counts["episodes"] += 1
            counts["successes"] += episode["outcome"] == Outcome.SUCCESS
            counts["frames"] += n
    return counts | {"dataset": config.out}


def main() -> int:
    import tyro

    try:
        print(json.dumps(film(tyro.cli(VideoConfig, description=__doc__))))
    except (ValueError, OSError) as error:
        print(f"human_videos: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
