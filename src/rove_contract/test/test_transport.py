# SPDX-License-Identifier: Apache-2.0
"""No shared memory in any discovery range, because a frozen neighbour can lock it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rove_contract import domain
from rove_contract.transport import LOCALHOST_PROFILE, choose_udp

PROGRAM = """
import sys
from rove_contract import ros
import rclpy
from std_msgs.msg import String
rclpy.init()
node = rclpy.create_node("alone")
publisher = node.create_publisher(String, "x", 1)
peer = rclpy.create_node("peer")
peer.create_subscription(String, "x", lambda msg: sys.exit(0), 1)
assert not [line for line in open("/proc/self/maps") if "/dev/shm/fastrtps" in line], "uses shared memory"
while True:
    publisher.publish(String(data="hello"))
    rclpy.spin_once(peer, timeout_sec=0.05)
"""


@pytest.mark.ros
@pytest.mark.parametrize("range_", ["LOCALHOST", "SUBNET"])
def test_a_process_with_the_contract_maps_no_shared_memory_and_is_not_hung_by_a_torn_port(range_):
    number = domain.reserve()
    ports = [Path(f"/dev/shm/fastrtps_port{7400 + 250 * number + 10 + i}") for i in (0, 1, 2, 3)]
    for port in ports:  # as a process leaves them that was killed while it made them
        port.touch()
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS")
    } | {"ROS_DOMAIN_ID": str(number), "ROS_AUTOMATIC_DISCOVERY_RANGE": range_}
    try:
        assert subprocess.run([sys.executable, "-c", PROGRAM], env=environment, timeout=60).returncode == 0
    finally:
        for port in ports:
            port.unlink(missing_ok=True)


def test_what_the_user_has_set_is_left_alone():
    for mine in ({"FASTRTPS_DEFAULT_PROFILES_FILE": "mine.xml"}, {"FASTDDS_BUILTIN_TRANSPORTS": "DEFAULT"}):
        environment = mine | {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        before = dict(environment)
        choose_udp(environment)
        assert environment == before


def test_localhost_stays_on_the_loopback_interface():
    environment = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    choose_udp(environment)
    assert environment["FASTRTPS_DEFAULT_PROFILES_FILE"] == str(LOCALHOST_PROFILE)
    assert "<address>127.0.0.1</address>" in LOCALHOST_PROFILE.read_text()
    choose_udp(environment)  # a child process inherits it
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SYSTEM_DEFAULT"
