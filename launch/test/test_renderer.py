# SPDX-License-Identifier: Apache-2.0
"""How MuJoCo draws is chosen in one place, before MuJoCo is imported."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["rove_sim.camera", "rove_teleop.practice.preview_picture", "rove_description.mjcf"])
def test_what_draws_chooses_egl_unless_something_else_is_chosen(module):
    code = f"import {module}, os; print(os.environ['MUJOCO_GL'])"
    for given, expected in ((None, "egl"), ("disabled", "disabled")):
        environment = {key: value for key, value in os.environ.items() if key != "MUJOCO_GL"}
        environment |= {} if given is None else {"MUJOCO_GL": given}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert done.stdout == expected + "\n", done.stderr
