# SPDX-License-Identifier: Apache-2.0
"""The command filter: any stream of joint targets in, a jerk-limited joint command out. No ROS, no allocation in the
hot path.

Limits are meant sample by sample. With period h and the output q_k,

    v_k = (q_k - q_{k-1}) / h,   a_k = (v_k - v_{k-1}) / h,   j_k = (a_k - a_{k-1}) / h

all of |v|, |a|, |j| and q stay within the limits at every k, whatever the targets do. The method is ours:

1. *Stop law* (`stop_law`): the time-optimal way to rest, exact in discrete time.
2. *Stop position.* p(x) = q + D(v, a), where the stop law would bring x to rest, in closed form. It rises with a', and
  it does not
   change while the stop law is followed.
3. *Tracking* (`tracking`). Choose a' so that p(x') is where the target itself would stop, clipped to the position
  limits. For a constant
   target this is the time-optimal approach without overshoot; for a moving one the robot moves with it, with its
     velocity.
4. *Velocity.* f(v -+ V) bounds a' so that |v| <= V also after a has been brought back to 0.

Every choice leaves the stop law's own next step admissible; so by induction the robot can always stop within its
limits, and that stop is what happens when there is no valid target.
"""

from __future__ import annotations

import numpy as np

from rove_description.joints import Limits
from rove_teleop.command_filter import tracking
from rove_teleop.command_filter.stop_law import braking_of, stop_distance_of

# Distances are accepted up to this far past a limit and clipped to it (retargeting undershoots by hundredths); farther
# is a fault.
OUT_OF_RANGE_RAD = 1.0
# Keeps finite differences of the rounded output (1e-9 of the smallest default jerk limit) inside the limits.
ROUNDING = 1e-9

NON_FINITE, WRONG_LENGTH, OUT_OF_RANGE, MALFORMED = "non-finite", "wrong length", "out of range", "not numbers"
BAD_VELOCITY = "velocity"  # only the velocity was refused
_REASONS = {tracking.GOOD: "", tracking.NOT_FINITE: NON_FINITE, tracking.OUT_OF_RANGE: OUT_OF_RANGE}


class BadSample(ValueError):
    """A joint target that must not be used; the message says why."""


class CommandFilter:
    """Jerk-limited tracking of joint targets, vectorised over the J joints.

    limits: rove_contract Limits, (J,) each. period_s: s between two `step`s. Call `reset` first.
    dropped: counts of refused samples by reason ("non-finite", "wrong length", "out of range", "not numbers"), and of
    target velocities that were refused while their target was good ("velocity").
    Raises ValueError for a period or limits that are not positive.
    """

    def __init__(self, limits: Limits, period_s: float):
        if not period_s > 0.0:
            raise ValueError(f"the period is {period_s!r} s, expected a positive number")
        for name in ("velocity", "acceleration", "jerk"):
            value = np.asarray(getattr(limits, name), dtype=float)
            if not np.all((value > 0.0) & np.isfinite(value)):
                raise ValueError(f"every {name} limit must be positive and finite, got {value}")
        self.period_s = float(period_s)
        count = len(limits)
        self._joints, self._states = np.zeros(count, tracking.JOINT), np.zeros(count, tracking.STATE)
        joints = self._joints
        joints["lower"], joints["upper"] = limits.lower, limits.upper
        # Whole jerk steps up to the acceleration limit, see `stop_law`; 1e-6: 5.0000001 is 5.
        joints["accel"] = np.maximum(
            np.ceil(np.asarray(limits.acceleration) / (np.asarray(limits.jerk) * period_s) - 1e-6), 1.0
        )
        by_acceleration = np.asarray(limits.acceleration) / joints["accel"] * period_s**2
        joints["unit"] = np.minimum(by_acceleration, np.asarray(limits.jerk) * period_s**3) * (1.0 - ROUNDING)
        joints["speed"] = np.asarray(limits.velocity) * (1.0 - ROUNDING) * period_s / joints["unit"]
        self.lower, self.upper = joints["lower"].copy(), joints["upper"].copy()
        self._q, self._v, self._a = (self._states[name] for name in "qva")  # views
        self._unit, self._accel = joints["unit"].copy(), joints["accel"].copy()
        self._no_velocity, self._out = np.zeros(count), np.zeros(count)
        self.dropped = dict.fromkeys((NON_FINITE, WRONG_LENGTH, OUT_OF_RANGE, MALFORMED, BAD_VELOCITY), 0)
        self.last_dropped = ""  # reason of the newest refused sample; "" once a good one came
        self._moving = False  # whether there is a target in force
        self._ready = False

    def __len__(self) -> int:
        return len(self._joints)

    def reset(self, q: np.ndarray) -> np.ndarray:
        """Start at rest at the measured pose q (J,) rad, clipped to the position limits; forgets the target. Returns
        the command (J,).

        Raises ValueError for a wrong length or a value that is not finite.
        """
        q = np.asarray(q, dtype=np.float64)
        if q.shape != (len(self),) or not np.all(np.isfinite(q)):
            raise ValueError(f"reset needs {len(self)} finite joint positions, got {q!r}")
        self._states[:] = 0
        self._q[:] = np.clip(q, self.lower, self.upper)
        self._moving = False
        self._ready = True
        return self.position

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
        return self._q + self._unit * stop_distance_of(self._v, self._a, self._accel)

    def stop_distance(self, velocity: np.ndarray, acceleration: np.ndarray) -> np.ndarray:
        """(J,) rad: how far joints with these velocities (J,) rad/s and accelerations (J,) rad/s^2 move until they
        rest.
        """
        v = velocity * (self.period_s / self._unit)
        a = np.clip(acceleration * (self.period_s**2 / self._unit), -self._accel, self._accel)
        return self._unit * stop_distance_of(v, a, self._accel)

    def stop_path(self, steps: int) -> np.ndarray:
        """(steps, J) rad: the commands that would follow if the target vanished now."""
        q, v, a = self._q.copy(), self._v.copy(), self._a.copy()
        path = np.empty((steps, len(self)))
        for row in path:
            a = np.clip(braking_of(v, self._accel), a - 1.0, a + 1.0)
            v += a
            q += v * self._unit
            row[:] = q
        return path

    def step(
        self, target: np.ndarray | None, target_velocity: np.ndarray | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """One period. target: (J,) rad, or None = no valid target: stop smoothly, then hold. Returns the command (J,)
        rad.

        target_velocity: (J,) rad/s, what the source knows of the target's motion; None = estimated from the targets. A
        bad sample (not finite, wrong length, more than 1 rad out of range) is dropped and counted; the last good one
        stays in force. Of a bad velocity only the velocity is dropped. out: buffer for the result; without it a new one
        is returned. Raises RuntimeError before the first `reset`.
        """
        self.propose(target, target_velocity)
        return self.commit(None, out)

    def propose(self, target: np.ndarray | None, target_velocity: np.ndarray | None = None) -> bool:
        """First half of `step`: choose the next acceleration. Returns whether a target is in force; then
        `proposed_stop` is defined.
        """
        if not self._ready:
            raise RuntimeError("the command filter does not know where the robot is; call reset(measured pose) first")
        if target is None:
            self._moving = False
        else:
            self._accept(target, target_velocity)
        tracking.propose(self._joints, self._states, self._moving)
        return self._moving

    def proposed_stop(self) -> tuple[np.ndarray, np.ndarray]:
        """Stop positions (J,) rad with the proposed step, and with the stop law's step instead (which leaves it where
        it is).
        """
        return self._states["stop"].copy(), self._states["rest"].copy()

    def commit(self, scale: np.ndarray | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """Second half of `step`: take the proposed step, and return the command (J,) rad.

        scale: (J,) in [0, 1], 1 = as proposed, 0 = the stop law's step; between them the stop position moves by about
        this share. Admissible accelerations are an interval that holds both, so every scale keeps the limits.
        """
        if scale is not None:
            tracking.scale_back(self._joints, self._states, scale)
        if out is None:
            out = np.empty(len(self))
        tracking.commit(self._joints, self._states, out)
        return out

    def check(self, target: np.ndarray) -> None:
        """Raise BadSample for a float64 array (J,) or (H, J) that `step` would drop, and count it. For sources that
        keep samples.
        """
        reason = next((r for r in map(self._fault, np.atleast_2d(target)) if r), "")
        if reason:
            self._drop(reason)
            expected = f"expected {len(self)} finite positions, at most {OUT_OF_RANGE_RAD:g} rad or m out of range"
            raise BadSample(f"a joint target is bad: {reason}; {expected}")

    def _fault(self, target: np.ndarray) -> str:
        if target.shape != self._q.shape:
            return WRONG_LENGTH
        return _REASONS[tracking.fault(self._joints, np.ascontiguousarray(target), OUT_OF_RANGE_RAD)]

    def _drop(self, reason: str) -> None:
        self.dropped[reason] += 1
        self.last_dropped = reason

    def _accept(self, target: np.ndarray, target_velocity: np.ndarray | None) -> None:
        """Validate a sample and keep it with the velocity of its motion; of a bad velocity the target is still good."""
        try:
            target = np.ascontiguousarray(target, dtype=np.float64)
        except (TypeError, ValueError):
            return self._drop(MALFORMED)
        reason = self._fault(target)
        if reason:
            return self._drop(reason)
        velocity = self._read_velocity(target_velocity)
        given = velocity is not None
        velocity = velocity if given else self._no_velocity
        self.last_dropped = ""
        tracking.accept(self._joints, self._states, target, velocity, self.period_s, given, self._moving)
        self._moving = True

    def _read_velocity(self, velocity: np.ndarray | None) -> np.ndarray | None:
        """(J,) rad/s; None where there is none, or a bad one, which is counted: then it is estimated."""
        if velocity is None:
            return None
        try:
            velocity = np.ascontiguousarray(velocity, dtype=np.float64)
        except (TypeError, ValueError):
            velocity = np.empty(0)
        if velocity.shape != self._q.shape or not np.isfinite(velocity).all():
            self.dropped[BAD_VELOCITY] += 1
            return None
        return velocity
