# SPDX-License-Identifier: Apache-2.0
"""The command filter beside ruckig and exponential smoothing: cost, lag, overshoot and peak jerk.

Prints a table; the last line is one JSON object. `--quick` takes a few seconds. ruckig is optional (left out where it
is not installed).
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from rove_contract import timing
from rove_description import joints, mjcf
from rove_teleop.command_filter.filter import CommandFilter
from rove_teleop.command_filter.guard import Guard
from rove_teleop.command_filter.stop_law import stop_distance_of

TABLE = joints.load()
LIMITS = TABLE.limits
PERIOD = timing.CONTROL_PERIOD_S
J = len(TABLE)
MIDDLE = (LIMITS.lower + LIMITS.upper) / 2


class Ours:
    name = "command filter"

    def __init__(self, feed_forward=False):
        self.limiter = CommandFilter(LIMITS, PERIOD)
        self.feed_forward = feed_forward
        self.name += " + velocity" if feed_forward else ""

    def reset(self, q):
        self.limiter.reset(q)

    def step(self, target, velocity):
        return self.limiter.step(target, velocity if self.feed_forward else None)


class Guarded(Ours):
    """With the collision guard."""

    name = "command filter + guard"

    def __init__(self):
        super().__init__()
        self.guard = Guard(TABLE, PERIOD)

    def reset(self, q):
        super().reset(q)
        self.guard.reset(q)

    def step(self, target, velocity):
        return self.guard.step(self.limiter, target, velocity if self.feed_forward else None)


class Ruckig:
    """Community ruckig, every joint on its own, a new target each period."""

    name = "ruckig"

    def __init__(self, feed_forward=False):
        import ruckig

        self.ruckig = ruckig
        self.feed_forward = feed_forward
        self.name += " + velocity" if feed_forward else ""
        self.otg = ruckig.Ruckig(J, PERIOD)
        self.input, self.output = ruckig.InputParameter(J), ruckig.OutputParameter(J)
        self.input.synchronization = getattr(
            ruckig.Synchronization, "None" if hasattr(ruckig.Synchronization, "None") else "No"
        )
        self.input.max_velocity = LIMITS.velocity.tolist()
        self.input.max_acceleration = LIMITS.acceleration.tolist()
        self.input.max_jerk = LIMITS.jerk.tolist()

    def reset(self, q):
        self.input.current_position = q.tolist()
        self.input.current_velocity = self.input.current_acceleration = [0.0] * J
        self.q = q

    def step(self, target, velocity):
        self.input.target_position = target.tolist()
        if self.feed_forward:
            self.input.target_velocity = np.clip(velocity, -0.99 * LIMITS.velocity, 0.99 * LIMITS.velocity).tolist()
        if self.otg.update(self.input, self.output) >= 0:
            self.output.pass_to_input(self.input)
            self.q = np.array(self.output.new_position)
        return self.q


class Exponential:
    """q += share (target - q), time constant 0.1 s: the usual smoothing."""

    name = "exponential 0.1 s"

    def __init__(self):
        self.share = 1.0 - np.exp(-PERIOD / 0.1)

    def reset(self, q):
        self.q = q.copy()

    def step(self, target, velocity):
        self.q = self.q + self.share * (target - self.q)
        return self.q


def follow(method, start, targets, velocities):
    """(N, J) commands and the median and 99th percentile of a step's time, us."""
    method.reset(start)
    path, cost = np.empty_like(targets), np.empty(len(targets))
    for k, (target, velocity) in enumerate(zip(targets, velocities)):
        begin = time.perf_counter()
        path[k] = method.step(target, velocity)
        cost[k] = time.perf_counter() - begin
    return path, np.percentile(cost, [50, 99]) * 1e6


def over_limit(path, start):
    """Largest velocity, acceleration and jerk of the commands, as shares of the limits."""
    q = np.vstack([start, start, start, path])
    limits = (LIMITS.velocity, LIMITS.acceleration, LIMITS.jerk)
    return [float((np.abs(np.diff(q, n=n, axis=0)) / PERIOD**n / limit).max()) for n, limit in enumerate(limits, 1)]


def sine(seconds):
    omega = np.pi  # 0.5 Hz
    amplitude = np.minimum(
        0.45 * (LIMITS.upper - LIMITS.lower), 0.5 * np.minimum(LIMITS.velocity / omega, LIMITS.acceleration / omega**2)
    )
    t = np.arange(round(seconds / PERIOD)) * PERIOD
    return t, MIDDLE + amplitude * np.sin(omega * t)[:, None], omega * amplitude * np.cos(omega * t)[:, None]


def lag_ms(path, t):
    """Largest phase lag of a joint behind the sine over its last whole periods, ms."""
    tail = slice(len(t) - 200 * ((len(t) - 200) // 200), None)
    y, s, c = path[tail] - MIDDLE, np.sin(np.pi * t[tail]), np.cos(np.pi * t[tail])
    return float((np.arctan2(-(y.T @ c), y.T @ s) / np.pi).max() * 1e3)


LARGEST = LIMITS.acceleration / (LIMITS.jerk * PERIOD)  # acceleration limit in units of jerk * period


def stop_is_between(now, stop, target):
    """(J,) bool: the joint could stop before the new target, so nothing forces it past that."""
    return (stop - now) * (target - stop) >= 0.0


def measure(method, rng, trials, seconds):
    t, targets, velocities = sine(seconds)
    path, cost = follow(method, MIDDLE, targets, velocities)
    row = {"us_per_step": float(cost[0]), "us_p99": float(cost[1]), "lag_ms": lag_ms(path, t)}
    jump = turn = outside = 0.0
    ratios = [[0.0, 0.0, 0.0]]
    still = np.zeros((300, J))
    for _ in range(trials):
        start, first, second = (rng.uniform(LIMITS.lower, LIMITS.upper) for _ in range(3))
        path, _ = follow(method, start, np.tile(first, (300, 1)), still)
        jump = max(jump, ((path - first) * np.sign(first - start)).max())
        # The target moves into the limit at 80 % speed and ends there.
        ahead = start + np.arange(1, 301)[:, None] * PERIOD * 0.8 * LIMITS.velocity
        moving = np.where(ahead < LIMITS.upper, 0.8 * LIMITS.velocity, 0.0)
        path, _ = follow(method, start, np.minimum(ahead, LIMITS.upper), moving)
        outside = max(outside, (path - LIMITS.upper).max())
        ratios.append(over_limit(path, start))
        # The target turns back in mid-motion. Counted are joints that could still stop before the new target.
        changing = np.vstack([np.tile(first, (25, 1)), np.tile(second, (275, 1))])
        path, _ = follow(method, start, changing, still)
        v, a = np.diff(path[22:25], axis=0)[-1], np.diff(path[22:25], n=2, axis=0)[0]
        unit = LIMITS.jerk * PERIOD**3
        stop = path[24] + unit * stop_distance_of(v / unit, np.clip(a / unit, -LARGEST, LARGEST), LARGEST)
        beyond = (path[25:] - second) * np.sign(stop - path[24])
        turn = max(turn, beyond[:, stop_is_between(path[24], stop, second)].max(initial=0.0))
        ratios.append(over_limit(path, start))
    worst = np.max(ratios, axis=0)
    row.update(
        overshoot_rad=max(0.0, jump), turn_overshoot_rad=max(0.0, turn), past_position_limit_rad=max(0.0, outside)
    )
    row.update(velocity_over_limit=worst[0], acceleration_over_limit=worst[1], jerk_over_limit=worst[2])
    return {key: round(float(value), 6) for key, value in row.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer trials")
    quick = parser.parse_args().quick
    methods = [Ours(), Ours(True)]
    try:
        methods += [Ruckig(), Ruckig(True)]
    except ImportError:
        print("ruckig is not installed (pip install ruckig): left out")
    methods.append(Exponential())
    rows = {m.name: measure(m, np.random.default_rng(0), 5 if quick else 40, 6.0 if quick else 20.0) for m in methods}
    # With the guard, in free space (targets around the start pose, where it must not change the path) and while it
    # scales: the forearm into the torso, over and over.
    guarded = Guarded()
    home = mjcf.home(TABLE)
    t, targets, velocities = sine(6.0)
    _, free = follow(guarded, home, np.clip(home + 0.2 * (targets - MIDDLE), LIMITS.lower, LIMITS.upper), velocities)
    into_torso = home.copy()
    for name, value in {"right_elbow": -2.2, "right_shoulder_yaw": 1.4, "right_shoulder_pitch": 0.0}.items():
        into_torso[TABLE.index[name]] = value
    scaling = []
    for _ in range(3 if quick else 20):
        guarded.reset(home)
        for _ in range(100):
            begin = time.perf_counter()
            guarded.step(into_torso, None)
            if guarded.guard.active:
                scaling.append(time.perf_counter() - begin)
    scaling = np.percentile(scaling, [50, 99]) * 1e6
    columns = list(next(iter(rows.values())))
    print(f"{'':26}" + "".join(f"{c:>24}" for c in columns))
    for name, row in rows.items():
        print(f"{name:26}" + "".join(f"{row[c]:24.4g}" for c in columns))
    print(f"{guarded.name:26}{free[0]:24.4g}{free[1]:24.4g}")
    print(f"{'  while it scales a step':26}{scaling[0]:24.4g}{scaling[1]:24.4g}")
    result = {"bench": "command_filter", "joints": J, "period_s": PERIOD, "methods": rows}
    pairs = len(guarded.guard.clearance.pairs)
    result["guard"] = {"us_per_step": round(float(free[0]), 1), "us_p99": round(float(free[1]), 1), "pairs": pairs}
    result["guard"].update(scaling_us_per_step=round(float(scaling[0]), 1), scaling_us_p99=round(float(scaling[1]), 1))
    result["targets"] = {"us_per_step": 30, "us_per_step_with_guard": 500, "lag_ms": 30, "overshoot_rad": 1e-3}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
