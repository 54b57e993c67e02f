# SPDX-License-Identifier: Apache-2.0
"""The whiteboard environment: deterministic, marks go only under the held eraser, the hand grasps by rule."""

import json

import numpy as np
import pytest

from rove_description import mjcf
from rove_description.kinematics import Kinematics
from rove_sim import rollout
from rove_sim.tasks import task
from rove_sim.tasks.erase_whiteboard import scene
from rove_sim.tasks.erase_whiteboard.env import CLOSED, GRASPED_HAND, WIPE_MARGIN, WhiteboardEnv
from rove_sim.tasks.erase_whiteboard.env_expert import Expert
from rove_sim.tasks.erase_whiteboard.hold import hold_eraser


@pytest.fixture(scope="module")
def env():
    env = WhiteboardEnv(image_size=96)
    yield env
    env.close()


def drive(env, q, seconds=1.5):
    """Move to q (50,) in a straight joint line, without stopping at success."""
    limiter = rollout.VelocityClip(env.table.limits)
    limiter.reset(np.array(env.data.ctrl))
    for _ in range(round(seconds * 100)):
        env.step(limiter.step(q))


def hold(env, point, closure):
    q = hold_eraser(Kinematics(env.table), mjcf.home(env.table), np.asarray(point))
    q[env._flexion] = closure
    return q


def test_tasks_are_found_by_name_and_an_unknown_one_lists_the_known():
    assert task.get("erase_whiteboard").instruction == "erase the whiteboard"
    with pytest.raises(ValueError, match="erase_whiteboard"):
        task.get("bread")


@pytest.mark.parametrize("stage", task.ERASE_WHITEBOARD.start_stages)
def test_a_seed_fixes_the_episode_to_the_last_bit(env, stage):
    trajectories = []
    for _ in range(2):
        env.reset(7, stage)
        first = env.state()
        expert = Expert(env, np.random.default_rng(3))
        expert.reset(env.q.copy())
        rollout.run(env, expert.target, 1.5)
        trajectories.append((first, env.data.qpos.copy(), env.state()))
    assert trajectories[0][0] == trajectories[1][0] and trajectories[0][2] == trajectories[1][2]
    assert np.array_equal(trajectories[0][1], trajectories[1][1])


def test_seeds_differ_and_reset_without_one_takes_the_next(env):
    env.reset(3)
    marks, eraser = env.marks.copy(), env.eraser_pos.copy()
    env.reset()
    assert env.seed == 4
    assert np.abs(env.marks - marks).max() > 0.005 and np.abs(env.eraser_pos - eraser).max() > 0.005


def test_the_state_is_json_and_starts_without_progress(env):
    env.reset(0)
    state = json.loads(json.dumps(env.state()))
    assert state["marks_left"] == state["marks_total"] == scene.MARKS and state["progress"] == 0.0
    assert not state["success"] and not state["eraser_grasped"] and state["recoverable"]


def test_start_stages_begin_where_they_say(env):
    env.reset(5, "grasped")
    assert env.state()["eraser_grasped"] and env.state()["marks_left"] == scene.MARKS
    env.reset(5, "half_erased")
    assert env.state()["eraser_grasped"] and env.state()["marks_left"] == scene.MARKS // 2
    with pytest.raises(ValueError, match="half_erased"):
        env.reset(5, "nearly")


def test_commands_of_wrong_shape_or_not_finite_are_refused(env):
    env.reset(0)
    with pytest.raises(ValueError, match="50"):
        env.step(np.zeros(49))
    with pytest.raises(ValueError, match="finite"):
        env.step(np.full(50, np.nan))


def test_fingers_that_close_around_the_eraser_hold_it_and_lift_it(env):
    env.reset(1)
    start = env.eraser_pos.copy()
    drive(env, hold(env, start + 0.05 * scene.BOARD_N, 0.2))
    drive(env, hold(env, start, 0.2))
    assert not env.grasped
    drive(env, hold(env, start, GRASPED_HAND), 0.6)
    assert env.grasped
    drive(env, hold(env, start + 0.10 * scene.BOARD_N, GRASPED_HAND))
    assert np.linalg.norm(env.eraser_pos - start) > 0.07
    drive(env, hold(env, start + 0.10 * scene.BOARD_N, 0.1), 0.5)
    assert not env.grasped


def test_fingers_that_close_away_from_the_eraser_hold_nothing_even_when_the_fist_comes_later(env):
    env.reset(1)
    start = env.eraser_pos.copy()
    away = start + 0.09 * scene.BOARD_N
    drive(env, hold(env, away, 0.2))
    drive(env, hold(env, away, GRASPED_HAND), 1.0)
    assert not env.grasped and env.state()["hand_closed"]
    drive(env, hold(env, start, GRASPED_HAND))
    assert env.state()["hand_closure"] > CLOSED and env.state()["grip_error"] < 0.045 and not env.grasped


def test_marks_stay_when_the_eraser_hovers_and_go_only_under_the_felt_when_it_is_pressed(env):
    env.reset(2, "grasped")
    target = env.marks[5].copy()
    hover, pressed = (scene.board_point(*target, scene.ERASER_REST_N + n) for n in (0.07, -0.015))
    drive(env, hold(env, hover, GRASPED_HAND))  # on its way there from the ledge it may brush the board
    before = env.alive.copy()
    drive(env, hold(env, hover, GRASPED_HAND))
    assert (env.alive == before).all() and env.alive[5]
    drive(env, hold(env, pressed, GRASPED_HAND))
    assert not env.alive[5]
    wiped = np.abs(env.marks - target)
    reach = scene.ERASER_SIZE[:2] / 2 + WIPE_MARGIN + 0.03  # the hand is not exactly where it was told to be
    assert (wiped[before & ~env.alive] <= reach).all()
    assert env.alive[before & (wiped > reach).any(axis=1)].all()


def test_an_empty_closed_hand_wipes_nothing(env):
    env.reset(2)
    hover, pressed = (scene.board_point(*env.marks[5], scene.ERASER_REST_N + n) for n in (0.06, 0.0))
    drive(env, hold(env, hover, GRASPED_HAND))
    drive(env, hold(env, pressed, GRASPED_HAND))
    assert env.alive.all()


def test_an_eraser_on_the_floor_is_not_recoverable(env):
    env.reset(0)
    env._place_eraser(np.array([0.1, -0.6, -0.5]), np.eye(3))
    drive(env, mjcf.home(env.table), 1.0)
    assert not env.state()["recoverable"]


def test_the_ego_picture_shows_marks_eraser_and_hand_and_marks_vanish_from_it(env):
    env.reset(0)
    before = env.render()
    assert before.shape == (96, 96, 3) and before.dtype == np.uint8
    red, green, blue = (before[..., i].astype(int) for i in range(3))
    assert ((blue > 60) & (red < 90) & (blue > red + 40)).sum() > 20, "marks"
    assert ((red > 180) & (blue < 90)).sum() > 60, "eraser"
    env._erase(np.arange(scene.MARKS))
    after = env.render().astype(int)
    assert env.success
    assert ((after[..., 2] > 60) & (after[..., 0] < 90) & (after[..., 2] > after[..., 0] + 40)).sum() == 0
    assert env.render("third").shape == (96, 96, 3)
