# SPDX-License-Identifier: Apache-2.0
"""Inverse kinematics of the 7-DoF arm: closed form with the elbow's swivel as the free parameter, least squares where
limits forbid it.

The shoulder's three axes meet in one point and so do the wrist's, so a wrist pose and a swivel angle fix all joints (up
to one mirrored shoulder branch, which limits and the previous solution decide). The swivel follows the operator's
elbow; without one it stays, and gives way before a joint reaches its limit. Where it breaks a limit the nearest swivel
that does not is taken, since the wrist is the task. From frame to frame the solution only moves on from the previous
one, within the joints' velocity limits, so the elbow never flips: where only another posture would do, the arm stays as
near as this one allows, and says so.
"""

from __future__ import annotations

from math import acos, atan2, cos, pi, sin, sqrt

from rove_teleop.retargeting.arm import Arm
from rove_teleop.retargeting.rotations import angles_yxz, angles_zyx, cross, mul, norm, transpose

TOLERANCE = 1e-9
HINT_RADIUS = 0.04  # m off the shoulder-wrist line below which the operator's elbow says little about the swivel
SWIVELS = (0.05, 0.1, 0.2)  # rad to both sides, looked at in every frame; together they give way at up to 12 rad/s
WIDE_SWIVELS = tuple(0.15 * k for k in range(1, 21))  # rad, to both sides: all around, when the arm may start anywhere
HALVINGS = 4  # of the interval between a swivel that fits and one that does not: 3 mrad of the widest
MARGIN = 0.2  # rad from a joint's limit at which a free swivel begins to give way
DRIFT = 0.02  # rad per frame at most
STEPS = 4  # of the least squares per frame; the next frame goes on from there
STRAIGHT = 17.0  # rad/m: how far the elbow turns in a frame at most for what is missing to the wanted distance
BENT = 0.20  # rad; an elbow bent by more is not damped
NOISE_M = 0.002  # and by so much less as what is missing is not more than a tracker's noise
BAD_COST = 4e-4  # m^2 = (2 cm)^2


class ArmIK:
    """One arm's solver."""

    def __init__(self, arm: Arm):
        self.arm = arm
        self.reach_max = self._reach(min(arm.upper[3], 0.0))
        self.reach_min = self._reach(min(max(arm.lower[3], -pi), 0.0))
        self.residual = 0.0  # cost of the last solution, m^2; 0 where the closed form holds

    def _reach(self, elbow: float) -> float:
        a, b = self.arm.upper_arm, self.arm.forearm
        return sqrt(max(a * a + b * b + 2 * a * b * cos(elbow), 0.0))

    def solve(self, wrist, rotation, hint, seed, steps):
        """Joints for a wrist pose, nearest reachable one where it cannot be met.

        wrist (3,), rotation (9,): target. hint (3,) | None: where the elbow should be. seed (7,): previous solution.
        steps (7,): how far joints may go on from it, rad; None: anywhere (the first frame, or tracking was long lost).
        Returns (q: 7 floats within the limits, exact: bool).
        """
        circle = _Circle(self, wrist, rotation, seed, damped=steps is not None)
        seed = self.arm.clipped(seed)
        wanted = (
            circle.towards(hint, HINT_RADIUS) if hint is not None else 0.0 if steps is None else self._relaxed(circle)
        )
        q = self._on_circle(circle, wanted, hint, seed, steps)
        if q is not None:
            self.residual = 0.0
            return self.arm.clipped(q), circle.reachable
        q, self.residual = self._off_circle(circle, wanted, hint, seed, steps)
        return q, False

    def _inside(self, q) -> bool:
        arm = self.arm
        return all([low - TOLERANCE <= value <= high + TOLERANCE for value, low, high in zip(q, arm.lower, arm.upper)])

    def _relaxed(self, circle) -> float:
        """Swivel of an arm whose elbow is free: one Newton step away from the joints' limits."""
        before, here, after = [self._crowding(circle.joints(s)) for s in (-DRIFT, 0.0, DRIFT)]
        slope, bend = (after - before) / (2 * DRIFT), (after - 2 * here + before) / DRIFT**2
        if slope == 0.0:
            return 0.0
        return min(max(-slope / max(bend, abs(slope) / DRIFT), -DRIFT), DRIFT)

    def _crowding(self, q) -> float:
        total = 0.0
        for value, low, high in zip(q, self.arm.lower, self.arm.upper):
            near = min(value - low, high - value)
            if near < MARGIN:
                total += (MARGIN - near) ** 2
        return total

    def _on_circle(self, circle, wanted, hint, seed, steps):
        """The swivel nearest the wanted one that all limits allow -> joints; None where there is none."""

        def fits(swivel):
            q = circle.joints(swivel)
            return (
                q
                if self._inside(q) and (steps is None or all([abs(a - b) <= c for a, b, c in zip(q, seed, steps)]))
                else None
            )

        q = fits(wanted)
        if q is None and hint is not None:
            # Leaning on the previous plane may lead out of the limits where the operator's own elbow does not.
            q = fits(circle.towards(hint, 0.0))
        if q is not None:
            return q
        swivels = WIDE_SWIVELS if steps is None else SWIVELS
        centre = wanted if steps is None else min(max(wanted, -swivels[-1]), swivels[-1])
        candidates = [0.0, centre] + [centre + sign * swivel for swivel in swivels for sign in (1.0, -1.0)]
        best = None
        # Of two equally near the one with the lower elbow: hanging elbows are natural, and left and right stay mirror
        # images.
        for swivel in sorted(candidates, key=lambda s: (round(abs(s - wanted), 9), circle.elbow(s)[2])):
            q = fits(swivel)
            if q is not None:
                best = swivel, q
                break
        if best is None:
            return None
        good, bad = best[0], best[0] + min(max(wanted - best[0], -swivels[0]), swivels[0])
        for _ in range(HALVINGS):
            middle = 0.5 * (good + bad)
            q = fits(middle)
            if q is None:
                bad = middle
            else:
                good, best = middle, (middle, q)
        return best[1]

    def _off_circle(self, circle, wanted, hint, seed, steps):
        """Least squares -> (joints, cost); from the previous solution, or from the clipped closed form where that may
        be left.
        """
        elbow = circle.elbow(wanted) if hint is not None or steps is None else self.arm.forward(seed)[0]
        q, cost = self.arm.nearest(circle.wrist, circle.rotation, elbow, seed, STEPS, steps)
        if steps is None and cost > BAD_COST:
            closed = self.arm.clipped(circle.joints(wanted))
            other, other_cost = self.arm.nearest(circle.wrist, circle.rotation, elbow, closed, STEPS, None)
            if other_cost < 0.25 * cost:
                return other, other_cost
        return q, cost


class _Circle:
    """The elbow's circle about the line from shoulder to wrist. Swivel angles count from the previous solution's elbow,
    rad.

    wrist: the target, pulled in to what the arm can reach. reachable: it was not.
    """

    def __init__(self, ik: ArmIK, wrist, rotation, seed, damped: bool):
        self._arm = arm = ik.arm
        self._seed, self.rotation = seed, rotation
        s, a, b = arm.shoulder, arm.upper_arm, arm.forearm
        p, r, y = seed[0], seed[1], seed[2]
        cp, sp, cr, sr, cy, sy = cos(p), sin(p), cos(r), sin(r), cos(y), sin(y)
        normal = (-cp * sy + sp * sr * cy, cr * cy, sp * sy + cp * sr * cy)  # of the arm's plane before
        offset = (wrist[0] - s[0], wrist[1] - s[1], wrist[2] - s[2])
        distance = norm(offset)
        self.n = n = _unit(offset, (-sp * cr, sr, -cp * cr))
        d = min(max(distance, ik.reach_min), ik.reach_max)
        self.reachable = abs(d - distance) < 1e-9
        self._angle = -acos(min(max((d * d - a * a - b * b) / (2 * a * b), -1.0), 1.0))
        bent = max(seed[3] / BENT, -1.0)
        if damped and bent > -1.0:
            # Near a straight arm the elbow turns by up to 0.2 rad per mm of distance, and noise would shake it.
            before = sqrt(max(a * a + b * b + 2 * a * b * cos(seed[3]), 0.0))
            missing = abs(d - before)
            change = STRAIGHT * missing * missing / (missing + NOISE_M) / (1.0 - bent * bent)
            if abs(self._angle - seed[3]) > change:
                self._angle = min(max(self._angle, seed[3] - change), seed[3] + change)
                d = sqrt(max(a * a + b * b + 2 * a * b * cos(self._angle), 0.0))
        self.wrist = wrist if d == distance else (s[0] + d * n[0], s[1] + d * n[1], s[2] + d * n[2])
        u = cross(normal, n)
        size = norm(u)
        self.u = (
            (u[0] / size, u[1] / size, u[2] / size)
            if size > 1e-3
            else _unit(cross(n, (0.0, 1.0, 0.0)), (0.0, 0.0, -1.0))
        )
        self.v = cross(n, self.u)
        self._m = (a * a + d * d - b * b) / (2 * d)
        self._rho = sqrt(max(a * a - self._m * self._m, 0.0))

    def towards(self, hint, radius: float) -> float:
        """Swivel that brings the elbow to the hint (3,); within `radius` m of the line that says little: the swivel
        before counts.
        """
        s, u, v = self._arm.shoulder, self.u, self.v
        h = (hint[0] - s[0], hint[1] - s[1], hint[2] - s[2])
        along_u, along_v = h[0] * u[0] + h[1] * u[1] + h[2] * u[2], h[0] * v[0] + h[1] * v[1] + h[2] * v[2]
        off = sqrt(along_u * along_u + along_v * along_v)
        if off < 1e-9:
            return 0.0
        w = off / radius if off < radius else 1.0
        w = w * w * (3.0 - 2.0 * w)
        x, y = w * along_u / off + 1.0 - w, w * along_v / off
        return atan2(y, x) if abs(x) + abs(y) > 1e-6 else 0.0

    def _direction(self, swivel: float):
        c, s, u, v = cos(swivel), sin(swivel), self.u, self.v
        return (c * u[0] + s * v[0], c * u[1] + s * v[1], c * u[2] + s * v[2])

    def elbow(self, swivel: float):
        """(3,) m."""
        w, n, m, rho, s = self._direction(swivel), self.n, self._m, self._rho, self._arm.shoulder
        return (s[0] + m * n[0] + rho * w[0], s[1] + m * n[1] + rho * w[1], s[2] + m * n[2] + rho * w[2])

    def joints(self, swivel: float) -> list[float]:
        """Closed form, (7,) rad; limits only choose between equivalent angles."""
        n, u, m, rho, a = self.n, self._direction(swivel), self._m, self._rho, self._arm.upper_arm
        z_u = (-(m * n[0] + rho * u[0]) / a, -(m * n[1] + rho * u[1]) / a, -(m * n[2] + rho * u[2]) / a)
        y_u = cross(n, u)
        x_u = cross(y_u, z_u)
        upper = (x_u[0], y_u[0], z_u[0], x_u[1], y_u[1], z_u[1], x_u[2], y_u[2], z_u[2])
        p, r, y = angles_yxz(upper)
        first = self._fit((p, r, y))
        second = self._fit((p + pi, pi - r, y + pi))
        shoulder = first if first[0] <= second[0] else second
        ce, se = cos(self._angle), sin(self._angle)
        forearm = mul(upper, (ce, 0.0, se, 0.0, 1.0, 0.0, -se, 0.0, ce))
        return [*shoulder[1], self._angle, *angles_zyx(mul(transpose(forearm), self.rotation))]

    def _fit(self, angles):
        """Angles modulo 2 pi as near to their limits, then to the seed, as possible -> (cost, angles)."""
        cost, fitted, lower, upper, seed = 0.0, [], self._arm.lower, self._arm.upper, self._seed
        for i, angle in enumerate(angles):
            low, high = lower[i], upper[i]
            best = None
            for turn in (-2 * pi, 0.0, 2 * pi):
                value = angle + turn
                outside = max(low - value, value - high, 0.0)
                # A limit counts far more than distance, but among two violations the near side wins: no flip across the
                # range.
                score = (outside if outside == 0.0 else 1.0) * 100.0 + abs(value - seed[i]) + outside
                if best is None or score < best[0]:
                    best = (score, value)
            cost += best[0]
            fitted.append(best[1])
        return cost, fitted


def _unit(v, fallback):
    n = norm(v)
    return (v[0] / n, v[1] / n, v[2] / n) if n > 1e-6 else fallback
