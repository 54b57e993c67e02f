"""The time-optimal stop of a jerk-limited joint, exact in discrete time, in closed form. No state, no ROS.

Time is measured in periods h and distance in units u = jerk * h^3, so that a step is a' = a + j, v' = v + a', q' = q + v' with |j| <= 1
and |a| <= A. A is a whole number of jerk steps: where acceleration / (jerk h) is not, the jerk is lowered until it is.

Followed backwards in time from rest, hardest braking runs through v = T_i = i (i + 1) / 2 where the next a is -i. The polyline through
these points is f(v), and a' = clip(f(v), a - 1, a + 1) is the stop law: a mixture of two neighbouring plans is a plan again, so a state
between two points stays between their successors, and rest is reached exactly. All breakpoints are whole numbers: f and the distance E
along the polyline are tables of one intercept and one slope per unit of v.
"""

from __future__ import annotations

import numpy as np

MAX_TABLE = 1_000_000  # units of velocity; beyond it the layout's limits contradict each other


def braking(v: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """f(v): the next acceleration on the way to v = 0, in [-limit, limit]; dimensionless, any shape."""
    x = np.abs(v)
    i = np.floor((np.sqrt(8.0 * x + 1.0) - 1.0) * 0.5)
    y = np.minimum(i + (x - 0.5 * i * (i + 1.0)) / (i + 1.0), limit)
    return -np.copysign(y, v)


def stop_distance(v: np.ndarray, a: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """D(v, a): signed distance until the stop law is at rest; dimensionless, |a| <= limit (whole or not), any shape.

    With W = v + ramp(a), the velocity at which a ramp to a = 0 ends, D is odd under (v, a) -> (-v, -a), and convex where W > 0:
    m steps of jerk -1, then the polyline: k steps at a = -limit, and from T_i the distance (i - 1) i (i + 1) / 6.
    """
    n = np.floor(np.abs(a))
    sign = np.copysign(1.0, v + np.copysign(n * (np.abs(a) - 0.5 * (n + 1.0)), a))
    v, a = v * sign, a * sign
    part = a - np.floor(a)
    # f at a fraction lies on the chord, part (1 - part) / 2 below the parabola through the T_i.
    m = np.ceil(a - 1.0 + np.sqrt(np.maximum(v + 0.5 * (a * (a - 1.0) - part * (1.0 - part)), 0.0)))
    m = np.clip(m, 0.0, np.floor(a + limit))
    distance = m * (v + 0.5 * (m + 1.0) * (a - (m + 2.0) / 3.0))
    v = v + m * (a - 0.5 * (m + 1.0))
    whole = np.floor(limit)
    saturated = whole * (whole + 1.0) / 2.0 + (limit - whole) * (whole + 1.0)  # velocity from which f is -limit
    k = np.maximum(0.0, np.ceil((v - saturated) / limit))
    distance = distance + k * (v - 0.5 * limit * (k + 1.0))
    v = v - k * limit
    i = np.floor((np.sqrt(np.maximum(8.0 * v + 1.0, 1.0)) - 1.0) * 0.5)
    return sign * (distance + i * (0.5 * v - (i + 1.0) * (i + 2.0) / 12.0))


class Tables:
    """f, E and the turning distance as lines y = intercept[n] + slope[n] x with n = floor x, for joints that may differ in A.

    accel: (J,) whole. speed: (J,) largest |v|. `offset` (J,) is each joint's start in the flat tables, or None if all joints share one.
    """

    def __init__(self, accel: np.ndarray, speed: np.ndarray):
        length = int(np.ceil(speed.max())) * 2 + int(accel.max()) + 3
        if length > MAX_TABLE:
            raise ValueError(
                f"a velocity limit is {speed.max():.3g} steps of the jerk limit (jerk * period^2), expected less than {MAX_TABLE // 2}: "
                "the layout's jerk limits are too small for its velocity limits"
            )
        kinds = np.unique(accel)
        v = np.arange(length + 1.0)
        rows = [self._lines(v, -braking(v, a)) for a in kinds]
        self.f_intercept, self.f_slope = (np.concatenate(column) for column in zip(*rows))
        # E(v) = D(v, a) - where the next a is f(v): the state one step on is (v + f, f).
        rows = [self._lines(v, (v + braking(v, a)) + stop_distance(v + braking(v, a), braking(v, a), a)) for a in kinds]
        self.e_intercept, self.e_slope = (np.concatenate(column) for column in zip(*rows))
        # On W = 0 with a = -x the stop law still goes (n - 1) n / 2 (x - n + (n - 2) / 3), n = floor x, before it turns.
        x = np.arange(accel.max() + 2.0)
        self.turn_intercept, self.turn_slope = self._lines(x, (x - 2.0) * (x - 1.0) * x / 6.0)
        index = np.searchsorted(kinds, accel)
        self.offset = None if len(kinds) == 1 else (index * length).astype(np.intp)
        self.last = length - 1

    @staticmethod
    def _lines(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        slope = np.diff(y)
        return y[:-1] - slope * x[:-1], slope
