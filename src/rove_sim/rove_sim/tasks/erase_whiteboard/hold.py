# SPDX-License-Identifier: Apache-2.0
"""Poses of the robot with the eraser in its right hand."""

from __future__ import annotations

import numpy as np

from rove_description import mjcf
from rove_description.kinematics import Kinematics, reach_columns, solve
from rove_sim.tasks.erase_whiteboard import scene


def hold_eraser(
    kinematics: Kinematics, q: np.ndarray, eraser: np.ndarray, iterations: int = 60, posture: np.ndarray | None = None
) -> np.ndarray:
    """(J,) rad with the right hand flat towards the board and the eraser's place in it at `eraser` (3,) m, pelvis
    frame.

    q: (J,) rad, where the search begins. posture: (J,) rad that the free joints are drawn to; None: home.
    """
    rotation = scene.wiping_hand()
    columns, cost = reach_columns(kinematics.table)
    target = eraser + rotation @ (kinematics.offset("right_palm") - scene.ERASER_IN_HAND)
    posture = mjcf.home(kinematics.table) if posture is None else posture
    return solve(
        kinematics, q, "right_palm", target, rotation, columns, posture, iterations=iterations, joint_cost=cost
    )
