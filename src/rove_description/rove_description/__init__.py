# SPDX-License-Identifier: Apache-2.0
"""Robots as data: joints, model, kinematics.

Whatever draws with MuJoCo imports this package first: MuJoCo chooses its GL when it is imported, and without a display
only EGL and OSMesa work.
"""

import os

os.environ.setdefault("MUJOCO_GL", "egl")
