"""The command filter: any stream of joint targets in, a jerk-limited joint command out. No ROS, no allocation in the hot path.

Limits are meant sample by sample. With period h and the output q_k,

    v_k = (q_k - q_{k-1}) / h,   a_k = (v_k - v_{k-1}) / h,   j_k = (a_k - a_{k-1}) / h

all of |v|, |a|, |j| and q stay within the limits at every k, whatever the targets do. The method is ours:

1. *Stop law* (`stop_law`): the time-optimal way to rest, exact in discrete time.
2. *Stop position.* p(x) = q + D(v, a), where the stop law would bring x to rest, in closed form. It rises with a', and it does not
   change while the stop law is followed.
3. *Tracking.* Choose a' so that p(x') is where the target itself would stop, clipped to the position limits. For a constant
   target this is the time-optimal approach without overshoot; for a moving one the robot moves with it, with its velocity.
4. *Velocity.* f(v -+ V) bounds a' so that |v| <= V also after a has been brought back to 0.

Every choice leaves the stop law's own next step admissible; so by induction the robot can always stop within its limits, and that
stop is what happens when there is no valid target.
"""

from __future__ import annotations

import numpy as np

from rove_contract.joints import Limits
from rove_teleop.stop_law import Tables, braking, stop_distance

# Distances are accepted up to this far past a limit and clipped to it (retargeting undershoots by hundredths); farther is a fault.
OUT_OF_RANGE_RAD = 1.0
# Keeps finite differences of the rounded output (1e-9 of the smallest default jerk limit) inside the limits.
ROUNDING = 1e-9
# A target is taken for a moving one after this many samples that a joint within its limits could have produced.
MOVING_SAMPLES = 3
VELOCITY_SMOOTHING = 0.4  # share of the newest difference in the estimated target velocity; 1.5 samples of delay

NON_FINITE, WRONG_LENGTH, OUT_OF_RANGE, MALFORMED = "non-finite", "wrong length", "out of range", "not numbers"


class BadSample(ValueError):
    """A joint target that must not be used; the message says why."""


class CommandFilter:
    """Jerk-limited tracking of joint targets, vectorised over the J joints.

    limits: rove_contract Limits, (J,) each. period_s: s between two `step`s. Call `reset` first.
    dropped: counts of refused samples by reason ("non-finite", "wrong length", "out of range", "not numbers").
    """

    def __init__(self, limits: Limits, period_s: float):
        if not period_s > 0.0:
            raise ValueError(f"the period is {period_s!r} s, expected a positive number")
        self.period_s = float(period_s)
        count = len(limits)
        self.lower, self.upper = np.array(limits.lower, float), np.array(limits.upper, float)
        # Whole jerk steps up to the acceleration limit, see `stop_law`; 1e-6: 5.0000001 is 5.
        accel = np.maximum(np.ceil(np.asarray(limits.acceleration) / (np.asarray(limits.jerk) * period_s) - 1e-6), 1.0)
        self._accel = accel
        self._unit = np.asarray(limits.acceleration) / accel * (1.0 - ROUNDING) * period_s**2  # rad per dimensionless distance
        self._unit = np.minimum(self._unit, np.asarray(limits.jerk) * (1.0 - ROUNDING) * period_s**3)
        self._per_unit = 1.0 / self._unit
        self._speed = np.asarray(limits.velocity) * (1.0 - ROUNDING) * period_s / self._unit
        self._tables = Tables(accel, self._speed)
        self._inner_lower, self._inner_upper = self.lower + ROUNDING, self.upper - ROUNDING
        self._middle, self._reach = 0.5 * (self.lower + self.upper), 0.5 * (self.upper - self.lower) + OUT_OF_RANGE_RAD
        self._speed_rad, self._accel_rad = self._speed * self._unit, accel * self._unit
        self._v_scale = period_s / self._unit
        self.dropped = dict.fromkeys((NON_FINITE, WRONG_LENGTH, OUT_OF_RANGE, MALFORMED), 0)
        self.last_dropped = ""  # reason of the newest refused sample; "" once a good one came

        self._q, self._v, self._a = np.zeros(count), np.zeros(count), np.zeros(count)
        self._next, self._next_v = np.zeros(count), np.zeros(count)
        # Rows 0..4: candidates for a' from lowest to highest, the stop law's in the middle; row 5: the target's own motion (a = 0).
        self._va, self._aa = np.zeros((6, count)), np.zeros((6, count))
        self._sign = np.repeat([[-1.0], [-1.0], [1.0], [1.0], [1.0], [1.0]], count, axis=1)
        self._accel6 = np.tile(accel, (6, 1))
        self._b = [np.empty((6, count)) for _ in range(6)]
        self._i6, self._i3, self._i1 = (np.empty(shape, dtype=np.intp) for shape in ((6, count), (3, count), (count,)))
        self._g, self._dg, self._w = np.zeros((5, count)), np.zeros((4, count)), np.zeros((4, count))
        self._f_in, self._f, self._ft = (np.zeros((3, count)) for _ in range(3))
        self._v_offset = np.stack([self._speed, np.zeros(count), -self._speed])
        self._aim, self._target, self._previous = np.zeros(count), np.zeros(count), np.zeros(count)
        self._difference, self._target_v, self._t1, self._t2, self._t3 = (np.zeros(count) for _ in range(5))
        self._streak = np.zeros(count)
        # Constants as arrays and views made once: a Python float or a broadcast doubles the cost of an operation on 300 numbers.
        self._zero6, self._half6, self._one6, self._sixth6 = (np.full((6, count), value) for value in (0.0, 0.5, 1.0, 1.0 / 6.0))
        self._zero4, self._minus4, self._tiny4 = (np.full((4, count), value) for value in (0.0, -1.0, 1e-30))
        self._half2 = self._half6[:2]
        self._one, self._share, self._streaks = self._one6[0], np.full(count, VELOCITY_SMOOTHING), np.full(count, MOVING_SAMPLES)
        self._little, self._slowest = np.full(count, 1e-12), -self._speed
        self._rows_a, self._rows_v, self._row_sign = list(self._aa), list(self._va), list(self._sign)
        self._low2, self._high2, self._middle2 = self._aa[0:3:2], self._aa[2:5:2], self._aa[1:4:2]
        self._aa5, self._va5 = self._aa[:5], self._va[:5]
        self._aa_down, self._aa_up, self._g_down, self._g_up = self._aa[:4], self._aa[1:5], self._g[:4], self._g[1:]
        self._distances = self._b[5]
        self._distances5, self._distance_target = self._distances[:5], self._distances[5]
        self._f_rows, self._f_spare = list(self._f), self._b[0][:3]
        self._v5, self._v3, self._t5 = np.zeros((5, count)), np.zeros((3, count)), np.zeros((5, count))
        self._b1, self._b2 = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        self._moving = False  # whether there is an aim
        self._known = False  # whether there is a previous target
        self._ready = False

    def __len__(self) -> int:
        return len(self._q)

    def reset(self, q) -> np.ndarray:
        """Start at rest at the measured pose q (J,) rad, clipped to the position limits; forgets the target. Returns the command (J,).

        Raises ValueError for a wrong length or a value that is not finite.
        """
        q = np.asarray(q, dtype=np.float64)
        if q.shape != self._q.shape or not np.all(np.isfinite(q)):
            raise ValueError(f"reset needs {len(self)} finite joint positions, got {q!r}")
        np.clip(q, self.lower, self.upper, out=self._q)
        self._v.fill(0.0)
        self._a.fill(0.0)
        self._forget()
        self._ready = True
        return self._q.copy()

    @property
    def position(self) -> np.ndarray:
        """(J,) rad, the last command; a copy."""
        return self._q.copy()

    @property
    def velocity(self) -> np.ndarray:
        """(J,) rad/s, finite difference of the last two commands."""
        return self._v * self._unit / self.period_s

    @property
    def acceleration(self) -> np.ndarray:
        """(J,) rad/s^2."""
        return self._a * self._unit / self.period_s**2

    @property
    def at_rest(self) -> bool:
        """Whether every joint stands still (below a millionth of a unit of velocity and acceleration)."""
        return bool(np.abs(self._v).max(initial=0.0) < 1e-6 and np.abs(self._a).max(initial=0.0) < 1e-6)

    def stop_position(self) -> np.ndarray:
        """(J,) rad: where the robot would come to rest if the target vanished now."""
        return self._q + self._unit * stop_distance(self._v, self._a, self._accel)

    def stop_path(self, steps: int) -> np.ndarray:
        """(steps, J) rad: the commands that would follow if the target vanished now."""
        q, v, a = self._q.copy(), self._v.copy(), self._a.copy()
        path = np.empty((steps, len(self)))
        for row in path:
            a = np.clip(braking(v, self._accel), a - 1.0, a + 1.0)
            v += a
            q += v * self._unit
            row[:] = q
        return path

    def step(self, target, target_velocity=None, out: np.ndarray | None = None) -> np.ndarray:
        """One period. target: (J,) rad, or None = no valid target: stop smoothly, then hold. Returns the command (J,) rad.

        target_velocity: (J,) rad/s, what the source knows of the target's motion; None = estimated from the targets.
        A bad sample (not finite, wrong length, more than 1 rad out of range) is dropped and counted; the last good one stays in force.
        out: buffer for the result; without it a new array is returned. Raises RuntimeError before the first `reset`.
        """
        self.propose(target, target_velocity)
        return self.commit(None, out)

    def propose(self, target, target_velocity=None) -> bool:
        """First half of `step`: choose the next acceleration. Returns whether a target is in force; then `proposed_stop` is defined."""
        if not self._ready:
            raise RuntimeError("the command filter does not know where the robot is; call reset(measured pose) first")
        if target is None:
            self._forget()
        else:
            self._accept(target, target_velocity)
        self._bounds()
        if self._moving:
            self._track()
        else:
            self._next[:] = self._aa[2]
            np.add(self._v, self._next, self._next_v)
        return self._moving

    def proposed_stop(self) -> tuple[np.ndarray, np.ndarray]:
        """Stop positions (J,) rad with the proposed step, and with the stop law's step instead (which leaves it where it is)."""
        low, rest, high = self._q + self._unit * (self._va[0:5:2] + self._distances[0:5:2])
        # Rows beyond the stop law's that coincide with it have no distance of their own.
        low = np.where(self._aa[0] < self._aa[2], low, rest)
        high = np.where(self._aa[4] > self._aa[2], high, rest)
        return np.clip(self._aim, low, high), rest

    def commit(self, scale=None, out: np.ndarray | None = None) -> np.ndarray:
        """Second half of `step`: take the proposed step, and return the command (J,) rad.

        scale: (J,) in [0, 1], 1 = as proposed, 0 = the stop law's step; between them the stop position moves by about this share.
        Admissible accelerations are an interval that holds both, so every scale keeps the limits.
        """
        if scale is not None:
            self._next -= self._aa[2]
            self._next *= scale
            self._next += self._aa[2]
            np.add(self._v, self._next, self._next_v)
        self._a, self._next = self._next, self._a
        self._v, self._next_v = self._next_v, self._v
        np.multiply(self._v, self._unit, self._t1)
        self._q += self._t1
        if out is None:
            return self._q.copy()
        out[:] = self._q
        return out

    def check(self, target: np.ndarray) -> None:
        """Raise BadSample for a float64 array (J,) or (H, J) that `step` would drop, and count it. For sources that keep samples."""
        reason = next((r for r in map(self._fault, np.atleast_2d(target)) if r), "")
        if reason:
            self._drop(reason)
            expected = f"expected {len(self)} finite angles, at most {OUT_OF_RANGE_RAD:g} rad out of range"
            raise BadSample(f"a joint target is bad: {reason}; {expected}")

    def _fault(self, target: np.ndarray) -> str:
        if target.shape != self._q.shape:
            return WRONG_LENGTH
        np.subtract(target, self._middle, self._t1)
        np.abs(self._t1, self._t1)
        np.less_equal(self._t1, self._reach, self._b1)  # False for NaN
        if np.count_nonzero(self._b1) == len(target):  # a fifth of the cost of all()
            return ""
        return OUT_OF_RANGE if np.isfinite(target).all() else NON_FINITE

    def _forget(self) -> None:
        self._moving = False
        self._known = False
        self._streak.fill(0.0)
        self._target_v.fill(0.0)

    def _drop(self, reason: str) -> None:
        self.dropped[reason] += 1
        self.last_dropped = reason

    def _accept(self, target, target_velocity) -> None:
        """Validate a sample and keep it with the velocity of its motion (row 5 of the velocities)."""
        try:
            target = np.asarray(target, dtype=np.float64)
            given = None if target_velocity is None else np.asarray(target_velocity, dtype=np.float64)
        except (TypeError, ValueError):
            return self._drop(MALFORMED)
        reason = self._fault(target)
        if not reason and given is not None:
            reason = WRONG_LENGTH if given.shape != self._q.shape else "" if np.isfinite(given).all() else NON_FINITE
        if reason:
            return self._drop(reason)
        self.last_dropped = ""
        self._previous, self._target = self._target, self._previous
        np.maximum(target, self._inner_lower, out=self._target)
        np.minimum(self._target, self._inner_upper, out=self._target)
        velocity = self._rows_v[5]
        if given is not None:
            np.multiply(given, self._v_scale, velocity)
            np.minimum(velocity, self._speed, out=velocity)
            np.maximum(velocity, self._slowest, out=velocity)
        else:
            self._estimate(velocity)
        self._known = True
        self._moving = True

    def _estimate(self, velocity: np.ndarray) -> None:
        """Target velocity from its differences, 0 for joints whose target moves as no joint can (a jump is not a motion)."""
        if not self._known:
            velocity.fill(0.0)
            self._difference.fill(0.0)
            return
        change, d = self._difference, self._t1
        np.subtract(self._target, self._previous, d)
        np.subtract(d, change, change)
        np.abs(change, change)
        np.less_equal(change, self._accel_rad, self._b1)
        np.abs(d, change)
        np.less_equal(change, self._speed_rad, self._b2)
        np.logical_and(self._b1, self._b2, self._b1)
        change[:] = d
        np.add(self._streak, self._one, self._streak)
        np.multiply(self._streak, self._b1, self._streak)
        # v += share (d - v) where the motion is plausible, 0 elsewhere
        np.multiply(d, self._per_unit, d)
        np.subtract(d, self._target_v, d)
        np.multiply(d, self._share, d)
        np.add(self._target_v, d, self._target_v)
        np.greater_equal(self._streak, self._streaks, self._b2)
        np.multiply(self._target_v, self._b2, velocity)
        self._target_v[:] = velocity

    def _line(self, x, index, intercept, slope, shared, out, spare) -> None:
        """out = intercept[n] + slope[n] x, n = floor x >= 0, each joint in its own table unless they share one."""
        np.copyto(index, x, casting="unsafe")
        if not shared:
            np.clip(index, 0, self._tables.last, out=index)
            index += self._tables.offset
        intercept.take(index, None, out, "clip")
        slope.take(index, None, spare, "clip")
        np.multiply(spare, x, spare)
        np.add(out, spare, out)

    def _bounds(self) -> None:
        """Rows 0, 2, 4 of the candidates: lowest, stop law's and highest admissible a'."""
        x, y, tables = self._f_in, self._f, self._tables
        self._v3[:] = self._v
        np.subtract(self._v_offset, self._v3, self._ft)  # V - v, -v, -V - v; f is odd
        np.abs(self._ft, x)
        self._line(x, self._i3, tables.f_intercept, tables.f_slope, tables.offset is None, y, self._f_spare)
        np.copysign(y, self._ft, y)
        upper, braked, lower = self._f_rows  # f(v - V), f(v), f(v + V)
        low, _, stop, _, high, _ = self._rows_a
        np.subtract(self._a, self._one, low)
        np.add(self._a, self._one, high)
        np.maximum(low, lower, out=low)
        np.minimum(high, upper, out=high)
        np.maximum(braked, low, out=stop)
        np.minimum(stop, high, out=stop)

    def _distance(self) -> None:
        """`_distances`: D of the six rows, see `stop_law.stop_distance`.

        The sign of W is known: candidates below the stop law's have W < 0, those above W > 0; where the stop law's own is at a bound, the
        rows beyond it coincide with it and carry no weight. (np.maximum takes `out` by name only; positional is a slow deprecation.)
        """
        x, y, m, t, u, out = self._b
        sign, zero, half, one = self._sign, self._zero6, self._half6, self._one6
        # For the stop law's own it is that of a' - f, and where a' = f at the acceleration limit, that of v.
        np.multiply(self._v, self._little, self._t1)
        np.add(self._t1, self._rows_a[2], self._t1)
        np.subtract(self._t1, self._f_rows[1], self._t1)
        np.copysign(self._one, self._t1, self._row_sign[2])
        np.copysign(self._one, self._rows_v[5], self._row_sign[5])
        np.multiply(self._va, sign, x)
        np.multiply(self._aa, sign, y)
        # m = ceil(a - 1 + sqrt(v + n (n - 1) / 2 + p (a - 1))), n = floor a, p = a - n
        np.floor(y, t)
        np.subtract(y, t, u)
        np.subtract(y, one, m)
        np.multiply(u, m, u)
        np.add(u, x, u)
        np.subtract(t, one, out)
        np.multiply(out, t, out)
        np.multiply(out, half, out)
        np.add(u, out, u)
        np.maximum(u, zero, out=u)
        np.sqrt(u, u)
        np.add(m, u, m)
        np.ceil(m, m)
        np.add(t, self._accel6, t)  # floor(a + A)
        np.minimum(m, t, out=m)
        np.maximum(m, zero, out=m)
        # m (v + t (a - (2 t + 1) / 3)) with t = (m + 1) / 2; a - (2 t + 1) / 3 = (a - t) + (m - 1) / 6
        np.add(m, one, t)
        np.multiply(t, half, t)
        np.subtract(y, t, u)
        np.subtract(m, one, out)
        np.multiply(out, self._sixth6, out)
        np.add(out, u, out)
        np.multiply(out, t, out)
        np.add(out, x, out)
        np.multiply(out, m, out)
        np.multiply(u, m, u)
        np.add(x, u, x)  # velocity on the polyline
        np.maximum(x, zero, out=x)
        tables = self._tables
        self._line(x, self._i6, tables.e_intercept, tables.e_slope, tables.offset is None, t, u)
        np.add(out, t, out)
        np.multiply(out, sign, out)

    def _track(self) -> None:
        """a' whose stop position is the target's, by inverse interpolation over the candidates.

        The stop position is convex in a' above the stop law's candidate and concave below it, so interpolation errs towards the robot:
        never past the aim.
        """
        g, dg, w, low = self._g, self._dg, self._w, self._rows_a[0]
        np.add(self._low2, self._high2, self._middle2)
        np.multiply(self._middle2, self._half2, self._middle2)
        self._v5[:] = self._v
        np.add(self._aa5, self._v5, self._va5)
        self._distance()
        np.multiply(self._distance_target, self._unit, self._aim)
        np.add(self._aim, self._target, self._aim)
        np.maximum(self._aim, self._inner_lower, out=self._aim)
        np.minimum(self._aim, self._inner_upper, out=self._aim)
        np.subtract(self._aim, self._q, self._t1)
        np.multiply(self._t1, self._per_unit, self._t1)
        np.add(self._distances5, self._va5, g)
        self._t5[:] = self._t1
        np.subtract(g, self._t5, g)
        np.subtract(self._g_up, self._g_down, dg)
        np.maximum(dg, self._tiny4, out=dg)
        np.divide(self._g_down, dg, w)
        np.minimum(w, self._zero4, out=w)
        np.maximum(w, self._minus4, out=w)
        np.subtract(self._aa_up, self._aa_down, dg)
        np.multiply(w, dg, w)
        np.add.reduce(w, 0, None, self._next)
        np.subtract(low, self._next, self._next)
        np.add(self._v, self._next, self._next_v)
        self._turn()

    def _turn(self) -> None:
        """Where the chosen a' would pass a position limit before it turns back, take the stop law's.

        On its way back (W < 0 with a' < 0) a joint still moves up by the table's turning distance at most; likewise downwards. While it
        still moves on (W > 0), that distance is smaller than the way to its stop position, which is within the limits anyway.
        """
        x, y = self._t1, self._t2
        tables = self._tables
        np.abs(self._next, x)
        self._line(x, self._i1, tables.turn_intercept, tables.turn_slope, True, y, self._t3)
        np.negative(self._next, x)
        np.copysign(y, x, y)
        np.add(y, self._next_v, y)
        np.multiply(y, self._unit, y)
        np.add(y, self._q, y)
        np.less_equal(y, self.upper, self._b1)
        np.greater_equal(y, self.lower, self._b2)
        np.logical_and(self._b1, self._b2, self._b1)
        if np.count_nonzero(self._b1) < len(y):
            np.logical_not(self._b1, self._b1)
            np.copyto(self._next, self._aa[2], where=self._b1)
            np.add(self._v, self._next, self._next_v)
