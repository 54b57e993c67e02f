# SPDX-License-Identifier: Apache-2.0
"""Labelled pictures for pretraining a backbone: short pieces of episodes of many seeds, with what their pictures show.

People who err and the expert begin a task at every stage and are stopped after a drawn time, so that few pictures come
from each drawing of places, colours and light.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rove_contract import timing
from rove_contract.modes import Mode, Trigger
from rove_learning.deployment.simulation import FilterDrive
from rove_sim.people.supervision import Patience, Supervision
from rove_sim.tasks import task as tasks

SECONDS = (0.2, 5.0)  # of a glimpse
WHOLE = 0.1  # share of glimpses that last until the work is done, so that its end is seen as often as the rest
EVERY_S = 0.4  # between two pictures
SEED_STREAM = 17  # beside those of demonstrations, rollouts and videos


@dataclass(frozen=True)
class GlimpseConfig:
    """Glimpses of one task."""

    task: str
    seed: int
    image_size: int = 192
    cameras: tuple[str, ...] = ("ego",)


class _Stopped(Supervision):
    """Ends a demonstration after a drawn time."""

    def __init__(self, task, rng: np.random.Generator):
        super().__init__(task, "demonstration", 1, Patience(), rng=rng)
        self.seconds = np.inf if rng.random() < WHOLE else rng.uniform(*SECONDS)

    def _watch_work(self, view, succeed=True):
        if view.now - self.started > self.seconds:
            return self._end(Trigger.FAIL, "stopped")
        return super()._watch_work(view, succeed)


def make_worker(config: GlimpseConfig) -> Callable[[int], dict]:
    """A function seed -> one glimpse: `pictures` (N, C, S, S, 3) uint8 of C cameras, and `points` (N, (C + 1) K, 3) m
    and `amounts` (N, M) of `describe`; empty when there was nothing to see. The world is made once.
    """
    from rove_sim.episode import play_episode
    from rove_sim.people.operator import CREW, EXPERT, Operator

    task = tasks.get(config.task)
    world = task.make_world(config.image_size)
    drive = FilterDrive(world)
    people = (*CREW, EXPERT)
    every = round(EVERY_S * timing.POLICY_HZ)

    def look(seed: int) -> dict:
        rng = np.random.default_rng([seed, SEED_STREAM])
        number = seed - config.seed
        operator = Operator(task, people[number % len(people)], rng, 1.0 / timing.POLICY_HZ, world.table)
        rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

        def observe(tick):
            if tick.mode is Mode.DEMONSTRATION and tick.number % every == 0:
                pictures = np.stack([world.render(camera) for camera in config.cameras])
                rows.append((pictures, *describe(world, config.cameras)))

        play_episode(
            world,
            drive,
            _Stopped(task, rng),
            seed=seed,
            start_stage=task.start_stages[number // len(people) % len(task.start_stages)],
            operator=operator,
            observers=(observe,),
            cameras=(),
        )
        return {name: np.array(column) for name, column in zip(("pictures", "points", "amounts"), zip(*rows))}

    return look


def describe(world, cameras: Sequence[str] = ("ego",)) -> tuple[np.ndarray, np.ndarray]:
    """Points ((C + 1) K, 3) m, the landmarks in each camera's frame and, in the pelvis's axes, from the right palm; and
    amounts (M,); now. A camera's frame is what its picture tells, up to its mounting; the way from the palm is what a
    hand needs to know.
    """
    points, amounts = world.landmarks()
    poses = [world.camera_pose(camera) for camera in cameras]
    seen = [(points - position) @ rotation for position, rotation in poses]
    return np.concatenate([*seen, points - world.site("right_palm")]), amounts
