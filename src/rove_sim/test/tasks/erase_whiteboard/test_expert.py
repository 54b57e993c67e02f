# SPDX-License-Identifier: Apache-2.0
"""The scripted expert erases the board, from every start stage, from disturbed states, and as an imperfect operator."""

import numpy as np
import pytest

from rove_sim import rollout
from rove_sim.people import imperfection
from rove_sim.tasks.erase_whiteboard.env import WhiteboardEnv
from rove_sim.tasks.erase_whiteboard.env_expert import Expert, wiping_path


@pytest.fixture(scope="module")
def env():
    return WhiteboardEnv(image_size=96)


def attempt(env, seed, faults=0.0, seconds=15.0, on_tick=None):
    expert = Expert(env, np.random.default_rng(seed), faults)
    expert.reset(env.q.copy())
    return rollout.run(env, expert.target, seconds, on_tick=on_tick)


@pytest.mark.parametrize("stage", ["start", "grasped", "half_erased"])
def test_it_succeeds_from_every_start_stage(env, stage):
    for seed in range(100, 108):
        env.reset(seed, stage)
        assert attempt(env, seed), seed


def test_an_episode_takes_between_two_and_eight_seconds_of_robot_time(env):
    for seed in range(4):
        env.reset(seed)
        assert attempt(env, seed)
        assert 2.0 < env.time < 8.0


def test_its_targets_respect_position_and_velocity_limits(env):
    env.reset(11)
    targets = []
    assert attempt(env, 11, 1.0, on_tick=lambda q, target, state: targets.append(target))
    targets = np.array(targets)
    limits = env.table.limits
    assert (targets >= limits.lower).all() and (targets <= limits.upper).all()
    assert (np.abs(np.diff(targets, axis=0)) * 20.0 <= limits.velocity + 1e-9).all()


def test_from_disturbed_states_it_succeeds_whenever_the_eraser_can_be_fetched(env):
    table = env.table
    recoverable = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        env.reset(seed, ("start", "grasped", "half_erased")[seed % 3])
        goal = env.q.copy()
        goal[table.indices("arm", "right")] += rng.uniform(-0.6, 0.6, 7)
        goal[table.indices("waist")] += rng.uniform(-0.15, 0.15, 3)
        goal[table.indices("hand", "right")] = rng.uniform(0.0, 1.2)
        goal = np.clip(goal, table.limits.lower, table.limits.upper)
        rollout.run(env, lambda q, state, goal=goal: goal, rng.uniform(0.5, 1.5))
        if env.state()["recoverable"]:
            recoverable += 1
            assert attempt(env, seed, 0.5, 20.0), seed
    assert recoverable >= 8


def test_an_imperfect_operator_first_hesitates_and_retracts_then_succeeds_later(env):
    env.reset(20)
    assert attempt(env, 20, 0.0)
    clean = env.time
    env.reset(20)
    pauses = []
    expert = Expert(env, np.random.default_rng(20), 1.0)
    expert.reset(env.q.copy())
    start = expert.start.copy()
    idle = expert.adaptation.idle_s
    rollout.run(env, expert.target, idle, on_tick=lambda q, target, state: pauses.append(expert.grip(q)[0]))
    retracted = (np.array(pauses)[-1] - start) @ np.array(expert.adaptation.retract)
    assert retracted > 0 and not env.grasped
    assert rollout.run(env, expert.target, 15.0)
    assert env.time > clean + 0.5


def test_no_imperfection_is_exactly_none():
    adaptation = imperfection.draw(np.random.default_rng(0), 0.0)
    assert adaptation.idle_s == 0.0 and adaptation.speed(0.0) == 1.0 and not np.any(adaptation.offset)


def test_the_wiping_path_covers_the_marks_right_column_first_and_upwards():
    marks = np.array([[-0.07, 0.0], [0.07, 0.1], [0.0, 0.05]])
    path = np.array(wiping_path(marks))
    assert len(path) == 4
    assert path[0, 0] > path[2, 0] and path[1, 1] > path[0, 1] and path[3, 1] < path[2, 1]
    narrow = np.array(wiping_path(marks * [0.1, 1.0]))
    assert len(narrow) == 2
