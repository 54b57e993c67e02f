# SPDX-License-Identifier: Apache-2.0
"""The drivers of docs/how-to behind the real command filter, over real ROS: they follow, and stop when it is killed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rclpy
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rove_contract import messages, ros, timing, topics
from rove_contract.modes import Mode, Trigger
from rove_description import robot

pytestmark = pytest.mark.ros
ROBOT = robot.load()
TABLE = ROBOT.table
EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "how-to"
ARM = TABLE.index["right_shoulder_pitch"]
HALVES = {"left_controller": TABLE.names[25::-1], "right_controller": TABLE.names[26:]}  # each with an order of its own


class World:
    """Supervisor and policy of a session, and by choice the controllers and the broadcaster of ros2_control."""

    def __init__(self):
        self.node = rclpy.create_node("world")
        self.mode, self.changed_ns = Mode.IDLE, ros.now_ns()
        self.mode_pub = ros.publisher(self.node, topics.MODE)
        self.policy = ros.publisher(self.node, topics.ACTION_CHUNK)
        reliable = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.RELIABLE)
        self.node.create_subscription(JointState, "joint_states", self.on_state, reliable)  # as MoveIt asks for it
        ros.subscription(self.node, topics.DIAGNOSTICS, self.on_diagnostics, depth=100)
        self.reader = messages.JointReader(TABLE)
        self.rows, self.stamps, self.reasons = [], [], {}
        self.controllers, self.broadcaster = [], None
        self.q, self.received = ROBOT.home.copy(), 0
        ros.timer(self.node, timing.CONTROL_PERIOD_S, self.tick)

    def control(self, kind, halves=HALVES):
        """The robot's end of ros2_control: every controller has a parameter joints and a topic."""
        self.broadcaster = self.node.create_publisher(JointState, "joint_state_broadcaster/joint_states", 1)
        for name, names in halves.items():
            node = rclpy.create_node(name)
            node.declare_parameter("joints", list(names))
            if kind == "forward":
                node.create_subscription(
                    Float64MultiArray, f"{name}/commands", lambda msg, names=names: self.move(names, msg.data), 1
                )
            else:
                node.create_subscription(
                    JointTrajectory,
                    f"{name}/joint_trajectory",
                    lambda msg: self.move(msg.joint_names, msg.points[0].positions),
                    1,
                )
            self.controllers.append(node)

    def move(self, names, values):
        assert len(values) == len(names)
        self.received += 1
        for name, value in zip(names, values):
            self.q[TABLE.index[name]] = value

    def tick(self):
        self.mode_pub.publish(
            ros.mode_event(Mode.IDLE, Trigger.PAUSE, self.mode, self.changed_ns, "/supervisor@here:1")
        )
        if self.broadcaster is not None:
            order = np.argsort(TABLE.names)  # a broadcaster's own
            state = JointState(name=[TABLE.names[i] for i in order] + ["wheel"], position=[*self.q[order], 7.0])
            messages.set_stamp(state.header.stamp, ros.now_ns())
            self.broadcaster.publish(state)

    def on_state(self, msg):
        self.rows.append(self.reader.position(msg))
        self.stamps.append(messages.stamp_ns(msg.header.stamp))

    def on_diagnostics(self, msg):
        for status in msg.status:
            self.reasons[status.name] = status.message

    def chunk(self, joint, angle):
        rows = np.repeat(ROBOT.home[None], 50, axis=0)
        rows[:, joint] += np.linspace(0, angle, 50)
        msg = messages.fill_chunk(
            JointTrajectory(), JointTrajectoryPoint, TABLE, ros.now_ns(), rows, 1.0 / timing.POLICY_HZ
        )
        self.policy.publish(msg)

    def until(self, condition, what):
        end = time.monotonic() + 100.0  # a hang guard, not a timing claim
        while not condition():
            assert time.monotonic() < end, f"{what}; {self.reasons}"
            for node in (self.node, *self.controllers):
                rclpy.spin_once(node, timeout_sec=0.002)

    def until_reason(self, name, words):
        self.until(lambda: self.reasons.get(name, "").startswith(words), f"{name}: {words}")

    def close(self):
        for node in (self.node, *self.controllers):
            node.destroy_node()


@pytest.fixture
def world():
    rclpy.init()
    world = World()
    yield world
    world.close()
    rclpy.try_shutdown()


@pytest.fixture
def start():
    processes = []

    def run(*words):
        processes.append(subprocess.Popen([sys.executable, *words]))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.wait()


def ros2_control(kind):
    words = f"controllers:=[{', '.join(HALVES)}]", f"kind:={kind}"
    return [EXAMPLES / "ros2_control_driver.py", "--ros-args", *(word for text in words for word in ("-p", text))]


@pytest.mark.parametrize("kind", ["forward", "trajectory", "sdk"])
def test_a_driver_of_the_docs_follows_the_filter_and_stops_the_robot_when_it_is_killed(world, start, kind):
    if kind != "sdk":
        world.control(kind)
    driver = start(*([EXAMPLES / "sdk_driver.py"] if kind == "sdk" else ros2_control(kind)))
    command_filter = start("-m", "rove_teleop.command_filter_node", "--ros-args", "-p", "discovery:=0.3")
    world.until_reason("command_filter", "holding in IDLE")
    world.until_reason("driver", "following")
    np.testing.assert_allclose(world.rows[-1], ROBOT.home, atol=1e-9)
    world.mode, world.changed_ns = Mode.ROLLOUT, ros.now_ns()
    world.until_reason("command_filter", "waiting for an action chunk")
    world.chunk(ARM, -1.0)
    world.until(lambda: world.rows[-1][ARM] < ROBOT.home[ARM] - 0.2, "the arm moves")
    command_filter.kill()
    world.until_reason("driver", "commands have ceased")
    count = len(world.rows)
    world.until(lambda: len(world.rows) > count + 20, "20 more states")
    rest = np.array(world.rows[-10:])
    np.testing.assert_array_equal(rest, np.repeat(rest[:1], 10, axis=0))
    assert ROBOT.home[ARM] - 1.0 < rest[0, ARM] < ROBOT.home[ARM] - 0.2
    others = np.arange(50) != ARM
    np.testing.assert_allclose(rest[0, others], ROBOT.home[others], atol=1e-6)
    assert np.all(np.diff(world.stamps) > 0)
    driver.send_signal(signal.SIGINT)
    assert driver.wait(timeout=30) == 0


def test_a_controller_with_other_joints_is_refused_by_name(world):
    world.control("forward", HALVES | {"right_controller": TABLE.names[27:]})
    process = subprocess.Popen(
        [sys.executable, *ros2_control("forward")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        world.until(lambda: process.poll() is not None, "the driver ends")
        assert process.returncode == 2
        assert f"1 joints have no controller: {TABLE.names[26]}" in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
