# SPDX-License-Identifier: Apache-2.0
"""t_r comes when the operator is under way again: behind hesitation and retraction, before the task itself has
advanced.
"""

import numpy as np
import pytest

from rove_sim.tasks.erase_whiteboard.adaptation_end import AdaptationEnd
from rove_sim.tasks.erase_whiteboard.env import WhiteboardEnv
from rove_sim.tasks.erase_whiteboard.env_expert import Expert

STEPS_PER_TICK = 5  # 100 Hz control, 20 Hz expert


@pytest.fixture(scope="module")
def env():
    env = WhiteboardEnv(image_size=48)
    yield env
    env.close()


@pytest.mark.parametrize("start_stage", ["start", "grasped"])
def test_an_imperfect_operator_has_adapted_after_the_hesitation_and_before_the_first_progress(env, start_stage):
    for seed in range(3):
        env.reset(seed, start_stage)
        expert = Expert(env, np.random.default_rng(seed), imperfection=1.0)
        expert.reset(env.q)
        begin = env.state()
        end = AdaptationEnd(begin)
        while not end.over(state := env.state(), env.time):
            target = expert.target(env.q, state)
            for _ in range(STEPS_PER_TICK):
                env.step(target)
        assert env.time > expert.adaptation.idle_s
        assert state["progress"] == begin["progress"] and env.time < 5.0


def sim(**changes):
    return {
        "grip_error": 0.2,
        "marks_left": 12,
        "marks": [[0.1, 0.2]],
        "eraser_pos": [0.4, 0.0, 0.2],
        "eraser_grasped": False,
        "success": False,
    } | changes


def asked(end, seconds, state, now=0.0):
    return [end.over(state, now + tick / 20) for tick in range(1, round(seconds * 20) + 1)][-1]


def test_a_hand_that_hovers_or_is_pulled_back_and_returns_has_not_adapted():
    end = AdaptationEnd(sim())
    for now, error in enumerate((0.185, 0.21, 0.24, 0.20)):
        assert not asked(end, 1.0, sim(grip_error=error), now)


def test_progress_counts_only_when_it_lasts():
    end = AdaptationEnd(sim())
    assert not asked(end, 0.3, sim(grip_error=0.05))
    assert not asked(end, 0.3, sim(grip_error=0.19), 1.0)
    assert asked(end, 0.5, sim(grip_error=0.05), 2.0)


def test_an_eraser_that_is_dropped_begins_the_adaptation_anew():
    end = AdaptationEnd(sim(eraser_grasped=True, grip_error=0.0))
    assert not asked(end, 1.0, sim(grip_error=0.15))
    assert asked(end, 0.5, sim(eraser_grasped=True, grip_error=0.0), 1.0)


def test_success_ends_it_at_once():
    assert AdaptationEnd(sim()).over(sim(success=True, marks=[], marks_left=0, eraser_grasped=True), 0.05)
