# SPDX-License-Identifier: Apache-2.0
"""The expert puts a slice into the toaster through the real command filter, from every stage and after every mishap."""

import functools

import numpy as np
import pytest

from rove_description.kinematics import Kinematics
from rove_sim.tasks.toast_bread.expert import Expert
from rove_sim.tasks.toast_bread.manner import Manner
from rove_sim.tasks.toast_bread.world import ToastBreadWorld

SECONDS = 25.0


@pytest.fixture(scope="module")
def world():
    world = ToastBreadWorld(image_size=32)
    yield world
    world.close()


@functools.cache
def kinematics(names):
    return Kinematics()


@pytest.fixture(scope="module")
def play_expert(play):
    """Runs the expert; meddle(expert, state, goal) is called before each target is sent. Gives (success, expert)."""

    def run(world, seed, stage, meddle=None, seconds=SECONDS):
        expert = Expert(kinematics(world.table.names), np.random.default_rng(seed))

        def target(q, state):
            goal = expert.target(q, state)
            if meddle is not None:
                meddle(expert, state, goal)
            return goal

        return play(world, target, seconds, seed, stage, begin=lambda: expert.reset(world.q.copy())), expert

    return run


@pytest.mark.parametrize("stage", ToastBreadWorld.start_stages)
@pytest.mark.parametrize("seed", [11, 12])
def test_expert_succeeds_from_every_stage(play_expert, world, stage, seed):
    success, _ = play_expert(world, seed, stage)
    assert success


def test_grasp_that_misses_is_tried_again(play_expert, world):
    def meddle(expert, state, goal):
        if not expert.misses:
            expert.manner.grasp_offset = np.array([0.0, -0.045, 0.0])  # closes above the slice
        else:
            expert.manner = Manner()

    success, expert = play_expert(world, 3, "start", meddle)
    assert expert.misses >= 1
    assert success


def test_misaligned_insertion_is_drawn_back_and_done_again(play_expert, world):
    def meddle(expert, state, goal):
        expert.manner = Manner(insertion_offset=np.array([0.0, 0.012])) if not expert.attempts else Manner()

    success, expert = play_expert(world, 4, "above_slot", meddle)
    assert expert.attempts >= 1
    assert world.insertion_attempts >= 2
    assert success


def test_slice_dropped_on_the_way_is_left_and_the_other_one_fetched(play_expert, world):
    carried = []

    def meddle(expert, state, goal):
        if state["milestone"] == "lifted" and state["progress"] > 0.45 and not carried:
            carried.extend([state["held"], state["time"]])
        if carried and state["time"] < carried[1] + 0.5:
            goal[expert.steering.fingers] = expert.steering.open_hand

    success, _ = play_expert(world, 5, "start", meddle)
    assert carried
    assert success
    slices = world.state()["slices"]
    assert not slices[carried[0]]["inserted"]
    assert slices[1 - carried[0]]["inserted"]


def test_hesitation_holds_the_hand_still_and_the_work_goes_on(play_expert, world):
    places = []

    def meddle(expert, state, goal):
        if 1.0 <= state["time"] < 1.05:
            expert.hesitate(1.0)
        if 1.7 < state["time"] < 2.0:
            places.append(expert.steering.position.copy())

    success, _ = play_expert(world, 6, "start", meddle)
    assert success
    assert np.ptp(places, axis=0).max() < 0.002


def test_hand_that_draws_back_rises_and_then_goes_on(play_expert, world):
    heights = []

    def meddle(expert, state, goal):
        if 1.0 <= state["time"] < 1.05:
            expert.draw_back(1.0, distance=0.06)
        if 1.0 <= state["time"] < 2.0:
            heights.append(expert.steering.position[2])

    success, _ = play_expert(world, 7, "above_slot", meddle)
    assert heights[-1] - heights[0] > 0.05
    assert success


def test_hand_goes_home_when_no_slice_can_be_used(play_expert, world):
    flat = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    places = iter([(0.45, -0.15), (0.40, 0.15)])

    def meddle(expert, state, goal):
        if state["time"] == 0.0:
            for i, (x, y) in enumerate(places):
                world.place_body(f"slice_{i}", [x, y, world.layout.container.position[2] + 0.01], flat)

    success, expert = play_expert(world, 9, "start", meddle, seconds=4.0)
    assert not success
    assert not world.state()["recoverable"]
    assert expert.phase == "rest"
    assert np.linalg.norm(expert.steering.position - expert.home_pose[0]) < 0.02


def test_expert_is_deterministic(play_expert, world):
    first = play_expert(world, 8, "start", seconds=2.0)[1].steering.q_target
    again = play_expert(world, 8, "start", seconds=2.0)[1].steering.q_target
    np.testing.assert_array_equal(first, again)
