# SPDX-License-Identifier: Apache-2.0
"""What ROS tools expect of any node: a reliable joint state, diagnostics that name the computer, one kind of time."""

import socket
import subprocess
import sys
import time

import pytest
import rclpy
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState

from rove_contract import domain, ros, topics

domain.isolate()
pytestmark = pytest.mark.ros
NODE = """
import sys
from rclpy.node import Node
from rove_contract import ros
sys.exit(ros.spin(lambda: Node("anything"), sys.argv))
"""


@pytest.fixture
def nodes():
    rclpy.init()
    made = [rclpy.create_node(name) for name in ("robot", "other")]
    yield made
    for node in made:
        node.destroy_node()
    rclpy.try_shutdown()


def spin_until(nodes, condition, timeout=20.0):
    end = time.monotonic() + timeout
    while time.monotonic() < end and not condition():
        for node in nodes:
            rclpy.spin_once(node, timeout_sec=0.02)
    return condition()


def test_a_subscriber_that_asks_for_a_reliable_joint_state_gets_it(nodes):
    """As MoveIt's state monitor does; our own nodes take a driver's best effort, too."""
    robot, other = nodes
    publisher = ros.publisher(robot, topics.JOINT_STATES)
    reliable, ours = [], []
    other.create_subscription(JointState, "joint_states", reliable.append, 10)
    subscription = ros.subscription(other, topics.JOINT_STATES, ours.append)
    assert subscription.qos_profile.reliability == rclpy.qos.ReliabilityPolicy.BEST_EFFORT
    assert spin_until(nodes, lambda: publisher.get_subscription_count() == 2)
    publisher.publish(JointState(name=["a"]))
    assert spin_until(nodes, lambda: reliable and ours)


def test_diagnostics_say_on_which_computer(nodes):
    robot, other = nodes
    got = []
    ros.subscription(other, topics.DIAGNOSTICS, got.append)
    diagnostics = ros.Diagnostics(robot, lambda: (0, "well", {}))
    assert spin_until(nodes, lambda: got)
    assert (got[0].status[0].name, got[0].status[0].hardware_id) == ("robot", socket.gethostname())
    diagnostics.close()


def test_simulated_time_is_refused_at_the_start_and_later(nodes):
    words = ["--ros-args", "-p", "use_sim_time:=true"]
    done = subprocess.run([sys.executable, "-c", NODE, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "error: use_sim_time is not supported" in done.stderr
    ros.refuse_simulated_time(nodes[0])
    (answer,) = nodes[0].set_parameters([Parameter("use_sim_time", value=True)])
    assert not answer.successful
    assert "system's clock" in answer.reason
