# SPDX-License-Identifier: Apache-2.0
"""Joints that follow others: a URDF's mimic, an MJCF's equality of joints. They stand in no joint table."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np


@dataclass(frozen=True)
class Coupling:
    """follower, leader: joints of the model by number, leader -1 for a constant. coefficients: (5,) of a polynomial in
    the leader's angle minus leader_zero; follower_zero is added to its value.
    """

    follower: int
    leader: int
    coefficients: np.ndarray
    follower_zero: float
    leader_zero: float

    def angle(self, leader: float) -> float:
        """rad (m where it slides) of the follower."""
        x = leader - self.leader_zero
        return self.follower_zero + float(np.polynomial.polynomial.polyval(x, self.coefficients))

    def slope(self, leader: float) -> float:
        """How much the follower moves per rad of the leader."""
        slope = np.arange(1, 5) * self.coefficients[1:]
        return float(np.polynomial.polynomial.polyval(leader - self.leader_zero, slope))


def couplings(model: mujoco.MjModel) -> list[Coupling]:
    """All of a model, leaders before those that follow them."""
    found = []
    for i in range(model.neq):
        if model.eq_type[i] != mujoco.mjtEq.mjEQ_JOINT or not model.eq_active0[i]:
            continue
        follower, leader = int(model.eq_obj1id[i]), int(model.eq_obj2id[i])
        zeros = [float(model.qpos0[model.jnt_qposadr[joint]]) if joint >= 0 else 0.0 for joint in (follower, leader)]
        found.append(Coupling(follower, leader, np.array(model.eq_data[i, :5]), *zeros))
    followers = {entry.follower for entry in found}
    ordered: list[Coupling] = []
    while found:
        ready = [entry for entry in found if entry.leader not in followers] or found  # a circle: as it stands there
        ordered += ready
        found = [entry for entry in found if entry not in ready]
        followers -= {entry.follower for entry in ready}
    return ordered
