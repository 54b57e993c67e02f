# SPDX-License-Identifier: Apache-2.0
"""The teleop node as its own process: an operator on the ZMQ socket, a robot and a supervisor on ROS."""

import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import rclpy
import zmq
from sensor_msgs.msg import JointState

from rove_contract import domain, messages, ros, topics
from rove_contract.modes import Mode, Trigger
from rove_contract.operator_frame import OperatorFrame, encode
from rove_description import joints, mjcf
from rove_teleop.retargeting.robot_geometry import RobotSkeleton
from rove_teleop.sources import flood

pytestmark = pytest.mark.ros
DOMAIN = str(domain.reserve())
TABLE = joints.load()
HOME = mjcf.home(TABLE)
SKELETON = RobotSkeleton(TABLE)
PERIOD_S = 0.02


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def command(**parameters):
    words = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
    return [sys.executable, "-m", "rove_teleop.teleop_node", "--ros-args", *words]


class World:
    """Robot, supervisor and operator of one teleop process. `operator` (50,) is the pose that is sent; None:
    silence.
    """

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.node = rclpy.create_node("world")
        self.state = ros.publisher(self.node, topics.JOINT_STATES)
        self.mode_pub = ros.publisher(self.node, topics.MODE)
        self.mode = Mode.IDLE
        self.targets, self.alignments, self.diagnostics = [], [], []
        reader = messages.JointReader(TABLE)
        ros.subscription(
            self.node, topics.TELEOP_TARGETS, lambda m: self.targets.append((time.monotonic(), m, reader.position(m)))
        )
        ros.subscription(self.node, topics.TELEOP_ALIGNMENT, self.alignments.append)
        ros.subscription(self.node, topics.DIAGNOSTICS, self.diagnostics.append)
        self.measured = HOME.copy()
        self.operator: np.ndarray | None = None
        self.parts: set[str] | None = None
        self.seq, self.clock_s = 0, -5.0  # the suit's clock is 5 s behind
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.PUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)
        self.node.create_timer(PERIOD_S, self.tick)

    def tick(self):
        now = ros.now_ns()
        self.state.publish(messages.fill_joint_state(JointState(), TABLE, now, self.measured, np.zeros(50)))
        self.mode_pub.publish(ros.mode_event(Mode.IDLE, Trigger.PAUSE, self.mode, now))
        if self.operator is not None:
            self.seq += 1
            frame = SKELETON.frame(self.operator, self.seq, time.time() + self.clock_s)
            parts = {name: value for name, value in frame.parts.items() if self.parts is None or name in self.parts}
            self.socket.send(encode(OperatorFrame(parts, frame.seq, frame.t, "test suit")))

    def wait(self, condition, what, limit_s=20.0):
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.05)
            if condition():
                return
        raise AssertionError(f"{what}: not within {limit_s} s")

    def spin(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.01)

    def alignment(self):
        status = self.alignments[-1]
        return status, messages.diagnostic_values(status)

    def level(self):
        return self.alignments[-1].level if self.alignments else None

    def close(self):
        self.socket.close()
        self.context.term()
        self.node.destroy_node()


@pytest.fixture
def start(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", DOMAIN)
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rclpy.init()
    running = []

    def run(**parameters):
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        process = subprocess.Popen(command(endpoint=endpoint, **parameters))
        world = World(endpoint)
        running.append((process, world))
        world.wait(lambda: world.alignments, "the node's first alignment")
        return world, process

    yield run
    for process, world in running:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
        world.close()
    rclpy.try_shutdown()


OK, WARN, STALE = (ros.LEVELS[level] for level in (0, 1, 3))


def test_the_operator_drives_and_a_lost_operator_leaves_no_dead_pose(start):
    world, process = start()
    world.wait(lambda: world.level() == STALE, "stale without input")
    assert not world.targets
    world.operator = HOME
    world.wait(lambda: world.targets and world.level() == OK, "targets and alignment")
    _, message, q = world.targets[-1]
    np.testing.assert_allclose(q, HOME, atol=1e-3)
    assert abs(ros.now_ns() - messages.stamp_ns(message.header.stamp)) < 5e8  # our clock, not the suit's
    _, values = world.alignment()
    assert set(values) >= {"head", "waist", "arm", "hand", "worst_joint", "age_s"}
    assert float(values["arm"]) < 0.01 and float(values["age_s"]) < 0.1

    # One hand's tracking is lost: the rest goes on, and the operator is told.
    world.parts = {"head", "chest", "left_wrist", "right_wrist", "left_elbow", "right_elbow", "right_hand"}
    world.wait(lambda: "left_hand" in world.alignment()[1].get("held", ""), "the lost hand is named")
    assert world.level() == WARN
    world.parts = None

    # The suit falls silent.
    world.operator = None
    world.wait(lambda: world.level() == STALE, "stale input")
    count = len(world.targets)
    world.spin(0.3)
    assert len(world.targets) == count
    assert world.alignment()[0].message == "no operator input"

    # Frames without a single tracked part are no operator either.
    world.operator, world.parts = HOME, set()
    world.spin(0.3)
    assert len(world.targets) == count and world.level() == STALE

    def reported():
        statuses = [s for array in world.diagnostics for s in array.status if s.name == "teleop"]
        values = messages.diagnostic_values(statuses[-1]) if statuses else {}
        return (
            int(values.get("unusable", 0)) > 0
            and int(values["accepted"]) > 0
            and abs(float(values["clock_offset_s"]) + 5) < 0.2
        )

    world.wait(reported, "diagnostics with counts and the clock offset")


def test_a_pause_starts_from_the_robot_and_the_alignment_tells_how_far_the_operator_is(start):
    world, _ = start()
    world.operator = HOME.copy()
    i = TABLE.index["left_elbow"]
    world.operator[i] -= 0.8
    world.mode = Mode.ROLLOUT
    world.wait(
        lambda: world.targets and abs(world.targets[-1][2][i] - world.operator[i]) < 0.01,
        "the operator's elbow in the targets",
    )
    world.mode = Mode.PAUSED
    seen = len(world.targets)
    world.wait(
        lambda: any(abs(q[i] - HOME[i]) < 0.3 for _, _, q in world.targets[seen:]), "targets that start at the robot"
    )
    world.wait(lambda: world.level() == WARN, "misaligned")
    _, values = world.alignment()
    assert float(values["arm"]) == pytest.approx(0.8, abs=0.05)
    world.operator = HOME.copy()
    world.wait(lambda: world.level() == OK, "aligned")


def test_a_takeover_is_answered_at_once_with_the_newest_frame(start):
    world, _ = start(input_timeout_s=60.0)
    world.operator, world.mode = HOME, Mode.PAUSED
    world.wait(lambda: len(world.targets) > 5, "targets")
    world.operator = None  # the device's next frame is far off
    world.spin(0.3)
    seen = len(world.targets)
    world.mode = Mode.ADAPTATION
    world.wait(lambda: len(world.targets) > seen, "a target without another frame")
    np.testing.assert_allclose(world.targets[-1][2], HOME, atol=1e-3)
    world.mode = Mode.RECOVERY
    world.spin(0.3)
    assert len(world.targets) == seen + 1, "once per takeover"


def test_a_stale_frame_is_not_repeated_at_a_takeover(start):
    world, _ = start()
    world.operator, world.mode = HOME, Mode.PAUSED
    world.wait(lambda: len(world.targets) > 5, "targets")
    world.operator = None
    world.wait(lambda: world.level() == STALE, "stale input")
    seen = len(world.targets)
    world.mode = Mode.ADAPTATION
    world.spin(0.5)
    assert len(world.targets) == seen


def test_relative_mode_counts_from_the_takeover(start):
    world, _ = start(mode="relative")
    elsewhere = HOME.copy()
    elsewhere[TABLE.indices("arm")] *= 0.7
    world.operator = elsewhere
    world.mode = Mode.PAUSED
    world.wait(lambda: len(world.targets) > 5, "targets")
    np.testing.assert_allclose(world.targets[-1][2], HOME, atol=1e-3)
    assert world.level() == OK
    world.mode = Mode.ADAPTATION
    seen = len(world.targets)
    world.wait(lambda: len(world.targets) > seen + 10, "targets after the takeover")
    np.testing.assert_allclose(world.targets[-1][2], HOME, atol=1e-3)
    i = TABLE.index["left_index_proximal"]
    world.operator = elsewhere.copy()
    world.operator[i] += 0.5
    world.wait(
        lambda: abs(world.targets[-1][2][i] - HOME[i] - 0.5) < 0.02, "the finger moves by as much as the operator's"
    )


def teleop_values(world):
    statuses = [s for array in world.diagnostics for s in array.status if s.name == "teleop"]
    return messages.diagnostic_values(statuses[-1]) if statuses else {}


@pytest.mark.parametrize("offset", [-5.0, 5.0])
def test_a_suit_whose_clock_is_five_seconds_off_is_followed_without_a_stop(start, offset):
    world, _ = start()
    world.clock_s, world.operator = offset, HOME
    world.wait(lambda: len(world.targets) > 5 and world.level() == OK, "targets")
    since = len(world.alignments)
    world.spin(2.0)
    assert STALE not in {status.level for status in world.alignments[since:]}
    world.wait(
        lambda: abs(float(teleop_values(world).get("clock_offset_s") or 0.0) - offset) < 0.2, "the estimated offset"
    )
    assert float(world.alignment()[1]["age_s"]) < 0.2


def test_a_flood_of_malformed_and_replayed_messages_leaves_the_node_running_and_counted(start):
    """bench/operator_flood.py sends a million."""
    world, process = start(pattern="pull")
    world.socket.close()
    world.socket = world.context.socket(zmq.PUSH)  # which loses nothing
    world.socket.setsockopt(zmq.LINGER, 0)
    world.socket.connect(world.endpoint)
    pool = flood.messages(1000)
    for data in pool * 20:
        world.socket.send(data)
    world.wait(lambda: int(teleop_values(world).get("received", 0)) >= 20_000, "all of it counted", 60.0)
    values = teleop_values(world)
    refused = sum(int(values[key]) for key in ("malformed", "replayed", "out_of_order", "other_source", "late"))
    assert refused + int(values["accepted"]) == int(values["received"]) == 20_000 and int(values["accepted"]) < 100
    assert process.poll() is None
    world.spin(0.6)  # a sender that was believed last is silent
    world.operator = HOME
    world.wait(lambda: world.targets and world.level() == OK, "the operator gets through again")


def test_without_joint_states_nothing_is_commanded(start):
    world, _ = start()
    world.state.publish = lambda message: None
    world.operator = HOME
    # Two node starts could race with the first state; what counts is that staleness is announced with its reason.
    world.wait(lambda: world.alignments[-1].message == "no joint states from the robot", "the reason")
    assert world.level() == STALE


def test_a_public_address_without_keys_is_refused_with_a_sentence():
    result = subprocess.run(command(endpoint="tcp://0.0.0.0:5591"), capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "CURVE keys" in result.stderr and "Traceback" not in result.stderr
