# SPDX-License-Identifier: Apache-2.0
"""One episode in-process: a 20 Hz source of joint targets, limited like the command filter would, drives the 100 Hz
environment.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rove_contract import timing

STEPS_PER_TARGET = round(timing.CONTROL_HZ / timing.POLICY_HZ)


class VelocityClip:
    """Stand-in for the command filter: linear interpolation to each target, velocity and range limited."""

    def __init__(self, limits, period_s: float = timing.CONTROL_PERIOD_S):
        self.limits, self.period = limits, period_s

    def reset(self, q: np.ndarray) -> None:
        self.q = q.copy()

    def step(self, target: np.ndarray) -> np.ndarray:
        step = self.limits.velocity * self.period
        self.q = np.clip(self.q + np.clip(target - self.q, -step, step), self.limits.lower, self.limits.upper)
        return self.q


def run(
    env, target: Callable[[np.ndarray, dict], np.ndarray], seconds: float, command_filter=None, on_tick=None
) -> bool:
    """Run until success or `seconds` of robot time. target: (q (50,), state) -> (50,) at 20 Hz. Returns success.

    command_filter: `.reset(q)`, `.step(target) -> (50,)` at 100 Hz. on_tick: called before each target with (q, target,
    state).
    """
    limiter = command_filter or VelocityClip(env.table.limits)
    limiter.reset(np.array(env.data.ctrl))
    previous = np.array(env.data.ctrl)
    end = env.time + seconds
    while env.time < end and not env.success:
        state = env.state()
        q = env.q.copy()
        goal = target(q, state)
        if on_tick is not None:
            on_tick(q, goal, state)
        for i in range(STEPS_PER_TARGET):
            env.step(limiter.step(previous + (goal - previous) * (i + 1) / STEPS_PER_TARGET))
        previous = goal
    return env.success
