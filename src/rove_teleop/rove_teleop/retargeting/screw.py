# SPDX-License-Identifier: Apache-2.0
"""One joint's turn in a product of exponentials, compiled, for the solvers of this package."""

from __future__ import annotations

import math

import numba
from numba import njit

from rove_teleop.command_filter.stop_law import compiled

_F1, _F2 = numba.float64[::1], numba.float64[:, ::1]


@njit(numba.void(_F2, _F1, numba.int64, _F2, _F2, numba.float64, _F2, _F2, _F1), **compiled)
def turn_about(r, t, j, axis, anchor, by, e, turned, moved):
    """Motion (r (3, 3), t (3,) m), in place, followed by a turn of `by` rad about joint j, whose axis (., 3) and
    anchor (., 3) m are those of the unmoved chain (Rodrigues' formula). e, turned (3, 3), moved (3,): scratch.
    """
    x, y, z = axis[j, 0], axis[j, 1], axis[j, 2]
    s, c = math.sin(by), math.cos(by)
    v = 1.0 - c
    e[0, 0], e[0, 1], e[0, 2] = c + v * x * x, v * x * y - s * z, v * x * z + s * y
    e[1, 0], e[1, 1], e[1, 2] = v * x * y + s * z, c + v * y * y, v * y * z - s * x
    e[2, 0], e[2, 1], e[2, 2] = v * x * z - s * y, v * y * z + s * x, c + v * z * z
    for i in range(3):
        moved[i] = anchor[j, i]
        for k in range(3):
            moved[i] -= e[i, k] * anchor[j, k]
            turned[i, k] = r[i, 0] * e[0, k] + r[i, 1] * e[1, k] + r[i, 2] * e[2, k]
    for i in range(3):
        t[i] += r[i, 0] * moved[0] + r[i, 1] * moved[1] + r[i, 2] * moved[2]
    for i in range(3):
        for k in range(3):
            r[i, k] = turned[i, k]
