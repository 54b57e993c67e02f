# SPDX-License-Identifier: Apache-2.0
"""Data as D4RL made its own: a waypoint controller drives from random starts to random goals, with noise; none of it
knows the task.

Planner: shortest way over the cells. Controller: force = 10 (waypoint - position) - velocity, waypoints jittered
(D4RL's maze2d); Gaussian noise of 0.2 on every action (D4RL's antmaze). "play": the goals are D4RL's hand-picked cells;
"diverse": any cell.
"""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from rove_learning.offline.episodes import Episodes
from rove_learning.offline.point_maze import START_NOISE, PointMazes, gymnasium_mazes

P_GAIN, D_GAIN = 10.0, 1.0  # 1/m, s/m; in units of the largest force
JITTER = 0.2  # m, +- around the cell's centre
REACHED = 0.2  # m
ACTION_NOISE = 0.2  # standard deviation
EPISODE_STEPS = {
    "medium": 50,
    "large": 80,
}  # an episode is cut here, after about a quarter of the way from the task's start to its goal


def next_cells(wall: np.ndarray) -> np.ndarray:
    """(C, C) int: [goal, cell] -> the next cell on a shortest way, indices into the free cells in row-major order."""
    cells = [tuple(c) for c in np.argwhere(~wall)]
    index = {cell: i for i, cell in enumerate(cells)}
    table = np.empty((len(cells), len(cells)), dtype=int)
    for goal in range(len(cells)):
        table[goal, goal] = goal
        seen, front = {goal}, [goal]
        while front:
            following = []
            for i in front:
                r, c = cells[i]
                for neighbour in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
                    j = index.get(neighbour)
                    if j is not None and j not in seen:
                        seen.add(j)
                        table[goal, j] = i
                        following.append(j)
            front = following
    return table


def goal_cells(mazes: PointMazes, variety: str) -> np.ndarray:
    """Indices of the free cells that are goals in "play" (D4RL's hand-picked ones) or "diverse" (all)."""
    if variety == "diverse":
        return np.arange(len(mazes.cells))
    _, maps = gymnasium_mazes()
    marked = np.array(getattr(maps, f"{mazes.size.upper()}_MAZE_DIVERSE_G"), dtype=object) == maps.GOAL
    return np.flatnonzero(marked[tuple(mazes.cells.T)])


def collect(
    mazes: PointMazes, variety: str, frames: int, rng: np.random.Generator, cut: int = 0, progress: bool = True
) -> Episodes:
    """About `frames` frames of (x, y, vx, vy) and action. An episode ends in the task's goal (success), in its own goal
    or when cut.

    cut: steps; default EPISODE_STEPS, so that no episode shows the way from start to goal: it must be stitched from
    several.
    """
    cut = cut or EPISODE_STEPS[mazes.size]
    n, goals, table = mazes.count, goal_cells(mazes, variety), next_cells(mazes.wall)
    centres = mazes.centre(mazes.cells)
    cell, goal, waypoint, age = np.zeros(n, int), np.zeros(n, int), np.zeros((n, 2)), np.zeros(n, int)

    def restart(which):
        k = int(which.sum())
        cell[which], goal[which], age[which] = rng.integers(len(centres), size=k), rng.choice(goals, k), 0
        mazes.place(which, centres[cell[which]] + rng.uniform(-START_NOISE, START_NOISE, (k, 2)))
        advance(which)

    def advance(which):
        cell[which] = table[goal[which], cell[which]]
        waypoint[which] = centres[cell[which]] + rng.uniform(-JITTER, JITTER, (int(which.sum()), 2))

    restart(np.ones(n, bool))
    states, actions, ends, successes = [], [], [], []
    for _ in tqdm(range(-(-frames // n)), desc=f"{mazes.size}-{variety} data", disable=not progress, leave=False):
        state = mazes.state
        close = np.linalg.norm(state[:, :2] - waypoint, axis=1) < REACHED
        success = mazes.at_goal()
        end = success | (close & (cell == goal)) | (age + 1 >= cut)
        advance(close & ~end)
        action = np.clip(P_GAIN * (waypoint - state[:, :2]) - D_GAIN * state[:, 2:], -1.0, 1.0)
        action = np.clip(action + rng.normal(0.0, ACTION_NOISE, action.shape), -1.0, 1.0)
        states.append(state)
        actions.append(action)
        ends.append(end)
        successes.append(success)
        mazes.step(action)
        age += 1
        if end.any():
            restart(end)
    return Episodes.of_streams(np.stack(states, 1), np.stack(actions, 1), np.stack(ends, 1), np.stack(successes, 1))
