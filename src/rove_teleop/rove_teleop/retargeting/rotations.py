# SPDX-License-Identifier: Apache-2.0
"""Rotations as 9 plain floats (row-major). At these sizes Python floats are several times faster than numpy arrays.

A rotation is a tuple (r00, r01, r02, r10, …, r22); a vector is (x, y, z).
"""

from __future__ import annotations

from math import atan2, cos, sin, sqrt

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def from_quaternion(w: float, x: float, y: float, z: float):
    """Quaternion of any non-zero norm -> rotation."""
    s = 2.0 / (w * w + x * x + y * y + z * z)
    return (
        1 - s * (y * y + z * z),
        s * (x * y - w * z),
        s * (x * z + w * y),
        s * (x * y + w * z),
        1 - s * (x * x + z * z),
        s * (y * z - w * x),
        s * (x * z - w * y),
        s * (y * z + w * x),
        1 - s * (x * x + y * y),
    )


def mul(a, b):
    """a b."""
    a0, a1, a2, a3, a4, a5, a6, a7, a8 = a
    b0, b1, b2, b3, b4, b5, b6, b7, b8 = b
    return (
        a0 * b0 + a1 * b3 + a2 * b6,
        a0 * b1 + a1 * b4 + a2 * b7,
        a0 * b2 + a1 * b5 + a2 * b8,
        a3 * b0 + a4 * b3 + a5 * b6,
        a3 * b1 + a4 * b4 + a5 * b7,
        a3 * b2 + a4 * b5 + a5 * b8,
        a6 * b0 + a7 * b3 + a8 * b6,
        a6 * b1 + a7 * b4 + a8 * b7,
        a6 * b2 + a7 * b5 + a8 * b8,
    )


def transpose(a):
    return (a[0], a[3], a[6], a[1], a[4], a[7], a[2], a[5], a[8])


def apply(a, v):
    """a v."""
    x, y, z = v
    return (a[0] * x + a[1] * y + a[2] * z, a[3] * x + a[4] * y + a[5] * z, a[6] * x + a[7] * y + a[8] * z)


def apply_t(a, v):
    """aᵀ v."""
    x, y, z = v
    return (a[0] * x + a[3] * y + a[6] * z, a[1] * x + a[4] * y + a[7] * z, a[2] * x + a[5] * y + a[8] * z)


def cross(a, b):
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def norm(v) -> float:
    return sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])


def zxy(yaw: float, roll: float, pitch: float):
    """Rz(yaw) Rx(roll) Ry(pitch): the neck's and the waist's order."""
    cz, sz, cx, sx, cy, sy = cos(yaw), sin(yaw), cos(roll), sin(roll), cos(pitch), sin(pitch)
    return (
        cz * cy - sz * sx * sy,
        -sz * cx,
        cz * sy + sz * sx * cy,
        sz * cy + cz * sx * sy,
        cz * cx,
        sz * sy - cz * sx * cy,
        -cx * sy,
        sx,
        cx * cy,
    )


def angles_zxy(r):
    """Inverse of `zxy` -> (yaw, roll, pitch), |roll| <= pi/2."""
    return atan2(-r[1], r[4]), atan2(r[7], sqrt(r[6] * r[6] + r[8] * r[8])), atan2(-r[6], r[8])


def angles_yxz(r):
    """R = Ry(pitch) Rx(roll) Rz(yaw) -> (pitch, roll, yaw), |roll| <= pi/2: the shoulder's order."""
    return atan2(r[2], r[8]), atan2(-r[5], sqrt(r[3] * r[3] + r[4] * r[4])), atan2(r[3], r[4])


def angles_zyx(r):
    """R = Rz(yaw) Ry(pitch) Rx(roll) -> (yaw, pitch, roll), |pitch| <= pi/2: the wrist's order."""
    return atan2(r[3], r[0]), atan2(-r[6], sqrt(r[7] * r[7] + r[8] * r[8])), atan2(r[7], r[8])


def to_quaternion(r):
    """Rotation -> (w, x, y, z), w >= 0; by the largest component, so that nothing small is divided by."""
    trace = r[0] + r[4] + r[8]
    squares = (
        1 + trace,
        1 + 2 * r[0] - trace,
        1 + 2 * r[4] - trace,
        1 + 2 * r[8] - trace,
    )  # 4 w^2, 4 x^2, 4 y^2, 4 z^2
    k = squares.index(max(squares))
    q = [
        (squares[0], r[7] - r[5], r[2] - r[6], r[3] - r[1]),
        (r[7] - r[5], squares[1], r[1] + r[3], r[2] + r[6]),
        (r[2] - r[6], r[1] + r[3], squares[2], r[5] + r[7]),
        (r[3] - r[1], r[2] + r[6], r[5] + r[7], squares[3]),
    ][k]
    s = 0.5 / sqrt(squares[k])
    if q[0] < 0:
        s = -s
    return (q[0] * s, q[1] * s, q[2] * s, q[3] * s)
