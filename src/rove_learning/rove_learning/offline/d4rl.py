# SPDX-License-Identifier: Apache-2.0
"""D4RL's AntMaze: its HDF5 files as `Episodes`, and its task on gymnasium-robotics' AntMaze with D4RL's ant.

D4RL (github.com/Farama-Foundation/D4RL) differs from gymnasium-robotics in the ant (time step 0.02 s, motors of 30 Nm,
softer contacts), in the frame (the start cell is the origin, y grows with the row) and in the task (radius 0.5 m, goals
up to 1.5 m off the cell's centre). All of that is adapted here; what remains is that D4RL ran MuJoCo 1.5 to 2.0.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from rove_learning.offline.episodes import Episodes
from rove_learning.offline.point_maze import TASKS, gymnasium_mazes

SUCCESS_RADIUS = 0.5  # m
TIME_LIMIT = 1000  # actions
CELL = 4.0  # m
TIMESTEP, FRAME_SKIP, MOTOR = 0.02, 5, 30.0  # s, steps of physics per action, Nm per unit of action
SOLIMP = (0.8, 0.8, 0.01, 0.5, 2.0)  # of every geom; the last two are MuJoCo's defaults
GOAL_NOISE = (1.0, 0.5)  # m; a goal lies U(0, 1) + U(0, 0.5) off its cell's centre, per axis
POSITIONS, VELOCITIES = 15, 14


def read(path: str | Path) -> Episodes:
    """Observations (x, y, 27 more) and actions (8) of a D4RL AntMaze file.

    Episodes are split behind `timeouts` and `terminals`, and end at the first frame with D4RL's sparse reward of 1.
    Raises ValueError where the file is not such a file, naming what is missing, or the episode and frame of a value
    that is not finite.
    """
    import h5py

    with h5py.File(path) as file:
        missing = [name for name in ("observations", "actions", "rewards", "terminals", "timeouts") if name not in file]
        if missing:
            raise ValueError(f"{path} has no {', '.join(missing)}; expected an AntMaze file of D4RL")
        state, action, reward = file["observations"][:], file["actions"][:], file["rewards"][:]
        last = file["terminals"][:].astype(bool) | file["timeouts"][:].astype(bool)
    if state.ndim != 2 or state.shape[1] != POSITIONS + VELOCITIES or action.shape != (len(state), 8):
        raise ValueError(
            f"{path}: observations {state.shape} and actions {action.shape}; AntMaze has (N, 29) and (N, 8)"
        )
    goal, end, keep = reward > 0.5, np.zeros(len(state), bool), np.ones(len(state), bool)
    stops = np.unique(np.append(np.flatnonzero(last) + 1, len(state)))
    for a, b in zip([0, *stops[:-1]], stops):
        arrived = np.flatnonzero(goal[a:b])
        stop = a + arrived[0] + 1 if len(arrived) else b
        end[stop - 1] = True
        keep[stop:b] = False
    return Episodes.of_streams(state[None, keep], action[None, keep], end[None, keep], (end & goal)[None, keep])


def size_of(path: str | Path) -> str:
    """ "medium" or "large" from the file's name; D4RL's own files say big-maze and hardest-maze."""
    name = Path(path).name.lower()
    for size, pattern in (("medium", "medium|big-maze"), ("large", "large|hardest-maze")):
        if re.search(pattern, name):
            return size
    raise ValueError(
        f"{name}: expected medium or large (D4RL: big-maze, hardest-maze) in the file's name, which tells the maze"
    )


class AntMazes:
    """`count` ants in D4RL's maze. state: (n, 29) positions and velocities in D4RL's frame. actions: (n, 8) in [-1, 1],
    10 Hz.
    """

    time_limit = TIME_LIMIT

    def __init__(self, size: str, count: int):
        import mujoco
        from mujoco.rollout import Rollout

        gymnasium, maps = gymnasium_mazes()
        rows = getattr(maps, f"{size.upper()}_MAZE")[::-1]  # y of the environment falls with the row, D4RL's grows
        self.env = gymnasium.make(f"AntMaze_{size.capitalize()}-v5", maze_map=rows).unwrapped
        self.size, self.count = size, count
        self.model = self.env.model
        self.model.opt.timestep = TIMESTEP
        self.model.actuator_gear[:, 0] = MOTOR
        self.model.geom_solimp[:] = SOLIMP
        start, goal = (np.array([len(rows) - 1 - r, c]) for r, c in TASKS[size])
        self._origin = np.asarray(self.env.maze.cell_rowcol_to_xy(start))
        self._centre = np.asarray(self.env.maze.cell_rowcol_to_xy(goal)) - self._origin  # D4RL's frame
        self.goal = np.tile(self._centre, (count, 1))
        self._rollout, self._data = Rollout(nthread=0), mujoco.MjData(self.model)
        self._full = np.zeros((count, mujoco.mj_stateSize(self.model, mujoco.mjtState.mjSTATE_FULLPHYSICS)))

    @property
    def state(self) -> np.ndarray:
        state = self._full[:, 1 : 1 + POSITIONS + VELOCITIES].copy()  # behind the time
        state[:, :2] -= self._origin
        return state

    def begin(self, rng: np.random.Generator) -> None:
        """Every ant near the start's centre, with D4RL's noise of pose, velocity and goal."""
        n = self.count
        self._full[:] = 0.0
        self._full[:, 1 : 1 + POSITIONS] = self.model.qpos0[:POSITIONS]
        self._full[:, 1:3] = self._origin
        self._full[:, 1 : 1 + POSITIONS] += rng.uniform(-0.1, 0.1, (n, POSITIONS))
        self._full[:, 1 + POSITIONS : 1 + POSITIONS + VELOCITIES] = rng.normal(0.0, 0.1, (n, VELOCITIES))
        self.goal = self._centre + sum(rng.uniform(0.0, width, (n, 2)) for width in GOAL_NOISE)

    def step(self, action: np.ndarray) -> np.ndarray:
        control = np.repeat(np.clip(action, -1.0, 1.0)[:, None, :], FRAME_SKIP, axis=1)
        after, _ = self._rollout.rollout(
            self.model, self._data, self._full, np.ascontiguousarray(control, dtype=np.float64)
        )
        self._full = after[:, -1].copy()
        return self.state

    def at_goal(self) -> np.ndarray:
        """(n,) bool."""
        return np.linalg.norm(self.state[:, :2] - self.goal, axis=1) <= SUCCESS_RADIUS

    def close(self) -> None:
        self._rollout.close()
        self.env.close()
