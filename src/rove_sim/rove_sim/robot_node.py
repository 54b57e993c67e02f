# SPDX-License-Identifier: Apache-2.0
"""`robot`: the simulated robot in real time. 100 Hz physics and /joint_states, JPEGs of its cameras, privileged
/sim/state and /sim/success. A task needs the robot that it is built for; task:=free_space takes any (see free_world).

Physics runs in the executor's timer; pictures are drawn and encoded in their own thread (about 10 ms each in software),
so that the state's rate does not depend on them. What is simplified stands at the world of each task.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import dataclass

import numpy as np
import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy._rclpy_pybind11 import InvalidHandle, RCLError
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, CompressedImage, JointState
from std_msgs.msg import Bool, String

from rove_contract import episode as episodes
from rove_contract import frames, images, messages, ros, timing, topics
from rove_contract.command_watch import CommandWatch
from rove_contract.joint_error import worst
from rove_contract.modes import Mode
from rove_contract.parameters import parameter
from rove_contract.thresholds import SEATED_RAD
from rove_description import robot as robots
from rove_sim.free_world import make_world
from rove_sim.tasks import task as tasks

RESET_DELAY_S = 1.0  # after an episode's end: its last frames still show how it ended
CATCH_UP_STEPS = 5  # physics steps at once after a stall of the machine; a longer one slows the simulated time down
IDLE_S = 1.0  # of the camera thread of a robot without cameras
STATE_EVERY = round(timing.CONTROL_HZ / 20.0)  # control periods between two /sim/state


@dataclass(frozen=True)
class Parameters:
    """Of the node."""

    robot: str = parameter(robots.DEFAULT, "the robot: a name, or a folder with robot.yaml")
    seed: int = parameter(0, "seed of the first scene; each reset goes on to the next", low=0)
    image_size: int = parameter(192, "side of the pictures", unit="px", low=16, high=2048)
    jpeg_quality: int = parameter(90, "of the pictures", low=1, high=100)
    camera_hz: float = parameter(
        timing.CAMERA_HZ, "highest rate of a camera; each has its own", unit="Hz", low=0.1, high=240.0
    )
    start_stage: str = parameter(
        "start", "where the next episode begins; the supervisor's topic sets it too", live=True
    )
    task: str = parameter(tasks.ERASE_WHITEBOARD.name, "folder name of the task; free_space: none, for any robot")
    auto_reset: bool = parameter(True, "next scene by itself 1 s after an episode ended")


class RobotNode(Node):
    """See Parameters."""

    seated: bool  # what was commanded last is where the robot stands
    command: np.ndarray  # (J,) rad, in force

    def __init__(self):
        super().__init__("robot")
        p = ros.read_parameters(self, Parameters)
        seed, size = p.seed, p.image_size
        self.quality, self.camera_hz, self.auto_reset = p.jpeg_quality, p.camera_hz, p.auto_reset
        self.task = tasks.get(p.task, any_robot=True)
        first = self.check_start_stage([self.get_parameter("start_stage")])
        if not first.successful:
            raise ValueError(first.reason)
        described = robots.load(p.robot)
        self.table = described.table
        self.reader = messages.JointReader(self.table)
        self.env = make_world(self.task.name, described, size, seed)
        self.commands = CommandWatch(self.table.limits, self.env.command)
        self.mode: Mode | None = None
        self.episode_active = False
        self.reset_due: float | None = None
        self.resets = self.bad = self.slow = self.images = 0
        self.success: bool | None = None
        self.missed = ""
        self.states_pub = ros.publisher(self, topics.JOINT_STATES)
        self.cameras = {
            name: (ros.publisher(self, topics.picture(camera.topic)), camera)
            for name, camera in described.cameras.items()
        }
        self.camera_infos = {
            name: (
                ros.publisher(self, topics.camera_info(camera.topic)),
                messages.fill_camera_info(CameraInfo(), frames.optical(name), size, size, camera.fovy_deg),
            )
            for name, camera in described.cameras.items()
        }
        self.state_pub = ros.publisher(self, topics.SIM_STATE)
        self.success_pub = ros.publisher(self, topics.SIM_SUCCESS)
        self.task_pub = ros.publisher(self, topics.SIM_TASK)
        self.task_pub.publish(String(data=json.dumps(self.task.words())))
        ros.subscription(self, topics.JOINT_COMMAND, self.on_command)
        ros.subscription(self, topics.MODE, self.on_mode)
        ros.subscription(self, topics.EPISODE, self.on_episode)
        ros.subscription(self, topics.START_STAGE, self.on_start_stage)
        self.service = ros.service(self, topics.SIM_RESET_SERVICE, self.on_reset)
        self.diagnostics = ros.Diagnostics(self, self.report)
        self.joint_msg = JointState()
        self.reset_env(seed)
        self.add_on_set_parameters_callback(self.check_start_stage)
        self.add_post_set_parameters_callback(self.apply_start_stage)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.draw, name="camera", daemon=True)
        self._thread.start()
        self.steps, self.published = 0, -1
        self.begin = time.monotonic()
        self.timer = ros.timer(self, timing.CONTROL_PERIOD_S, self.tick)

    # ---- inputs

    def on_command(self, msg) -> None:
        """Hold the newest command. After a reset the filter still holds the old pose: ignored in IDLE until it has
        re-seated.
        """
        try:
            command = self.reader.position(msg)
        except messages.JointMessageError as error:
            self.bad, self.missed = self.bad + 1, str(error)
            return
        if not np.isfinite(command).all():
            self.bad += 1
            self.missed = "a joint command lacks joints or is not finite"
            return
        if not self.seated:
            if self.mode is Mode.IDLE and worst(self.table, command - self.env.command)[1].in_rad > SEATED_RAD:
                return
            self.seated = True
        self.commands.command(command, time.monotonic())

    def on_mode(self, msg) -> None:
        try:
            self.mode = ros.mode_of(msg)
        except ValueError as error:
            self.bad, self.missed = self.bad + 1, str(error)

    def on_episode(self, msg) -> None:
        try:
            active = episodes.from_status(msg).state == episodes.ACTIVE
        except ValueError as error:
            self.bad, self.missed = self.bad + 1, str(error)
            return
        if self.episode_active and not active and self.auto_reset:
            self.reset_due = time.monotonic() + RESET_DELAY_S
        self.episode_active = active

    def on_start_stage(self, msg) -> None:
        """The supervisor sets the parameter start_stage: the scene moves to where the next episode shall begin, at once
        in IDLE, else with the reset after the episode.
        """
        (result,) = self.set_parameters([Parameter("start_stage", value=msg.data)])
        if not result.successful:
            self.missed = result.reason

    def check_start_stage(self, parameters) -> SetParametersResult:
        """Whether the task has the start stage that a parameter names."""
        for one in parameters:
            if one.name == "start_stage" and one.value not in self.task.start_stages:
                known = ", ".join(self.task.start_stages)
                return SetParametersResult(
                    successful=False, reason=f"unknown start stage {one.value!r}; the task has {known}"
                )
        return SetParametersResult(successful=True)

    def apply_start_stage(self, _parameters) -> None:
        stage = self.get_parameter("start_stage").value
        if self.env.start_stage != stage and self.mode in (None, Mode.IDLE) and self.reset_due is None:
            self.reset_env()

    def on_reset(self, _request, response):
        """Service: next seed, robot at home. Refused outside IDLE."""
        if self.mode not in (None, Mode.IDLE):
            response.success, response.message = (
                False,
                f"the simulator is reset in IDLE only, the mode is {self.mode.name}",
            )
        else:
            self.reset_env()
            response.success, response.message = True, f"seed {self.env.seed}"
        return response

    def reset_env(self, seed: int | None = None) -> None:
        self.env.reset(seed, self.get_parameter("start_stage").value)
        self.commands.reset(self.env.command)
        self.seated = False
        self.reset_due = None
        self.resets += 1
        self.snapshot = (self.env.qpos.copy(), ros.now_ns())

    # ---- the 100 Hz period

    def tick(self) -> None:
        now = time.monotonic()
        if self.reset_due is not None and now >= self.reset_due and self.mode in (None, Mode.IDLE):
            self.reset_env()
        due = int((now - self.begin) * timing.CONTROL_HZ) - self.steps
        if due > CATCH_UP_STEPS:
            self.slow += due - CATCH_UP_STEPS
            self.steps += due - CATCH_UP_STEPS
            due = CATCH_UP_STEPS
        for _ in range(max(1, due)):
            self.env.step(self.commands.setpoint(now))
            self.steps += 1
        stamp = ros.now_ns()
        self.snapshot = (self.env.qpos.copy(), stamp)
        messages.fill_joint_state(self.joint_msg, self.table, stamp, self.env.q, self.env.dq)
        self.states_pub.publish(self.joint_msg)
        if self.env.success != self.success:
            self.success = self.env.success
            self.success_pub.publish(Bool(data=self.success))
        if self.steps // STATE_EVERY != self.published:
            self.published = self.steps // STATE_EVERY
            state = self.env.state() | {"resets": self.resets, "seated": self.seated, "stamp_ns": stamp}
            self.state_pub.publish(String(data=json.dumps(state)))

    # ---- pictures, in their own thread

    def draw(self) -> None:
        """Newest snapshot -> JPEGs of the cameras, of each at its own rate, at most camera_hz."""
        periods = {name: 1.0 / min(self.camera_hz, camera.rate_hz) for name, (_, camera) in self.cameras.items()}
        due = dict.fromkeys(self.cameras, time.monotonic())
        try:
            while not self._stop.wait(max(0.0, min(due.values()) - time.monotonic()) if due else IDLE_S):
                now = time.monotonic()
                qpos, stamp = self.snapshot
                for name in [name for name, at in due.items() if at <= now]:
                    due[name] = max(due[name] + periods[name], now - periods[name])
                    publisher, camera = self.cameras[name]
                    msg = CompressedImage(format="jpeg")
                    messages.set_stamp(msg.header.stamp, stamp)
                    msg.header.frame_id = frames.optical(name)
                    msg.data = images.encode_jpeg(self.env.camera.render(qpos, camera.frame), self.quality)
                    publisher.publish(msg)
                    info_publisher, info = self.camera_infos[name]
                    info.header.stamp = msg.header.stamp
                    info_publisher.publish(info)
                    self.images += 1
        except (RCLError, InvalidHandle):
            if rclpy.ok():  # else: the process is ending
                raise
        finally:
            self.env.camera.close()  # the context belongs to this thread

    def report(self):
        """(level, message, values) for /diagnostics."""
        values = {
            "seed": self.env.seed,
            "resets": self.resets,
            "images": self.images,
            "bad_messages": self.bad,
            "commands_ceased": self.commands.ceased,
            "skipped_steps": self.slow,
            "seated": str(self.seated).lower(),
            "ready": "true",
        }
        if not self._thread.is_alive():
            return 2, "the camera thread has died; see the log", values | {"ready": "false"}
        if self.seated and self.commands.silent:
            return 1, "commands have ceased: the robot has stopped by itself", values
        if self.missed:
            return 1, self.missed, values
        return 0, "running", values

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=2.0)


def main() -> int:
    return ros.spin(RobotNode, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
