# SPDX-License-Identifier: Apache-2.0
"""Another body before the same scene: a person's bare hands and sleeves, seen by a camera on the person's own head.

For the human experience videos (paper, App. G). What is simplified: the arm has the robot's links, so reach and joints
are the robot's; skin, thickness of fingers and arms, and the camera's place and field of view are a person's.
"""

from __future__ import annotations

import numpy as np

from rove_description import mjcf

SKINS = np.array([(0.93, 0.77, 0.66), (0.86, 0.66, 0.53), (0.66, 0.46, 0.34), (0.42, 0.28, 0.20)])
SLEEVES = np.array([(0.20, 0.32, 0.55), (0.55, 0.20, 0.22), (0.22, 0.40, 0.26), (0.75, 0.72, 0.65), (0.15, 0.15, 0.17)])
FINGER_WIDTH, ARM_WIDTH = (0.85, 1.05), (0.80, 1.05)  # of the robot's
CAMERA_M, CAMERA_DEG = 0.04, 6.0  # head-mounted: elsewhere on each head, another lens


def become_human(world, rng: np.random.Generator) -> None:
    """Change the varied model of `world` into a person's; the next reset draws another one."""
    model = world.model
    skin, sleeve = SKINS[rng.integers(len(SKINS))], SLEEVES[rng.integers(len(SLEEVES))]
    finger, arm = rng.uniform(*FINGER_WIDTH), rng.uniform(*ARM_WIDTH)
    for i in range(model.ngeom):
        name = model.geom(i).name
        if name.endswith("_palm") or any(f"_{part}_" in name for part in mjcf.FINGERS):
            model.geom_rgba[i, :3] = skin
            if not name.endswith("_palm"):
                model.geom_size[i, 0] *= finger
        elif name.endswith(("_forearm", "_upper_arm", "_shoulder")):
            model.geom_rgba[i, :3] = sleeve
            model.geom_size[i, 0] *= arm
        elif name.startswith("torso"):
            model.geom_rgba[i, :3] = sleeve
    ego = model.camera("ego").id
    model.cam_pos[ego] += rng.uniform(-CAMERA_M, CAMERA_M, 3)
    model.cam_fovy[ego] += rng.uniform(-CAMERA_DEG, CAMERA_DEG)
