# SPDX-License-Identifier: Apache-2.0
"""No jolt at any switch: policy, pause, operator, e-stop, disagreeing chunks and lost inputs in any order, limits hold
at every sample.
"""

import os

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rove_contract.modes import SOURCE_OF, TRANSITIONS, Mode, Trigger
from rove_description import joints
from rove_teleop.command_filter.command_source import CommandSource
from rove_teleop.command_filter.filter import CommandFilter

LIMITS = joints.load().limits
PERIOD = 0.01
SAFETY = settings(
    max_examples=int(os.environ.get("ROVE_SAFETY_EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TIMES = np.arange(50) / 20.0
# Allowed triggers by mode; an emergency stop, allowed everywhere, would otherwise end most sequences early.
TRIGGERS = {mode: [t for (m, t) in TRANSITIONS if m is mode and t is not Trigger.ESTOP] for mode in Mode}
LATE = np.array([1.0, 1.0, 1.0, 0.6, 2.5])  # periods of a loop that is not always on time


class Run:
    """One robot at 100 Hz: the source of targets and the filter, with inputs that jump, disagree, stutter and
    vanish.
    """

    def __init__(self, rng):
        self.rng, self.now, self.mode = rng, 1000.0, Mode.IDLE
        self.source, self.limiter = CommandSource(LIMITS), CommandFilter(LIMITS, PERIOD)
        self.path = [self.limiter.reset(rng.uniform(LIMITS.lower, LIMITS.upper))]
        self.operator = self.pose()
        self.modes = []

    def pose(self):
        return self.rng.uniform(LIMITS.lower, LIMITS.upper)

    def chunk(self):
        """From anywhere, along anything: consecutive chunks of a policy need not agree."""
        steps = self.rng.choice([0.0, 0.02, 0.3]) * self.rng.normal(size=(50, len(LIMITS)))
        positions = np.clip(self.pose() + np.cumsum(steps, axis=0), LIMITS.lower - 0.3, LIMITS.upper + 0.3)
        self.source.on_chunk(positions, TIMES[: len(positions)], self.rng.uniform(0.0, 0.3), self.now)

    def period(self, silent):
        self.now += PERIOD * LATE[int(5 * self.rng.random())]
        if "supervisor" not in silent:
            self.source.on_mode(self.mode, self.now)
        if "robot" not in silent:
            self.source.on_state(self.now)
        if "teleop" not in silent and self.rng.random() < 0.6:
            jump = self.rng.random() < 0.02
            self.operator = self.pose() if jump else self.operator + self.rng.normal(0, 0.01, len(LIMITS))
            self.source.on_operator(np.clip(self.operator, LIMITS.lower, LIMITS.upper), self.now)
        if "policy" not in silent and self.rng.random() < 0.03:
            self.chunk()
        self.path.append(self.limiter.step(*self.source.target(self.now)))
        self.modes.append(self.mode)


def assert_bumpless(path):
    q = np.vstack([path[0], path[0], path[0], *path[1:]])
    assert np.all((q >= LIMITS.lower) & (q <= LIMITS.upper))
    for order, limit in ((1, LIMITS.velocity), (2, LIMITS.acceleration), (3, LIMITS.jerk)):
        assert np.all(np.abs(np.diff(q, n=order, axis=0)) / PERIOD**order <= limit * (1.0 + 1e-9))


@SAFETY
@given(st.integers(0, 2**32 - 1))
def test_limits_hold_across_every_switch_of_mode_chunk_and_input(seed):
    rng = np.random.default_rng(seed)
    run = Run(rng)
    for _ in range(12):
        choices = TRIGGERS[run.mode]
        trigger = Trigger.ESTOP if rng.random() < 0.05 or not choices else choices[rng.integers(len(choices))]
        run.mode = TRANSITIONS[run.mode, trigger]
        silent = set(rng.choice(["supervisor", "robot", "teleop", "policy"], rng.integers(0, 3)))
        for _ in range(int(rng.integers(1, 40))):
            run.period(silent)
    assert_bumpless(run.path)


@SAFETY
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(SOURCE_OF)))
def test_an_emergency_stop_acts_in_the_first_period_and_reset_moves_nothing(seed, mode):
    rng = np.random.default_rng(seed)
    run = Run(rng)
    run.mode = mode
    for _ in range(int(rng.integers(5, 80))):
        run.period(set())
    announced = run.limiter.stop_path(120)
    run.mode = Mode.ESTOP
    for _ in range(120):
        run.period(set())
    np.testing.assert_allclose(run.path[-120:], announced, rtol=0, atol=1e-12)
    assert run.limiter.at_rest
    run.mode = TRANSITIONS[Mode.ESTOP, Trigger.RESET]
    for _ in range(30):
        run.period(set())
    np.testing.assert_allclose(run.path[-1], announced[-1], rtol=0, atol=1e-12)
    run.mode = mode
    for _ in range(30):
        run.period(set())
    assert_bumpless(run.path)
