# SPDX-License-Identifier: Apache-2.0
"""PointMaze of gymnasium-robotics, many copies at once: a force-actuated ball in a maze of 1 m cells, 100 Hz.

The model, the maze and the task's radius are the environment's own; the copies step through `mujoco.rollout` as
`PointMazeEnv.step` does (parity tested), at about 90,000 steps/s on one core instead of 5,000.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np

SUCCESS_RADIUS = 0.45  # m, of gymnasium-robotics' mazes
SPEED_LIMIT = 5.0  # m/s, per axis (PointEnv)
START_NOISE = 0.25  # m, +- around the start cell's centre (MazeEnv)
TASKS = {  # name: (start cell, goal cell), (row, column): D4RL's AntMaze evaluation, one corner to the other
    "medium": ((1, 1), (6, 6)),
    "large": ((1, 1), (7, 9)),
}
TIME_LIMIT = {"medium": 600, "large": 800}  # steps (PointMaze_*-v3)


def gymnasium_mazes():
    """(gymnasium, gymnasium_robotics.envs.maze.maps), imported without the news of other environments that the package
    prints.
    """
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            import gymnasium
            import gymnasium_robotics
            from gymnasium_robotics.envs.maze import maps
    except ImportError as missing:
        raise ImportError("the mazes need gymnasium-robotics: pip install -r requirements/dev.txt") from missing
    gymnasium.register_envs(gymnasium_robotics)
    return gymnasium, maps


class PointMazes:
    """`count` balls in the maze "medium" or "large". state: (n, 4) x, y (m), vx, vy (m/s). actions: (n, 2) in [-1,
    1].
    """

    def __init__(self, size: str, count: int):
        import mujoco
        from mujoco.rollout import Rollout

        gymnasium, _ = gymnasium_mazes()
        self.env = gymnasium.make(f"PointMaze_{size.capitalize()}-v3").unwrapped
        self.size, self.count, self.time_limit = size, count, TIME_LIMIT[size]
        self.wall = np.array(self.env.maze.maze_map) == 1  # (rows, columns)
        self.cells = np.argwhere(~self.wall)  # (C, 2) free cells
        start, goal = TASKS[size]
        self.start, self.goal = self.centre(start), self.centre(goal)  # (2,) m each
        self._rollout, self._data = Rollout(nthread=0), mujoco.MjData(self.env.model)
        self._full = np.zeros((count, mujoco.mj_stateSize(self.env.model, mujoco.mjtState.mjSTATE_FULLPHYSICS)))

    @property
    def state(self) -> np.ndarray:
        return self._full[:, 1:5].copy()  # behind the time: two positions, two velocities

    def centre(self, cell) -> np.ndarray:
        """(row, column) of one cell or (n, 2) of several -> x, y (m)."""
        return np.apply_along_axis(self.env.maze.cell_rowcol_to_xy, -1, np.asarray(cell))

    def begin(self, rng: np.random.Generator) -> None:
        """Every ball rests at the task's start, +- START_NOISE."""
        self.place(np.ones(self.count, bool), self.start + rng.uniform(-START_NOISE, START_NOISE, (self.count, 2)))

    def place(self, which: np.ndarray, xy: np.ndarray) -> None:
        """Balls `which` (n,) bool rest at xy (k, 2) from now on."""
        self._full[which] = 0.0
        self._full[which, 1:3] = xy

    def step(self, action: np.ndarray) -> np.ndarray:
        """One step of 10 ms with (n, 2) actions -> the new state. Velocities are clipped before the step, as in
        PointEnv.
        """
        self._full[:, 3:5] = np.clip(self._full[:, 3:5], -SPEED_LIMIT, SPEED_LIMIT)
        control = np.clip(action, -1.0, 1.0)[:, None, :]
        after, _ = self._rollout.rollout(
            self.env.model, self._data, self._full, np.ascontiguousarray(control, dtype=np.float64)
        )
        self._full = after[:, 0].copy()
        return self.state

    def at_goal(self) -> np.ndarray:
        """(n,) bool: within the success radius of the task's goal."""
        return np.linalg.norm(self._full[:, 1:3] - self.goal, axis=1) <= SUCCESS_RADIUS

    def close(self) -> None:
        self._rollout.close()
        self.env.close()
