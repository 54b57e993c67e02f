# SPDX-License-Identifier: Apache-2.0
"""The session of `command_path`: its processes, the operator with a suit, and what is heard of the commands."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import rclpy
import zmq
from std_srvs.srv import Trigger

from rove_contract import domain, latency, messages, ros, topics
from rove_contract.operator_frame import OperatorFrame, encode
from rove_description import joints, mjcf
from rove_teleop.retargeting.robot_geometry import RobotSkeleton

domain.isolate()
TABLE = joints.load()
HEAD = TABLE.index["head_yaw"]
FRAME_S = 1.0 / 60.0
STEP_RAD = 0.15
RAMP_RAD_S = 0.8
MOVING_RAD_S = 1e-3


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Operator(threading.Thread):
    """The suit: 60 frames a second of one pose, or of a ramp of the head; `jump` sends a new pose at once."""

    def __init__(self, endpoint):
        super().__init__(daemon=True)
        self.skeleton = RobotSkeleton(TABLE)
        self.pose, self.ramp_from = mjcf.home(TABLE), None
        self.running, self.seq = True, 0
        self.wake = threading.Event()
        self.sent_at, self.sent_ns = 0.0, 0
        self.sent: list[int] = []  # ns since the epoch, of every frame since somebody cleared it
        self.sender = zmq.Context.instance().socket(zmq.PUB)
        self.sender.setsockopt(zmq.LINGER, 0)
        self.sender.connect(endpoint)

    def run(self):
        while self.running:
            jumped = self.wake.wait(FRAME_S)
            pose = self.pose.copy()
            if self.ramp_from is not None:
                # A triangle between -0.9 and 0.9 rad of the head at RAMP_RAD_S.
                s = (time.monotonic() - self.ramp_from) * RAMP_RAD_S
                pose[HEAD] = 0.9 - abs((s + 0.9) % 3.6 - 1.8)
            self.seq += 1
            frame = self.skeleton.frame(pose, self.seq, time.time())
            data = encode(OperatorFrame(frame.parts, self.seq, frame.t, "bench"))
            now, stamp = time.monotonic(), ros.now_ns()
            self.sender.send(data)
            self.sent.append(stamp)
            if jumped:
                self.sent_at, self.sent_ns = now, stamp
                self.wake.clear()

    def jump(self, pose):
        self.pose = pose
        self.wake.set()


class Session:
    """The processes of a session and this one's ears. latencies: stage -> rows of (p50, p99, worst of 10 s), ms, as
    they were reported.
    """

    def __init__(self, folder):
        self.endpoint, self.port = f"tcp://127.0.0.1:{free_port()}", free_port()
        modules = {
            "rove_sim.robot_node": ["auto_reset:=false"],
            "rove_supervisor.supervisor_node": [f"panel_port:={self.port}", "record:=true"],
            "rove_recorder.recorder_node": [f"out_dir:={folder}"],
            "rove_teleop.teleop_node": [f"endpoint:={self.endpoint}"],
            "rove_teleop.command_filter_node": [],
        }
        self.processes = []
        for module, parameters in modules.items():
            words = [word for p in parameters for word in ("-p", p)]
            log = open(Path(folder) / f"{module}.log", "w")  # noqa: SIM115  the child keeps it
            self.processes.append(
                subprocess.Popen([sys.executable, "-m", module, "--ros-args", *words], stderr=log, stdout=log)
            )
        rclpy.init()
        self.node = rclpy.create_node("command_path")
        self.reader, self.speed_reader = messages.JointReader(TABLE), messages.JointReader(TABLE)
        self.commands = []  # (arrival, q of the head, largest speed, speed of the head, stamp in ns)
        self.mode, self.recorder, self.received = None, {}, ""
        # Without a policy the supervisor starts no rollout; this one is paused before it would have to say anything.
        self.policy = ros.publisher(self.node, topics.ACTION_CHUNK)
        ros.subscription(self.node, topics.JOINT_COMMAND, self.on_command, depth=100)
        self.mode_at, self.mode_ns = 0.0, 0
        ros.subscription(self.node, topics.MODE, self.on_mode)
        ros.subscription(
            self.node, topics.RECORDER_STATUS, lambda m: setattr(self, "recorder", messages.diagnostic_values(m))
        )
        # reasons to stop that the command filter named, how often: a simulator that stutters is a robot without state
        self.named = {}
        self.reason = ""  # that the command filter gave last
        self.latencies: dict[str, list[tuple[float, float, float]]] = {stage: [] for stage in latency.STAGES}
        self.targets: list[tuple[float, int]] = []  # arrival and stamp (ns) of joint targets
        ros.subscription(self.node, topics.TELEOP_TARGETS, self.on_target)
        ros.subscription(self.node, topics.DIAGNOSTICS, self.on_diagnostics, depth=100)
        self.services = {}
        # The browser is a process of its own: in this one its messages would delay what is timed.
        client = Path(__file__).with_name("panel_client.py")
        self.panel = subprocess.Popen([sys.executable, str(client), str(self.port)], stdout=subprocess.PIPE, text=True)

    def on_mode(self, msg):
        if ros.mode_of(msg) is not self.mode:
            self.mode, self.mode_at, self.mode_ns = ros.mode_of(msg), time.monotonic(), msg.timestamp

    def on_command(self, msg):
        q, v = self.reader.position(msg), self.speed_reader.velocity(msg)
        self.commands.append((time.monotonic(), q[HEAD], np.abs(v).max(), v[HEAD], messages.stamp_ns(msg.header.stamp)))

    def on_target(self, msg):
        self.targets.append((time.monotonic(), messages.stamp_ns(msg.header.stamp)))

    def on_diagnostics(self, msg):
        for status in msg.status:
            for stage, numbers in latency.read(messages.diagnostic_values(status)).items():
                self.latencies[stage].append(numbers)
            reason = messages.diagnostic_values(status).get("reason", "")
            if status.name == "command_filter":
                self.reason = reason
            if (
                status.name == "command_filter"
                and reason != "tracking"
                and not reason.startswith(("holding", "waiting", "no supervisor"))
            ):
                self.named[reason] = self.named.get(reason, 0) + 1

    def spin_until(self, condition, what, limit_s):
        end = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > end:
                mode = self.mode.name if self.mode else "unknown"
                raise TimeoutError(
                    f"{what}: not within {limit_s} s; mode {mode}, the command filter says {self.reason!r}; "
                    f"stops named: {self.named}"
                )
            rclpy.spin_once(self.node, timeout_sec=0.02)

    def call(self, name):
        """Call /supervisor/<name> until it is accepted; returns the time of the accepted request."""
        client = self.services.setdefault(name, self.node.create_client(Trigger, f"/supervisor/{name}"))
        self.spin_until(client.service_is_ready, f"service {name}", 20.0)
        end = time.monotonic() + 20.0
        while True:
            sent = time.monotonic()
            future = client.call_async(Trigger.Request())
            self.spin_until(future.done, f"answer of {name}", 10.0)
            if future.result().success:
                return sent
            if time.monotonic() > end:
                raise TimeoutError(f"{name} is refused: {future.result().message}")
            wait = time.monotonic() + 0.2
            self.spin_until(lambda until=wait: time.monotonic() > until, "waiting", 1.0)

    def enter(self, service, mode):
        sent = self.call(service)
        self.spin_until(lambda: self.mode is mode, f"mode {mode.name}", 10.0)
        return sent

    def rest(self):
        """Wait for 10 commands in a row that stand still."""
        self.commands.clear()
        self.spin_until(
            lambda: len(self.commands) > 10 and max(c[2] for c in self.commands[-10:]) < 0.1 * MOVING_RAD_S,
            "rest",
            20.0,
        )

    def close(self):
        self.panel.terminate()
        self.received = self.panel.communicate(timeout=10)[0].strip()
        for process in self.processes:
            process.send_signal(signal.SIGINT)
        for process in self.processes:
            try:
                process.wait(timeout=8)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.node.destroy_node()
        rclpy.try_shutdown()
