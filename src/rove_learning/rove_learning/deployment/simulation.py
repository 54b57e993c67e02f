# SPDX-License-Identifier: Apache-2.0
"""The simulated robot in-process behind the real chunk player and command filter, and episodes on several processes.

`rove_sim.episode.play_episode` plays; this module gives it the drive of the running system and collects its frames.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from rove_contract import timing
from rove_contract.modes import Mode
from rove_sim.episode import Episode, Tick

STEPS_PER_TICK = round(timing.CONTROL_HZ / timing.POLICY_HZ)


class FilterDrive:
    """`rove_sim.episode.Drive` with the real chunk player and command filter; one tick is 1 / 20 s, five control
    periods.

    Timing is that of the running system: a chunk is predicted from the picture and state of a tick, its row i is the
    target (i + 1) / 20 s later, as the action of a frame is the command one tick after it. command: (J,) rad, what the
    robot is commanded now.
    """

    def __init__(self, world):
        from rove_teleop.command_filter.chunk_player import ChunkPlayer
        from rove_teleop.command_filter.filter import CommandFilter

        self.world = world
        self.filter = CommandFilter(world.table.limits, timing.CONTROL_PERIOD_S)
        self.player = ChunkPlayer()

    def reset(self, command: np.ndarray) -> None:
        """See `Drive`."""
        self.command = np.array(command)
        self.filter.reset(self.command)
        self.player.clear()
        self.goal: np.ndarray | None = None

    def load(self, chunk: np.ndarray) -> None:
        """See `Drive`."""
        self.player.load(chunk, np.arange(1, len(chunk) + 1) / timing.POLICY_HZ, 0.0, self.world.time)

    def play(self) -> None:
        """One tick of the loaded chunk; without one, or behind its end, the filter stops the robot."""
        now = self.world.time
        for i in range(STEPS_PER_TICK):
            target = self.player.target(now + (i + 1) * timing.CONTROL_PERIOD_S)
            self._step(*((None,) if target is None else target))
        self.goal = None

    def follow(self, goal: np.ndarray) -> None:
        """One tick towards an operator's target (J,) rad, interpolated from the one before as teleop's stream would
        be.
        """
        start = np.array(self.command) if self.goal is None else self.goal
        for i in range(STEPS_PER_TICK):
            self._step(start + (goal - start) * (i + 1) / STEPS_PER_TICK)
        self.goal = np.array(goal)

    def hold(self) -> None:
        """One tick of the stop law; a chunk that was loaded is forgotten."""
        self.player.clear()
        for _ in range(STEPS_PER_TICK):
            self._step(None)
        self.goal = None

    def _step(self, *target) -> None:
        self.command = self.filter.step(*target)
        self.world.step(self.command)


class FrameRecorder:
    """Observer that collects what a dataset holds of an episode; the pause takes no frames."""

    def __init__(self, cameras: Sequence[str] = ("ego",)):
        self.cameras = tuple(cameras)
        self.ticks: list[tuple] = []

    def __call__(self, tick: Tick) -> None:
        if tick.mode not in (Mode.IDLE, Mode.PAUSED):
            seen = {name: tick.images[name] for name in self.cameras}
            self.ticks.append((tick.q, tick.command, int(tick.stage), int(tick.source), int(tick.mode), seen))

    def frames(self, episode: Episode, **more) -> dict:
        """Arguments of `rove_recorder`'s EpisodeFrames but for the task: arrays, outcome, t_r, takeover, start
        stage.
        """
        columns = ("state", "action", "stage", "source", "mode")
        arrays = {name: np.array([tick[i] for tick in self.ticks]) for i, name in enumerate(columns)}
        seen = {name: np.array([tick[-1][name] for tick in self.ticks]) for name in self.cameras}
        return {
            **arrays,
            "images": seen["ego"] if seen.keys() == {"ego"} else seen,
            "outcome": int(episode.outcome),
            "t_r": episode.t_r,
            "takeover": episode.takeover,
            "start_stage": episode.start_stage,
            "milestone": episode.milestone,
            **more,
        }


_make: Callable[[], Callable[[int], dict]]  # of this worker process


def _start(make, config) -> None:
    global _make
    import torch

    torch.set_num_threads(1)
    _make = functools.cache(functools.partial(make, config))


def _one(seed: int) -> dict:
    return _make()(seed)  # not in _start: a pool replaces a worker that fails there, for ever, and tells nobody


def play_seeds(
    make: Callable[..., Callable[[int], dict]], config, seeds: Sequence[int], workers: int
) -> Iterator[dict]:
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
