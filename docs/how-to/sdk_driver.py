# SPDX-License-Identifier: Apache-2.0
"""Driver for a robot with a Python SDK: replace the class Sdk, the rest stays.

A template: docs/how-to/connect-a-robot.md. As it is, it moves a robot that does at once what it is told. What is
checked before a command goes on stands in rove_contract/driver.py.
"""

import sys
import time
from dataclasses import dataclass

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, JointState

from rove_contract import frames, messages, ros, timing, topics
from rove_contract.driver import Driver
from rove_contract.parameters import parameter
from rove_description import robot


@dataclass(frozen=True)
class Parameters:
    """Of the node."""

    robot: str = parameter(robot.DEFAULT, "the robot: a name, or a folder with robot.yaml")


class Sdk:
    """Replace every body by calls of your SDK; none may block for longer than a period of 10 ms.

    joints: the names of joints.csv in the order in which the SDK counts its joints.
    """

    def __init__(self, described):
        self.joints = tuple(reversed(described.table.names))
        self.q = np.array([described.home[described.table.index[name]] for name in self.joints])
        self.count = 0

    def read(self):
        """(number of the sample, q (J,) rad, dq (J,) rad/s), in the SDK's order; the number grows with each new sample.

        Raises OSError where the robot does not answer or its drives are off.
        """
        self.count += 1
        return self.count, self.q.copy(), np.zeros(len(self.q))

    def write(self, q):
        """q (J,) rad, in the SDK's order: the drives' set-point."""
        self.q = q

    def picture(self):
        """The newest picture of the camera `ego` as JPEG, or None. Or leave pictures to a camera node."""
        return None

    def close(self):
        """Brake and hold. Switch on the SDK's own watchdog, too: a killed process brakes nothing."""


class SdkDriver(Node):
    """See Parameters."""

    def __init__(self):
        super().__init__("driver")
        described = robot.load(ros.read_parameters(self, Parameters).robot)
        self.table = described.table
        self.sdk = Sdk(described)
        if sorted(self.sdk.joints) != sorted(self.table.names):
            wrong = sorted(set(self.sdk.joints) ^ set(self.table.names))
            raise ValueError(f"the joints of the SDK are not those of joints.csv: {', '.join(wrong[:5])}")
        self.order = np.array([self.table.index[name] for name in self.sdk.joints])  # SDK's joint -> contract's
        self.driver = Driver(self.table)
        self.number = None
        self.states = ros.publisher(self, topics.JOINT_STATES)  # reliable
        ros.subscription(self, topics.JOINT_COMMAND, lambda msg: self.driver.command(msg, time.monotonic()))
        self.diagnostics = ros.Diagnostics(self, self.report)
        ros.timer(self, timing.CONTROL_PERIOD_S, self.tick)
        if ego := described.cameras.get("ego"):
            self.pictures = ros.publisher(self, topics.picture(ego.topic))
            ros.timer(self, 1.0 / timing.CAMERA_HZ, self.look)

    def tick(self):
        try:
            number, q, dq = self.sdk.read()
            if number != self.number:  # an old sample with a new stamp would hide that the robot is gone
                self.number, stamp = number, ros.now_ns()
                position, velocity = np.empty(len(q)), np.empty(len(q))
                position[self.order], velocity[self.order] = q, dq
                self.driver.measure(position)
                self.states.publish(messages.fill_joint_state(JointState(), self.table, stamp, position, velocity))
            setpoint = self.driver.setpoint(time.monotonic())
            if setpoint is not None:
                self.sdk.write(setpoint[self.order])
        except OSError as error:
            self.driver.release(f"the robot does not answer: {error}")

    def look(self):
        jpeg = self.sdk.picture()
        if jpeg is not None:
            msg = CompressedImage(format="jpeg", data=jpeg)
            messages.set_stamp(msg.header.stamp, ros.now_ns())
            msg.header.frame_id = frames.optical("ego")
            self.pictures.publish(msg)

    def report(self):
        """(level, message, values) for /diagnostics."""
        return self.driver.level, self.driver.reason, {"ready": "true", "refused": self.driver.refused}

    def close(self):
        self.sdk.close()


if __name__ == "__main__":
    sys.exit(ros.spin(SdkDriver, sys.argv))
