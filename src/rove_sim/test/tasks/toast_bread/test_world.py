# SPDX-License-Identifier: Apache-2.0
"""The rules of "put the bread into the toaster": what counts, what does not, and that friction alone holds a slice."""

import json

import mujoco
import numpy as np
import pytest

from rove_contract import timing
from rove_description.kinematics import Kinematics
from rove_sim.tasks.toast_bread import layout
from rove_sim.tasks.toast_bread.expert import Expert
from rove_sim.tasks.toast_bread.world import STABLE_S, ToastBreadWorld
from rove_teleop.command_filter.filter import CommandFilter

FLAT = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


@pytest.fixture(scope="module")
def world():
    world = ToastBreadWorld(image_size=32)
    yield world
    world.close()


def wait(world, seconds, command=None):
    command = np.array(world.data.ctrl) if command is None else command
    for _ in range(round(seconds / timing.CONTROL_PERIOD_S)):
        world.step(command)


def put_into_slot(world, i, slot=0, height=0.0):
    place = world.layout.slot(slot)
    position = place.point([0.0, 0.0, height + world.layout.slice_half[2]])
    world.place_body(f"slice_{i}", position, place.rotation)


def lay_flat(world, i, x, y):
    world.place_body(f"slice_{i}", [x, y, world.layout.container.position[2] + 0.01], FLAT)


@pytest.mark.parametrize("stage", ToastBreadWorld.start_stages)
def test_a_seed_fixes_the_episode_to_the_last_bit(world, stage):
    def run():
        world.reset(21, stage)
        wait(world, 0.5)
        return world.data.qpos.copy(), world.state()

    first, state = run()
    world.reset(22, stage)
    again, state_again = run()
    np.testing.assert_array_equal(first, again)
    assert state == state_again


def test_seeds_draw_different_scenes(world):
    scenes = []
    for seed in (1, 2):
        world.reset(seed)
        drawn = world.layout
        scenes.append([*drawn.container.position, drawn.container.yaw, *drawn.toaster.position, *drawn.slice_half])
    assert np.all(np.abs(np.subtract(*scenes)) > 0)


@pytest.mark.parametrize("seed", range(12))
def test_slots_are_4_to_6_mm_wider_than_a_slice(world, seed):
    world.reset(seed)
    model = world.model
    thickness = 2 * model.geom("slice_0").size[1]
    for slot in range(layout.SLOTS):
        near, far = model.geom(f"lip_{slot}_near"), model.geom(f"lip_{slot}_far")
        width = far.pos[1] - near.pos[1] - near.size[0] - far.size[0]
        assert 0.004 - 1e-9 <= width - thickness <= 0.006 + 1e-9
        walls = {"near": "toaster_near", "far": "toaster_middle"} if slot == 0 else {}
        walls = walls or {"near": "toaster_middle", "far": "toaster_far"}
        faces = {side: model.geom(name).pos[1] for side, name in walls.items()}
        faces["near"] += model.geom(walls["near"]).size[1]
        faces["far"] -= model.geom(walls["far"]).size[1]
        assert faces["far"] - faces["near"] == pytest.approx(width, abs=1e-9)


def test_nothing_is_welded_and_every_finger_touches_bread(world):
    model = world.model
    assert model.neq == 0
    bread = model.geom("slice_0")
    for ids in world.pads["right"].values():
        for i in ids:
            meets = model.geom_contype[i] & bread.conaffinity[0] or bread.contype[0] & model.geom_conaffinity[i]
            assert meets


def test_a_slice_is_held_by_friction_alone(world):
    world.reset(31, "grasped")
    before = world.state()
    assert before["held"] >= 0
    height = before["slices"][before["held"]]["position"][2]
    wait(world, 1.0)
    assert world.state()["held"] == before["held"]
    assert world.state()["slices"][before["held"]]["position"][2] > height - 0.003
    skin = sorted(frozenset.union(*world.pads["right"].values()))
    bread = [world.model.geom(f"slice_{i}").id for i in range(layout.SLICES)]
    world.reset(31, "above_slot")
    held = world.state()["held"]
    height = world.state()["slices"][held]["position"][2]
    world.model.geom_friction[skin + bread] = 0.0
    wait(world, 0.5)
    assert world.state()["held"] == -1
    assert world.state()["slices"][held]["position"][2] < height - 0.01


def test_slice_at_rest_in_a_slot_succeeds_after_one_second(world):
    world.reset(41)
    put_into_slot(world, 1, slot=1)
    wait(world, 0.3)  # it drops the last fraction of a millimetre
    assert world.state()["milestone"] == "inserted"
    wait(world, STABLE_S - 0.35)
    assert not world.success
    wait(world, 0.4)
    assert world.success
    assert world.state()["progress"] == 1.0


def test_partly_inserted_slice_is_no_success(world):
    world.reset(42, "partly_inserted")
    wait(world, 1.5)
    state = world.state()
    assert state["slices"][state["held"]]["slot"] >= 0
    assert not state["success"]
    assert state["progress"] < 0.85


def test_inserted_slice_still_in_the_hand_is_no_success(world):
    world.reset(43, "partly_inserted")
    expert = Expert(Kinematics(world.table), np.random.default_rng(0))
    expert.reset(world.q.copy())
    for _ in range(200):
        goal = expert.target(world.q.copy(), world.state())
        if expert.phase == "release":
            break
        wait(world, expert.period, goal)
    wait(world, 2.0)  # keeps its last command
    assert world.state()["held"] >= 0
    assert world.state()["milestone"] == "inserted"
    assert not world.success


def test_slice_that_leans_on_the_toaster_is_not_in_a_slot(world):
    world.reset(44)
    put_into_slot(world, 0, height=world.layout.slot_depth + 0.002)
    mujoco.mj_forward(world.model, world.data)
    assert world.state()["slices"][0]["slot"] == -1


def test_only_a_slice_that_can_be_grasped_is_recoverable(world):
    world.reset(51)
    assert world.state()["recoverable"]
    lay_flat(world, 0, 0.5, -0.15)
    wait(world, 0.2)
    assert world.state()["recoverable"]  # the other one stands in the container
    lay_flat(world, 1, 0.4, 0.15)
    wait(world, 0.2)
    assert not world.state()["recoverable"]
    world.reset(51)
    for i in range(layout.SLICES):
        world.place_body(f"slice_{i}", [0.1, 0.0, -0.8], np.eye(3))  # on the floor
    wait(world, 0.1)
    assert not world.state()["recoverable"]


def test_milestones_come_in_order_and_progress_ends_at_one(world):
    world.reset(61)
    expert = Expert(Kinematics(world.table), np.random.default_rng(0))
    expert.reset(world.q.copy())
    command_filter = CommandFilter(world.table.limits, timing.CONTROL_PERIOD_S)
    command_filter.reset(np.array(world.data.ctrl))
    previous, seen = np.array(world.data.ctrl), []
    for _ in range(300):
        state = world.state()
        if state["milestone"] not in seen:
            seen.append(state["milestone"])
        if state["success"]:
            break
        goal = expert.target(world.q.copy(), state)
        for i in range(5):
            world.step(command_filter.step(previous + (goal - previous) * (i + 1) / 5))
        previous = goal
    assert seen == list(world.milestones)
    assert world.state()["progress"] == 1.0
    assert world.insertion_attempts == 1


def test_state_is_json(world):
    world.reset(71, "grasped")
    state = world.state()
    assert json.loads(json.dumps(state)) == state
    assert state["task"] == "toast_bread"
    assert 0.2 <= state["progress"] <= 0.6


def test_wrist_camera_sees_what_the_hand_holds(world):
    """Nearer things than the near plane are not drawn: the fingers are 8 cm from the camera."""
    assert world.model.vis.map.znear * world.model.stat.extent <= 0.03
