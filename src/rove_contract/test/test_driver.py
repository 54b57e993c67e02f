# SPDX-License-Identifier: Apache-2.0
"""What a driver checks before a command reaches the drives of a real robot."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import JointState

from rove_contract import driver, messages, timing
from rove_contract.thresholds import SEATED_RAD
from rove_description import joints

TABLE = joints.load()
LIMITS = TABLE.limits
HOME = (LIMITS.lower + LIMITS.upper) / 2
PERIOD = timing.CONTROL_PERIOD_S


class Robot:
    """A driver and a robot that is where it is told to be, in control periods."""

    def __init__(self, q=HOME):
        self.driver = driver.Driver(TABLE)
        self.q, self.k, self.follows = q.copy(), 0, True
        self.driver.measure(self.q)

    def command(self, q, names=TABLE.names, stamp=None):
        msg = JointState(name=list(names), position=list(q))
        messages.set_stamp(msg.header.stamp, self.k + 1 if stamp is None else stamp)
        self.driver.command(msg, self.k * PERIOD)

    def period(self, q=None):
        self.k += 1
        if q is not None:
            self.command(q)
        setpoint = self.driver.setpoint(self.k * PERIOD)
        if setpoint is not None and self.follows:
            self.q = setpoint.copy()
        self.driver.measure(self.q)
        return setpoint


def test_nothing_is_sent_before_a_state_and_a_command_near_it():
    silent = driver.Driver(TABLE)
    assert (silent.setpoint(0.0), silent.reason) == (None, driver.NO_STATE)
    robot = Robot()
    assert (robot.period(), robot.driver.reason) == (None, driver.NO_COMMAND)
    assert robot.period(HOME + SEATED_RAD + 0.01) is None
    assert "is commanded 0.26 rad away from where it is" in robot.driver.reason
    np.testing.assert_allclose(robot.period(HOME), HOME)
    assert robot.driver.reason == driver.FOLLOWING


def test_the_way_to_the_first_command_is_slow_and_what_follows_is_exact():
    robot = Robot()
    goal = HOME + 0.2
    rows = np.array([robot.period(goal) for _ in range(150)])
    assert np.abs(np.diff(rows, axis=0)).max() <= driver.RAMP_RAD_S * PERIOD * (1 + 1e-9)
    np.testing.assert_allclose(rows[-1], goal)
    np.testing.assert_allclose(robot.period(goal + 0.001), goal + 0.001)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda q: q[:-1], "50 joint names, but 49 values"),
        (lambda q: np.where(np.arange(50) == 3, np.nan, q), "lacks 1 joints or is not finite"),
        (lambda q: np.where(np.arange(50) == 3, LIMITS.upper + 0.01, q), "its limits are"),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused_by_name_and_the_robot_stops(change, words):
    robot = Robot()
    robot.period(HOME)
    for _ in range(10):
        robot.period(change(HOME))
    assert robot.driver.refused == 10
    assert words in robot.driver.reason
    np.testing.assert_allclose(robot.q, HOME)


def test_joints_are_read_by_name():
    robot = Robot()
    robot.period(HOME)
    goal = HOME + np.linspace(-0.01, 0.01, 50)
    robot.command(goal[::-1], TABLE.names[::-1], stamp=3)
    np.testing.assert_allclose(robot.period(), goal)


def test_commands_that_cease_or_repeat_themselves_end_in_a_stop_and_are_named():
    robot = Robot()
    speed = 0.5 * LIMITS.velocity
    for k in range(10):
        robot.period(HOME + speed * k * PERIOD)
    rows = []
    for _ in range(80):
        robot.command(robot.q + 0.01, stamp=11)  # the stamp of the last one
        rows.append(robot.period().copy())
    v = np.diff(rows, axis=0) / PERIOD
    assert np.all(np.abs(np.diff(v[6:], axis=0)) <= LIMITS.acceleration * PERIOD * (1 + 1e-9))
    np.testing.assert_array_equal(v[-1], 0.0)
    assert robot.driver.reason == driver.CEASED
    goal = (HOME + robot.q) / 2
    after = np.array([robot.period(goal) for _ in range(100)])  # they come back, from elsewhere
    assert np.abs(np.diff(after, axis=0)).max() <= driver.RAMP_RAD_S * PERIOD * (1 + 1e-9)
    np.testing.assert_allclose(after[-1], goal)


def test_a_robot_that_does_not_follow_is_let_go_and_comes_back_from_where_it_stands():
    robot = Robot()
    robot.period(HOME)
    robot.follows = False
    for k in range(200):
        robot.period(HOME + 0.01 * k * (np.arange(50) == 20))
    assert robot.driver.reason.startswith(f"the robot does not follow: {TABLE.names[20]} is 0.5")
    np.testing.assert_allclose(robot.driver.setpoint(robot.k * PERIOD), HOME)
    robot.q = HOME + 0.4 * (np.arange(50) == 20)  # by hand
    robot.period()
    np.testing.assert_allclose(robot.period(), robot.q)
    robot.period(robot.q)
    assert robot.driver.reason == driver.FOLLOWING


@given(st.lists(st.sampled_from(["none", "home", "jump", "outside"]), min_size=5, max_size=80), st.integers(0, 49))
def test_no_commands_move_a_joint_faster_or_farther_than_its_limits(commands, joint):
    robot = Robot()
    rows = []
    for what in np.repeat(commands, 4):
        q = HOME.copy()
        q[joint] = {"jump": LIMITS.upper[joint], "outside": LIMITS.upper[joint] + 1.0}.get(str(what), HOME[joint])
        setpoint = robot.period(None if what == "none" else q)
        rows += [] if setpoint is None else [setpoint.copy()]
    if rows:
        assert np.all((rows >= LIMITS.lower - 1e-9) & (rows <= LIMITS.upper + 1e-9))
        assert np.all(np.abs(np.diff(rows, axis=0)) <= LIMITS.velocity * PERIOD * (1 + 1e-9))
