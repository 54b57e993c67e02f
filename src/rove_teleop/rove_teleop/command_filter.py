"""The command filter: any stream of joint targets in, a jerk-limited joint command out. No ROS, no allocation in the hot path.

Limits are meant sample by sample. With period h and the output q_k,

    v_k = (q_k - q_{k-1}) / h,   a_k = (v_k - v_{k-1}) / h,   j_k = (a_k - a_{k-1}) / h

all of |v|, |a|, |j| and q stay within the limits at every k, whatever the targets do. The method is ours:

1. *Stop law.* Measure time in periods and distance in units of jerk * h^3, so that |j| <= 1 and a step is a' = a + j, v' = v + a',
   q' = q + v'. Braking to rest backwards in time from rest runs through the points v = T_i = i (i + 1) / 2, next a = -i. The
   polyline through them is f(v), and a' = clip(f(v), a - 1, a + 1) is the time-optimal stop, exact in discrete time: a mixture of two
   neighbouring plans is again a plan, so a state between two points stays between their successors.
2. *Stop position.* p(x) = q + D(v, a), where the stop law would bring x to rest, in closed form (`stop_distance`). It rises with a',
   and it does not change while the stop law is followed.
3. *Tracking.* Choose a' so that p(x') is where the target itself would stop, clipped to the position limits. For a constant
   target this is the time-optimal approach without overshoot; for a moving one the robot moves with it, with its velocity.
4. *Velocity.* f(v -+ V) bounds a' so that |v| <= V also after a has been brought back to 0.

Every choice leaves the stop law's own next step admissible; so by induction the robot can always stop within its limits, and that
stop is what happens when there is no valid target.
"""

from __future__ import annotations

import numpy as np

from rove_contract.joints import Limits

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


def braking(v: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """f(v): the next acceleration on the time-optimal way to v = 0, in [-limit, limit]; dimensionless, any shape."""
    x = np.abs(v)
    i = np.floor((np.sqrt(8.0 * x + 1.0) - 1.0) * 0.5)
    y = np.minimum(i + (x - 0.5 * i * (i + 1.0)) / (i + 1.0), limit)
    return -np.copysign(y, v)


def stop_distance(v: np.ndarray, a: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """D(v, a): signed distance until the stop law is at rest; dimensionless (periods, jerk = 1), |a| <= limit, any shape.

    With the velocity W at which a ramp to a = 0 ends, D is odd under (v, a) -> (-v, -a), and convex for W > 0:
    m steps of jerk -1, k steps at a = -limit, then the braking polyline, whose own distance from T_i is (i - 1) i (i + 1) / 6.
    """
    return StopDistance(np.broadcast_shapes(np.shape(v), np.shape(a)), np.asarray(limit))(v, a).copy()


class StopDistance:
    """`stop_distance` with its buffers allocated once. shape: of v and a. limit: acceleration limit, broadcast to shape."""

    def __init__(self, shape, limit: np.ndarray):
        self.limit = np.broadcast_to(np.asarray(limit, dtype=np.float64), shape).copy()
        whole = np.floor(self.limit)
        self.inverse = 1.0 / self.limit
        # Velocity from which f saturates at the acceleration limit.
        self.saturated = whole * (whole + 1.0) / 2.0 + (self.limit - whole) * (whole + 1.0)
        self.saturated_inverse = self.saturated * self.inverse
        self._b = [np.empty(shape) for _ in range(7)]

    def __call__(self, v: np.ndarray, a: np.ndarray) -> np.ndarray:
        """v, a: (shape) dimensionless. Returns a buffer that the next call overwrites."""
        sign, x, y, m, t, u, out = self._b
        # W = v + ramp(a), ramp(a) = n (|a| - (n + 1) / 2), n = floor |a|
        np.abs(a, out=x)
        np.floor(x, out=t)
        np.subtract(x, 0.5, out=x)
        np.multiply(t, 0.5, out=u)
        np.subtract(x, u, out=x)
        np.multiply(x, t, out=x)
        np.copysign(x, a, out=x)
        np.add(x, v, out=x)
        np.copysign(1.0, x, out=sign)
        np.multiply(v, sign, out=x)  # mirrored so that W >= 0
        np.multiply(a, sign, out=y)
        # m = ceil(a - 1 + sqrt(v + (a (a - 1) - p (1 - p)) / 2)), p = a - floor a: steps of jerk -1 until the polyline is reached.
        # With n = floor a: (a (a - 1) - p (1 - p)) / 2 = n (n - 1) / 2 + p (n + p - 1), and p (n + p - 1) = p (a - 1).
        np.floor(y, out=t)
        np.subtract(y, t, out=u)  # p
        np.subtract(y, 1.0, out=m)  # a - 1
        np.multiply(u, m, out=u)
        np.add(u, x, out=u)
        np.subtract(t, 1.0, out=out)
        np.multiply(out, t, out=out)
        np.multiply(out, 0.5, out=out)
        np.add(u, out, out=u)
        np.maximum(u, 0.0, out=u)
        np.sqrt(u, out=u)
        np.add(m, u, out=m)
        np.ceil(m, out=m)
        np.add(y, self.limit, out=u)
        np.floor(u, out=u)
        np.minimum(m, u, out=m)
        np.maximum(m, 0.0, out=m)
        # Distance of these m steps, m v + m (m + 1) / 2 (a - (m + 2) / 3), and the velocity after them, v + m (a - (m + 1) / 2).
        np.add(m, 1.0, out=t)
        np.multiply(t, 0.5, out=t)
        np.subtract(y, t, out=u)
        np.multiply(u, m, out=u)  # change of velocity
        np.add(m, 2.0, out=out)
        np.multiply(out, -1.0 / 3.0, out=out)
        np.add(out, y, out=out)
        np.multiply(out, t, out=out)
        np.add(out, x, out=out)
        np.multiply(out, m, out=out)
        np.add(x, u, out=x)  # velocity on the polyline
        # k steps at the acceleration limit: k v - limit k (k + 1) / 2
        np.multiply(x, self.inverse, out=m)
        np.subtract(m, self.saturated_inverse, out=m)
        np.ceil(m, out=m)
        np.maximum(m, 0.0, out=m)
        np.multiply(m, self.limit, out=u)  # loss of velocity
        np.add(u, self.limit, out=t)
        np.multiply(t, -0.5, out=t)
        np.add(t, x, out=t)
        np.multiply(t, m, out=t)
        np.add(out, t, out=out)
        np.subtract(x, u, out=x)
        # Polyline: with i = floor((sqrt(8 v + 1) - 1) / 2), i (v / 2 - (i + 1) (i + 2) / 12)
        np.multiply(x, 8.0, out=t)
        np.add(t, 1.0, out=t)
        np.maximum(t, 1.0, out=t)
        np.sqrt(t, out=t)
        np.subtract(t, 1.0, out=t)
        np.multiply(t, 0.5, out=t)
        np.floor(t, out=t)
        np.add(t, 3.0, out=u)  # (i + 1) (i + 2) = i (i + 3) + 2
        np.multiply(u, t, out=u)
        np.add(u, 2.0, out=u)
        np.multiply(u, -1.0 / 6.0, out=u)
        np.add(u, x, out=u)
        np.multiply(u, t, out=u)
        np.multiply(u, 0.5, out=u)
        np.add(out, u, out=out)
        np.multiply(out, sign, out=out)
        return out


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
        self._unit = np.asarray(limits.jerk) * (1.0 - ROUNDING) * period_s**3  # rad per dimensionless distance
        self._accel = np.asarray(limits.acceleration) * (1.0 - ROUNDING) * period_s**2 / self._unit
        self._speed = np.asarray(limits.velocity) * (1.0 - ROUNDING) * period_s / self._unit
        self._inner_lower, self._inner_upper = self.lower + ROUNDING, self.upper - ROUNDING
        self._far_lower, self._far_upper = self.lower - OUT_OF_RANGE_RAD, self.upper + OUT_OF_RANGE_RAD
        self._speed_rad, self._accel_rad = self._speed * self._unit, self._accel * self._unit
        self._v_scale = period_s / self._unit
        self.dropped = dict.fromkeys((NON_FINITE, WRONG_LENGTH, OUT_OF_RANGE, MALFORMED), 0)
        self.last_dropped = ""  # reason of the newest refused sample; "" once a good one came

        self._q, self._v, self._a = np.zeros(count), np.zeros(count), np.zeros(count)
        self._next = np.zeros(count)
        # Rows 0..4: candidates for a' from lowest to highest, the stop law's in the middle; row 5: the target's own motion.
        self._va, self._aa = np.zeros((6, count)), np.zeros((6, count))
        self._distance = StopDistance((6, count), self._accel)
        self._p, self._g = np.zeros((6, count)), np.zeros((5, count))
        self._dg, self._da, self._w = np.zeros((4, count)), np.zeros((4, count)), np.zeros((4, count))
        self._f_in, self._f, self._fi, self._ft = (np.zeros((3, count)) for _ in range(4))
        self._accel3 = np.broadcast_to(self._accel, (3, count)).copy()
        self._v_offset = np.stack([self._speed, np.zeros(count), -self._speed])
        self._aim, self._target, self._previous = np.zeros(count), np.zeros(count), np.zeros(count)
        self._difference, self._target_v, self._t1, self._t2, self._t3 = (np.zeros(count) for _ in range(5))
        self._streak = np.zeros(count)
        self._b1, self._b2, self._b3 = (np.zeros(count, dtype=bool) for _ in range(3))
        self._moving = False  # whether there is an aim
        self._history = 0  # consecutive targets seen
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
        return self._moving

    def proposed_stop(self) -> tuple[np.ndarray, np.ndarray]:
        """Stop positions (J,) rad with the proposed step, and with the stop law's step instead (which leaves it where it is)."""
        p = self._p
        return np.clip(self._aim, self._q + p[0], self._q + p[4]), self._q + p[2]

    def commit(self, scale=None, out: np.ndarray | None = None) -> np.ndarray:
        """Second half of `step`: take the proposed step, and return the command (J,) rad.

        scale: (J,) in [0, 1], 1 = as proposed, 0 = the stop law's step; between them the stop position moves by about this share.
        Admissible accelerations are an interval that holds both, so every scale keeps the limits.
        """
        if scale is not None:
            self._next -= self._aa[2]
            self._next *= scale
            self._next += self._aa[2]
        self._a[:] = self._next
        self._v += self._a
        np.multiply(self._v, self._unit, out=self._t1)
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
        if not np.isfinite(target).all():
            return NON_FINITE
        np.less(target, self._far_lower, out=self._b1)
        np.greater(target, self._far_upper, out=self._b2)
        np.logical_or(self._b1, self._b2, out=self._b1)
        return OUT_OF_RANGE if self._b1.any() else ""

    def _forget(self) -> None:
        self._moving = False
        self._history = 0
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
        np.maximum(target, self._inner_lower, out=self._target)
        np.minimum(self._target, self._inner_upper, out=self._target)
        velocity = self._va[5]
        if given is not None:
            np.multiply(given, self._v_scale, out=velocity)
            np.minimum(velocity, self._speed, out=velocity)
            np.negative(self._speed, out=self._t1)
            np.maximum(velocity, self._t1, out=velocity)
        else:
            self._estimate(velocity)
        self._previous[:] = self._target
        self._history = min(self._history + 1, 3)
        self._moving = True

    def _estimate(self, velocity: np.ndarray) -> None:
        """Target velocity from its differences, 0 for joints whose target moves as no joint can (a jump is not a motion)."""
        if self._history == 0:
            velocity.fill(0.0)
            self._difference.fill(0.0)
            return
        d, change = self._t1, self._t2
        np.subtract(self._target, self._previous, out=d)
        np.subtract(d, self._difference, out=change)
        self._difference[:] = d
        np.abs(change, out=change)
        np.less_equal(change, self._accel_rad, out=self._b1)
        np.abs(d, out=change)
        np.less_equal(change, self._speed_rad, out=self._b2)
        np.logical_and(self._b1, self._b2, out=self._b1)
        self._streak += 1.0
        self._streak *= self._b1
        # v += share (d - v) where the motion is plausible, 0 elsewhere
        np.divide(d, self._unit, out=d)
        np.subtract(d, self._target_v, out=d)
        np.multiply(d, VELOCITY_SMOOTHING, out=d)
        self._target_v += d
        np.greater_equal(self._streak, MOVING_SAMPLES, out=self._b2)
        self._target_v *= self._b2
        velocity[:] = self._target_v

    def _bounds(self) -> None:
        """Rows 0, 2, 4 of the candidates: lowest, stop law's and highest admissible a'."""
        x, y, i, t = self._f_in, self._f, self._fi, self._ft
        np.add(self._v, self._v_offset, out=x)  # v + V, v, v - V
        np.abs(x, out=y)
        np.multiply(y, 8.0, out=i)
        np.add(i, 1.0, out=i)
        np.sqrt(i, out=i)
        np.subtract(i, 1.0, out=i)
        np.multiply(i, 0.5, out=i)
        np.floor(i, out=i)
        # i + (|v| - i (i + 1) / 2) / (i + 1) = i / 2 + |v| / (i + 1)
        np.add(i, 1.0, out=t)
        np.divide(y, t, out=y)
        np.multiply(i, 0.5, out=i)
        np.add(y, i, out=y)
        np.minimum(y, self._accel3, out=y)
        np.negative(x, out=x)
        np.copysign(y, x, out=y)
        low, stop, high = self._aa[0], self._aa[2], self._aa[4]
        np.subtract(self._a, 1.0, out=low)
        np.maximum(low, y[0], out=low)
        np.add(self._a, 1.0, out=high)
        np.minimum(high, y[2], out=high)
        np.maximum(y[1], low, out=stop)
        np.minimum(stop, high, out=stop)

    def _track(self) -> None:
        """a' whose stop position is the target's, by inverse interpolation over the candidates.

        The stop position is convex in a' above the stop law's candidate and concave below it, so interpolation errs towards the robot:
        never past the aim.
        """
        va, aa, p, g = self._va, self._aa, self._p, self._g
        np.add(aa[0:3:2], aa[2:5:2], out=aa[1:4:2])
        np.multiply(aa[1:4:2], 0.5, out=aa[1:4:2])
        np.add(aa[:5], self._v, out=va[:5])
        np.add(self._distance(va, aa), va, out=p)
        np.subtract(p[5], va[5], out=self._aim)  # row 5 is a state, not a step
        np.multiply(p, self._unit, out=p)
        np.multiply(self._aim, self._unit, out=self._aim)
        self._aim += self._target
        np.maximum(self._aim, self._inner_lower, out=self._aim)
        np.minimum(self._aim, self._inner_upper, out=self._aim)
        np.subtract(self._q, self._aim, out=self._t1)
        np.add(p[:5], self._t1, out=g)
        np.subtract(g[1:], g[:4], out=self._dg)
        np.subtract(aa[1:5], aa[:4], out=self._da)
        np.maximum(self._dg, 1e-30, out=self._dg)
        np.divide(g[:4], self._dg, out=self._w)
        np.negative(self._w, out=self._w)
        np.maximum(self._w, 0.0, out=self._w)
        np.minimum(self._w, 1.0, out=self._w)
        np.multiply(self._w, self._da, out=self._w)
        np.add.reduce(self._w, axis=0, out=self._next)
        self._next += aa[0]
        self._turn()

    def _turn(self) -> None:
        """Where the chosen a' would pass a position limit before it turns back, take the stop law's.

        Below the stop law's a' with a' < 0 the robot will still move up by at most n (n - 1) / 2 (|a'| - n + (n - 2) / 3),
        n = floor |a'|, before it turns; likewise downwards.
        """
        x, n, t = self._t1, self._t2, self._t3
        np.abs(self._next, out=x)
        np.floor(x, out=n)
        np.subtract(x, n, out=x)
        np.subtract(n, 2.0, out=t)
        np.multiply(t, 1.0 / 3.0, out=t)
        np.add(x, t, out=x)
        np.multiply(x, n, out=x)
        np.subtract(n, 1.0, out=n)
        np.multiply(x, n, out=x)
        np.multiply(x, 0.5, out=x)
        np.negative(self._next, out=t)
        np.copysign(x, t, out=x)  # up if a' < 0
        np.add(x, self._v, out=x)
        np.add(x, self._next, out=x)
        np.multiply(x, self._unit, out=x)
        np.add(x, self._q, out=x)
        np.less(self._next, self._aa[2], out=self._b1)
        np.less(self._next, 0.0, out=self._b2)
        np.logical_and(self._b1, self._b2, out=self._b1)
        np.greater(x, self.upper, out=self._b2)
        np.logical_and(self._b1, self._b2, out=self._b3)
        np.greater(self._next, self._aa[2], out=self._b1)
        np.greater(self._next, 0.0, out=self._b2)
        np.logical_and(self._b1, self._b2, out=self._b1)
        np.less(x, self.lower, out=self._b2)
        np.logical_and(self._b1, self._b2, out=self._b1)
        np.logical_or(self._b1, self._b3, out=self._b1)
        np.copyto(self._next, self._aa[2], where=self._b1)
