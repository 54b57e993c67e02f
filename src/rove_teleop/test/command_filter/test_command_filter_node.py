# SPDX-License-Identifier: Apache-2.0
"""The command_filter node as its own process: takeover, every named stop, emergency stop, and a second publisher, over
real ROS.
"""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import rclpy
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rove_contract import messages, ros, timing, topics
from rove_contract.modes import Mode, Trigger
from rove_description import joints, mjcf

pytestmark = pytest.mark.ros
TABLE = joints.load()
LIMITS = TABLE.limits
HOME = mjcf.home(TABLE)
ARM = TABLE.index["right_shoulder_pitch"]
PERIOD = timing.CONTROL_PERIOD_S


def command(*parameters):
    words = [word for p in parameters for word in ("-p", p)]
    return [sys.executable, "-m", "rove_teleop.command_filter_node", "--ros-args", "-p", "discovery:=0.3", *words]


class World:
    """Robot, supervisor, operator and policy around one command filter. The robot is where it is commanded to be."""

    def __init__(self):
        self.node = rclpy.create_node("world")
        self.state = ros.publisher(self.node, topics.JOINT_STATES)
        self.mode_pub = ros.publisher(self.node, topics.MODE)
        self.teleop = ros.publisher(self.node, topics.TELEOP_TARGETS)
        self.policy = ros.publisher(self.node, topics.ACTION_CHUNK)
        self.mode, self.changed_ns = Mode.IDLE, ros.now_ns()
        self.measured, self.operator = HOME.copy(), HOME.copy()
        self.silent: set[str] = {"teleop"}
        self.follows, self.goal = True, None
        self.supervisor = "/supervisor@here:1"
        self.stamp_ns = None  # a stamp that the robot repeats
        self.values: dict[str, str] = {}
        self.commands, self.speeds, self.seen, self.reasons = [], [], [], []
        self.reader, self.speed_reader = messages.JointReader(TABLE), messages.JointReader(TABLE)
        ros.subscription(self.node, topics.JOINT_COMMAND, self.on_command, depth=1000)
        ros.subscription(self.node, topics.DIAGNOSTICS, self.on_diagnostics, depth=100)
        self.node.create_timer(PERIOD, self.tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def on_command(self, msg):
        q = self.reader.position(msg)
        self.commands.append(q)
        self.speeds.append(self.speed_reader.velocity(msg))
        self.goal = q

    def on_diagnostics(self, msg):
        for status in msg.status:
            if status.name == "command_filter":
                values = messages.diagnostic_values(status)
                self.reasons.append(values["reason"])
                self.values = values

    def tick(self):
        now = ros.now_ns()
        if self.follows and self.goal is not None:  # at its own speed, also when commands come late and in a burst
            step = LIMITS.velocity * PERIOD
            self.measured = self.measured + np.clip(self.goal - self.measured, -step, step)
        if "robot" not in self.silent:
            stamp = now if self.stamp_ns is None else self.stamp_ns
            self.state.publish(messages.fill_joint_state(JointState(), TABLE, stamp, self.measured, np.zeros(50)))
        if "supervisor" not in self.silent:
            self.mode_pub.publish(ros.mode_event(Mode.IDLE, Trigger.PAUSE, self.mode, self.changed_ns, self.supervisor))
        if "teleop" not in self.silent:
            self.teleop.publish(messages.fill_joint_state(JointState(), TABLE, now, self.operator))

    def chunk(self, target, steps=50, age_s=0.0):
        rows = HOME + np.linspace(0, 1, steps)[:, None] * (target - HOME)
        msg = messages.fill_chunk(
            JointTrajectory(),
            JointTrajectoryPoint,
            TABLE,
            ros.now_ns() - round(age_s * 1e9),
            rows,
            1.0 / timing.POLICY_HZ,
        )
        self.policy.publish(msg)

    def until(self, condition, what, limit_s=20.0):
        end = time.monotonic() + limit_s  # a hang guard, not a timing claim
        while not condition():
            assert time.monotonic() < end, f"{what}: not within {limit_s} s; last reasons {self.reasons[-3:]}"
            rclpy.spin_once(self.node, timeout_sec=0.02)

    def until_reason(self, reason):
        self.until(lambda: self.reasons and self.reasons[-1].startswith(reason), reason)

    def until_rest(self):
        self.until(lambda: len(self.speeds) > 5 and not np.abs(self.speeds[-3:]).any(), "the robot comes to rest")

    def periods(self, count):
        goal = len(self.commands) + count
        self.until(lambda: len(self.commands) >= goal, f"{count} commands")

    def set_mode(self, mode):
        self.mode, self.changed_ns = mode, ros.now_ns()

    def assert_within_limits(self):
        """Between samples that follow each other (a lost one shows, as the message says its own velocity)."""
        q, v = np.array(self.commands), np.array(self.speeds)
        together = np.abs(np.diff(q, axis=0) - v[1:] * PERIOD).max(axis=1) < 1e-9
        assert together.mean() > 0.5  # a busy computer loses some; what is left is enough to judge by
        assert np.all((q >= LIMITS.lower) & (q <= LIMITS.upper))
        assert np.all(np.abs(v) <= LIMITS.velocity * (1 + 1e-9))
        a = np.diff(v, axis=0) / PERIOD
        assert np.all(np.abs(a[together]) <= LIMITS.acceleration * (1 + 1e-6))
        j = np.diff(a, axis=0) / PERIOD
        assert np.all(np.abs(j[together[1:] & together[:-1]]) <= LIMITS.jerk * (1 + 1e-6))


@pytest.fixture(scope="module")
def ros_context():
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def world(ros_context):
    world = World()
    process = subprocess.Popen(command())
    yield world
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(timeout=10) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        world.node.destroy_node()


def test_a_session_from_policy_to_operator_and_back_within_limits(world):
    # Nothing is commanded before the robot has said where it is.
    world.silent.add("robot")
    world.until_reason("waiting for the first robot state")
    assert not world.commands
    world.measured = np.clip(HOME + 0.05, LIMITS.lower, LIMITS.upper)
    start = world.measured.copy()
    world.silent.discard("robot")
    world.until(lambda: world.commands, "the first command")
    np.testing.assert_allclose(world.commands[0], start, atol=1e-9)
    world.until_reason("holding in IDLE")

    # Rollout: a chunk is played, and holds when it has run out.
    world.set_mode(Mode.ROLLOUT)
    world.until_reason("waiting for an action chunk")
    goal = HOME.copy()
    goal[ARM] -= 0.8
    world.chunk(goal, steps=12)
    world.until_reason("tracking")
    world.until_reason("action chunk exhausted")
    world.until_rest()

    # A pause forgets the chunk: after resuming, the robot waits for a new one.
    world.chunk(HOME)
    world.until_reason("tracking")
    world.set_mode(Mode.PAUSED)
    world.until_reason("holding in PAUSED")
    world.until_rest()
    held = world.commands[-1]
    world.set_mode(Mode.ROLLOUT)
    world.until_reason("waiting for an action chunk")
    world.periods(10)
    np.testing.assert_array_equal(world.commands[-1], held)

    # Takeover with half a radian of misalignment, then the operator vanishes.
    world.set_mode(Mode.PAUSED)
    world.operator = held.copy()
    world.operator[ARM] += 0.5
    world.silent.discard("teleop")
    world.set_mode(Mode.ADAPTATION)
    world.until(lambda: abs(world.commands[-1][ARM] - world.operator[ARM]) < 1e-3, "the robot reaches the operator")
    world.operator = world.operator.copy()
    world.operator[ARM] -= 1.0
    world.periods(10)
    world.silent.add("teleop")
    world.until_reason("teleop targets stale")
    world.until_rest()
    world.silent.discard("teleop")
    world.until_reason("tracking")

    # Supervisor and robot state fall silent in mid-motion.
    for name, reason in (("supervisor", "supervisor silent"), ("robot", "robot state missing")):
        world.operator = np.where(np.arange(50) == ARM, -2.0 - world.operator, world.operator)
        world.periods(10)
        world.silent.add(name)
        world.until_reason(reason)
        world.until_rest()
        world.silent.discard(name)
        world.until_reason("tracking")

    # Emergency stop: from the period after the mode was received the joint decelerates.
    world.operator = np.where(np.arange(50) == ARM, -2.0 - world.operator, world.operator)
    world.until(lambda: abs(world.speeds[-1][ARM]) > 1.0, "motion")
    world.set_mode(Mode.ESTOP)
    world.until_reason("holding in ESTOP")
    world.until_rest()
    world.set_mode(Mode.IDLE)
    world.until_reason("holding in IDLE")
    world.assert_within_limits()

    # A partly missing, a wild and a reordered operator sample: the first two are dropped and counted, the third is read
    # by name.
    world.set_mode(Mode.DEMONSTRATION)
    world.silent.add("teleop")
    goal = world.commands[-1].copy()
    goal[ARM] -= 0.2

    samples = [
        JointState(name=list(TABLE.names[:20]), position=[0.0] * 20),
        JointState(name=list(TABLE.names), position=[1e6] * 50),
        JointState(name=list(TABLE.names[::-1]), position=goal[::-1].tolist()),
    ]

    def publish_in_turn():
        world.teleop.publish(samples[0])
        samples.append(samples.pop(0))
        rclpy.spin_once(world.node, timeout_sec=0.02)
        counted = {"dropped target, non-finite", "dropped target, out of range"} <= set(world.values)
        return counted and np.abs(world.commands[-1] - goal).max() < 1e-6

    world.until(publish_in_turn, "bad samples are counted and the reordered target is reached")
    world.assert_within_limits()

    # In IDLE the robot was moved by a reset: the command takes its pose and does not pull it back.
    world.set_mode(Mode.IDLE)
    world.until_reason("holding in IDLE")
    world.until_rest()
    world.follows = False
    world.measured = HOME.copy()
    world.measured[ARM] = -1.5
    world.until(lambda: np.abs(world.commands[-1] - world.measured).max() < 1e-9, "the command re-seats")
    np.testing.assert_array_equal(world.speeds[-1], 0.0)


def move(world):
    """Let the operator move the arm until it is fast."""
    world.until_reason("holding in IDLE")
    world.silent.discard("teleop")
    world.operator = HOME.copy()
    world.operator[ARM] -= 1.2
    world.set_mode(Mode.DEMONSTRATION)
    world.until(lambda: world.speeds and abs(world.speeds[-1][ARM]) > 1.0, "motion")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_stops_the_robot_within_its_limits_and_holds_it_until_the_second(ros_context, number):
    world, process = World(), subprocess.Popen(command())
    try:
        move(world)
        process.send_signal(number)
        world.until_reason(f"ending on {number.name}")
        world.until_rest()
        world.periods(20)
        assert process.poll() is None, "the filter holds the robot while there is one"
        world.assert_within_limits()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        world.node.destroy_node()


def test_a_filter_killed_at_speed_comes_back_holding_and_waits_for_a_pause(ros_context):
    world, process = World(), subprocess.Popen(command())
    try:
        move(world)
        process.kill()
        process.wait()
        world.commands.clear()
        world.speeds.clear()
        process = subprocess.Popen(command())
        world.until_reason("waiting for a pause: the command filter started in the middle of DEMONSTRATION")
        world.periods(20)
        np.testing.assert_array_equal(world.speeds, 0.0)
        world.set_mode(Mode.IDLE)
        world.until_reason("holding in IDLE")
    finally:
        process.kill()
        process.wait()
        world.node.destroy_node()


def test_a_frozen_a_late_an_impossible_and_a_jumping_state_stop_the_robot_and_so_does_a_second_supervisor(world):
    move(world)
    world.stamp_ns = ros.now_ns()
    world.until_reason("robot state frozen")
    world.until_rest()
    world.stamp_ns = None
    world.until_reason("tracking")

    late = 30_000_000_000
    feed, world.silent = world.silent, world.silent | {"robot"}

    def publish(q, age_ns=0):
        world.state.publish(messages.fill_joint_state(JointState(), TABLE, ros.now_ns() - age_ns, q, np.zeros(50)))
        rclpy.spin_once(world.node, timeout_sec=0.01)
        return world.reasons[-1]

    here = world.measured.copy()
    world.follows = False
    world.until(lambda: "its stamps are 30.0 s behind" in publish(here, late), "a late stream is named")
    world.until(lambda: publish(here) == "tracking", "it goes on")
    world.until(lambda: publish(here + 20.0).startswith("robot state impossible"), "an impossible pose is named")
    world.until(lambda: publish(here) == "tracking", "it goes on")
    far = here.copy()
    far[TABLE.index["left_elbow"]] -= 1.0
    publish(here)
    world.until(lambda: publish(far).startswith("robot state jumped: left_elbow"), "a jump is named")
    world.silent, world.follows = feed, True
    world.set_mode(Mode.PAUSED)
    world.until_reason("holding in PAUSED")

    world.set_mode(Mode.DEMONSTRATION)
    world.until_reason("tracking")
    rival = ros.mode_event(Mode.IDLE, Trigger.ESTOP, Mode.ESTOP, ros.now_ns(), "/rival@there:2")
    world.mode_pub.publish(rival)
    world.until_reason("2 nodes claim to be the supervisor: /rival@there:2 and /supervisor@here:1")
    world.until_reason("holding in ESTOP: /rival@there:2 must reset it")
    world.until_rest()


def test_the_process_of_the_command_filter_imports_no_server_no_cryptography_and_no_torch():
    program = """
import sys
from rove_contract import ros
from rove_teleop import command_filter_node
import rclpy
rclpy.init(args=["--ros-args", "-p", "discovery:=0.0"])
node = command_filter_node.make()
print(*({"aiohttp", "zmq", "cryptography", "torch", "cv2", "PIL"} & set(sys.modules)))
node.close()
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_a_second_publisher_is_refused_at_start_and_reported_when_it_comes_later(ros_context):
    node = rclpy.create_node("rival")
    rival = ros.publisher(node, topics.JOINT_COMMAND)
    result = subprocess.run(command("discovery:=10.0"), capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "already has a publisher: /rival" in result.stderr
    assert "Traceback" not in result.stderr
    node.destroy_publisher(rival)

    world = World()
    process = subprocess.Popen(command())
    try:
        world.until_reason("holding in IDLE")
        rival = ros.publisher(node, topics.JOINT_COMMAND)
        world.until_reason("another publisher of /joint_command: /rival")
        node.destroy_publisher(rival)
        world.until_reason("holding in IDLE")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
        world.node.destroy_node()
        node.destroy_node()
