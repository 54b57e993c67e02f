# SPDX-License-Identifier: Apache-2.0
"""The simulated robot in-process, driven as in the running system: chunks or operator targets -> command filter ->
MuJoCo.

Timing is that of the running system: a chunk is predicted from the picture and state of a tick, its row i is the target
(i + 1) / 20 s later, and the action of a frame is the command one tick after it.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Callable, Iterator

import numpy as np

from rove_contract import timing
from rove_description import joints

STEPS_PER_TICK = round(timing.CONTROL_HZ / timing.POLICY_HZ)


class Simulation:
    """The environment behind the real chunk player and command filter; one tick is one frame of the dataset (1 / 20 s).

    command: (50,) rad, what the robot is commanded now. tick: ticks since the reset.
    """

    def __init__(self, image_size: int = 192):
        from rove_sim.tasks.erase_whiteboard.env import WhiteboardEnv
        from rove_teleop.command_filter.chunk_player import ChunkPlayer
        from rove_teleop.command_filter.filter import CommandFilter

        self.env = WhiteboardEnv(image_size=image_size)
        self.filter = CommandFilter(joints.load().limits, timing.CONTROL_PERIOD_S)
        self.player = ChunkPlayer()

    def reset(self, seed: int, start_stage: str = "start") -> None:
        self.env.reset(seed, start_stage)
        self.command = np.array(self.env.data.ctrl)
        self.filter.reset(self.command)
        self.player.clear()
        self.goal = np.array(self.command)
        self.tick = 0

    def load(self, chunk: np.ndarray) -> None:
        """Play this chunk (H, 50) from now on; its row 0 is due one tick later."""
        self.player.load(chunk, np.arange(1, len(chunk) + 1) / timing.POLICY_HZ, 0.0, self.env.time)

    def observe(self) -> tuple[np.ndarray, np.ndarray]:
        """What a dataset frame holds of this moment: measured q (50,), ego picture (H, W, 3). Its action is `command`
        after the tick that follows.
        """
        return self.env.q.copy(), self.env.render()

    def play(self) -> None:
        """One tick of the loaded chunk; without one, or behind its end, the filter stops the robot."""
        now = self.env.time
        for i in range(STEPS_PER_TICK):
            target = self.player.target(now + (i + 1) * timing.CONTROL_PERIOD_S)
            self._step(*((None,) if target is None else target))
        self.goal = np.array(self.command)
        self.tick += 1

    def follow(self, goal: np.ndarray) -> None:
        """One tick towards an operator's target (50,) rad, interpolated from the one before."""
        for i in range(STEPS_PER_TICK):
            self._step(self.goal + (goal - self.goal) * (i + 1) / STEPS_PER_TICK)
        self.goal = goal
        self.tick += 1

    def _step(self, *target) -> None:
        self.command = self.filter.step(*target)
        self.env.step(self.command)


_make: Callable[[], Callable[[int], dict]]  # of this worker process


def _start(make, config) -> None:
    global _make
    import torch

    torch.set_num_threads(1)
    _make = functools.cache(functools.partial(make, config))


def _one(seed: int) -> dict:
    return _make()(seed)  # not in _start: a pool replaces a worker that fails there, for ever, and tells nobody


def episodes(make: Callable[..., Callable[[int], dict]], config, seeds, workers: int) -> Iterator[dict]:
    """make(config)(seed) for each seed, in their order, on `workers` processes of one thread each; `make` runs once per
    process.
    """
    if workers <= 1:
        yield from map(make(config), seeds)
        return
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # inherited by the workers
    try:
        with multiprocessing.get_context("spawn").Pool(workers, _start, (make, config)) as pool:
            yield from pool.imap(_one, seeds)
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
