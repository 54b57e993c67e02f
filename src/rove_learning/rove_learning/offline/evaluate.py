# SPDX-License-Identifier: Apache-2.0
"""Success of a policy on a maze's task, all episodes at once."""

from __future__ import annotations

import numpy as np


def success_rate(mazes, policy, horizon: int, rng: np.random.Generator) -> tuple[float, float]:
    """mazes: `PointMazes` or `AntMazes`, one episode each. policy: state (n, S) -> action chunk (n, horizon, A),
    executed, then replanned.

    Returns the share that reached the goal within the time limit, and the mean number of steps of those (NaN for none).
    """
    mazes.begin(rng)
    reached = np.full(mazes.count, -1)
    for step in range(mazes.time_limit):
        if step % horizon == 0:
            chunk = policy(mazes.state)
        mazes.step(chunk[:, step % horizon])
        reached[(reached < 0) & mazes.at_goal()] = step + 1
        if (reached >= 0).all():
            break
    done = reached >= 0
    return float(done.mean()), float(reached[done].mean()) if done.any() else float("nan")
