"""Inverse kinematics of the 7-DoF arm: closed form with the elbow's swivel as the free parameter, projected least squares at joint limits.

The shoulder's three axes meet in one point and so do the wrist's, so a wrist pose and a swivel angle fix all joints (up to one mirrored
shoulder branch, which the joint limits decide). The swivel comes from the operator's elbow. Where that solution breaks a joint limit,
a few damped Gauss-Newton steps within the limits start from the previous solution and minimise the pose error.
All quantities are in the torso frame, m and rad; joints in the order of `robot_geometry.ARM`.
"""

from __future__ import annotations

from math import acos, atan2, cos, pi, sin, sqrt

import numpy as np

from rove_teleop.rotations import angles_yxz, angles_zyx, cross, mul, norm, transpose

ROTATION_WEIGHT = 0.1  # m/rad: where both cannot be met, 0.1 rad of wrist rotation counts as much as 1 cm of position
ELBOW_WEIGHT = 0.1  # the elbow is a wish, the wrist is the task
DAMPING = 1e-4  # m^2/rad^2, against squared lever arms of about 0.06 m^2
MAX_STEPS = 4  # per frame; the next frame goes on from there
BAD_COST = 4e-4  # m^2 = (2 cm)^2: worth a second start
SMALL_STEP = 1e-4  # rad; below it the least squares have converged
HINT_RADIUS = 0.04  # m off the shoulder-wrist line below which the operator's elbow says little about the swivel
TOLERANCE = 1e-9


def _unit(v, fallback):
    n = norm(v)
    return (v[0] / n, v[1] / n, v[2] / n) if n > 1e-6 else fallback


class ArmIK:
    """One arm.

    shoulder: (3,) shoulder centre, torso frame. upper_arm, forearm: m. lower, upper: (7,) rad.
    """

    def __init__(self, shoulder, upper_arm: float, forearm: float, lower, upper):
        self.shoulder = tuple(shoulder)
        self.upper_arm, self.forearm = upper_arm, forearm
        self.lower, self.upper = [float(v) for v in lower], [float(v) for v in upper]
        self._lower, self._upper = np.array(self.lower), np.array(self.upper)
        elbow = min(max(self.lower[3], -pi), 0.0)
        self.reach_max = self._reach(min(self.upper[3], 0.0))
        self.reach_min = self._reach(elbow)
        self.residual = 0.0  # cost of the last solution, m^2; 0 where the closed form holds

    def _reach(self, elbow: float) -> float:
        a, b = self.upper_arm, self.forearm
        return sqrt(max(a * a + b * b + 2 * a * b * cos(elbow), 0.0))

    def forward(self, q):
        """q (7,) -> (elbow (3,), wrist (3,), wrist rotation (9,), axes: 7 unit vectors)."""
        p, r, y, e, wy, wp, wr = q
        cp, sp, cr, sr, cy, sy = cos(p), sin(p), cos(r), sin(r), cos(y), sin(y)
        z_u = (sp * cr, -sr, cp * cr)
        x_u = (cp * cy + sp * sr * sy, cr * sy, -sp * cy + cp * sr * sy)
        y_u = (-cp * sy + sp * sr * cy, cr * cy, sp * sy + cp * sr * cy)
        ce, se = cos(e), sin(e)
        x_f = (x_u[0] * ce - z_u[0] * se, x_u[1] * ce - z_u[1] * se, x_u[2] * ce - z_u[2] * se)
        z_f = (x_u[0] * se + z_u[0] * ce, x_u[1] * se + z_u[1] * ce, x_u[2] * se + z_u[2] * ce)
        c, s = cos(wy), sin(wy)
        x_5 = (x_f[0] * c + y_u[0] * s, x_f[1] * c + y_u[1] * s, x_f[2] * c + y_u[2] * s)
        y_5 = (y_u[0] * c - x_f[0] * s, y_u[1] * c - x_f[1] * s, y_u[2] * c - x_f[2] * s)
        c, s = cos(wp), sin(wp)
        x_6 = (x_5[0] * c - z_f[0] * s, x_5[1] * c - z_f[1] * s, x_5[2] * c - z_f[2] * s)
        z_6 = (x_5[0] * s + z_f[0] * c, x_5[1] * s + z_f[1] * c, x_5[2] * s + z_f[2] * c)
        c, s = cos(wr), sin(wr)
        y_7 = (y_5[0] * c + z_6[0] * s, y_5[1] * c + z_6[1] * s, y_5[2] * c + z_6[2] * s)
        z_7 = (z_6[0] * c - y_5[0] * s, z_6[1] * c - y_5[1] * s, z_6[2] * c - y_5[2] * s)
        a, b, o = self.upper_arm, self.forearm, self.shoulder
        elbow = (o[0] - a * z_u[0], o[1] - a * z_u[1], o[2] - a * z_u[2])
        wrist = (elbow[0] - b * z_f[0], elbow[1] - b * z_f[1], elbow[2] - b * z_f[2])
        rotation = (x_6[0], y_7[0], z_7[0], x_6[1], y_7[1], z_7[1], x_6[2], y_7[2], z_7[2])
        return elbow, wrist, rotation, ((0.0, 1.0, 0.0), (cp, 0.0, -sp), z_u, y_u, z_f, y_5, x_6)

    def solve(self, wrist, rotation, hint, seed):
        """Joints for a wrist pose, nearest reachable one where it cannot be met.

        wrist (3,), rotation (9,): target. hint (3,) | None: where the elbow should be. seed (7,): previous solution.
        Returns (q: list of 7 floats within the limits, exact: bool).
        """
        q, elbow, near, reachable, blended = self._closed_form(wrist, rotation, hint, seed, HINT_RADIUS)
        self.residual = 0.0
        if blended and not self._inside(q):
            # Leaning on the previous plane led out of the limits; the operator's own elbow may not.
            q, elbow, near, reachable, _ = self._closed_form(wrist, rotation, hint, seed, 0.0)
        if self._inside(q):
            return self._clipped(q), reachable
        return self._nearest(near, rotation, elbow, self._clipped(q), self._clipped(seed)), False

    def _inside(self, q) -> bool:
        return all([low - TOLERANCE <= value <= high + TOLERANCE for value, low, high in zip(q, self.lower, self.upper)])

    def _clipped(self, q) -> list[float]:
        return [min(max(v, a), b) for v, a, b in zip(q, self.lower, self.upper)]

    def _closed_form(self, wrist, rotation, hint, seed, hint_radius):
        s, a, b = self.shoulder, self.upper_arm, self.forearm
        p, r, y = seed[0], seed[1], seed[2]
        cp, sp, cr, sr, cy, sy = cos(p), sin(p), cos(r), sin(r), cos(y), sin(y)
        y_seed = (-cp * sy + sp * sr * cy, cr * cy, sp * sy + cp * sr * cy)  # normal of the arm's plane before
        offset = (wrist[0] - s[0], wrist[1] - s[1], wrist[2] - s[2])
        distance = norm(offset)
        n = _unit(offset, (-sp * cr, sr, -cp * cr))
        d = min(max(distance, self.reach_min), self.reach_max)
        reachable = abs(d - distance) < 1e-9
        if not reachable:
            wrist = (s[0] + d * n[0], s[1] + d * n[1], s[2] + d * n[2])
        # Swivel: unit vector u across the shoulder-wrist line, towards the elbow.
        u = cross(y_seed, n)
        size = norm(u)
        u = (u[0] / size, u[1] / size, u[2] / size) if size > 1e-3 else self._any_normal(n)
        blended = False
        if hint is not None:
            h = (hint[0] - s[0], hint[1] - s[1], hint[2] - s[2])
            k = h[0] * n[0] + h[1] * n[1] + h[2] * n[2]
            h = (h[0] - k * n[0], h[1] - k * n[1], h[2] - k * n[2])
            radius = norm(h)
            if radius > 1e-9:
                w = radius / hint_radius if radius < hint_radius else 1.0
                blended = w < 1.0
                w = w * w * (3.0 - 2.0 * w)  # near the line the elbow's direction is noise: lean on the previous plane
                g = w / radius
                u = _unit((g * h[0] + (1 - w) * u[0], g * h[1] + (1 - w) * u[1], g * h[2] + (1 - w) * u[2]), u)
        cosine = min(max((d * d - a * a - b * b) / (2 * a * b), -1.0), 1.0)
        e = -acos(cosine)
        m = (a * a + d * d - b * b) / (2 * d)
        rho = sqrt(max(a * a - m * m, 0.0))
        z_u = (-(m * n[0] + rho * u[0]) / a, -(m * n[1] + rho * u[1]) / a, -(m * n[2] + rho * u[2]) / a)
        y_u = cross(n, u)
        x_u = cross(y_u, z_u)
        elbow = (s[0] - a * z_u[0], s[1] - a * z_u[1], s[2] - a * z_u[2])
        upper = (x_u[0], y_u[0], z_u[0], x_u[1], y_u[1], z_u[1], x_u[2], y_u[2], z_u[2])
        p, r, y = angles_yxz(upper)
        first = self._fit((p, r, y), seed)
        second = self._fit((p + pi, pi - r, y + pi), seed)
        shoulder = first if first[0] <= second[0] else second
        ce, se = cos(e), sin(e)
        forearm = mul(upper, (ce, 0.0, se, 0.0, 1.0, 0.0, -se, 0.0, ce))
        wy, wp, wr = angles_zyx(mul(transpose(forearm), rotation))
        return [*shoulder[1], e, wy, wp, wr], elbow, wrist, reachable, blended

    def _any_normal(self, n):
        u = cross(n, (0.0, 1.0, 0.0))
        return _unit(u, (0.0, 0.0, -1.0))

    def _fit(self, angles, seed):
        """Angles modulo 2 pi as near to their limits, then to the seed, as possible -> (cost, angles)."""
        cost, fitted = 0.0, []
        for i, angle in enumerate(angles):
            low, high = self.lower[i], self.upper[i]
            best = None
            for turn in (-2 * pi, 0.0, 2 * pi):
                value = angle + turn
                outside = max(low - value, value - high, 0.0)
                # A limit counts far more than distance, but among two violations the near side wins: no flip across the range.
                score = (outside if outside == 0.0 else 1.0) * 100.0 + abs(value - seed[i]) + outside
                if best is None or score < best[0]:
                    best = (score, value)
            cost += best[0]
            fitted.append(best[1])
        return cost, fitted

    def _nearest(self, wrist, rotation, elbow, closed, seed):
        """Least squares from the previous solution, so that the result is continuous in the target; from the clipped closed form
        instead where that starts much better, and from the other one too where the first ends badly."""
        starts = [(seed, self._error(seed, wrist, rotation, elbow)), (closed, self._error(closed, wrist, rotation, elbow))]
        if starts[1][1][0] < 0.5 * starts[0][1][0]:
            starts.reverse()
        q, cost = self._least_squares(wrist, rotation, elbow, *starts[0], MAX_STEPS)
        if cost > BAD_COST:
            other, other_cost = self._least_squares(wrist, rotation, elbow, *starts[1], MAX_STEPS - 1)
            if other_cost < 0.25 * cost:
                q, cost = other, other_cost
        self.residual = cost
        return q

    def _least_squares(self, wrist, rotation, elbow, q, start, steps):
        """Projected Levenberg-Marquardt on wrist position, rotation and elbow, within the joint limits -> (q, cost)."""
        cost, residual, axes, points = start
        damping = DAMPING
        for _ in range(steps):
            j = self._jacobian(axes, points)
            g = j.T @ residual
            at = np.array(q)
            free = ~(((at <= self._lower) & (g < 0)) | ((at >= self._upper) & (g > 0)))
            j = j * free
            h = j.T @ j
            h.flat[::8] += damping
            step = np.linalg.solve(h, g * free)
            trial = np.minimum(np.maximum(at + step, self._lower), self._upper)
            moved = float(np.abs(trial - at).max())
            trial = trial.tolist()
            new = self._error(trial, wrist, rotation, elbow)
            if new[0] <= cost:
                q, (cost, residual, axes, points) = trial, new
                damping = max(0.3 * damping, 1e-6)
            else:
                damping *= 10.0
            if moved < SMALL_STEP:
                break
        return q, cost

    def _error(self, q, wrist, rotation, elbow):
        e, w, r, axes = self.forward(q)
        k = ELBOW_WEIGHT
        # Rotation vector from r to the target: axis from the antisymmetric part, angle from its size and the trace.
        d = mul(rotation, transpose(r))
        v = (0.5 * (d[7] - d[5]), 0.5 * (d[2] - d[6]), 0.5 * (d[3] - d[1]))
        size = norm(v)
        angle = atan2(size, 0.5 * (d[0] + d[4] + d[8] - 1.0))
        f = ROTATION_WEIGHT * (angle / size if size > 1e-9 else 1.0)
        residual = (
            wrist[0] - w[0], wrist[1] - w[1], wrist[2] - w[2],
            f * v[0], f * v[1], f * v[2],
            k * (elbow[0] - e[0]), k * (elbow[1] - e[1]), k * (elbow[2] - e[2]),
        )  # fmt: skip
        return sum([x * x for x in residual]), np.array(residual), axes, (e, w)

    def _jacobian(self, axes, points):
        """(9, 7): rows wrist position, weighted rotation, weighted elbow position."""
        (e, w), s, k, f = points, self.shoulder, ELBOW_WEIGHT, ROTATION_WEIGHT
        to_wrist = (w[0] - s[0], w[1] - s[1], w[2] - s[2])
        to_elbow = (k * (e[0] - s[0]), k * (e[1] - s[1]), k * (e[2] - s[2]))
        columns = [(*cross(a, to_wrist), f * a[0], f * a[1], f * a[2], *cross(a, to_elbow)) for a in axes[:3]]
        a = axes[3]
        columns.append((*cross(a, (w[0] - e[0], w[1] - e[1], w[2] - e[2])), f * a[0], f * a[1], f * a[2], 0.0, 0.0, 0.0))
        columns += [(0.0, 0.0, 0.0, f * a[0], f * a[1], f * a[2], 0.0, 0.0, 0.0) for a in axes[4:]]
        return np.array(columns).T
