# SPDX-License-Identifier: Apache-2.0
"""Simulated IRON-R01 in MuJoCo: robot node, whiteboard task, ego camera, scripted operator and supervisor."""

import os

os.environ.setdefault(
    "MUJOCO_GL", "egl"
)  # MuJoCo chooses its GL when imported; without a display only EGL and OSMesa work
