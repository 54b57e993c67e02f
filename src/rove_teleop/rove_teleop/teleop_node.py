# SPDX-License-Identifier: Apache-2.0
"""Operator input -> retargeting -> /teleop/joint_targets, and how far the operator is from the robot on
/teleop/alignment.

A receive thread takes the newest frame, retargets it and publishes, at the input's rate and in every mode, so that
alignment is known while the robot is paused. When the input goes stale nothing is published: a dead pose is never
repeated.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState

from rove_contract import messages, ros, timing, topics
from rove_contract.joint_error import JointError
from rove_contract.latency import Latency
from rove_contract.modes import OPERATOR_DRIVES, Mode
from rove_contract.parameters import parameter
from rove_contract.priority import raise_priority
from rove_contract.thresholds import TAKEOVER_RAD
from rove_description import joints, mjcf, robot
from rove_teleop.retargeting import any_robot, calibration
from rove_teleop.retargeting.alignment import alignment, by_side
from rove_teleop.retargeting.intake import LIMITED, OK
from rove_teleop.retargeting.robot_geometry import RobotSkeleton
from rove_teleop.sources import ReceivedFrame, RobotView
from rove_teleop.sources.endpoint import open_source
from rove_teleop.sources.zmq_source import DEFAULT_ENDPOINT, PATTERNS

ALIGNMENT_HZ = 20.0
POLL_S = 0.05


@dataclass(frozen=True)
class Parameters:
    """Of the node."""

    endpoint: str = parameter(
        DEFAULT_ENDPOINT, "where operator frames come from: tcp://…, mvn://…, https://… or browser://…"
    )
    pattern: str = parameter("sub", "sub (a PUB of the suit) or pull (a PUSH)", choices=tuple(PATTERNS))
    bind: bool = parameter(True, "false: connect to the suit instead of waiting for it")
    keys: str = parameter("", "CURVE key directory, needed beyond loopback; for pages that of certificate and token")
    peer: str = parameter("", "IP address of the MVN computer, where mvn:// is not on loopback")
    input_timeout_s: float = parameter(
        timing.TELEOP_STALE_S, "input that is older or comes later is stale", unit="s", low=0.01, high=60.0
    )
    mode: str = parameter(
        "absolute",
        "absolute (the operator's pose) or relative (motion counts from the takeover)",
        choices=("absolute", "relative"),
    )
    smoothing: bool = parameter(True, "filter the operator's tracking noise")
    calibration: str = parameter(
        "", "file of `rove run rove_teleop calibrate`; empty: a person with the robot's proportions"
    )
    robot: str = parameter(robot.DEFAULT, "the robot: a name, or a folder with robot.yaml")
    alignment_warn_rad: float = parameter(
        TAKEOVER_RAD, "diagnostics warn when operator and robot are further apart", unit="rad", low=0.0, high=10.0
    )
    discovery: float = parameter(
        0.5, "how long it looks for another teleop node before it starts", unit="s", low=0.0, high=60.0
    )
    nice: int = parameter(-10, "priority of this process where permitted; 0: as it is", low=-20, high=19)


def warm_up(described: robot.Robot) -> None:
    """Retarget in vain: what is compiled or imported at its first use would make the first target late."""
    person = joints.load()
    skeleton, retargeter = RobotSkeleton(person), any_robot.make(described)
    retargeter.reset(described.home)
    for seq in range(2):
        retargeter.retarget(skeleton.frame(mjcf.home(person), seq, seq / 60.0))
    retargeter.free_arms()


class TeleopNode(Node):
    """See Parameters."""

    def __init__(self):
        super().__init__("teleop")
        p = ros.read_parameters(self, Parameters)
        self.timeout_s, self.warn_rad = p.input_timeout_s, p.alignment_warn_rad
        self.session = ros.session_id(self)
        described = robot.load(p.robot)
        self.table = described.table
        self.retargeter = any_robot.make(
            described,
            mode=p.mode,
            smoothing=p.smoothing,
            calibration=calibration.load(p.calibration) if p.calibration else None,
        )
        warm_up(described)
        self.reader = messages.JointReader(self.table)
        self.source = open_source(
            p.endpoint,
            p.pattern,
            bind=p.bind,
            keys=p.keys,
            peer=p.peer,
            max_delay_s=p.input_timeout_s,
            robot=described,
        )
        self.mode = Mode.IDLE
        self.measured: np.ndarray | None = None
        self.measured_s = -np.inf
        self.input_s = -np.inf  # monotonic time of the last usable frame
        self.published = self.unusable = self.bad_states = 0
        self.waited, self.retargeted = Latency("input"), Latency("retargeting")
        self.error = ""
        self._reset_due = True
        self.sample: ReceivedFrame | None = None  # the newest one
        self.message = JointState()
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._running = True

        ros.claim_role(self, topics.TELEOP_TARGETS, "teleop node", p.discovery)
        self.targets_pub = ros.publisher(self, topics.TELEOP_TARGETS)
        self.alignment_pub = ros.publisher(self, topics.TELEOP_ALIGNMENT)
        ros.subscription(self, topics.JOINT_STATES, self.on_state)
        ros.subscription(self, topics.MODE, self.on_mode)
        ros.timer(self, 1.0 / ALIGNMENT_HZ, self.publish_alignment)
        self.diagnostics = ros.Diagnostics(self, self.report)
        if self.source.shows_robot and robot.EGO in described.cameras:
            ros.subscription(self, topics.picture(described.cameras[robot.EGO].topic), self.on_image)
        self._thread = threading.Thread(target=self.receive, name="operator input", daemon=True)
        self._thread.start()
        raise_priority(
            nice=p.nice
        )  # on a busy computer the operator's frames wait for the camera's rendering otherwise
        self.get_logger().info(
            f"listening for operator frames at {self.source.endpoint}, {p.mode} retargeting. {self.source.invitation}"
        )

    def on_state(self, msg) -> None:
        try:
            measured = self.reader.position(msg)
        except messages.JointMessageError as error:
            self.bad_states += 1
            self.error = str(error)
            return
        with self._lock:
            self.measured, self.measured_s = measured, time.monotonic()

    def on_mode(self, msg) -> None:
        try:
            mode = ros.mode_of(msg)
        except ValueError as error:
            self.error = str(error)
            return
        with self._lock:
            takes_over = mode in OPERATOR_DRIVES and self.mode not in OPERATOR_DRIVES
            if takes_over or (mode is Mode.PAUSED and self.mode is not mode):
                self._reset_due = True  # start where the robot is
            self.mode = mode
        sample = self.sample
        # The command filter forgets what came before the takeover. The newest frame is followed again, so that its
        # first target does not wait for the device's next frame.
        if takes_over and sample is not None and time.monotonic() - sample.taken_s <= self.timeout_s:
            self.attempt(self.follow, sample)

    def on_image(self, msg) -> None:
        self.source.show_camera(bytes(msg.data), 1e-9 * messages.stamp_ns(msg.header.stamp))

    def receive(self) -> None:
        """The input thread: newest frame in, joint targets out."""
        while self._running:
            self.attempt(self.receive_one)

    def receive_one(self) -> None:
        sample = self.source.poll(POLL_S)
        if sample is not None:
            self.sample = sample
            self.follow(sample)

    def attempt(self, action: Callable, *arguments) -> None:
        """One frame must not end the operator's control: errors are counted and reported."""
        try:
            action(*arguments)
        except Exception as error:
            self.unusable += 1
            self.error = repr(error)
            self.get_logger().error(traceback.format_exc(), throttle_duration_sec=5.0)

    def follow(self, sample: ReceivedFrame) -> None:
        """Retarget one sample and publish it."""
        with self._turn:  # of the input thread and of the executor at a takeover
            self._follow(sample)

    def _follow(self, sample: ReceivedFrame) -> None:
        begin = time.monotonic()
        with self._lock:
            if self.measured is None:
                return  # without the robot's pose there is nothing to start from
            # In relative mode motion counts from the takeover, so until then the anchor goes with the robot.
            if self._reset_due or (self.retargeter.mode == "relative" and self.mode not in OPERATOR_DRIVES):
                self.retargeter.reset(self.measured)
                self._reset_due = False
            if self.mode not in OPERATOR_DRIVES:
                self.retargeter.free_arms()
            q = self.retargeter.retarget(sample.frame)
            if OK not in self.retargeter.report.values() and LIMITED not in self.retargeter.report.values():
                self.unusable += 1  # frames arrive, but the operator is not in them: stale as well
                return
            self.input_s = sample.taken_s
        if not self._running:
            return
        messages.fill_joint_state(self.message, self.table, ros.now_ns(), q, session=self.session)
        self.targets_pub.publish(self.message)
        self.published += 1
        self.waited.add(begin - sample.taken_s, begin)
        self.retargeted.add(time.monotonic() - begin, begin)

    def publish_alignment(self) -> None:
        now = time.monotonic()
        with self._lock:
            age = now - self.input_s
            missing = now - self.measured_s > timing.STATE_MISSING_S
            parts = dict(self.retargeter.report)
            target, measured = self.retargeter.solution.copy(), self.measured
        held: list[str] = []
        of_side: dict[str, float] = {}
        if missing or measured is None:
            measured = None
            level, text = self._publish(3, "no joint states from the robot", {}, age)
        elif age > self.timeout_s:
            level, text = self._publish(3, "no operator input", {}, age)
        else:
            values = alignment(self.table, target, measured)
            held = sorted(
                name for name, state in parts.items() if name in self.source.parts and state not in (OK, LIMITED)
            )
            errors = [JointError.parse(values[block]) for block in self.table.blocks_present()]
            worst = max(errors, key=lambda error: error.in_rad)
            level = 1 if held or worst.in_rad > self.warn_rad else 0
            text = (
                f"held: {', '.join(held)}"
                if held
                else "aligned"
                if level == 0
                else f"{values['worst_joint']} is {worst.words()} off"
            )
            self._publish(level, text, values | {"held": ",".join(held)}, age)
            of_side = by_side(self.table, target, measured)
        if self.source.shows_robot:
            self.source.show_robot(
                RobotView(measured, self.mode.name, level, text, of_side, self.warn_rad, tuple(held))
            )

    def _publish(self, level: int, text: str, values: dict, age: float) -> tuple[int, str]:
        values = values | {"age_s": f"{min(age, 1e6):.3f}"}
        self.alignment_pub.publish(ros.status("alignment", text, values, level))
        return level, text

    def report(self) -> tuple[int, str, dict]:
        age = time.monotonic() - self.input_s
        with self._lock:
            parts = {f"part/{name}": state for name, state in self.retargeter.report.items()}
        values = self.source.statistics() | {
            "published": self.published,
            "unusable": self.unusable,
            "bad_joint_states": self.bad_states,
            "age_s": f"{min(age, 1e6):.3f}",
            "error": self.error,
        }
        values |= self.waited.values(time.monotonic()) | self.retargeted.values(time.monotonic())
        level, text = (0, "following") if age <= self.timeout_s else (3, "no operator input")
        return level, text, values | parts

    def close(self) -> None:
        """Stop the input thread."""
        self._running = False
        self._thread.join(timeout=2.0)
        self.source.close()


def main(args=None) -> int:
    return ros.spin(TeleopNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
