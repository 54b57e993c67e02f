# SPDX-License-Identifier: Apache-2.0
"""How far the operator's retargeted pose is from the robot: the figure that lets a takeover start."""

from __future__ import annotations

import numpy as np

from rove_contract.joint_error import worst
from rove_description.joints import JointTable
from rove_description.mjcf import SIDES


def alignment(table: JointTable, target: np.ndarray, measured: np.ndarray) -> dict[str, str]:
    """target, measured (J,) rad or m -> per block the error of the joint that is farthest off, see
    `JointError.to_text`, and "worst_joint".

    A joint whose measurement is NaN counts as fully misaligned (inf): an unknown pose is not an aligned one.
    """
    error = target - measured
    values = {block: worst(table, error, table.indices(block))[1].to_text() for block in table.blocks_present()}
    values["worst_joint"] = table.names[worst(table, error)[0]]
    return values


def by_side(table: JointTable, target: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """target, measured (J,) rad or m -> side -> worst |target - measured| of its arm and hand, rad (lengths count as
    `joints.METRES_PER_RAD` says); inf where the measurement is NaN.
    """
    error = np.abs(target - measured) * table.in_rad
    error = np.where(np.isfinite(error), error, np.inf)
    return {
        side: float(max((error[i] for block in ("arm", "hand") for i in table.indices(block, side)), default=0.0))
        for side in SIDES
    }
