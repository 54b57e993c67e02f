# SPDX-License-Identifier: Apache-2.0
"""The expert wipes the board through the real command filter, from every stage and after every mishap."""

import functools

import numpy as np
import pytest

from rove_description.kinematics import Kinematics
from rove_sim.tasks.erase_whiteboard.expert import Expert
from rove_sim.tasks.erase_whiteboard.manner import Manner
from rove_sim.tasks.erase_whiteboard.sweep import Sweep, choose_stroke
from rove_sim.tasks.erase_whiteboard.world import WhiteboardWorld

SECONDS = 30.0


@pytest.fixture(scope="module")
def world():
    world = WhiteboardWorld(image_size=32)
    yield world
    world.close()


@functools.cache
def kinematics():
    return Kinematics()


@pytest.fixture(scope="module")
def play_expert(play):
    """Runs the expert; meddle(expert, state) is called before each target. Gives (success, expert)."""

    def run(world, seed, stage, meddle=None, seconds=SECONDS, manner=None):
        expert = Expert(kinematics(), np.random.default_rng(seed), manner=manner)

        def target(q, state):
            if meddle is not None:
                meddle(expert, state)
            return expert.target(q, state)

        return play(world, target, seconds, seed, stage, begin=lambda: expert.reset(world.q.copy())), expert

    return run


@pytest.mark.parametrize("stage", WhiteboardWorld.start_stages)
def test_expert_succeeds_from_every_stage(play_expert, world, stage):
    success, _ = play_expert(world, 21, stage)
    assert success


def test_eraser_that_is_taken_away_is_fetched_again(play_expert, world):
    taken = []

    def meddle(expert, state):
        if not taken and state["ink_left"] < 0.7:
            tray, axes = world.pose_of("tray")
            world.place_body("eraser", tray + axes @ [0.05, -0.075, 0.03], axes)
            taken.append(expert.phase)

    success, _ = play_expert(world, 21, "start", meddle, seconds=40.0)
    assert taken and success


def test_grasp_that_misses_is_tried_again(play_expert, world):
    def meddle(expert, state):
        expert.manner.grasp_offset = np.zeros(3) if expert.misses else np.array([0.0, -0.06, 0.0])  # above the bar

    success, expert = play_expert(world, 22, "start", meddle)
    assert success and expert.misses == 1


def test_light_hand_needs_more_passes_than_a_firm_one(play_expert, world):
    _, firm = play_expert(world, 21, "half_erased", seconds=8.0)
    _, light = play_expert(world, 21, "half_erased", seconds=8.0, manner=Manner(press=2.0))
    assert light.passes > firm.passes


def test_hand_that_wipes_beside_the_strokes_does_not_finish(play_expert, world):
    success, expert = play_expert(world, 21, "grasped", manner=Manner(wipe_offset=np.array([0.15, 0.0])), seconds=8.0)
    assert not success and expert.passes > 0


def test_hesitation_and_drawing_back_move_as_they_say_and_the_work_goes_on(play_expert, world):
    places = []

    def meddle(expert, state):
        place = expert.steering.measure(world.q.copy())[0]
        if state["time"] == 1.0:
            expert.draw_back(1.0, 0.08)
        elif state["time"] == 2.0:
            expert.hesitate(1.0)
        places.append((state["time"], place))

    success, _ = play_expert(world, 21, "start", meddle)
    at = {round(time, 2): place for time, place in places}
    assert success
    assert np.linalg.norm(at[1.9] - at[1.0]) > 0.04
    assert np.linalg.norm(at[2.95] - at[2.4]) < 0.01


def test_strokes_are_wiped_from_right_to_left_and_one_is_finished_first():
    cells = np.array([[0, -0.2, 0.0, 0.3], [1, 0.2, 0.1, 0.3], [2, 0.0, -0.1, 0.4]])
    assert choose_stroke(cells, None) == 1
    assert choose_stroke(cells, 2) == 2
    assert choose_stroke(cells[[0, 1]], 2) == 1


def test_sweep_goes_over_both_ends_of_a_stroke():
    cells = np.array([[0, 0.1, v, 0.2] for v in np.linspace(-0.04, 0.04, 5)])
    down = Sweep.over(cells, 0, 0.03, np.zeros(3))
    up = down.onwards(cells, 0.03, np.zeros(3))
    assert np.linalg.norm(up.point - down.point) > 0.12
    assert up.passes == 1
