# SPDX-License-Identifier: Apache-2.0
"""Any described robot moves in the simulator; our tasks are refused for a robot that they are not built for."""

import numpy as np
import pytest

from rove_description import robot
from rove_sim.free_world import FreeWorld, make_world

ROBIN = robot.load("robin_h1")


def test_a_robot_follows_its_command_and_shows_itself():
    world = FreeWorld(ROBIN, (24, 32))
    before, goal = world.camera.render(world.qpos), ROBIN.home.copy()
    goal[ROBIN.table.index["head_tilt"]] -= 0.5
    for _ in range(50):
        world.step(goal)
    np.testing.assert_allclose(world.q, goal, atol=1e-6)
    assert before.shape == (24, 32, 3) and (world.camera.render(world.qpos) != before).any()
    assert world.state()["time"] == 0.5 and not world.success
    world.reset()
    np.testing.assert_array_equal(world.q, ROBIN.home)
    world.close()


@pytest.mark.parametrize("command", [np.zeros(50), np.full(29, np.nan)])
def test_a_command_that_is_none_is_refused(command):
    with pytest.raises(ValueError, match="finite command"):
        FreeWorld(ROBIN, 16).step(command)


def test_a_task_is_refused_for_another_robot_and_says_what_runs():
    with pytest.raises(
        ValueError, match=r"not for the robot \(robin_h1, 29 joints\).*task:=free_space.*driver:=external"
    ):
        make_world("erase_whiteboard", ROBIN, 16, 0)
