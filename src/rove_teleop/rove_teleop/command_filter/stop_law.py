# SPDX-License-Identifier: Apache-2.0
"""The time-optimal stop of a jerk-limited joint, exact in discrete time, in closed form. No state, no ROS.

Time is measured in periods h and distance in units u = jerk * h^3, so that a step is a' = a + j, v' = v + a', q' = q +
v' with |j| <= 1 and |a| <= A. A is a whole number of jerk steps: where acceleration / (jerk h) is not, the jerk is
lowered until it is.

Followed backwards in time from rest, hardest braking runs through v = T_i = i (i + 1) / 2 where the next a is -i. The
polyline through these points is f(v), and a' = clip(f(v), a - 1, a + 1) is the stop law: a mixture of two neighbouring
plans is a plan again, so a state between two points stays between their successors, and rest is reached exactly.

The functions are of one joint, compiled, for the filter's loop; `braking_of` and `stop_distance_of` are the same as
numpy ufuncs.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, vectorize

# Compiled when first imported, then kept on disk. numpy's error model: x / 0 is infinite, no branch for it in every
# division.
compiled = {"cache": True, "error_model": "numpy"}


@njit("float64(float64, float64)", **compiled)
def braking(v, limit):
    """f(v): the next acceleration on the way to v = 0, in [-limit, limit]; dimensionless."""
    x = abs(v)
    i = np.floor((math.sqrt(8.0 * x + 1.0) - 1.0) * 0.5)
    y = min(i + (x - 0.5 * i * (i + 1.0)) / (i + 1.0), limit)
    return -math.copysign(y, v)


@njit("float64(float64, float64, float64)", **compiled)
def stop_distance(v, a, limit):
    """D(v, a): signed distance until the stop law is at rest; dimensionless, |a| <= limit (whole or not).

    With W = v + ramp(a), the velocity at which a ramp to a = 0 ends, D is odd under (v, a) -> (-v, -a), and convex
    where W > 0: m steps of jerk -1, then the polyline: k steps at a = -limit, and from T_i the distance (i - 1) i (i +
    1) / 6.
    """
    n = np.floor(abs(a))
    sign = math.copysign(1.0, v + math.copysign(n * (abs(a) - 0.5 * (n + 1.0)), a))
    v, a = v * sign, a * sign
    part = a - np.floor(a)
    # f at a fraction lies on the chord, part (1 - part) / 2 below the parabola through the T_i.
    m = np.ceil(a - 1.0 + math.sqrt(max(v + 0.5 * (a * (a - 1.0) - part * (1.0 - part)), 0.0)))
    m = min(max(m, 0.0), np.floor(a + limit))
    distance = m * (v + 0.5 * (m + 1.0) * (a - (m + 2.0) / 3.0))
    v = v + m * (a - 0.5 * (m + 1.0))
    whole = np.floor(limit)
    saturated = whole * (whole + 1.0) / 2.0 + (limit - whole) * (whole + 1.0)  # velocity from which f is -limit
    k = max(0.0, np.ceil((v - saturated) / limit))
    distance = distance + k * (v - 0.5 * limit * (k + 1.0))
    v = v - k * limit
    i = np.floor((math.sqrt(max(8.0 * v + 1.0, 1.0)) - 1.0) * 0.5)
    return sign * (distance + i * (0.5 * v - (i + 1.0) * (i + 2.0) / 12.0))


@njit("float64(float64)", **compiled)
def turning_distance(a):
    """How far a joint with W = 0 and the acceleration a still moves against a until it turns; signed, dimensionless.

    Through n - 1, n - 2, ... the velocity is (n - 1) n / 2, ...; between whole n, as everything here, a mixture of
    neighbours.
    """
    x = abs(a)
    n = np.floor(x)
    return -math.copysign(n * (n - 1.0) * (0.5 * (x - n) + (n - 2.0) / 6.0), a)


braking_of = vectorize(["float64(float64, float64)"], cache=True)(braking.py_func)
stop_distance_of = vectorize(["float64(float64, float64, float64)"], cache=True)(stop_distance.py_func)
