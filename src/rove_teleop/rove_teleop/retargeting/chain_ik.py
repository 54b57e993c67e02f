# SPDX-License-Identifier: Apache-2.0
"""Inverse kinematics of any serial chain to a site's pose: damped least squares with joint limits as an active set,
compiled. For robots that the closed forms of this package do not fit.

MuJoCo says once per frame where the chain's axes are now; from there its poses are products of exponentials of how far
each joint moved (Lynch and Park, Modern Robotics, 2017, sec. 4.1), so a step costs no pass over the whole robot. Joints
that follow others of the chain (mimic, equality) move along. All quantities in the pelvis frame, m and rad; where a
joint slides, its angle is in m.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import mujoco
import numba
import numpy as np
from numba import njit

from rove_description.coupling import couplings
from rove_description.kinematics import Kinematics
from rove_teleop.command_filter.stop_law import compiled
from rove_teleop.retargeting.cholesky import cholesky_solve
from rove_teleop.retargeting.screw import turn_about

ROTATION_WEIGHT = 0.1  # m/rad: 0.1 rad of rotation counts as much as 1 cm of position
ELBOW_WEIGHT = 0.1  # the elbow is a wish, the wrist is the task
# m^2/rad^2 against squared lever arms of about 0.06 m^2; more near a singularity, where steps would be wide.
DAMPING = 2e-5
POSTURE = 4e-4  # m^2/rad^2, pull to the posture before the frame: what no task decides stays
STEPS = 3
ENOUGH = 1e-8  # m^2 = (0.1 mm)^2: the goals are met
NEAR_M, NEAR_RAD = 0.005, 0.05  # a pose is met within these

_F1, _F2, _F3 = numba.float64[::1], numba.float64[:, ::1], numba.float64[:, :, ::1]
_I1, _I2 = numba.int64[::1], numba.int64[:, ::1]


@dataclass(frozen=True)
class Goal:
    """Where a site should be. position: (3,) m or None. rotation: (3, 3) or None. weight: of the whole."""

    site: str
    position: np.ndarray | None
    rotation: np.ndarray | None
    weight: float = 1.0


class Joints(NamedTuple):
    """The m joints that move: the n solved for, then those that follow them. Arrays as the compiled functions read
    them.

    leader: (m,) int, which one a joint follows, itself where it is solved for. polynomial: (m, 5) and zero: (m, 2), see
    `coupling.Coupling` (zero of follower and leader). slides: (m,) int, 1 for prismatic.
    """

    leader: np.ndarray
    polynomial: np.ndarray
    zero: np.ndarray
    slides: np.ndarray


@njit(numba.void(_F2, _F1), **compiled)
def _rotation_vector(r, out):
    """out: (3,) rad, the shortest rotation vector of r (3, 3)."""
    # The largest of the quaternion's parts is found first: the others are quotients by it.
    trace = r[0, 0] + r[1, 1] + r[2, 2]
    if trace > 0.0:
        s = 2.0 * math.sqrt(1.0 + trace)
        w, x, y, z = 0.25 * s, (r[2, 1] - r[1, 2]) / s, (r[0, 2] - r[2, 0]) / s, (r[1, 0] - r[0, 1]) / s
    elif r[0, 0] >= r[1, 1] and r[0, 0] >= r[2, 2]:
        s = 2.0 * math.sqrt(max(1.0 + r[0, 0] - r[1, 1] - r[2, 2], 1e-12))
        w, x, y, z = (r[2, 1] - r[1, 2]) / s, 0.25 * s, (r[0, 1] + r[1, 0]) / s, (r[0, 2] + r[2, 0]) / s
    elif r[1, 1] >= r[2, 2]:
        s = 2.0 * math.sqrt(max(1.0 + r[1, 1] - r[0, 0] - r[2, 2], 1e-12))
        w, x, y, z = (r[0, 2] - r[2, 0]) / s, (r[0, 1] + r[1, 0]) / s, 0.25 * s, (r[1, 2] + r[2, 1]) / s
    else:
        s = 2.0 * math.sqrt(max(1.0 + r[2, 2] - r[0, 0] - r[1, 1], 1e-12))
        w, x, y, z = (r[1, 0] - r[0, 1]) / s, (r[0, 2] + r[2, 0]) / s, (r[1, 2] + r[2, 1]) / s, 0.25 * s
    sine = math.sqrt(x * x + y * y + z * z)
    if sine < 1e-15:
        out[0], out[1], out[2] = 0.0, 0.0, 0.0
        return
    angle = 2.0 * math.atan2(sine, w)
    if angle > math.pi:
        angle -= 2.0 * math.pi
    out[0], out[1], out[2] = angle * x / sine, angle * y / sine, angle * z / sine


@njit(numba.void(_F1, _I1, _F2, _F2, _F1, _F1, _I1), **compiled)
def _follow(at, leader, polynomial, zero, value, slope, root):
    """at: (n,) -> of all m joints value, d value / d root, and the number of the solved joint that moves it, root."""
    for i in range(len(leader)):
        ahead = leader[i]
        if ahead == i:
            value[i], slope[i], root[i] = at[i], 1.0, i
            continue
        x, total, rise = value[ahead] - zero[i, 1], 0.0, 0.0
        for k in range(4, -1, -1):
            rise = rise * x + total  # Horner's scheme and its derivative
            total = total * x + polynomial[i, k]
        value[i], slope[i], root[i] = zero[i, 0] + total, rise * slope[ahead], root[ahead]


@njit(
    numba.float64(_F1, _I1, _F2, _F2, _I1, _F1, _F2, _F2, _I1, _I1, _F2, _F3, _F2, _F3, _F2, _F2, _F1, _F2, _F3),
    **compiled,
)
def linearise(
    at, leader, polynomial, zero, slides, now, anchor, axis, start, chain, place, turn, wanted, facing, weight, rows,
    errors, position, rotation,
):  # fmt: skip
    """rows (6 G, n), errors (6 G,): Jacobian and what is missing, weighted; position (G, 3), rotation (G, 3, 3) of G
    sites. Returns the errors' square.

    at: (n,). now: (m,) where MuJoCo saw anchor, axis (m, 3), place (G, 3) and turn (G, 3, 3). start: (G + 1,) into
    chain: joints from the base to each site. wanted, facing: where the sites should be, weight: (G, 2) of position and
    rotation.
    """
    m = len(leader)
    value, slope, root = np.empty(m), np.empty(m), np.empty(m, dtype=np.int64)
    _follow(at, leader, polynomial, zero, value, slope, root)
    r, e, turned, t, moved = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3)), np.empty(3), np.empty(3)
    here, along, vector = np.empty((m, 3)), np.empty((m, 3)), np.empty(3)
    cost = 0.0
    rows[:] = 0.0
    for g in range(len(start) - 1):
        for i in range(3):
            t[i] = 0.0
            for k in range(3):
                r[i, k] = 1.0 if i == k else 0.0
        for c in range(start[g], start[g + 1]):
            j = chain[c]
            x, y, z = axis[j, 0], axis[j, 1], axis[j, 2]
            for i in range(3):
                here[j, i] = t[i] + r[i, 0] * anchor[j, 0] + r[i, 1] * anchor[j, 1] + r[i, 2] * anchor[j, 2]
                along[j, i] = r[i, 0] * x + r[i, 1] * y + r[i, 2] * z
            by = value[j] - now[j]
            if slides[j]:
                for i in range(3):
                    t[i] += by * along[j, i]
                continue
            turn_about(r, t, j, axis, anchor, by, e, turned, moved)
        for i in range(3):
            position[g, i] = t[i]
            for k in range(3):
                position[g, i] += r[i, k] * place[g, k]
                rotation[g, i, k] = r[i, 0] * turn[g, 0, k] + r[i, 1] * turn[g, 1, k] + r[i, 2] * turn[g, 2, k]
        for i in range(3):
            for k in range(3):
                e[i, k] = 0.0
                for h in range(3):
                    e[i, k] += facing[g, i, h] * rotation[g, k, h]
        _rotation_vector(e, vector)
        a, b = weight[g, 0], weight[g, 1]
        for i in range(3):
            errors[6 * g + i] = a * (wanted[g, i] - position[g, i])
            errors[6 * g + 3 + i] = b * vector[i]
            cost += errors[6 * g + i] ** 2 + errors[6 * g + 3 + i] ** 2
        for c in range(start[g], start[g + 1]):
            j = chain[c]
            column, rise = root[j], slope[j]
            ax, ay, az = along[j, 0], along[j, 1], along[j, 2]
            if slides[j]:
                for i in range(3):
                    rows[6 * g + i, column] += a * rise * along[j, i]
                continue
            x, y, z = position[g, 0] - here[j, 0], position[g, 1] - here[j, 1], position[g, 2] - here[j, 2]
            rows[6 * g, column] += a * rise * (ay * z - az * y)
            rows[6 * g + 1, column] += a * rise * (az * x - ax * z)
            rows[6 * g + 2, column] += a * rise * (ax * y - ay * x)
            for i in range(3):
                rows[6 * g + 3 + i, column] += b * rise * along[j, i]
    return cost


@njit(
    numba.void(
        _F1, _F1, _F1, numba.int64, numba.boolean,
        _I1, _F2, _F2, _I1, _F1, _F2, _F2, _I1, _I1, _F2, _F3, _F2, _F3, _F2, _F1,
    ),
    **compiled,
)  # fmt: skip
def solve(
    at, lower, upper, steps, keep,
    leader, polynomial, zero, slides, now, anchor, axis, start, chain, place, turn, wanted, facing, weight, errors,
):  # fmt: skip
    """Improve at (n,) in place by at most `steps` steps within [lower, upper]; errors (6 G,): what is left. keep: pull
    to where it was. The rest: see `linearise`.
    """
    n, goals = len(at), len(start) - 1
    before, new, new_errors = at.copy(), np.empty(n), np.empty(6 * goals)
    rows, new_rows = np.empty((6 * goals, n)), np.empty((6 * goals, n))
    position, rotation = np.empty((goals, 3)), np.empty((goals, 3, 3))
    h, descent, step, free = np.empty((n, n)), np.empty(n), np.empty(n), np.empty(n, dtype=np.bool_)
    damping = DAMPING
    cost = linearise(
        at, leader, polynomial, zero, slides, now, anchor, axis, start, chain, place, turn, wanted, facing, weight,
        rows, errors, position, rotation,
    )  # fmt: skip
    for _ in range(steps):
        for j in range(n):
            descent[j] = POSTURE * (before[j] - at[j]) if keep else 0.0
            for i in range(6 * goals):
                descent[j] += rows[i, j] * errors[i]
            # A joint at its limit that would be pushed outwards stays; the others are then solved alone.
            free[j] = not ((at[j] <= lower[j] and descent[j] < 0.0) or (at[j] >= upper[j] and descent[j] > 0.0))
            if not free[j]:
                descent[j] = 0.0
        for j in range(n):
            for k in range(j + 1):
                total = 0.0
                if free[j] and free[k]:
                    for i in range(6 * goals):
                        total += rows[i, j] * rows[i, k]
                h[j, k] = h[k, j] = total
            h[j, j] += damping + POSTURE
        cholesky_solve(h, descent, step)
        moved = 0.0
        for j in range(n):
            new[j] = min(max(at[j] + step[j], lower[j]), upper[j])
            moved = max(moved, abs(new[j] - at[j]))
        new_cost = linearise(
            new, leader, polynomial, zero, slides, now, anchor, axis, start, chain, place, turn, wanted, facing, weight,
            new_rows, new_errors, position, rotation,
        )  # fmt: skip
        if new_cost <= cost:
            at[:], rows[:], errors[:] = new, new_rows, new_errors
            cost, damping = new_cost, max(0.3 * damping, DAMPING)
        else:
            damping = max(10.0 * damping, 1e-3)
        if moved < 1e-4 or cost < ENOUGH:
            break


class ChainIK:
    """columns: (n,) int, the joints that move, contract order."""

    def __init__(self, kinematics: Kinematics, columns: np.ndarray):
        self.kinematics, self.columns = kinematics, columns
        limits, model = kinematics.table.limits, kinematics.model
        self.lower, self.upper = limits.lower[columns].astype(float), limits.upper[columns].astype(float)
        numbers = [int(number) for number in kinematics.joint_ids[columns]]
        follows: list[tuple[int, np.ndarray, float, float]] = [(i, np.zeros(5), 0.0, 0.0) for i in range(len(numbers))]
        for entry in couplings(model):  # leaders before those that follow them
            if entry.leader in numbers and entry.follower not in numbers:
                follows.append(
                    (numbers.index(entry.leader), entry.coefficients, entry.follower_zero, entry.leader_zero)
                )
                numbers.append(entry.follower)
        self._numbers = np.array(numbers)
        self._qpos = model.jnt_qposadr[self._numbers]
        self._joints = Joints(
            leader=np.array([leader for leader, *_ in follows], dtype=np.int64),
            polynomial=np.array([polynomial for _, polynomial, *_ in follows], dtype=float),
            zero=np.array([zeros for _, _, *zeros in follows], dtype=float),
            slides=(model.jnt_type[self._numbers] == mujoco.mjtJoint.mjJNT_SLIDE).astype(np.int64),
        )
        self._sites: dict[tuple[str, ...], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def solve(self, q: np.ndarray, goals: list[Goal], reach: np.ndarray | None) -> tuple[np.ndarray, bool]:
        """q: (J,) rad, not changed. reach: (n,) rad that the joints may move from q; None: anywhere.

        Returns ((n,) rad of the columns, within the limits; whether the first goal is met).
        """
        at = np.clip(q[self.columns], self.lower, self.upper)
        lower, upper = self.lower, self.upper
        if reach is not None:
            lower, upper = np.maximum(lower, at - reach), np.minimum(upper, at + reach)
        errors = np.empty(6 * len(goals))
        solve(
            at,
            lower,
            upper,
            STEPS if reach is not None else 8 * STEPS,
            reach is not None,
            *self._seen(q, goals),
            errors,
        )
        return at, self._met(errors, goals[0])

    def linearise(self, q: np.ndarray, at: np.ndarray, goals: list[Goal]):
        """The chain at `at` (n,) rad, seen from q (J,) rad: Jacobian (6 G, n) and errors (6 G,) of G goals, weighted;
        positions (G, 3) m and rotations (G, 3, 3) of their sites.
        """
        g, n = len(goals), len(self.columns)
        out = np.empty((6 * g, n)), np.empty(6 * g), np.empty((g, 3)), np.empty((g, 3, 3))
        linearise(np.ascontiguousarray(at, dtype=float), *self._seen(q, goals), *out)
        return out

    def _seen(self, q: np.ndarray, goals: list[Goal]) -> tuple[np.ndarray, ...]:
        """Arguments of the compiled functions: where MuJoCo sees the chain in q, and the goals."""
        kinematics, data = self.kinematics, self.kinematics.data
        kinematics.forward(q)
        start, chain, sites = self._chain(tuple(goal.site for goal in goals))
        wanted, facing = np.zeros((len(goals), 3)), np.empty((len(goals), 3, 3))
        weight, turn = np.zeros((len(goals), 2)), data.site_xmat[sites].reshape(-1, 3, 3)
        for i, goal in enumerate(goals):
            if goal.position is not None:
                wanted[i], weight[i, 0] = goal.position, goal.weight
            facing[i] = turn[i] if goal.rotation is None else goal.rotation
            weight[i, 1] = 0.0 if goal.rotation is None else goal.weight * ROTATION_WEIGHT
        place, anchor = data.site_xpos[sites] - kinematics.origin, data.xanchor[self._numbers] - kinematics.origin
        now, axis = data.qpos[self._qpos], data.xaxis[self._numbers]
        return (*self._joints, now, anchor, axis, start, chain, place, turn, wanted, facing, weight)

    def _chain(self, sites: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """start (G + 1,) and joints of the chains to G sites, base first; the sites' numbers in the model."""
        if sites not in self._sites:
            model, own = self.kinematics.model, {int(number): i for i, number in enumerate(self._numbers)}
            chains = []
            for site in sites:
                body, found = int(model.site(site).bodyid[0]), []
                while body:
                    first = int(model.body_jntadr[body])
                    joints = range(first, first + int(model.body_jntnum[body]))
                    found = [own[joint] for joint in joints if joint in own] + found
                    body = int(model.body_parentid[body])
                chains.append(found)
            start = np.cumsum([0, *map(len, chains)]).astype(np.int64)
            joined = np.array([joint for found in chains for joint in found], dtype=np.int64)
            self._sites[sites] = start, joined, np.array([model.site(site).id for site in sites])
        return self._sites[sites]

    @staticmethod
    def _met(errors: np.ndarray, goal: Goal) -> bool:
        """errors: of the goals, its own first."""
        near = goal.weight * NEAR_M, goal.weight * ROTATION_WEIGHT * NEAR_RAD
        return all(math.sqrt(float(e @ e)) <= most for e, most in zip((errors[:3], errors[3:6]), near))
