# SPDX-License-Identifier: Apache-2.0
"""Plays a source of joint targets through the project's one episode loop and the real command filter."""

import numpy as np
import pytest

from rove_contract.modes import Mode, Outcome
from rove_description import mjcf
from rove_learning.deployment.simulation import FilterDrive
from rove_sim.episode import play_episode
from rove_sim.people.supervision import Patience, Supervision
from rove_sim.tasks import task as tasks


class TargetOperator:
    """Stands where an operator stands, with the poses of a function (q, state) -> (J,)."""

    behaviour, doing, mistakes = "work", "work", ()

    def __init__(self, target, table):
        self.target, self.home = target, mjcf.home(table)

    def pose(self, mode, q, state):
        return self.target(q, state) if mode is Mode.DEMONSTRATION else self.home


def play_target(world, target, seconds, seed, start_stage, observers=(), begin=lambda: None):
    """Whether `target` brings the task to success within `seconds`. begin: called when the world has been reset."""
    started = []

    def pose(q, state):
        if not started:
            started.append(begin())
        return target(q, state)

    supervision = Supervision(
        tasks.get(world.name), "demonstration", 1, Patience(demonstration_s=seconds), rng=np.random.default_rng(0)
    )
    episode = play_episode(
        world,
        FilterDrive(world),
        supervision,
        seed=seed,
        start_stage=start_stage,
        operator=TargetOperator(pose, world.table),
        observers=observers,
        cameras=(),
    )
    return episode.outcome is Outcome.SUCCESS


@pytest.fixture(scope="session")
def play():
    return play_target
