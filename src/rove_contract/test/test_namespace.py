# SPDX-License-Identifier: Apache-2.0
"""Topics, services and graph queries of two robots side by side do not meet."""

import pytest
import rclpy
from sensor_msgs.msg import JointState

from rove_contract import domain, ros, topics

domain.isolate()


@pytest.fixture
def nodes():
    rclpy.init()
    made = [rclpy.create_node("filter", namespace=space) for space in ("/left_lab/iron1", "/left_lab/iron2")]
    yield made
    for node in made:
        node.destroy_node()
    rclpy.try_shutdown()


def test_each_robot_has_its_own_topics_services_and_roles(nodes):
    one, two = nodes
    ros.claim_role(one, topics.JOINT_COMMAND, "command filter", 0.2)
    publisher = ros.publisher(one, topics.JOINT_COMMAND)
    assert publisher.topic_name == ros.resolved(one, topics.JOINT_COMMAND) == "/left_lab/iron1/joint_command"
    ros.claim_role(two, topics.JOINT_COMMAND, "command filter", 0.3)  # of another robot: free
    with pytest.raises(ValueError, match="/left_lab/iron1/joint_command already has a publisher"):
        ros.claim_role(rclpy.create_node("second", namespace="/left_lab/iron1"), topics.JOINT_COMMAND, "filter", 2.0)
    heard = {node.get_namespace(): [] for node in nodes}
    for node in nodes:
        ros.subscription(node, topics.JOINT_COMMAND, heard[node.get_namespace()].append)
    client = ros.client(two, topics.SIM_RESET_SERVICE)
    made = ros.service(one, topics.SIM_RESET_SERVICE, lambda request, response: response)
    for _ in range(200):
        publisher.publish(JointState())
        rclpy.spin_once(one, timeout_sec=0.01)
        if heard["/left_lab/iron1"]:
            break
    rclpy.spin_once(two, timeout_sec=0.1)
    assert heard["/left_lab/iron1"] and not heard["/left_lab/iron2"]
    assert made.service_name == "/left_lab/iron1/sim/reset" and not client.service_is_ready()
