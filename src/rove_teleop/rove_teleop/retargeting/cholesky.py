# SPDX-License-Identifier: Apache-2.0
"""A small symmetric system of equations, compiled, for the solvers of this package: their loops call no LAPACK."""

from __future__ import annotations

import math

import numba
from numba import njit

from rove_teleop.command_filter.stop_law import compiled

_F1, _F2 = numba.float64[::1], numba.float64[:, ::1]


@njit(numba.void(_F2, _F1, _F1), **compiled)
def cholesky_solve(h, g, x):
    """x with h x = g; h symmetric positive definite, overwritten."""
    n = len(g)
    for i in range(n):
        for k in range(i + 1):
            total = h[i, k]
            for m in range(k):
                total -= h[i, m] * h[k, m]
            h[i, k] = math.sqrt(total) if i == k else total / h[k, k]
    for i in range(n):
        total = g[i]
        for m in range(i):
            total -= h[i, m] * x[m]
        x[i] = total / h[i, i]
    for i in range(n - 1, -1, -1):
        total = x[i]
        for m in range(i + 1, n):
            total -= h[m, i] * x[m]
        x[i] = total / h[i, i]
