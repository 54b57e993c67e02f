# SPDX-License-Identifier: Apache-2.0
"""`robot_state`: what rviz, Foxglove and other ROS tools need to show the robot, on /robot_description (URDF), /tf and
/tf_static. The operator's targets are a second robot whose frames begin with `operator/`. Where nobody says what a
camera sees, `camera_info` comes from the robot's description, once a second.

A driver that brings its own robot_state_publisher does without this node (`robot_state:=false`).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import String

from rove_contract import frames, messages, ros, topics
from rove_contract.parameters import parameter
from rove_contract.tf import TfEncoder
from rove_description import robot as robots
from rove_description import urdf
from rove_description.links import IDENTITY, LinkTree, poses_of


@dataclass(frozen=True)
class Parameters:
    """Of the node."""

    robot: str = parameter(robots.DEFAULT, "the robot: a name, or a folder with robot.yaml")
    rate_hz: float = parameter(30.0, "of /tf; at most that of the joint states", unit="Hz", low=1.0, high=200.0)


class Posture:
    """The newest joint angles of one topic, and the frames that they move. prefix: before the frames' names."""

    def __init__(self, node: Node, topic: topics.Topic, tree: LinkTree, prefix: str):
        self.tree = tree
        self.reader = messages.JointReader(tree.robot.table)
        self.q = tree.robot.home.copy()
        self.encoder = TfEncoder([(prefix + link.parent, prefix + link.name) for link in tree.moving])
        self.fault = ""
        self.subscription = ros.subscription(node, topic, lambda msg: None, depth=1, group=ros.Polled())

    def message(self) -> bytes | None:
        """/tf of what has come since the last call; None where nothing has. A joint that a message lacks stays."""
        if (msg := ros.take_newest(self.subscription)) is None:
            return None
        try:
            q = self.reader.position(msg)
        except messages.JointMessageError as error:
            self.fault = str(error)
            return None
        self.fault = ""
        known = np.isfinite(q)
        self.q[known] = q[known]
        return self.encoder.encode(messages.stamp_ns(msg.header.stamp), *self.tree.transforms(self.q))


class RobotStateNode(Node):
    """See Parameters."""

    def __init__(self):
        super().__init__("robot_state")
        p = ros.read_parameters(self, Parameters)
        found, rate_hz = robots.load(p.robot), p.rate_hz
        tree = LinkTree(found, {name: frames.optical(name) for name in found.cameras})
        self.tf = ros.publisher(self, topics.TF)
        self.description = ros.publisher(self, topics.ROBOT_DESCRIPTION)
        self.description.publish(String(data=urdf.export(tree)))
        self.tf_static = ros.publisher(self, topics.TF_STATIC)
        self.tf_static.publish(static_message(tree, ros.now_ns()))
        self.postures = [
            Posture(self, topics.JOINT_STATES, tree, ""),
            Posture(self, topics.TELEOP_TARGETS, tree, frames.OPERATOR),
        ]
        self.cameras = [
            (
                ros.publisher(self, topics.camera_info(camera.topic)),
                messages.fill_camera_info(
                    CameraInfo(), frames.optical(name), camera.width, camera.height, camera.fovy_deg
                ),
            )
            for name, camera in found.cameras.items()
        ]
        self.tf_timer = ros.timer(self, 1.0 / rate_hz, self.publish_tf)
        self.camera_timer = ros.timer(self, 1.0, self.publish_cameras)
        self.diagnostics = ros.Diagnostics(self, self.report)

    def publish_tf(self) -> None:
        for posture in self.postures:
            if (data := posture.message()) is not None:
                self.tf.publish(data)

    def publish_cameras(self) -> None:
        """What a driver says with its pictures is better: where another node publishes, this one is silent."""
        for publisher, info in self.cameras:
            if self.count_publishers(publisher.topic_name) == 1:
                info.header.stamp = self.get_clock().now().to_msg()
                publisher.publish(info)

    def report(self) -> tuple[int, str, dict[str, str]]:
        """(level, message, values) for /diagnostics."""
        if self.count_publishers(self.description.topic_name) > 1:
            return 1, f"another node publishes {self.description.topic_name}, too; see robot_state:=false", {}
        fault = next((posture.fault for posture in self.postures if posture.fault), "")
        return (1, fault, {}) if fault else (0, "running", {})


def static_message(tree: LinkTree, stamp_ns: int) -> bytes:
    """/tf_static: what does not move, of the robot and of the operator's targets, whose root is the robot's."""
    position, quaternion = poses_of(tree.fixed)
    frame_pairs = [(tree.root, frames.OPERATOR + tree.root)]
    frame_pairs += [(p + link.parent, p + link.name) for p in ("", frames.OPERATOR) for link in tree.fixed]
    encoder = TfEncoder(frame_pairs)
    return encoder.encode(
        stamp_ns,
        np.concatenate([np.zeros((1, 3)), position, position]),
        np.concatenate([IDENTITY[None], quaternion, quaternion]),
    )


def main() -> int:
    return ros.spin(RobotStateNode, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
