# SPDX-License-Identifier: Apache-2.0
"""Your own policy as a ROS node in 40 lines: it nods while the mode is ROLLOUT (docs/how-to/write-a-policy.md)."""

import math

import rclpy
from builtin_interfaces.msg import Duration
from lifecycle_msgs.msg import TransitionEvent
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

PERIOD_S, STEPS, REPLAN_S = 0.05, 50, 0.8  # a row every 50 ms; the next chunk takes over after 16 of 50


class Nodder(Node):
    def __init__(self):
        super().__init__("policy")
        self.state, self.mode = None, ""
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(JointState, "joint_states", self.on_state, qos_profile_sensor_data)
        self.create_subscription(TransitionEvent, "supervisor/mode", self.on_mode, latched)
        self.chunks = self.create_publisher(JointTrajectory, "policy/action_chunk", 1)
        self.create_timer(REPLAN_S, self.plan)

    def on_state(self, msg):
        self.state = msg

    def on_mode(self, msg):
        begins = msg.goal_state.label != self.mode  # else it is a heartbeat
        self.mode = msg.goal_state.label
        if begins:
            self.plan()

    def plan(self):
        if self.state is None or self.mode != "ROLLOUT":  # only then the robot follows the policy
            return
        chunk = JointTrajectory(joint_names=list(self.state.name))
        chunk.header.stamp = self.get_clock().now().to_msg()  # of the observation; row i is due (i + 1) periods later
        for i in range(1, STEPS + 1):
            target = list(self.state.position)
            target[chunk.joint_names.index("head_pitch")] += 0.2 * math.sin(2.0 * math.pi * i / STEPS)
            after = Duration(nanosec=round(i * PERIOD_S * 1e9) % 10**9, sec=int(i * PERIOD_S))
            chunk.points.append(JointTrajectoryPoint(positions=target, time_from_start=after))
        self.chunks.publish(chunk)


if __name__ == "__main__":
    rclpy.init()
    rclpy.spin(Nodder())
