# SPDX-License-Identifier: Apache-2.0
"""The processes that the fault benches hurt: `python fault_roles.py ROLE [MODULE]`, then the argument as the first line
on standard input, so that a spare can wait with everything imported. Robot, camera, policy, supervisor, operator and
the operator's input stream in a few lines each, and `module`: a real node. SIGUSR1 sets a process's system clock an
hour back, SIGUSR2 an hour forward; SIGRTMIN makes its disk slow or quick again.
"""

from __future__ import annotations

import importlib
import os
import runpy
import signal
import sys
import threading
import time

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rove_contract import images, messages, ros, timing, topics
from rove_contract.command_watch import CommandWatch
from rove_contract.modes import Mode, Trigger
from rove_contract.priority import raise_priority
from rove_description import joints, mjcf

TABLE = joints.load()
HOME = mjcf.home(TABLE)
CHUNK_STEPS, CHUNK_EVERY_S = 12, 0.25  # 0.6 s of motion, so that an exhausted chunk shows soon
CLOCK_STEP_NS = 3_600_000_000_000
SLOW_DISK_S = 2.0  # of one fsync


def motion(t):
    """(J,) rad: both arms swing, free of any contact; t in s."""
    q = HOME.copy()
    for name, amplitude in (
        ("right_shoulder_pitch", -0.4),
        ("left_shoulder_pitch", -0.3),
        ("right_elbow", 0.3),
        ("head_yaw", 0.3),
    ):
        q[TABLE.index[name]] += amplitude * (1.0 - np.cos(2 * np.pi * 0.5 * t)) / 2
    return q


class FakeRobot(Node):
    """Is where it is commanded to be, within its speed, and stops by itself when commands cease."""

    def __init__(self):
        super().__init__("robot")
        # A restarted one is where the last command left it.
        self.watch, self.begin = None, time.monotonic()
        self.reader, self.msg = messages.JointReader(TABLE), JointState()
        self.state = ros.publisher(self, topics.JOINT_STATES)
        ros.subscription(self, topics.JOINT_COMMAND, self.on_command)
        ros.timer(self, timing.CONTROL_PERIOD_S, self.tick)

    def on_command(self, msg):
        q, now = self.reader.position(msg), time.monotonic()
        if self.watch is None:
            self.watch = CommandWatch(TABLE.limits, q)
        self.watch.command(q, now)

    def tick(self):
        now = time.monotonic()
        if self.watch is None and now - self.begin > 0.5:
            self.watch = CommandWatch(TABLE.limits, HOME)
        if self.watch is not None:
            q = self.watch.setpoint(now)
            self.state.publish(messages.fill_joint_state(self.msg, TABLE, ros.now_ns(), q, np.zeros(len(TABLE))))


class FakeCamera(Node):
    """A picture every CAMERA_HZ, each a little different."""

    def __init__(self):
        super().__init__("camera")
        self.count = 0
        shades = [np.full((48, 64, 3), 8 * i, np.uint8) for i in range(30)]
        self.jpegs = [images.encode_jpeg(shade, 80) for shade in shades]
        self.pictures = ros.publisher(self, topics.EGO_IMAGE)
        ros.timer(self, 1.0 / timing.CAMERA_HZ, self.tick)

    def tick(self):
        self.count += 1
        msg = CompressedImage(format="jpeg", data=self.jpegs[self.count % len(self.jpegs)])
        messages.set_stamp(msg.header.stamp, ros.now_ns())
        self.pictures.publish(msg)


class FakeOperator(Node):
    """Joint targets of the arm swing at 60 Hz, as teleop publishes them."""

    def __init__(self):
        super().__init__("teleop")
        self.msg = JointState()
        self.targets = ros.publisher(self, topics.TELEOP_TARGETS)
        ros.timer(self, 1 / 60, self.tick)

    def tick(self):
        q = motion(time.monotonic())
        self.targets.publish(messages.fill_joint_state(self.msg, TABLE, ros.now_ns(), q, session=ros.session_id(self)))


class FakePolicy(Node):
    """A chunk of the arm swing every CHUNK_EVERY_S, in ROLLOUT."""

    def __init__(self):
        super().__init__("policy")
        self.mode = Mode.IDLE
        self.chunks = ros.publisher(self, topics.ACTION_CHUNK)
        ros.subscription(self, topics.MODE, self.on_mode)
        ros.timer(self, CHUNK_EVERY_S, self.tick)

    def on_mode(self, msg):
        try:
            before, self.mode = self.mode, ros.mode_of(msg)
        except ValueError:
            return  # garbage
        if self.mode is not before:
            self.tick()

    def tick(self):
        if self.mode is Mode.ROLLOUT:
            steps = np.array([motion(time.monotonic() + i / timing.POLICY_HZ) for i in range(CHUNK_STEPS)])
            msg = JointTrajectory()
            self.chunks.publish(
                messages.fill_chunk(msg, JointTrajectoryPoint, TABLE, ros.now_ns(), steps, 1.0 / timing.POLICY_HZ)
            )


class FakeSupervisor(Node):
    """Publishes the mode whose number it last read from standard input, as a heartbeat."""

    def __init__(self, mode):
        super().__init__("supervisor")
        self.mode, self.changed_ns = Mode(mode), ros.now_ns()
        self.modes = ros.publisher(self, topics.MODE)
        ros.timer(self, timing.SUPERVISOR_HEARTBEAT_S, self.tick)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in sys.stdin:
            self.mode, self.changed_ns = Mode(int(line)), ros.now_ns()

    def tick(self):
        self.modes.publish(ros.mode_event(Mode.IDLE, Trigger.PAUSE, self.mode, self.changed_ns, ros.session_id(self)))


def send_input(endpoint):
    """The motion-capture suit: 60 operator frames a second over ZMQ."""
    import zmq

    from rove_contract.operator_frame import OperatorFrame, encode
    from rove_teleop.retargeting.robot_geometry import RobotSkeleton

    skeleton = RobotSkeleton(TABLE)
    with zmq.Context() as context, context.socket(zmq.PUB) as sender:
        sender.setsockopt(zmq.LINGER, 0)
        sender.connect(endpoint)
        raise_priority(realtime=5)
        seq = 0
        while True:
            seq += 1
            frame = skeleton.frame(motion(time.monotonic()), seq, time.time())
            sender.send(encode(OperatorFrame(frame.parts, seq, frame.t, "bench")))
            time.sleep(1 / 60)


def steppable_clock():
    """SIGUSR1 sets this process's system clock an hour back, SIGUSR2 an hour forward."""
    true_ns, offset = time.time_ns, [0]

    def step(number, _frame):
        offset[0] += CLOCK_STEP_NS if number == signal.SIGUSR2 else -CLOCK_STEP_NS

    time.time_ns = lambda: true_ns() + offset[0]
    time.time = lambda: (true_ns() + offset[0]) * 1e-9
    signal.signal(signal.SIGUSR1, step)
    signal.signal(signal.SIGUSR2, step)


def slow_disk():
    """SIGRTMIN makes each fsync of this process take SLOW_DISK_S, and the next SIGRTMIN makes it quick again."""
    true_fsync, is_slow = os.fsync, [False]

    def fsync(descriptor):
        if is_slow[0]:
            time.sleep(SLOW_DISK_S)
        true_fsync(descriptor)

    os.fsync = fsync
    signal.signal(signal.SIGRTMIN, lambda *_: is_slow.__setitem__(0, not is_slow[0]))


def run_role(role, module=""):
    """Wait for the argument on standard input, then be that process."""
    if module:
        importlib.import_module(module)
    argument = sys.stdin.readline().strip()
    if not argument:
        return
    steppable_clock()
    if role == "module":
        slow_disk()
        sys.argv = [module, *argument.split(" ")]
        runpy.run_module(module, run_name="__main__")
        return
    if role == "input":
        return send_input(argument)
    make = {
        "robot": FakeRobot,
        "camera": FakeCamera,
        "operator": FakeOperator,
        "policy": FakePolicy,
        "supervisor": lambda: FakeSupervisor(int(argument)),
    }[role]

    def make_at_priority():
        node = make()
        raise_priority(realtime=5)  # the faults are the bench's, not the load's
        return node

    sys.exit(ros.spin(make_at_priority))


if __name__ == "__main__":
    run_role(*sys.argv[1:])
