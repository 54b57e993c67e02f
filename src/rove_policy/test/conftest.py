# SPDX-License-Identifier: Apache-2.0
"""The rest of a session, as a policy node sees it."""

import time

import numpy as np
import pytest
import rclpy
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import CompressedImage, JointState
from std_srvs.srv import Trigger as TriggerService

from rove_contract import images, messages, ros, topics
from rove_contract.modes import Mode
from rove_description import joints, mjcf

TABLE = joints.load()


class World:
    """Publishes state, pictures and modes; collects what the policy publishes."""

    def __init__(self):
        self.node = rclpy.create_node("world")
        self.state = ros.publisher(self.node, topics.JOINT_STATES)
        self.image = ros.publisher(self.node, topics.EGO_IMAGE)
        self.mode_pub = ros.publisher(self.node, topics.MODE)
        self.mode = Mode.IDLE
        self.chunks, self.values, self.diagnostics = [], [], {}
        ros.subscription(self.node, topics.ACTION_CHUNK, self.chunks.append)
        ros.subscription(self.node, topics.POLICY_VALUE, self.values.append)
        ros.subscription(self.node, topics.DIAGNOSTICS, self.on_diagnostics)
        self.reload_client = self.node.create_client(TriggerService, topics.POLICY_RELOAD_SERVICE)
        self.set_client = self.node.create_client(SetParameters, "/policy/set_parameters")
        self.node.create_timer(0.02, self.tick)
        rgb = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        self.jpeg = images.encode_jpeg(rgb)
        self.frozen_camera = False

    def on_diagnostics(self, msg):
        for status in msg.status:
            if status.name == "policy":
                self.diagnostics = {"message": status.message, **messages.diagnostic_values(status)}

    def call(self, client, request, timeout=30.0):
        future = client.call_async(request)
        assert self.spin_until(future.done, timeout)
        return future.result()

    def reload(self):
        return self.call(self.reload_client, TriggerService.Request())

    def set_checkpoint(self, path):
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=str(path))
        return self.call(
            self.set_client, SetParameters.Request(parameters=[Parameter(name="checkpoint", value=value)])
        ).results[0]

    def tick(self):
        self.state.publish(messages.fill_joint_state(JointState(), TABLE, ros.now_ns(), mjcf.home(TABLE), np.zeros(50)))
        if not self.frozen_camera:
            self.image.publish(CompressedImage(format="jpeg", data=self.jpeg))

    def policy_is_there(self):
        """The policy node is discovered: its chunk publisher and its state subscription exist."""
        return self.node.count_publishers(topics.ACTION_CHUNK.name) and self.node.count_subscribers(
            topics.JOINT_STATES.name
        )

    def set_mode(self, trigger, mode):
        self.mode_pub.publish(ros.mode_event(self.mode, trigger, mode, ros.now_ns()))
        self.mode = mode

    def spin_until(self, condition, timeout=30.0):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.05)
            if condition():
                return True
        return False


@pytest.fixture
def world():
    rclpy.init()
    world = World()
    yield world
    world.node.destroy_node()
    rclpy.try_shutdown()
