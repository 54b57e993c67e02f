# SPDX-License-Identifier: Apache-2.0
"""A film strip of one episode, seen from beside the robot, from its head and from its wrist.

    python scripts/film_strip.py --task toast_bread --story success --seed 3 --out docs/img/toast_bread.webp

--story: success (the expert's), failure (of a rollout that nobody interrupts) or takeover (see film_loop). Columns are
equally far apart in time; the bar has the colour of the mode, above it what is done, below the pictures the milestone.
"""

from __future__ import annotations

import argparse
import os

import cv2
import numpy as np
from film_episode import STORIES, colour, play

from rove_contract import timing
from rove_contract.modes import Mode
from rove_sim.episode import Tick
from rove_sim.tasks import task as tasks

CAMERAS = ("third", "ego", "right_wrist")
BAR, FOOT = 22, 20  # px
WHITE, DARK = (255, 255, 255), (20, 20, 20)


def write_text(picture: np.ndarray, text: str, y: int, scale: float = 0.42) -> None:
    """In place, as small as it takes to fit the width."""
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    scale *= min(1.0, (picture.shape[1] - 10) / max(width, 1))
    cv2.putText(picture, text, (5, y), cv2.FONT_HERSHEY_SIMPLEX, scale, DARK, 1, cv2.LINE_AA)


def draw(tick: Tick, what: str, cameras: tuple[str, ...]) -> np.ndarray:
    """One column, BGR."""
    pictures = np.vstack([tick.images[camera] for camera in cameras])[:, :, ::-1]
    size = pictures.shape[1]
    bar, foot = np.full((BAR, size, 3), colour(tick.mode), np.uint8), np.full((FOOT, size, 3), WHITE, np.uint8)
    mode = tick.mode.name.lower()
    words = mode if what in ("", "rest") else what.replace("_", " ")
    if what and tick.mode in (Mode.ADAPTATION, Mode.RECOVERY):
        words = f"{mode}: {words}"
    write_text(bar, f"{tick.number / timing.POLICY_HZ:.1f} s  {words}", 15)
    write_text(foot, tick.state["milestone"], 14)
    return cv2.copyMakeBorder(np.vstack([bar, pictures, foot]), 0, 0, 0, 2, cv2.BORDER_CONSTANT, value=WHITE)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default=tasks.TASKS[0].name, help="name of the task")
    parser.add_argument("--story", default="success", choices=STORIES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=180, help="pixels of one picture")
    parser.add_argument("--columns", type=int, default=8, help="pictures in a row")
    parser.add_argument("--rows", type=int, default=3, help="cameras: the first so many of beside, head, wrist")
    parser.add_argument("--out", required=True, help="picture file, .webp or .png")
    options = parser.parse_args()
    cameras = CAMERAS[: options.rows]
    story = tasks.get(options.task), options.story, options.seed, options.size
    _, ticks = play(*story, ())  # the same episode, without pictures: which ticks there are
    numbers = [tick.number for tick, _ in ticks]
    chosen = {numbers[int(i)] for i in np.linspace(0, len(numbers) - 1, options.columns).round()}
    episode, ticks = play(*story, cameras, wanted=chosen.__contains__)
    strip = np.hstack([draw(tick, what, cameras) for tick, what in ticks])
    cv2.imwrite(options.out, strip, [cv2.IMWRITE_WEBP_QUALITY, 70] if options.out.endswith(".webp") else [])
    told = f"{episode.outcome.name.lower()}, {episode.reasons}, mistakes {episode.mistakes}"
    print(f"{options.out}: {told}; {os.path.getsize(options.out) / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
