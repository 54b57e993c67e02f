# SPDX-License-Identifier: Apache-2.0
"""What rviz and Foxglove get from a running `robot_state`, over real ROS and in a namespace."""

import os
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree

import numpy as np
import pytest
import rclpy
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, JointState

from rove_contract import messages, ros, topics
from rove_description import robot
from rove_description.kinematics import Kinematics
from rove_recorder.bag.schema import schema, typestore

pytestmark = pytest.mark.ros
NAMESPACE = "/lab/one"
TIPS = {"iron_r01": "left_index_tip", "robin_h1": "digit_la_tip"}


class Viewer:
    """A node that listens as rviz does, and stands in for the robot and for teleop."""

    def __init__(self, node, found):
        self.node, self.found = node, found
        self.frames, self.text, self.infos = {}, "", {}  # child -> (parent, position, quaternion x y z w)
        for topic in (topics.TF, topics.TF_STATIC):
            ros.subscription(node, topic, self.on_tf, raw=True)
        ros.subscription(node, topics.ROBOT_DESCRIPTION, self.on_description)
        for camera in found.cameras.values():
            ros.subscription(node, topics.camera_info(camera.topic), self.on_camera)
        self.publishers = {topic: ros.publisher(node, topic) for topic in (topics.JOINT_STATES, topics.TELEOP_TARGETS)}

    def on_tf(self, data):
        for entry in typestore().deserialize_cdr(data, topics.TF.type).transforms:
            move, turn = entry.transform.translation, entry.transform.rotation
            pose = np.array([move.x, move.y, move.z]), np.array([turn.x, turn.y, turn.z, turn.w])
            self.frames[entry.child_frame_id] = (entry.header.frame_id, *pose)

    def on_description(self, msg):
        self.text = msg.data

    def on_camera(self, msg):
        self.infos[msg.header.frame_id] = msg

    def look_up(self, frame):
        """(3,) m: where a frame is in base_link; None while a frame between them is unknown."""
        position = np.zeros(3)
        while frame != "base_link":
            if frame not in self.frames:
                return None
            frame, move, turn = self.frames[frame]
            position = move + Rotation.from_quat(turn).apply(position)
        return position

    def publish(self, topic, q):
        msg = messages.fill_joint_state(JointState(), self.found.table, time.time_ns(), q)
        self.publishers[topic].publish(msg)

    def until(self, is_done, send, timeout_s=30.0):
        """Spin, with `send()` at 50 Hz, until is_done()."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            send()
            rclpy.spin_once(self.node, timeout_sec=0.02)
            if is_done():
                return
        raise AssertionError(f"not seen in {timeout_s:g} s; frames: {sorted(self.frames)}, text: {len(self.text)}")


@pytest.fixture
def viewer(request):
    found = robot.load(request.param)
    command = [sys.executable, "-m", "rove_bringup.robot_state_node", "--ros-args", "-r", f"__ns:={NAMESPACE}"]
    process = subprocess.Popen([*command, "-p", f"robot:={request.param}"], start_new_session=True)
    rclpy.init()
    node = rclpy.create_node("viewer", namespace=NAMESPACE)
    yield Viewer(node, found)
    node.destroy_node()
    rclpy.try_shutdown()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(10.0) == 0


def near(position, expected):
    return position is not None and np.allclose(position, expected, atol=1e-9)


@pytest.mark.parametrize("viewer", ["iron_r01", "robin_h1"], indirect=True)
def test_tf_says_what_forward_kinematics_says_of_the_robot_and_of_the_operators_targets(viewer):
    found, kinematics, expected = viewer.found, Kinematics(viewer.found.table, viewer.found.model), {}
    limits, tip = found.table.limits, TIPS[found.name]
    for topic, fraction in ((topics.JOINT_STATES, 0.3), (topics.TELEOP_TARGETS, 0.6)):
        q = limits.lower + fraction * (limits.upper - limits.lower)
        kinematics.forward(q)
        expected[topic] = q, kinematics.position(tip).copy()

    def send():
        for topic, (q, _) in expected.items():
            viewer.publish(topic, q)

    def is_there():
        robots_tip, targets_tip = viewer.look_up(tip), viewer.look_up(f"operator/{tip}")
        return near(robots_tip, expected[topics.JOINT_STATES][1]) and near(
            targets_tip, expected[topics.TELEOP_TARGETS][1]
        )

    viewer.until(is_there, send)
    viewer.until(lambda: viewer.text, send)
    links = {link.get("name") for link in ElementTree.fromstring(viewer.text).iter("link")}
    own = {name for name in viewer.frames if not name.startswith("operator/")} | {"base_link"}
    assert links == own, "every link of the URDF has a frame, and the other way round"
    optical = {f"{name}_camera_optical_frame" for name in found.cameras}
    assert optical <= links
    viewer.until(lambda: set(viewer.infos) == optical, send)


@pytest.mark.parametrize("viewer", ["robin_h1"], indirect=True)
def test_a_cameras_own_calibration_is_not_talked_over(viewer):
    """A driver that publishes camera_info is alone with it; that of the other cameras comes from the description."""
    topic = topics.camera_info(viewer.found.cameras["ego"].topic)
    publisher = ros.publisher(viewer.node, topic)
    viewer.until(
        lambda: publisher.get_subscription_count() and viewer.node.count_publishers(publisher.topic_name) == 2, int
    )
    viewer.infos.clear()
    seen = []

    def send():
        publisher.publish(CameraInfo(width=7))
        seen.append(viewer.infos.pop("ego_camera_optical_frame", None))

    wrists = {f"{side}_wrist_camera_optical_frame" for side in ("left", "right")}
    for _ in range(2):  # the other node has had its turn twice
        for name in wrists:
            viewer.infos.pop(name, None)
        viewer.until(lambda: wrists <= set(viewer.infos), send)
    assert sum(info is not None for info in seen) <= 1, "one may have been under way"


def test_what_stands_in_for_tf2_msgs_has_its_name_and_hash():
    rclpy.init()
    node = rclpy.create_node("tf")
    try:
        publisher = ros.publisher(node, topics.TF)
        (info,) = node.get_publishers_info_by_topic(publisher.topic_name)
        assert (info.topic_type, str(info.topic_type_hash)) == (topics.TF.type, schema(topics.TF.type).type_hash)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
