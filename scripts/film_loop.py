# SPDX-License-Identifier: Apache-2.0
"""A moving picture of one episode of the loop: rollout, pause, takeover, recovery, as the panel's third view sees it.

    python scripts/film_loop.py --task erase_whiteboard --seed 2 --out docs/img/loop.gif
    python scripts/film_loop.py --checkpoint runs/base --out episode.gif

The world, the supervisor, the operator and the command filter are those of a session. Without a checkpoint the robot is
driven by a stand-in for a policy that stops half-way: the expert's own motion up to --stops-at, repeated, and then
nothing.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import cv2
import numpy as np

from rove_contract import timing
from rove_contract.modes import Mode
from rove_learning.deployment.simulation import FilterDrive
from rove_sim.episode import Episode, Tick, play_episode
from rove_sim.people.operator import CREW, EXPERT, Operator
from rove_sim.people.supervision import Patience, Supervision
from rove_sim.people.watching import Attention
from rove_sim.tasks import task as tasks

COLOURS = {  # BGR, the panel's
    Mode.ROLLOUT: (255, 163, 77),
    Mode.PAUSED: (32, 176, 255),
    Mode.ADAPTATION: (110, 174, 253),
    Mode.RECOVERY: (120, 200, 90),
}
WORDS = {
    Mode.ROLLOUT: "the policy drives",
    Mode.PAUSED: "paused: the operator aligns",
    Mode.ADAPTATION: "takeover: the operator adapts",
    Mode.RECOVERY: "recovery",
}
LIMIT_S = 60.0


def record_commands(task: tasks.Task, world, seed: int, stops_at: float) -> np.ndarray:
    """(T, J) rad: the expert's commands on this seed until the progress `stops_at`."""
    commands: list[np.ndarray] = []
    rng = np.random.default_rng(seed)

    def observe(tick: Tick) -> None:
        if tick.state["progress"] < stops_at:
            commands.append(tick.command)

    play_episode(
        world,
        FilterDrive(world),
        Supervision(task, "demonstration", 1, Patience(demonstration_s=LIMIT_S), rng=rng),
        seed=seed,
        start_stage=task.start_stages[0],
        operator=Operator(task, EXPERT, rng, 1.0 / timing.POLICY_HZ, world.table),
        observers=(observe,),
        cameras=(),
    )
    return np.array(commands)


def draw(tick: Tick, size: int) -> np.ndarray:
    """(size, size, 3) uint8 BGR: the third view with a bar in the mode's colour, the ego picture in a corner."""
    picture = np.ascontiguousarray(tick.images["third"][:, :, ::-1])
    inset = size // 3
    ego = cv2.resize(tick.images["ego"][:, :, ::-1], (inset, inset), interpolation=cv2.INTER_AREA)
    picture[-inset - 6 : -6, -inset - 6 : -6] = ego
    cv2.rectangle(picture, (0, 0), (size, 26), COLOURS[tick.mode], -1)
    words = WORDS[tick.mode]
    cv2.putText(picture, words, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1, cv2.LINE_AA)
    return picture


def film(task: tasks.Task, seed: int, size: int, checkpoint: str, stops_at: float) -> tuple[Episode, list[np.ndarray]]:
    """The episode and its pictures, one per tick. Raises ValueError when nobody took over."""
    world = task.make_world(size)
    if checkpoint:
        from rove_learning.inference.checkpoint import load

        loaded, rng = load(checkpoint), np.random.default_rng(seed)

        def policy(images, q):
            return loaded.act(images["ego"], q, task.instruction, rng=rng)
    else:
        commands, begun = record_commands(task, world, seed, stops_at), [0]

        def policy(images, q):
            rows = np.minimum(begun[0] + np.arange(timing.CHUNK_STEPS), len(commands) - 1)
            begun[0] += timing.EXECUTE_STEPS
            return commands[rows]

    pictures: list[np.ndarray] = []
    person = np.random.default_rng(seed + 1)
    episode = play_episode(
        world,
        FilterDrive(world),
        Supervision(task, "rollout", 1, Patience(patience_s=2.0), attention=Attention(miss_rate=0.0), rng=person),
        seed=seed,
        start_stage=task.start_stages[0],
        policy=policy,
        operator=Operator(task, CREW[0], person, 1.0 / timing.POLICY_HZ, world.table),
        observers=(lambda tick: pictures.append(draw(tick, size)) if tick.images else None,),
        cameras=("third", "ego"),
        draw_pauses=True,
    )
    world.close()
    if episode.takeover < 0:
        raise ValueError(f"nobody took over on seed {seed}; choose another --seed, or --stops-at below {stops_at:g}")
    return episode, pictures


def write(path: Path, pictures: list[np.ndarray], every: int, frame_s: float) -> None:
    """An animated GIF or APNG by the file's ending, every `every`-th picture for frame_s seconds."""
    animation = cv2.Animation()
    chosen = [*pictures[::every], *[pictures[-1]] * 5]
    animation.frames, animation.durations = chosen, [round(1000 * frame_s)] * len(chosen)
    if not cv2.imwriteanimation(str(path), animation):
        raise OSError(f"cannot write {path}; expected a name that ends in .gif or .png")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default=tasks.TASKS[0].name, help="name of the task")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--checkpoint", default="", help="a policy; else a stand-in that stops half-way")
    parser.add_argument("--stops-at", type=float, default=0.45, help="progress at which the stand-in stops")
    parser.add_argument("--size", type=int, default=320, help="pixels")
    parser.add_argument("--every", type=int, default=4, help="keep every so many of the 20 pictures per second")
    parser.add_argument("--out", type=Path, required=True, help=".gif, or .png for an animated PNG")
    options = parser.parse_args()
    task = tasks.get(options.task)
    episode, pictures = film(task, options.seed, options.size, options.checkpoint, options.stops_at)
    write(options.out, pictures, options.every, 0.1)
    size = options.out.stat().st_size / 1024
    print(f"{options.out}: {len(pictures)} frames, {episode.outcome.name.lower()}, {episode.reasons}; {size:.0f} KiB")


if __name__ == "__main__":
    main()
