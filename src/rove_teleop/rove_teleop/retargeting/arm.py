# SPDX-License-Identifier: Apache-2.0
"""The 7-DoF arm: dimensions, limits and forward kinematics; where a wrist pose cannot be met, the nearest pose by least
squares.

All quantities are in the torso frame, m and rad; joints in the order of `robot_geometry.ARM`.
"""

from __future__ import annotations

from math import atan2, cos, sin

import numpy as np

from rove_teleop.retargeting.rotations import cross, mul, norm, transpose

ROTATION_WEIGHT = 0.1  # m/rad: where both cannot be met, 0.1 rad of wrist rotation counts as much as 1 cm of position
ELBOW_WEIGHT = 0.1  # the elbow is a wish, the wrist is the task
DAMPING = 1e-4  # m^2/rad^2, against squared lever arms of about 0.06 m^2
SMALL_STEP = 1e-4  # rad; below it the least squares have converged


class Arm:
    """One arm.

    shoulder: (3,) shoulder centre, torso frame. upper_arm, forearm: m. lower, upper: (7,) rad.
    """

    def __init__(self, shoulder, upper_arm: float, forearm: float, lower, upper):
        self.shoulder = tuple(shoulder)
        self.upper_arm, self.forearm = upper_arm, forearm
        self.lower, self.upper = [float(v) for v in lower], [float(v) for v in upper]
        self._lower, self._upper = np.array(self.lower), np.array(self.upper)

    def clipped(self, q) -> list[float]:
        """q (7,) -> the nearest joints within the limits."""
        return [min(max(v, a), b) for v, a, b in zip(q, self.lower, self.upper)]

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

    def nearest(self, wrist, rotation, elbow, start, iterations: int, steps):
        """Projected Levenberg-Marquardt on wrist position, rotation and elbow, within the joint limits.

        start (7,), within the limits: where it begins; steps (7,): rad that joints may move from it; None: anywhere.
        Returns (q: 7 floats, cost: m^2).
        """
        q = list(start)
        cost, residual, axes, points = self._error(q, wrist, rotation, elbow)
        lower, upper = self._lower, self._upper
        if steps is not None:
            lower, upper = np.maximum(lower, np.array(q) - steps), np.minimum(upper, np.array(q) + steps)
        damping = DAMPING
        for _ in range(iterations):
            j = self._jacobian(axes, points)
            g = j.T @ residual
            at = np.array(q)
            free = ~(((at <= lower) & (g < 0)) | ((at >= upper) & (g > 0)))
            j = j * free
            h = j.T @ j
            h.flat[::8] += damping
            step = np.linalg.solve(h, g * free)
            trial = np.minimum(np.maximum(at + step, lower), upper)
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
        columns.append(
            (*cross(a, (w[0] - e[0], w[1] - e[1], w[2] - e[2])), f * a[0], f * a[1], f * a[2], 0.0, 0.0, 0.0)
        )
        columns += [(0.0, 0.0, 0.0, f * a[0], f * a[1], f * a[2], 0.0, 0.0, 0.0) for a in axes[4:]]
        return np.array(columns).T
