# SPDX-License-Identifier: Apache-2.0
"""Latency of the command path while everything else runs: operator frame in -> /joint_command out, and pause request ->
deceleration.

Real processes: simulated robot with its camera, recorder, supervisor with its panel (one client on the WebSocket),
teleop with retargeting, command filter. This script is the operator. A frame that asks for a new pose of the head is
sent at a random moment while the robot is at rest, and the first command that moves is timed; the filter's own period
is part of it (5 ms on average). Likewise the first command after each takeover, from the supervisor's stamp; the
wait for the suit's next frame (up to 17 ms) is part of that. Prints a table; the last line is one JSON object.
`--quick` ends within 30 s.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import rclpy
import zmq
from std_srvs.srv import Trigger

from rove_contract import domain, messages, ros, topics
from rove_contract.modes import Mode
from rove_contract.operator_frame import OperatorFrame, encode
from rove_contract.priority import raise_priority
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
            if jumped:
                self.sent_at, self.sent_ns = now, stamp
                self.wake.clear()

    def jump(self, pose):
        self.pose = pose
        self.wake.set()


class Session:
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
        ros.subscription(self.node, topics.DIAGNOSTICS, self.on_diagnostics, depth=100)
        self.services = {}
        # The browser is a process of its own: in this one its messages would delay what is timed.
        client = Path(__file__).parent / "processes" / "panel_client.py"
        self.panel = subprocess.Popen([sys.executable, str(client), str(self.port)], stdout=subprocess.PIPE, text=True)

    def on_mode(self, msg):
        if ros.mode_of(msg) is not self.mode:
            self.mode, self.mode_at, self.mode_ns = ros.mode_of(msg), time.monotonic(), msg.timestamp

    def on_command(self, msg):
        q, v = self.reader.position(msg), self.speed_reader.velocity(msg)
        self.commands.append((time.monotonic(), q[HEAD], np.abs(v).max(), v[HEAD], messages.stamp_ns(msg.header.stamp)))

    def on_diagnostics(self, msg):
        for status in msg.status:
            reason = messages.diagnostic_values(status).get("reason", "")
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
                raise TimeoutError(f"{what}: not within {limit_s} s; stops named: {self.named}")
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


def input_latency(session, operator, trials, rng):
    """Latencies (s) of `trials` new poses: to the stamp of the first command that moves, and to its arrival here.

    The command filter stamps a command when it publishes it. On arrival this process may have stood still itself.
    """
    found = []
    for trial in range(trials):
        session.rest()
        pause = time.monotonic() + rng.uniform(0.0, 0.05)
        session.spin_until(lambda until=pause: time.monotonic() > until, "waiting", 1.0)
        session.commands.clear()
        pose = mjcf.home(TABLE)
        pose[HEAD] += STEP_RAD * ((trial + 1) % 2)
        operator.sent_at = 0.0
        operator.jump(pose)
        session.spin_until(lambda: any(abs(c[3]) > MOVING_RAD_S for c in session.commands), "the head moves", 5.0)
        first = next(c for c in session.commands if abs(c[3]) > MOVING_RAD_S)
        found.append(((first[4] - operator.sent_ns) * 1e-9, first[0] - operator.sent_at))
    return np.array(found).T


def takeover_latency(session, operator, trials):
    """Latencies (s) from the stamp of a takeover to the stamp of the first command that moves; the operator's head is
    STEP_RAD off all the time, so the first operator frame after the takeover must move the robot.
    """
    found = []
    for trial in range(trials):
        session.rest()
        pose = mjcf.home(TABLE)
        pose[HEAD] += STEP_RAD * ((trial + 1) % 2)
        operator.jump(pose)
        wait = time.monotonic() + 0.3  # the suit moved long before the takeover
        session.spin_until(lambda until=wait: time.monotonic() > until, "waiting", 1.0)
        session.commands.clear()
        session.enter("force_takeover", Mode.ADAPTATION)
        session.spin_until(lambda: any(abs(c[3]) > MOVING_RAD_S for c in session.commands), "the head moves", 5.0)
        first = next(c for c in session.commands if abs(c[3]) > MOVING_RAD_S)
        found.append((first[4] - session.mode_ns) * 1e-9)
        session.enter("pause", Mode.PAUSED)
    return np.array(found)


def steady(commands):
    """Whether the last 10 commands followed the ramp, and its turn is not near."""
    last = commands[-10:]
    return (
        len(last) == 10 and abs(last[-1][1]) < 0.5 and all(abs(abs(c[3]) - RAMP_RAD_S) < 0.1 * RAMP_RAD_S for c in last)
    )


def pause_latency(session, operator, trials):
    """Latencies (s) from the pause request to the mode message, and to the first command that has lost 5 % of the
    speed.
    """
    found, heard = [], []
    for _ in range(trials):
        operator.ramp_from = time.monotonic()
        session.enter("force_takeover", Mode.ADAPTATION)
        # Steadily on the ramp: while the robot still speeds up to catch it, the limits themselves delay a deceleration.
        session.commands.clear()
        session.spin_until(lambda: steady(session.commands), "the robot follows the ramp", 20.0)
        before = abs(session.commands[-1][3])
        session.commands.clear()
        sent = session.enter("pause", Mode.PAUSED)
        session.spin_until(lambda: session.commands and abs(session.commands[-1][3]) < 1e-6, "rest", 10.0)
        found.append(next(c[0] for c in session.commands if abs(c[3]) < 0.95 * before) - sent)
        heard.append(session.mode_at - sent)
    return np.array(found), np.array(heard)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10 poses, 2 pauses")
    parser.add_argument("--takeovers", type=int, default=50, help="how often the first command of one is timed")
    args = parser.parse_args()
    quick = args.quick
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(folder)
        operator = Operator(session.endpoint)
        operator.start()
        # The suit and the robot's driver, which this process plays, are other computers or real-time processes.
        priority = raise_priority(nice=-10)
        try:
            session.spin_until(lambda: session.recorder.get("ready") == "true", "the recorder is ready", 60.0)
            session.enter("start_rollout", Mode.ROLLOUT)
            session.enter("pause", Mode.PAUSED)
            session.enter("force_takeover", Mode.ADAPTATION)
            latency, arrival = input_latency(session, operator, 10 if quick else 100, rng)
            session.enter("pause", Mode.PAUSED)
            first = takeover_latency(session, operator, min(args.takeovers, 20) if quick else args.takeovers)
            pause, heard = pause_latency(session, operator, 2 if quick else 15)
            dropped = session.recorder.get("dropped", "?")
            session.call("abort")
        finally:
            operator.running = False
            session.close()
            operator.join(timeout=1.0)
            operator.sender.close()
    rows = {"input_to_command": latency * 1e3, "input_to_arrival_here": arrival * 1e3}
    rows |= {"takeover_to_command": first * 1e3}
    rows |= {"pause_to_deceleration": pause * 1e3, "pause_to_mode": heard * 1e3}
    print(f"{'ms':24}{'p50':>8}{'p99':>8}{'max':>8}{'n':>6}   on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    result = {
        "bench": "command_path",
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "recorder_dropped": dropped,
    }
    result["own_priority"], result["stops_named"] = priority, session.named
    result["panel_messages"] = int(session.received)
    for name, values in rows.items():
        p50, p99 = np.percentile(values, [50, 99])
        print(f"{name:24}{p50:8.1f}{p99:8.1f}{values.max():8.1f}{len(values):6d}")
        result[f"{name}_ms"] = {
            "p50": round(p50, 2),
            "p99": round(p99, 2),
            "max": round(float(values.max()), 2),
            "n": len(values),
        }
    print(f"stops named by the command filter meanwhile: {session.named or 'none'}")
    result["target_p99_ms"] = 20
    print(json.dumps(result))


if __name__ == "__main__":
    main()
