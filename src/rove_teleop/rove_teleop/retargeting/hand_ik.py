# SPDX-License-Identifier: Apache-2.0
"""Hand retargeting: 21 keypoints of each hand -> 15 joints, by matching the vectors from each digit's base to its tip
and middle.

The four fingers of both hands are solved together: splay in closed form, then a few projected Gauss-Newton steps on
(proximal, distal) in the finger's plane. The thumbs take the same cost in three joints. All vectors are in the palm's
frame, which comes from the keypoints themselves (wrist and the four knuckles), so a wrist tracker that is mounted askew
does not bend fingers. The right hand is mirrored in y.
"""

from __future__ import annotations

from math import atan2, cos, hypot, sin

import numpy as np

from rove_teleop.retargeting.robot_geometry import Geometry

# Weight of the middle vector against the tip's. The tip is the task; alone it leaves a stretched finger
# ill-conditioned: at 1 mm of noise the distal joint of a stretched finger would jump by 0.3 rad.
MIDDLE_WEIGHT = 0.3
SPLAY_PRIOR = 9e-6  # m^2 = (3 mm)^2: a curled finger barely shows its splay, so it keeps the previous one
STEPS = 3
MCP = np.array([5, 9, 13, 17])


class HandIK:
    """Both hands.

    geometry: robot dimensions. lower, upper: (2, 15) rad, joints in the order of `robot_geometry.hand_names`, left then
    right.
    """

    def __init__(self, geometry: Geometry, lower: np.ndarray, upper: np.ndarray):
        self.lower, self.upper = np.array(lower, dtype=float), np.array(upper, dtype=float)
        fingers = self.lower[:, 3:].reshape(8, 3), self.upper[:, 3:].reshape(8, 3)
        self._low, self._high = np.ascontiguousarray(fingers[0].T), np.ascontiguousarray(fingers[1].T)  # (3, 8)
        self._l1, self._l2 = np.tile(geometry.finger[:, 0], 2), np.tile(geometry.finger[:, 1], 2)  # (8,)
        self._finger_length = self._l1 + self._l2
        self.mcp_x = geometry.thumb_mcp[0]
        self.mcp_z = geometry.thumb_mcp[2]
        self._tilt = (cos(geometry.thumb_tilt), sin(geometry.thumb_tilt))
        self._thumb = geometry.thumb
        self._thumb_limits = [(self.lower[side, :3].tolist(), self.upper[side, :3].tolist()) for side in (0, 1)]
        self._thumb_length = hypot(self.mcp_x, self.mcp_z) + sum(geometry.thumb)

    def local(self, keypoints: np.ndarray) -> np.ndarray:
        """keypoints (2, 21, 3), any frame, left then right -> (2, 21, 3) in the palm's frame, wrist at the origin,
        right mirrored.
        """
        centred = keypoints - keypoints[:, :1]
        knuckles = centred[:, MCP]
        z = -knuckles.sum(axis=1)
        z /= np.sqrt((z * z).sum(axis=1, keepdims=True)) + 1e-12
        x = (knuckles * _ACROSS).sum(axis=1)
        x -= (x * z).sum(axis=1, keepdims=True) * z
        x /= np.sqrt((x * x).sum(axis=1, keepdims=True)) + 1e-12
        axes = np.empty((2, 3, 3))
        axes[:, :, 0] = x
        axes[:, :, 2] = z
        axes[:, 0, 1] = z[:, 1] * x[:, 2] - z[:, 2] * x[:, 1]
        axes[:, 1, 1] = z[:, 2] * x[:, 0] - z[:, 0] * x[:, 2]
        axes[:, 2, 1] = z[:, 0] * x[:, 1] - z[:, 1] * x[:, 0]
        axes[1, :, 1] *= -1.0
        return centred @ axes

    def lengths(self, local: np.ndarray) -> np.ndarray:
        """(2, 21, 3) -> (2, 5) m: sum of the bones from each digit's base (thumb: cmc, finger: mcp) to its tip."""
        bones = np.diff(local[:, 1:].reshape(2, 5, 4, 3), axis=2)
        return np.sqrt((bones * bones).sum(axis=3)).sum(axis=2)

    def robot_lengths(self) -> np.ndarray:
        """(2, 5) m: the robot's counterpart of `lengths`."""
        both = np.empty((2, 5))
        both[:, 0] = self._thumb_length
        both[:, 1:] = self._finger_length.reshape(2, 4)
        return both

    def solve(self, local: np.ndarray, scale: np.ndarray, seed: np.ndarray) -> np.ndarray:
        """local: (2, 21, 3), see `local`. scale: (2, 5) robot length / operator length per digit. seed: (2, 15)
        previous joints.

        Returns (2, 15) rad within the limits.
        """
        q = np.empty((2, 15))
        q[:, 3:] = self._fingers(local, scale, seed)
        for side in (0, 1):
            points = (local[side, 2:5] - local[side, 1]) * scale[side, 0]
            q[side, :3] = self._solve_thumb(points.tolist(), *self._thumb_limits[side], seed[side, 0])
        return q

    def _fingers(self, local, scale, seed) -> np.ndarray:
        digits = local[:, 5:].reshape(8, 4, 3)
        reach = scale[:, 1:].reshape(8, 1)
        middle = ((digits[:, 1] - digits[:, 0]) * reach).T  # (3, 8): knuckle -> pip
        tip = ((digits[:, 3] - digits[:, 0]) * reach).T
        splay = self._splay(middle, tip, seed[:, 3::3].reshape(8))
        s, c = np.sin(splay), np.cos(splay)
        # In the finger's plane: a towards the palm's inside, b towards the stretched fingertip.
        pa, pb = -middle[1], -(middle[2] * c + middle[0] * s)
        ta, tb = -tip[1], -(tip[2] * c + tip[0] * s)
        k = self._l1 / (np.sqrt(pa * pa + pb * pb) + 1e-9)
        f1 = np.arctan2(pa, pb)
        f2 = np.arctan2(ta - pa, tb - pb) - f1
        pa, pb = k * pa, k * pb
        # A finger never bends back by a quarter turn: angles are taken from -pi/2 to 3 pi/2.
        f1 = np.where(f1 < -np.pi / 2, f1 + 2 * np.pi, f1)
        f2 = np.remainder(f2 + np.pi / 2, 2 * np.pi) - np.pi / 2
        low, high = self._low, self._high
        f1, f2 = np.clip(f1, low[1], high[1]), np.clip(f2, low[2], high[2])
        f1, f2 = self._bend(f1, f2, pa, pb, ta, tb)
        return np.stack([np.clip(splay, low[0], high[0]), f1, f2], axis=1).reshape(2, 12)

    def _splay(self, middle, tip, previous) -> np.ndarray:
        """Angle of the plane through the flexion axis' normal that best holds both points (least squares), (8,)."""
        s, c = np.sin(previous), np.cos(previous)
        cross = middle[0] * middle[2] + tip[0] * tip[2] + SPLAY_PRIOR * s * c
        spread = (middle[2] ** 2 + tip[2] ** 2 + SPLAY_PRIOR * c * c) - (
            middle[0] ** 2 + tip[0] ** 2 + SPLAY_PRIOR * s * s
        )
        return np.clip(0.5 * np.arctan2(2 * cross, spread), self._low[0], self._high[0])

    def _bend(self, f1, f2, pa, pb, ta, tb):
        """Projected Gauss-Newton on |tip - target|^2 + w^2 |middle - target|^2 over (proximal, distal), 8 fingers at
        once.
        """
        l1, l2, w = self._l1, self._l2, MIDDLE_WEIGHT**2
        low, high = self._low, self._high
        for _ in range(STEPS):
            f12 = f1 + f2
            a1, b1 = l1 * np.sin(f1), l1 * np.cos(f1)
            ds, dc = l2 * np.sin(f12), l2 * np.cos(f12)
            a2, b2 = a1 + ds, b1 + dc
            ea, eb = a2 - ta, b2 - tb
            g1 = w * (b1 * (a1 - pa) - a1 * (b1 - pb)) + b2 * ea - a2 * eb
            g2 = dc * ea - ds * eb
            h11 = w * l1 * l1 + a2 * a2 + b2 * b2
            h12 = b2 * dc + a2 * ds
            h22 = l2 * l2
            # A joint at its limit that would be pushed outwards stays; the other is then solved alone.
            stuck1 = ((f1 <= low[1]) & (g1 > 0)) | ((f1 >= high[1]) & (g1 < 0))
            stuck2 = ((f2 <= low[2]) & (g2 > 0)) | ((f2 >= high[2]) & (g2 < 0))
            h12 = np.where(stuck1 | stuck2, 0.0, h12)
            g1, g2 = np.where(stuck1, 0.0, g1), np.where(stuck2, 0.0, g2)
            det = h11 * h22 - h12 * h12 + 1e-12
            f1 = np.minimum(np.maximum(f1 - (h22 * g1 - h12 * g2) / det, low[1]), high[1])
            f2 = np.minimum(np.maximum(f2 - (h11 * g2 - h12 * g1) / det, low[2]), high[2])
        return f1, f2

    def _solve_thumb(self, points, lower, upper, previous):
        """points: mcp, ip, tip from the cmc, scaled, m -> (abduction, proximal, distal)."""
        (mx, my, mz), (ix, iy, iz), (tx, ty, tz) = points
        l1, l2 = self._thumb
        ct, st = self._tilt
        x0, z0 = self.mcp_x, self.mcp_z
        a = atan2(-my, mx) if hypot(mx, my) > 1e-3 else previous
        a = min(max(a, lower[0]), upper[0])
        s, c = sin(a), cos(a)

        def planar(dx, dy, dz):  # (towards the inside, along the stretched thumb) of a vector between two thumb points
            return -(dx * s + dy * c), -((dx * c - dy * s) * st + dz * ct)

        u, v = planar(ix - mx, iy - my, iz - mz)
        f1 = min(max(atan2(u, v), lower[1]), upper[1])
        u, v = planar(tx - ix, ty - iy, tz - iz)
        f2 = min(max(atan2(u, v) - f1, lower[2]), upper[2])
        w = MIDDLE_WEIGHT
        for _ in range(STEPS):
            s, c, f12 = sin(a), cos(a), f1 + f2
            a1, b1 = l1 * sin(f1), l1 * cos(f1)
            a2, b2 = l2 * sin(f12), l2 * cos(f12)
            # Points before abduction: (x, y, z) = (x0 - b sin(tilt), -a, z0 - b cos(tilt)), with a, b summed along the
            # thumb.
            rows = []
            for weight, al, be, da2, db2, px, py, pz in (
                (w, 0.0, 0.0, 0.0, 0.0, mx, my, mz),
                (w, a1, b1, 0.0, 0.0, ix, iy, iz),
                (1.0, a1 + a2, b1 + b2, b2, -a2, tx, ty, tz),
            ):
                x, y, z = x0 - be * st, -al, z0 - be * ct
                da1, db1 = be, -al
                rx, ry = x * c + y * s, -x * s + y * c
                for error, j0, lx, ly, lz in (
                    (rx - px, ry, c, s, 0.0),
                    (ry - py, -rx, -s, c, 0.0),
                    (z - pz, 0.0, 0.0, 0.0, 1.0),
                ):
                    j1 = lx * -db1 * st + ly * -da1 + lz * -db1 * ct
                    j2 = lx * -db2 * st + ly * -da2 + lz * -db2 * ct
                    rows.append((weight * error, weight * j0, weight * j1, weight * j2))
            step = _projected_step(rows, (a, f1, f2), lower, upper)
            a = min(max(a + step[0], lower[0]), upper[0])
            f1 = min(max(f1 + step[1], lower[1]), upper[1])
            f2 = min(max(f2 + step[2], lower[2]), upper[2])
            if max(abs(step[0]), abs(step[1]), abs(step[2])) < 1e-6:
                break
        return a, f1, f2


_ACROSS = np.array([1.0, 1.0 / 3.0, -1.0 / 3.0, -1.0]).reshape(
    4, 1
)  # least-squares slope over four equally spaced knuckles


def _projected_step(rows, at, lower, upper):
    """Gauss-Newton step of a 3-variable least squares; variables that a limit stops are left out. rows: (error, j0, j1,
    j2).
    """
    g0 = g1 = g2 = h00 = h01 = h02 = h11 = h12 = h22 = 0.0
    for e, j0, j1, j2 in rows:
        g0 -= j0 * e
        g1 -= j1 * e
        g2 -= j2 * e
        h00 += j0 * j0
        h01 += j0 * j1
        h02 += j0 * j2
        h11 += j1 * j1
        h12 += j1 * j2
        h22 += j2 * j2
    if (at[0] <= lower[0] and g0 < 0) or (at[0] >= upper[0] and g0 > 0):
        g0 = h01 = h02 = 0.0
    if (at[1] <= lower[1] and g1 < 0) or (at[1] >= upper[1] and g1 > 0):
        g1 = h01 = h12 = 0.0
    if (at[2] <= lower[2] and g2 < 0) or (at[2] >= upper[2] and g2 > 0):
        g2 = h02 = h12 = 0.0
    h00 += 1e-8
    h11 += 1e-8
    h22 += 1e-8
    c00, c01, c02 = h11 * h22 - h12 * h12, h02 * h12 - h01 * h22, h01 * h12 - h02 * h11
    det = h00 * c00 + h01 * c01 + h02 * c02
    c11, c12, c22 = h00 * h22 - h02 * h02, h01 * h02 - h00 * h12, h00 * h11 - h01 * h01
    return (
        (c00 * g0 + c01 * g1 + c02 * g2) / det,
        (c01 * g0 + c11 * g1 + c12 * g2) / det,
        (c02 * g0 + c12 * g1 + c22 * g2) / det,
    )
