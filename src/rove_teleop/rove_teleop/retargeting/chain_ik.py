# SPDX-License-Identifier: Apache-2.0
"""Inverse kinematics of any serial chain to a site's pose, on the robot's MuJoCo model: damped least squares with joint
limits as an active set. For robots that the closed forms of this package do not fit.

All quantities in the pelvis frame, m and rad.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rove_description.kinematics import Kinematics, rotation_error

ROTATION_WEIGHT = 0.1  # m/rad: 0.1 rad of rotation counts as much as 1 cm of position
ELBOW_WEIGHT = 0.1  # the elbow is a wish, the wrist is the task
# m^2/rad^2 against squared lever arms of about 0.06 m^2; more near a singularity, where steps would be wide.
DAMPING = 2e-5
POSTURE = 4e-4  # m^2/rad^2, pull to the posture before the frame: what no task decides stays
STEPS = 3
ENOUGH = 1e-8  # m^2 = (0.1 mm)^2: the goals are met
NEAR_M, NEAR_RAD = 0.005, 0.05  # a pose is met within these


@dataclass(frozen=True)
class Goal:
    """Where a site should be. position: (3,) m or None. rotation: (3, 3) or None. weight: of the whole."""

    site: str
    position: np.ndarray | None
    rotation: np.ndarray | None
    weight: float = 1.0


class ChainIK:
    """columns: (n,) int, the joints that move, contract order."""

    def __init__(self, kinematics: Kinematics, columns: np.ndarray):
        self.kinematics, self.columns = kinematics, columns
        limits = kinematics.table.limits
        self.lower, self.upper = limits.lower[columns], limits.upper[columns]

    def solve(self, q: np.ndarray, goals: list[Goal], reach: np.ndarray | None) -> tuple[np.ndarray, bool]:
        """q: (J,) rad, not changed. reach: (n,) rad that the joints may move from q; None: anywhere.

        Returns ((n,) rad of the columns, within the limits; whether the first goal is met).
        """
        trial = q.copy()
        before = np.clip(q[self.columns], self.lower, self.upper)
        lower, upper = self.lower, self.upper
        if reach is not None:
            lower, upper = np.maximum(lower, before - reach), np.minimum(upper, before + reach)
        at, damping = before.copy(), DAMPING
        rows, errors, cost = self._linearise(trial, at, goals)
        for _ in range(STEPS if reach is not None else 8 * STEPS):
            descent = rows.T @ errors + POSTURE * (before - at) * (reach is not None)
            free = ~(((at <= lower) & (descent < 0)) | ((at >= upper) & (descent > 0)))
            j = rows * free
            step = np.linalg.solve(j.T @ j + (damping + POSTURE) * np.eye(len(at)), descent * free)
            new = np.clip(at + step, lower, upper)
            moved = float(np.abs(new - at).max())
            new_rows, new_errors, new_cost = self._linearise(trial, new, goals)
            if new_cost <= cost:
                at, rows, errors, cost, damping = new, new_rows, new_errors, new_cost, max(0.3 * damping, DAMPING)
            else:
                damping = max(10.0 * damping, 1e-3)
            if moved < 1e-4 or cost < ENOUGH:
                break
        return at, self._met(errors, goals[0])

    def _linearise(self, q: np.ndarray, at: np.ndarray, goals: list[Goal]) -> tuple[np.ndarray, np.ndarray, float]:
        """(Jacobian rows (m, n), errors (m,), their square) of all goals, weighted."""
        q[self.columns] = at
        self.kinematics.forward(q)
        rows, errors = [], []
        for goal in goals:
            jacobian = self.kinematics.jacobian(goal.site)[:, self.columns]
            if goal.position is not None:
                rows.append(goal.weight * jacobian[:3])
                errors.append(goal.weight * (goal.position - self.kinematics.position(goal.site)))
            if goal.rotation is not None:
                weight = goal.weight * ROTATION_WEIGHT
                rows.append(weight * jacobian[3:])
                errors.append(weight * rotation_error(goal.rotation, self.kinematics.rotation(goal.site)))
        stacked = np.concatenate(errors)
        return np.concatenate(rows), stacked, float(stacked @ stacked)

    @staticmethod
    def _met(errors: np.ndarray, goal: Goal) -> bool:
        met, at = True, 0
        for value, near in ((goal.position, NEAR_M), (goal.rotation, ROTATION_WEIGHT * NEAR_RAD)):
            if value is not None:
                met = met and float(np.linalg.norm(errors[at : at + 3])) <= goal.weight * near
                at += 3
        return met
