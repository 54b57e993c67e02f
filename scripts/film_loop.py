# SPDX-License-Identifier: Apache-2.0
"""A moving picture of one episode, by default one of the loop: rollout, pause, takeover, recovery.

    python scripts/film_loop.py --task erase_whiteboard --seed 2 --every 5 --size 320 --out docs/img/loop.webp
    python scripts/film_loop.py --checkpoint runs/base --out episode.webp

Without a checkpoint the robot is driven by a stand-in for a policy that stops half-way: the expert's own motion up to
--stops-at, repeated, and then nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from film_episode import STORIES, colour, play

from rove_contract.modes import Mode
from rove_sim.episode import Tick
from rove_sim.portrait import SIZE
from rove_sim.tasks import task as tasks

FRAME_S = 0.12  # of the film for each picture
LAMPS = 2  # of a picture: a film has many
WORDS = {
    Mode.ROLLOUT: "the policy drives",
    Mode.PAUSED: "paused: the operator aligns",
    Mode.ADAPTATION: "takeover: the operator adapts",
    Mode.RECOVERY: "recovery",
    Mode.DEMONSTRATION: "demonstration",
}


def draw(tick: Tick, size: int) -> np.ndarray:
    """(size, size, 3) uint8 BGR: the third view with a bar in the mode's colour, the ego picture in a corner."""
    picture = np.ascontiguousarray(tick.images["third"][:, :, ::-1])
    inset = size // 3
    ego = cv2.resize(tick.images["ego"][:, :, ::-1], (inset, inset), interpolation=cv2.INTER_AREA)
    picture[-inset - 6 : -6, -inset - 6 : -6] = ego
    cv2.rectangle(picture, (0, 0), (size, 26), colour(tick.mode), -1)
    words = WORDS[tick.mode]
    cv2.putText(picture, words, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1, cv2.LINE_AA)
    return picture


def write(path: Path, pictures: list[np.ndarray], frame_s: float) -> None:
    """An animation by the file's ending, each picture for frame_s seconds and the last one longer."""
    animation = cv2.Animation()
    chosen = [*pictures, *[pictures[-1]] * 8]
    animation.frames, animation.durations = chosen, [round(1000 * frame_s)] * len(chosen)
    if not cv2.imwriteanimation(str(path), animation, [cv2.IMWRITE_WEBP_QUALITY, 60]):
        raise OSError(f"cannot write {path}; expected a name that ends in .gif, .webp or .png")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default=tasks.TASKS[0].name, help="name of the task")
    parser.add_argument("--story", default="takeover", choices=STORIES)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--checkpoint", default="", help="a policy; else a stand-in that stops half-way")
    parser.add_argument("--stops-at", type=float, default=0.45, help="progress at which the stand-in stops")
    parser.add_argument("--size", type=int, default=SIZE, help="pixels")
    parser.add_argument("--every", type=int, default=4, help="keep every so many of the 20 pictures per second")
    parser.add_argument("--out", type=Path, required=True, help=".gif, .webp, or .png for an animated PNG")
    options = parser.parse_args()
    task, cameras = tasks.get(options.task), ("third", "ego")
    episode, ticks = play(
        task,
        options.story,
        options.seed,
        options.size,
        cameras,
        options.checkpoint,
        options.stops_at,
        lambda number: number % options.every == 0,
        LAMPS,
    )
    write(options.out, [draw(tick, options.size) for tick, _ in ticks], FRAME_S)
    size = options.out.stat().st_size / 1024
    print(f"{options.out}: {len(ticks)} frames, {episode.outcome.name.lower()}, {episode.reasons}; {size:.0f} KiB")


if __name__ == "__main__":
    main()
