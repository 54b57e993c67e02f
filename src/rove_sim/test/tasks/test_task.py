# SPDX-License-Identifier: Apache-2.0
"""The registry: each task can be named without physics, and makes its own world and expert."""

import subprocess
import sys

import numpy as np
import pytest

from rove_description.kinematics import Kinematics
from rove_sim.tasks import task as tasks


@pytest.mark.parametrize("task", tasks.TASKS, ids=lambda task: task.name)
def test_a_task_makes_its_world_and_an_expert_that_steers_it(task):
    world = task.make_world(32, 3)
    world.reset(4, task.start_stages[-1])
    state = world.state()
    assert (state["task"], state["seed"], state["start_stage"]) == (task.name, 4, task.start_stages[-1])
    assert {"progress", "success", "recoverable", "time"} <= state.keys()
    expert = task.make_expert(Kinematics(world.table), np.random.default_rng(0))
    expert.reset(world.q.copy())
    target = expert.target(world.q.copy(), state)
    assert target.shape == (len(world.table),)
    world.close()


def test_unknown_task_is_refused_with_the_known_names():
    with pytest.raises(ValueError, match="toast_bread"):
        tasks.get("fold_towel")


def test_naming_tasks_loads_no_physics():
    code = "import sys; from rove_sim.tasks import task; sys.exit('mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
