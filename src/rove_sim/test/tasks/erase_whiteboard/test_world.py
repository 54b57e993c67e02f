# SPDX-License-Identifier: Apache-2.0
"""The whiteboard world: a seed fixes it, friction alone holds the eraser, pictures show ink, success needs a lift."""

import json

import numpy as np
import pytest

from rove_description import mjcf
from rove_description.kinematics import Kinematics, reach_columns, solve
from rove_sim.tasks.erase_whiteboard.needs import measure_needs
from rove_sim.tasks.erase_whiteboard.world import WhiteboardWorld


@pytest.fixture(scope="module")
def world():
    world = WhiteboardWorld(image_size=96)
    yield world
    world.close()


def hold(world, seconds):
    """Keep the present command."""
    command = world.data.ctrl.copy()
    for _ in range(round(seconds * 100)):
        world.step(command)


def slippery(world):
    """Take the friction from everything that touches the eraser."""
    world.model.geom_friction[:, 0] = 1e-4


@pytest.mark.parametrize("stage", WhiteboardWorld.start_stages)
def test_seed_fixes_the_episode_to_the_last_bit(world, stage):
    runs = []
    for _ in range(2):
        world.reset(7, stage)
        first = world.state()
        wave = world.data.ctrl.copy()
        for i in range(60):
            wave[world.table.index["right_elbow"]] += 0.004 * np.sin(0.1 * i)
            world.step(wave)
        runs.append((first, world.state(), world.data.qpos.copy(), world.render()))
    assert runs[0][:2] == runs[1][:2]
    assert np.array_equal(runs[0][2], runs[1][2]) and np.array_equal(runs[0][3], runs[1][3])


def test_seeds_differ_in_everything_that_is_varied(world):
    drawn = []
    for seed in (3, 4):
        world.reset(seed)
        model = world.model
        drawn.append(
            [
                np.array(world.state()["eraser_pos"]),
                np.array(world.state()["board"]),
                world.ink.amount.copy(),
                world.felt_half.copy(),
                world.colour.copy(),
                model.cam_pos[model.camera("ego").id].copy(),
                model.light_diffuse.copy(),
                model.geom_friction[:, 0].copy(),
                model.body_mass.copy(),
                model.geom_rgba[model.geom("plate").id].copy(),
            ]
        )
    assert all(np.abs(a - b).max() > 1e-4 for a, b in zip(*drawn))


def test_state_is_json_and_names_the_milestone(world):
    world.reset(0)
    state = json.loads(json.dumps(world.state()))
    assert state["progress"] == 0.0 and state["milestone"] == world.milestones[0]
    assert state["recoverable"] and not state["success"] and not state["held"]
    assert sum(cell[3] for cell in state["ink"]) == pytest.approx(1.0, abs=0.01)


def test_start_stages_begin_where_they_say(world):
    for seed in range(6):
        world.reset(seed, "grasped")
        state = world.state()
        assert state["held"] and not state["resting"] and state["ink_left"] == 1.0
        world.reset(seed, "half_erased")
        state = world.state()
        assert state["held"] and 0.1 < state["ink_left"] < 0.9
        world.reset(seed, "dropped")
        state = world.state()
        assert not state["held"] and state["resting"] and state["recoverable"] and 0.1 < state["ink_left"] < 0.9


def test_nothing_is_welded_and_every_finger_can_touch_every_part_of_the_eraser(world):
    model = world.model
    assert model.neq == 0 and model.nexclude == 0
    for ids in world.pads["right"].values():
        for pad in ids:
            for part in world.eraser:
                assert model.geom_contype[pad] & model.geom_conaffinity[part] or (
                    model.geom_contype[part] & model.geom_conaffinity[pad]
                )


def test_friction_holds_the_eraser_while_the_arm_shakes(world):
    world.reset(1, "grasped")
    hand = world.data.body("right_wrist_link")
    command = world.data.ctrl.copy()
    places = []
    for i in range(300):
        shaken = command.copy()
        shaken[world.table.index["right_elbow"]] += 0.15 * np.sin(0.08 * i)
        shaken[world.table.index["right_wrist_pitch"]] += 0.3 * np.sin(0.05 * i)
        world.step(shaken)
        places.append(hand.xmat.reshape(3, 3).T @ (world.data.body("eraser").xpos - hand.xpos))
    assert world.state()["held"] and np.ptp(np.array(places)[50:], axis=0).max() < 0.004


def test_hand_without_friction_drops_the_eraser(world):
    world.reset(1, "grasped")
    before = world.pose_of("eraser")[0][2]
    slippery(world)
    hold(world, 1.5)
    assert world.pose_of("eraser")[0][2] < before - 0.03 and not world.state()["held"]


def test_open_hand_drops_the_eraser(world):
    world.reset(1, "grasped")
    command = world.data.ctrl.copy()
    for finger in mjcf.FINGERS:
        for part in ("proximal", "distal"):
            command[world.table.index[f"right_{finger}_{part}"]] = 0.0
    for _ in range(150):
        world.step(command)
    assert not world.state()["held"] and world.state()["resting"]


def press_and_slide(world, depth):
    """The held eraser over the first stroke, felt `depth` m behind the surface, up and down. Returns the largest N."""
    kinematics, home = Kinematics(), mjcf.home(world.table)
    columns, cost = reach_columns(world.table)
    rows, cells = np.nonzero(world.ink.stroke == 0)
    u, v = world.ink.u[cells].mean(), world.ink.v[rows].mean()
    position, rotation = world.pose_of("eraser")
    hand = world.data.body("right_wrist_link")
    turn = hand.xmat.reshape(3, 3).T @ rotation
    face = hand.xmat.reshape(3, 3).T @ (position + [0, 0, mjcf.PELVIS_HEIGHT] - hand.xpos - 0.02 * rotation[:, 2])
    wrist = world.board.axes @ turn.T
    q, largest = world.data.ctrl.copy(), 0.0
    for n, dv, seconds in ((0.06, -0.06, 2.0), (-depth, -0.06, 1.0), (-depth, 0.06, 1.0), (-depth, -0.06, 1.0)):
        goal = world.board.point(u, v + dv, n) - wrist @ face
        start = q.copy()
        q = solve(kinematics, q, "right_wrist", goal, wrist, columns, home, iterations=60, joint_cost=cost)
        for i in range(round(seconds * 100)):
            world.step(start + (q - start) * min(1.0, i / (seconds * 80)))
            largest = max(largest, world.touch(world.felt, world.surface))
    return largest


def seed_with_a_near_stroke(world):
    for seed in range(50):
        world.reset(seed, "grasped")
        rows, cells = np.nonzero(world.ink.stroke == 0)
        if world.ink.u[cells].mean() > -0.05 and abs(world.ink.v[rows].mean()) < 0.1:
            return seed
    raise AssertionError("no seed has a stroke in the middle")


def test_pressed_felt_wipes_and_hovering_felt_does_not(world):
    seed = seed_with_a_near_stroke(world)
    mine = world.ink.stroke == 0
    before = world.ink.amount[mine].sum()
    assert press_and_slide(world, depth=-0.03) == 0.0  # 3 cm off the board
    assert world.ink.amount[mine].sum() == before
    world.reset(seed, "grasped")
    assert press_and_slide(world, depth=0.008) > 3.0
    assert world.ink.amount[world.ink.stroke == 0].sum() < 0.5 * before
    assert world.state()["held"]


def test_clean_board_is_success_only_after_the_eraser_is_lifted(world):
    world.reset(2)
    world.ink.amount[:] = 0.0
    assert not world.success and not world.state()["success"]  # the eraser lies on the tray
    world.reset(2, "grasped")
    world.ink.amount[:] = 0.0
    world.wiped = 1.0
    assert world.success and world.state()["success"] and world.state()["progress"] == 1.0


def test_ego_picture_shows_ink_partly_wiped_ink_and_a_clean_board(world):
    world.reset(11)
    pictures = []
    for share in (1.0, 0.5, 0.0):
        world.ink.amount[:] = np.where(world.ink.stroke >= 0, share, 0.0)
        world.ink.version += 1
        pictures.append(world.render().astype(int))
    full, half, clean = pictures
    changed = np.abs(full - clean).sum(axis=-1) > 60
    assert changed.sum() > 8
    between = np.abs(half - clean).sum(axis=-1)[changed] / np.abs(full - clean).sum(axis=-1)[changed]
    assert 0.3 < between.mean() < 0.7


def test_every_camera_draws(world):
    world.reset(0)
    pictures = [world.render(camera) for camera in ("ego", "left_wrist", "right_wrist", "third")]
    assert all(picture.shape == (96, 96, 3) and picture.std() > 5 for picture in pictures)


def test_eraser_on_the_floor_or_on_its_back_is_not_recoverable(world):
    world.reset(0)
    world.place_body("eraser", np.array([0.1, -0.6, -0.9]), np.eye(3))
    hold(world, 0.3)
    assert not world.state()["recoverable"]
    world.reset(0)
    position, rotation = world.pose_of("eraser")
    world.place_body("eraser", position + [0, 0, 0.04], rotation @ np.diag([1.0, -1.0, -1.0]))
    hold(world, 0.5)
    assert not world.state()["recoverable"]


def test_commands_of_wrong_shape_or_not_finite_are_refused(world):
    with pytest.raises(ValueError, match="50"):
        world.step(np.zeros(49))
    with pytest.raises(ValueError, match="finite"):
        world.step(np.full(50, np.nan))
    with pytest.raises(ValueError, match="half_erased"):
        world.reset(0, "nearly")


def test_a_fifth_of_the_trials_at_least_needs_the_head_and_the_waist():
    shares = measure_needs(range(20))
    assert shares["head"] > 0.3 and shares["waist"] > 0.3 and shares["both"] > 0.2
