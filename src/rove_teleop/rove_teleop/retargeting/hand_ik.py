# SPDX-License-Identifier: Apache-2.0
"""Inverse kinematics of one hand: fingertips where the operator's are, thumb and fingers as far apart as the
operator's.

Minimised over all joints of the hand, within their limits:

    sum over digits  |tip - t|^2 + (DIRECTION |link - d|)^2  +  sum over fingers  PINCH w(g) |(thumb - tip) - v|^2

t: the operator's tip; link, d: directions of the last link, robot's and operator's; v, g: the operator's vector from
finger to thumb and its length. w rises smoothly as thumb and finger close, so that the gap is met at a tip's expense
and not the reverse (the idea of DexPilot, Handa et al., ICRA 2020, without its switch). Solved by
Levenberg-Marquardt with the limits as an active set, compiled.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numba import njit

from rove_teleop.command_filter.stop_law import compiled
from rove_teleop.retargeting.cholesky import cholesky_solve
from rove_teleop.retargeting.hand_chains import HandChains
from rove_teleop.retargeting.screw import turn_about

# m/rad: a last link turned by 0.1 rad counts as much as a tip 1 mm off. A stretched finger needs it: bending both its
# joints against each other hardly moves the tip.
DIRECTION = 0.005
PINCH = 10.0  # of a closed pinch, against 1 of either tip: of 10 mm that both cannot meet, the gap takes 0.5 mm
CLOSED_M, OPEN_M = 0.015, 0.035  # thumb to finger: full weight below, none above
STEPS = 6  # per frame; the next frame goes on from there
FRESH_STEPS = 60  # where no previous frame leads
# m/rad: joints keep their angle from frame to frame where hardly any point shows it, as the splay of a curled finger.
# Where a fingertip 80 mm away shows it, this delays it by a thirtieth of a frame.
KEEPING = 0.015
LEAP = 2.0  # a fingertip moves at most this many times as far in a frame as the operator's fastest
CREEP_M_S = 0.02  # and this fast besides, so that it arrives when the operator's hand rests
DAMPING = 1e-7  # m^2/rad^2, against squared lever arms of about 1e-3 m^2
SMALL_STEP = 1e-5  # rad; below it the solution has converged

_F1, _F2, _I1 = numba.float64[::1], numba.float64[:, ::1], numba.int64[::1]


@njit(numba.void(_F1, _I1, _F2, _F2, _F2, _F2, _I1, _F2, _F2, _F2, _F2), **compiled)
def forward(q, start, anchor, axis, middle, tip, middle_joints, at, along, middle_at, tip_at):
    """Pose of all digits. q: (n,) rad; start … middle_joints: of HandChains. Out: at, along (n, 3): a point on each
    joint's axis and its direction; middle_at, tip_at (D, 3): all m in the wrist's frame.
    """
    r, e, turned, moved = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3)), np.empty(3)
    t = np.empty(3)
    for d in range(len(start) - 1):
        for i in range(3):
            t[i] = 0.0
            for k in range(3):
                r[i, k] = 1.0 if i == k else 0.0
        for n in range(start[d], start[d + 1] + 1):
            if n - start[d] == middle_joints[d]:
                for i in range(3):
                    middle_at[d, i] = t[i] + r[i, 0] * middle[d, 0] + r[i, 1] * middle[d, 1] + r[i, 2] * middle[d, 2]
            if n == start[d + 1]:
                break
            x, y, z = axis[n, 0], axis[n, 1], axis[n, 2]
            for i in range(3):
                at[n, i] = t[i] + r[i, 0] * anchor[n, 0] + r[i, 1] * anchor[n, 1] + r[i, 2] * anchor[n, 2]
                along[n, i] = r[i, 0] * x + r[i, 1] * y + r[i, 2] * z
            turn_about(r, t, n, axis, anchor, q[n], e, turned, moved)
        for i in range(3):
            tip_at[d, i] = t[i] + r[i, 0] * tip[d, 0] + r[i, 1] * tip[d, 1] + r[i, 2] * tip[d, 2]


@njit(numba.float64(_F2, _F2, _F2, _F2, _F2, _F1), **compiled)
def _cost(middle_at, tip_at, wanted, direction, vector, weight):
    """The sum that is minimised, m^2."""
    total = 0.0
    for d in range(len(wanted)):
        length = 0.0
        for i in range(3):
            length += (tip_at[d, i] - middle_at[d, i]) ** 2
        length = math.sqrt(length)
        for i in range(3):
            off = DIRECTION * ((tip_at[d, i] - middle_at[d, i]) / length - direction[d, i])
            total += (tip_at[d, i] - wanted[d, i]) ** 2 + off * off
            if weight[d] > 0.0:
                total += weight[d] * (tip_at[0, i] - tip_at[d, i] - vector[d, i]) ** 2
    return total


@njit(numba.void(_F2, _F1, _I1, _F2, _F2, _F2, _F2, _F2, _F2, _F2, _F1), **compiled)
def _normal_equations(h, g, start, at, along, middle_at, tip_at, wanted, direction, vector, weight):
    """h (n, n), g (n,): Gauss-Newton's approximation of half the Hessian, and half the gradient's descent, of the
    sum.
    """
    n = len(g)
    columns, turning = np.empty((n, 3)), np.empty((n, 3))  # of the tip's place and of the last link's direction
    for i in range(n):
        g[i] = 0.0
        for k in range(n):
            h[i, k] = 0.0
    link = np.empty(3)
    for d in range(len(wanted)):
        length = 0.0
        for i in range(3):
            link[i] = tip_at[d, i] - middle_at[d, i]
            length += link[i] * link[i]
        length = math.sqrt(length)
        first, last = start[d], start[d + 1]
        for j in range(first, last):
            ax, ay, az = along[j, 0], along[j, 1], along[j, 2]
            x, y, z = tip_at[d, 0] - at[j, 0], tip_at[d, 1] - at[j, 1], tip_at[d, 2] - at[j, 2]
            columns[j, 0], columns[j, 1], columns[j, 2] = ay * z - az * y, az * x - ax * z, ax * y - ay * x
            x, y, z = link[0] / length, link[1] / length, link[2] / length
            turning[j, 0], turning[j, 1], turning[j, 2] = ay * z - az * y, az * x - ax * z, ax * y - ay * x
        square = DIRECTION * DIRECTION
        for j in range(first, last):
            for i in range(3):
                g[j] -= columns[j, i] * (tip_at[d, i] - wanted[d, i])
                g[j] -= square * turning[j, i] * (link[i] / length - direction[d, i])
            for k in range(first, last):
                for i in range(3):
                    h[j, k] += columns[j, i] * columns[k, i] + square * turning[j, i] * turning[k, i]
    for d in range(1, len(wanted)):
        w = weight[d]
        if w <= 0.0:
            continue
        for i in range(3):
            off = tip_at[0, i] - tip_at[d, i] - vector[d, i]
            for j in range(start[0], start[1]):
                g[j] -= w * columns[j, i] * off
                for k in range(start[0], start[1]):
                    h[j, k] += w * columns[j, i] * columns[k, i]
                for k in range(start[d], start[d + 1]):
                    h[j, k] -= w * columns[j, i] * columns[k, i]
                    h[k, j] -= w * columns[j, i] * columns[k, i]
            for j in range(start[d], start[d + 1]):
                g[j] += w * columns[j, i] * off
                for k in range(start[d], start[d + 1]):
                    h[j, k] += w * columns[j, i] * columns[k, i]


@njit(
    numba.float64(_F1, numba.int64, numba.float64, _I1, _F2, _F2, _F2, _F2, _I1, _F1, _F1, _F2, _F2, _F2, _F1),
    **compiled,
)
def solve(
    q, steps, keeping, start, anchor, axis, middle, tip, middle_joints, lower, upper, wanted, direction, vector, weight
):
    """Improve q (n,) rad in place by at most `steps` steps within [lower, upper]; returns the sum reached, m^2.

    keeping: m/rad, weight of the joints' distance from where q was.
    """
    n, digits, before, keep = len(q), len(wanted), q.copy(), keeping * keeping
    at, along = np.empty((n, 3)), np.empty((n, 3))
    middle_at, tip_at = np.empty((digits, 3)), np.empty((digits, 3))
    h, g, step, trial, held = np.empty((n, n)), np.empty(n), np.empty(n), np.empty(n), np.empty(n, dtype=np.bool_)
    forward(q, start, anchor, axis, middle, tip, middle_joints, at, along, middle_at, tip_at)
    cost = _cost(middle_at, tip_at, wanted, direction, vector, weight)
    damping = DAMPING
    for _ in range(steps):
        _normal_equations(h, g, start, at, along, middle_at, tip_at, wanted, direction, vector, weight)
        for j in range(n):
            # A joint at its limit that would be pushed outwards stays; the others are then solved alone.
            g[j] += keep * (before[j] - q[j])
            held[j] = (q[j] <= lower[j] and g[j] < 0.0) or (q[j] >= upper[j] and g[j] > 0.0)
        for j in range(n):
            h[j, j] += damping + keep
            if held[j]:
                g[j] = 0.0
                for k in range(n):
                    h[j, k] = h[k, j] = 0.0
                h[j, j] = 1.0
        cholesky_solve(h, g, step)
        moved = 0.0
        for j in range(n):
            trial[j] = min(max(q[j] + step[j], lower[j]), upper[j])
            moved = max(moved, abs(trial[j] - q[j]))
        forward(trial, start, anchor, axis, middle, tip, middle_joints, at, along, middle_at, tip_at)
        reached = _cost(middle_at, tip_at, wanted, direction, vector, weight)
        for j in range(n):
            reached += keep * (trial[j] - before[j]) ** 2
        if reached <= cost:
            q[:] = trial
            cost = reached
            damping = max(0.2 * damping, DAMPING)
        else:
            damping = max(20.0 * damping, 1e-5)
            forward(q, start, anchor, axis, middle, tip, middle_joints, at, along, middle_at, tip_at)
        if moved < SMALL_STEP:
            break
    return cost


class HandIK:
    """One hand's solver. chains: see `hand_chains.read`. lower, upper: (n,) rad, joints as in the chains."""

    def __init__(self, chains: HandChains, lower: np.ndarray, upper: np.ndarray):
        self.chains = chains
        self.lower, self.upper = np.array(lower, dtype=float), np.array(upper, dtype=float)
        c = chains
        whole = [np.ascontiguousarray(a, dtype=np.int64) for a in (c.start, c.middle_joints)]
        real = [np.ascontiguousarray(a, dtype=np.float64) for a in (c.anchor, c.axis, c.middle, c.tip)]
        self._chain = (whole[0], *real, whole[1])
        self._wanted: np.ndarray | None = None  # (D, 3) m, the tips that the last solution was for

    def points(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """q: (n,) rad -> middles and tips, (D, 3) m each, in the wrist's frame."""
        at, along = np.empty((len(q), 3)), np.empty((len(q), 3))
        middle, tip = np.empty_like(self.chains.tip), np.empty_like(self.chains.tip)
        forward(np.ascontiguousarray(q, dtype=np.float64), *self._chain, at, along, middle, tip)
        return middle, tip

    def solve(self, points: np.ndarray, scale: float, seed: np.ndarray, dt: float | None) -> np.ndarray:
        """points: (21, 3) m, the operator's keypoints in the wrist's frame. scale: robot's size / operator's. seed:
        (n,) rad, the solution before. dt: s since then; None: the solution need not go on from it.

        Returns (n,) rad within the limits.
        """
        k = self.chains.keypoints
        tips, middles = points[k[:, 2]], points[k[:, 1]]
        link = tips - middles
        direction = link / np.maximum(np.sqrt((link * link).sum(axis=1, keepdims=True)), 1e-6)
        vector = tips[:1] - tips
        gap = np.sqrt((vector * vector).sum(axis=1))
        closing = np.minimum(np.maximum((OPEN_M - gap) / (OPEN_M - CLOSED_M), 0.0), 1.0)
        closing = closing * closing * (3.0 - 2.0 * closing)
        weight = PINCH * closing
        weight[0] = 0.0  # the thumb's gap to itself
        if self.chains.digits[0] != "thumb":
            weight[:] = 0.0
        # Objects have their size whoever holds them: a closing gap is the operator's own, an open one scales along.
        vector *= (scale + (1.0 - scale) * closing)[:, None]
        wanted, before = scale * tips, self._wanted
        self._wanted = wanted
        q = np.minimum(np.maximum(seed, self.lower), self.upper)
        goal = (wanted, direction, vector, weight)
        if dt is None or before is None:
            cost = solve(q, FRESH_STEPS, 0.0, *self._chain, self.lower, self.upper, *goal)
            # And from a half-closed hand: the seed may be on the wrong side of a ridge.
            other = 0.5 * (self.lower + self.upper)
            return other if solve(other, FRESH_STEPS, 0.0, *self._chain, self.lower, self.upper, *goal) < cost else q
        solve(q, STEPS, KEEPING, *self._chain, self.lower, self.upper, *goal)
        return self._bounded(seed, q, LEAP * np.sqrt(((wanted - before) ** 2).sum(axis=1).max()) + CREEP_M_S * dt)

    def _bounded(self, before: np.ndarray, after: np.ndarray, far: float) -> np.ndarray:
        """`after`, with the joints of each digit brought back towards `before` until its tip moves `far` m at most.

        Beyond the robot's reach the nearest pose can jump where the operator's moves on a little.
        """
        moved = np.sqrt(((self.points(after)[1] - self.points(before)[1]) ** 2).sum(axis=1))
        share = np.minimum(1.0, far / np.maximum(moved, 1e-9))
        return before + np.repeat(share, np.diff(self.chains.start)) * (after - before)
