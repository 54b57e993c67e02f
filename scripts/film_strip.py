# SPDX-License-Identifier: Apache-2.0
"""A film strip of one success: what the robot did in each phase, seen from beside it, from its head, from its wrist.

    python scripts/film_strip.py --task toast_bread --seed 3 --out docs/img/toast_bread.png

The expert plays the task through the command filter; a column is drawn at the end of each of its phases.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("MUJOCO_GL", "egl")

import cv2
import numpy as np

from rove_contract import timing
from rove_contract.modes import Outcome
from rove_learning.deployment.simulation import FilterDrive
from rove_sim.episode import Tick, play_episode
from rove_sim.people.operator import EXPERT, Operator
from rove_sim.people.supervision import Patience, Supervision
from rove_sim.tasks import task as tasks

CAMERAS = ("third", "ego", "right_wrist")
LIMIT_S = 30.0


def film(task: tasks.Task, seed: int, size: int) -> list[tuple[str, np.ndarray]]:
    """(phase, pictures of CAMERAS one above the other) at the end of each phase. Raises RuntimeError on a failure."""
    world, rng = task.make_world(size), np.random.default_rng(seed)
    operator = Operator(task, EXPERT, rng, 1.0 / timing.POLICY_HZ, world.table)
    columns: list[tuple[str, np.ndarray]] = []

    def look(tick: Tick) -> None:
        picture = np.vstack([tick.images[camera] for camera in CAMERAS])
        if columns and columns[-1][0] == operator.expert.phase:
            columns.pop()
        columns.append((operator.expert.phase, picture))

    episode = play_episode(
        world,
        FilterDrive(world),
        Supervision(task, "demonstration", 1, Patience(demonstration_s=LIMIT_S), rng=rng),
        seed=seed,
        start_stage=task.start_stages[0],
        operator=operator,
        observers=(look,),
        cameras=CAMERAS,
    )
    world.close()
    if episode.outcome is not Outcome.SUCCESS:
        raise RuntimeError(f"the expert did not succeed on seed {seed} of {task.name}; choose another seed")
    return columns


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default=tasks.TASKS[0].name, help="name of the task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=180, help="pixels of one picture")
    parser.add_argument("--columns", type=int, default=8, help="pictures in a row, at most")
    parser.add_argument("--out", required=True, help="PNG file")
    options = parser.parse_args()
    columns = film(tasks.get(options.task), options.seed, options.size)
    chosen = np.unique(np.linspace(0, len(columns) - 1, options.columns).round().astype(int))
    pictures = []
    for phase, picture in (columns[i] for i in chosen):
        picture = np.ascontiguousarray(picture[:, :, ::-1])
        cv2.putText(
            picture, phase.replace("_", " "), (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 3, cv2.LINE_AA
        )
        cv2.putText(
            picture, phase.replace("_", " "), (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255,) * 3, 1, cv2.LINE_AA
        )
        pictures.append(cv2.copyMakeBorder(picture, 0, 0, 0, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255)))
    cv2.imwrite(options.out, np.hstack(pictures), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(f"{options.out}: {', '.join(columns[i][0] for i in chosen)}; {os.path.getsize(options.out) / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
