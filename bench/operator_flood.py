# SPDX-License-Identifier: Apache-2.0
"""A million malformed and replayed messages against the running teleop node while an operator works: who gets through,
what is counted.

    python bench/operator_flood.py [--quick] [--messages 1000000]

A real node process over real ROS; a 60 Hz suit and a flood enter the same ZMQ socket. Prints a table, then one JSON
line.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import subprocess
import sys
import threading
import time

import psutil
import rclpy
import zmq
from sensor_msgs.msg import JointState
from tqdm import tqdm

from rove_contract import domain, messages, ros, topics
from rove_contract.operator_frame import OperatorFrame, encode
from rove_description import joints, mjcf
from rove_teleop.retargeting.robot_geometry import RobotSkeleton
from rove_teleop.sources import flood

domain.isolate()
REFUSED = ("malformed", "replayed", "out_of_order", "other_source", "late")
LIMIT_S = 600.0


class World:
    """Robot and operator of the node: publishes joint states, sends frames at 60 Hz while `sending`, keeps what the
    node says.
    """

    def __init__(self, endpoint: str):
        self.table = joints.load()
        self.home = mjcf.home(self.table)
        self.node = rclpy.create_node("operator_flood")
        self.state = ros.publisher(self.node, topics.JOINT_STATES)
        self.targets: list[float] = []
        self.values: dict[str, str] = {}
        ros.subscription(self.node, topics.TELEOP_TARGETS, lambda message: self.targets.append(time.monotonic()))
        ros.subscription(self.node, topics.DIAGNOSTICS, self.on_diagnostics)
        self.node.create_timer(0.01, self.tick)
        self.sent = 0
        self.parts = RobotSkeleton(self.table).parts(self.home)
        self.context = zmq.Context()
        self.endpoint, self.running = endpoint, True
        self.thread = threading.Thread(target=self.operate, daemon=True)
        self.thread.start()

    def tick(self) -> None:
        self.state.publish(messages.fill_joint_state(JointState(), self.table, ros.now_ns(), self.home))

    def on_diagnostics(self, array) -> None:
        for status in array.status:
            if status.name == "teleop":
                self.values = messages.diagnostic_values(status)

    def push(self) -> zmq.Socket:
        sender = self.context.socket(zmq.PUSH)  # which loses nothing
        sender.setsockopt(zmq.LINGER, 0)
        sender.connect(self.endpoint)
        return sender

    def operate(self) -> None:
        sender = self.push()
        while self.running:
            self.sent += 1
            sender.send(encode(OperatorFrame(self.parts, self.sent, time.time(), "suit")))
            time.sleep(1 / 60)
        sender.close()

    def spin_until(self, condition, what: str, limit_s: float = 30.0) -> None:
        end = time.monotonic() + limit_s
        while not condition():
            rclpy.spin_once(self.node, timeout_sec=0.05)
            if time.monotonic() > end:
                raise SystemExit(f"error: {what}: not within {limit_s:g} s; the node said {self.values}")

    def rate(self, begin: float, end: float) -> float:
        return sum(begin <= t < end for t in self.targets) / (end - begin)


def send(world: World, total: int, done: threading.Event) -> None:
    sender, pool = world.push(), flood.messages(5000, "suit")  # replays of the suit's own frames
    for number in tqdm(range(total), unit="message", mininterval=1.0, disable=None):
        sender.send(pool[number % len(pool)])
    done.set()
    sender.close(-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100,000 messages, within 30 s")
    parser.add_argument("--messages", type=int, default=1_000_000)
    options = parser.parse_args()
    total = 100_000 if options.quick else options.messages
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{s.getsockname()[1]}"
    words = ["--ros-args", "-p", f"endpoint:={endpoint}", "-p", "pattern:=pull"]
    node = subprocess.Popen([sys.executable, "-m", "rove_teleop.teleop_node", *words])
    rclpy.init()
    world = World(endpoint)
    try:
        world.spin_until(lambda: len(world.targets) > 30 and world.values, "targets before the flood")
        quiet = time.monotonic()
        world.spin_until(lambda: time.monotonic() > quiet + 3.0, "time")
        memory = psutil.Process(node.pid).memory_info().rss
        begin, done = time.monotonic(), threading.Event()
        threading.Thread(target=send, args=(world, total, done), daemon=True).start()
        world.spin_until(done.is_set, "the flood", LIMIT_S)
        end = time.monotonic()
        received = int(world.values["received"])
        world.spin_until(
            lambda: int(world.values["received"]) >= total and int(world.values["received"]) != received, "the counts"
        )
        counts = {key: int(world.values[key]) for key in ("received", "accepted", "superseded", *REFUSED)}
        result = {
            "bench": "operator_flood",
            "messages": total,
            "messages_per_s": round(total / (end - begin)),
            "running": node.poll() is None,
            "counts": counts,
            "refused": sum(counts[key] for key in REFUSED),
            "every_message_counted": counts["received"] == counts["accepted"] + sum(counts[key] for key in REFUSED),
            "targets_per_s_before": round(world.rate(quiet, quiet + 3.0), 1),
            "targets_per_s_during": round(world.rate(begin, end), 1),
            "longest_gap_ms": round(
                1e3 * max(b - a for a, b in zip(world.targets, world.targets[1:]) if b > begin and a < end), 1
            ),
            "memory_growth_mb": round((psutil.Process(node.pid).memory_info().rss - memory) / 1e6, 1),
        }
    finally:
        world.running = False
        world.thread.join()
        node.send_signal(signal.SIGTERM)
        code = node.wait(timeout=20)
        world.node.destroy_node()
        rclpy.try_shutdown()
    result["exit_code"] = code
    for key, value in result.items():
        print(f"{key:24s} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
