# SPDX-License-Identifier: Apache-2.0
"""The same session, started by ROS 2's own launch system."""

import os
import time

import pytest

pytest.importorskip("launch_pytest", reason="launch_pytest is not among the ROS 2 wheels; a ROS 2 installation has it")

import launch
import launch_pytest
from launch.launch_description_sources import AnyLaunchDescriptionSource

from rove_bringup import packages
from rove_contract import domain

pytestmark = pytest.mark.ros
DOMAIN = str(domain.reserve())


@launch_pytest.fixture
def session(tmp_path_factory):
    bags = tmp_path_factory.mktemp("bags")
    arguments = {
        "device": "scripted",
        "kind": "demonstration",
        "episodes": "1",
        "panel_port": "0",
        "bags": str(bags),
        "endpoint": f"tcp://127.0.0.1:{21000 + os.getpid() % 9000}",
    }
    os.environ.update(ROS_DOMAIN_ID=DOMAIN, ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST", OMP_NUM_THREADS="1")
    path = packages.launch_file("rove_bringup", "session.launch.yaml")
    include = launch.actions.IncludeLaunchDescription(
        AnyLaunchDescriptionSource(str(path)), launch_arguments=arguments.items()
    )
    return launch.LaunchDescription([include, launch_pytest.actions.ReadyToTest()])


@pytest.mark.launch(fixture=session)
def test_a_demonstration_succeeds_under_ros2_launch():
    import rclpy

    from rove_contract import episode as episodes
    from rove_contract import ros, topics

    seen = []
    rclpy.init()
    node = rclpy.create_node("session_test")
    try:
        ros.subscription(node, topics.EPISODE, lambda msg: seen.append(episodes.from_status(msg)))
        deadline = time.monotonic() + 90.0
        while time.monotonic() < deadline and not (seen and seen[-1].state == episodes.ENDED):
            rclpy.spin_once(node, timeout_sec=0.1)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    assert seen and seen[-1].state == episodes.ENDED, "no episode ended within 90 s"
    assert seen[-1].kind == "demonstration"
