# SPDX-License-Identifier: Apache-2.0
"""Driver for a robot behind ros2_control: /joint_command to forward command or joint trajectory controllers.

A template: docs/how-to/connect-a-robot.md says what to set up beside it. Each controller is asked for its joints, so
that their order cannot be wrong; what is checked before a command goes on stands in rove_contract/driver.py.
"""

import sys
import time
from dataclasses import dataclass

import numpy as np
import rclpy
from builtin_interfaces.msg import Duration
from rclpy.node import Node
from rclpy.parameter_client import AsyncParameterClient
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rove_contract import messages, ros, timing, topics
from rove_contract.driver import Driver
from rove_contract.parameters import parameter
from rove_description import robot

WAIT_S = 10.0  # for a controller to answer
AHEAD = Duration(nanosec=20_000_000)  # a trajectory's point is due two periods later: a late message is no standstill


@dataclass(frozen=True)
class Parameters:
    """Of the node."""

    robot: str = parameter(robot.DEFAULT, "the robot: a name, or a folder with robot.yaml")
    controllers: list[str] = parameter(
        ["forward_position_controller"], "nodes of the controllers that move all of its joints together"
    )
    kind: str = parameter(
        "forward",
        "forward (forward_command_controller and its kin, positions) or trajectory (joint_trajectory_controller)",
        choices=("forward", "trajectory"),
    )
    states: str = parameter(
        "joint_state_broadcaster/joint_states", "topic of the joint state broadcaster, with use_local_topics: true"
    )


class Ros2ControlDriver(Node):
    """See Parameters."""

    def __init__(self):
        super().__init__("driver")
        p = ros.read_parameters(self, Parameters)
        self.table = robot.load(p.robot).table
        joints = {name: self.joints_of(name) for name in p.controllers}
        self.check_joints(joints)
        if p.kind == "forward":
            self.fill, message, topic = self.forward, Float64MultiArray, "commands"
        else:
            self.fill, message, topic = self.trajectory, JointTrajectory, "joint_trajectory"
        self.controllers = [
            (self.create_publisher(message, f"{name}/{topic}", 1), joints[name]) for name in p.controllers
        ]  # (publisher, names of its joints in its order)
        self.driver = Driver(self.table)
        self.reader, self.speed_reader = messages.JointReader(self.table), messages.JointReader(self.table)
        self.newest, self.published_ns, self.fault = None, 0, ""
        self.states = ros.publisher(self, topics.JOINT_STATES)  # reliable
        self.create_subscription(JointState, p.states, self.on_state, 1)
        ros.subscription(self, topics.JOINT_COMMAND, lambda msg: self.driver.command(msg, time.monotonic()))
        self.diagnostics = ros.Diagnostics(self, self.report)
        ros.timer(self, timing.CONTROL_PERIOD_S, self.tick)

    def joints_of(self, controller):
        """The joints that a controller commands, in its order."""
        client = AsyncParameterClient(self, controller)
        if not client.wait_for_services(timeout_sec=WAIT_S):
            raise ValueError(
                f"no controller {controller!r} answers; `ros2 control list_controllers` shows those there are"
            )
        future = client.get_parameters(["joints"])
        rclpy.spin_until_future_complete(self, future, timeout_sec=WAIT_S)
        joints = list(future.result().values[0].string_array_value) if future.done() else []
        if not joints:
            raise ValueError(f"the controller {controller!r} has no parameter joints")
        return joints

    def check_joints(self, joints):
        """Every joint of the robot has one controller, and no controller another joint."""
        moved = [name for names in joints.values() for name in names]
        twice = sorted({name for name in moved if moved.count(name) > 1})
        unknown, left_out = sorted(set(moved) - set(self.table.names)), sorted(set(self.table.names) - set(moved))
        for fault, wrong in (("two commands", twice), ("no row in joints.csv", unknown), ("no controller", left_out)):
            if wrong:
                raise ValueError(f"{len(wrong)} joints have {fault}: {', '.join(wrong[:5])}")

    def on_state(self, msg):
        """Of the broadcaster: any order of joints, any rate."""
        try:
            q, dq = self.reader.position(msg), self.speed_reader.velocity(msg)
            if not np.isfinite(q).all():
                raise ValueError(f"the broadcaster's state lacks {self.table.names[int(np.argmin(np.isfinite(q)))]}")
        except ValueError as error:
            self.fault = str(error)
            return
        self.fault = ""
        self.newest = (messages.stamp_ns(msg.header.stamp), q, np.nan_to_num(dq))

    def tick(self):
        if (
            self.newest is not None and self.newest[0] > self.published_ns
        ):  # a state that stands still is not sent again
            self.published_ns, q, dq = self.newest
            self.driver.measure(q)
            self.states.publish(messages.fill_joint_state(JointState(), self.table, self.published_ns, q, dq))
        setpoint = self.driver.setpoint(time.monotonic())
        if setpoint is None:
            return
        for publisher, names in self.controllers:
            publisher.publish(self.fill(names, [float(setpoint[self.table.index[name]]) for name in names]))

    def forward(self, names, values):
        return Float64MultiArray(data=values)

    def trajectory(self, names, values):
        """One point without velocity, interpolated linearly; stamp 0 is now. Where it ends, the controller holds."""
        return JointTrajectory(
            joint_names=names, points=[JointTrajectoryPoint(positions=values, time_from_start=AHEAD)]
        )

    def report(self):
        """(level, message, values) for /diagnostics."""
        if self.fault:
            return 2, self.fault, {"ready": "false"}
        silent = [publisher.topic_name for publisher, _ in self.controllers if not publisher.get_subscription_count()]
        if silent:
            return 2, f"nobody listens on {', '.join(silent)}", {"ready": "false"}
        return self.driver.level, self.driver.reason, {"ready": "true", "refused": self.driver.refused}


if __name__ == "__main__":
    sys.exit(ros.spin(Ros2ControlDriver, sys.argv))
