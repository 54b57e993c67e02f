# SPDX-License-Identifier: Apache-2.0
"""Publishes what a session publishes, as fast as a session does, for one or more episodes; says what it sent. Run as a
process.

    python fake_robot.py DURATION_S [EPISODES]

Waits until the recorder says ready, so that nothing is left to luck. Prints one JSON line: {topic: number sent while
recording}.
"""

import array
import json
import os
import sys
import threading
import time

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CompressedImage, JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger as TriggerService

from rove_contract import episode as episodes
from rove_contract import images, messages, ros, topics
from rove_contract.modes import Mode, Outcome, Trigger
from rove_description import joints

TABLE = joints.load()
SIZE = (64, 96)


def picture(i):
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    return np.stack([(x * 2 + i) % 256, y * 3, np.full(SIZE, i % 256)], axis=-1).astype(np.uint8)


class Robot:
    def __init__(self, node, scale=1.0):
        self.node, self.scale = node, scale
        self.pubs = {
            topic.name: ros.publisher(node, topic) for topic in topics.TOPICS if topic != topics.RECORDER_STATUS
        }
        self.jpegs = [images.encode_jpeg(picture(i), 80) for i in range(30)]
        self.sent = dict.fromkeys(self.pubs, 0)
        self.log = open(os.environ.get("FAKE_LOG", os.devnull), "w", buffering=1)  # noqa: SIM115 (when joint states were sent)
        self.status = {}
        self.expected = ""
        self.recorders = int(os.environ.get("FAKE_RECORDERS", "1"))
        self.said, self.aborted = {}, False
        self.ready = threading.Event()
        self.closed = threading.Event()
        self.mode, self.mode_stamp, self.previous = Mode.IDLE, ros.now_ns(), Mode.IDLE
        ros.subscription(node, topics.RECORDER_STATUS, self.on_status)
        node.create_service(TriggerService, topics.SUPERVISOR_SERVICES[Trigger.ABORT], self.on_abort)

    def all_listen(self):
        """Every recorder has found every publisher."""
        return self.ready.is_set() and all(pub.get_subscription_count() >= self.recorders for pub in self.pubs.values())

    def on_abort(self, request, response):
        self.aborted = response.success = True
        return response

    def on_status(self, msg):
        self.status = messages.diagnostic_values(msg)
        self.said[msg.message] = None
        (self.ready.set if self.status["ready"] == "true" else self.ready.clear)()
        if self.status["last_bag"].endswith(f"/{self.expected}"):
            self.closed.set()

    def publish(self, topic, msg):
        self.pubs[topic.name].publish(msg)
        self.sent[topic.name] += 1

    def joints(self, i):
        q = 0.1 * np.sin(0.01 * i + np.arange(50))
        return messages.fill_joint_state(JointState(), TABLE, ros.now_ns(), q, np.zeros(50))

    def image(self, i):
        msg = CompressedImage(format="jpeg", data=array.array("B", self.jpegs[i % 30]))
        messages.set_stamp(msg.header.stamp, ros.now_ns())
        return msg

    def switch(self, trigger, mode):
        self.previous, self.mode, self.mode_stamp = self.mode, mode, ros.now_ns()
        self.publish(topics.MODE, ros.mode_event(self.previous, trigger, mode, self.mode_stamp))

    def tick(self, i):
        """One control period of 10 ms."""
        self.publish(topics.JOINT_STATES, self.joints(i))
        self.log.write(f"{ros.now_ns()}\n")
        self.publish(topics.JOINT_COMMAND, self.joints(i + 5))
        if i % 3 == 0:
            self.publish(topics.EGO_IMAGE, self.image(i // 3))
        if i % 5 == 0:
            self.publish(topics.MODE, ros.mode_event(self.previous, None, self.mode, self.mode_stamp))
            self.publish(topics.SIM_STATE, String(data='{"progress": 0.5}'))

    def run(self, seconds, changes=()):
        """Ticks for `seconds` at `scale` times the session's rate; changes: [(fraction, trigger, mode)]."""
        n, period = round(seconds * 100 * self.scale), 0.01 / self.scale
        changes = list(changes)
        begin = time.monotonic()
        for i in range(n):
            while changes and i >= changes[0][0] * n:
                self.switch(*changes.pop(0)[1:])
            self.tick(i)
            pause = threading.Event()
            pause.wait(max(0.0, begin + (i + 1) * period - time.monotonic()))


STORY = [
    (0.3, Trigger.PAUSE, Mode.PAUSED),
    (0.5, Trigger.TAKEOVER, Mode.ADAPTATION),
    (0.7, Trigger.RECOVERED, Mode.RECOVERY),
]


def main():
    seconds, count = float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    scale = float(os.environ.get("FAKE_SCALE", "1"))
    rclpy.init()
    node = rclpy.create_node("fake_robot")
    node.declare_parameter("scale", scale)
    robot = Robot(node, scale)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spinning = threading.Thread(target=executor.spin, daemon=True)
    spinning.start()
    robot.publish(topics.SIM_SUCCESS, Bool(data=False))
    try:
        pause, begin = threading.Event(), time.monotonic()
        while not robot.all_listen():  # the recorder is ready only once it has seen publishers; they exist already
            pause.wait(0.01)
            if time.monotonic() - begin > 30.0:
                heard = {name: pub.get_subscription_count() for name, pub in robot.pubs.items()}
                raise SystemExit(
                    f"not every recorder listens: {heard}; nodes {node.get_node_names()}; last status {robot.status}"
                )
        print("READY", flush=True)
        sent = []
        for k in range(count):
            robot.closed.clear()
            robot.expected = f"episode-{k}"
            robot.run(0.3)  # idle: fills the pre-roll
            episode = episodes.Episode(f"episode-{k}", "erase the whiteboard", operator="op", started_ns=ros.now_ns())
            before = dict(robot.sent)
            robot.publish(topics.EPISODE, ros.episode_status(episode))
            robot.switch(Trigger.START_ROLLOUT, Mode.ROLLOUT)
            node.get_logger().info(f"episode {k} has begun")
            print(f"STARTED {ros.now_ns()}", flush=True)
            robot.run(seconds, STORY)
            if robot.recorders > 1:  # they were killed
                return
            robot.switch(Trigger.SUCCEED, Mode.IDLE)
            robot.publish(topics.EPISODE, ros.episode_status(episode.ended(Outcome.SUCCESS, ros.now_ns())))
            sent.append({name: n - before[name] for name, n in robot.sent.items()})
            if not robot.closed.wait(10.0):
                raise SystemExit(f"the recorder did not close the bag; its last status: {robot.status}")
        robot.run(0.05)
        print(
            json.dumps({"sent": sent, "status": robot.status, "said": list(robot.said), "aborted": robot.aborted}),
            flush=True,
        )
    finally:
        executor.shutdown()
        rclpy.try_shutdown()
        spinning.join(2.0)
        node.destroy_node()


if __name__ == "__main__":
    main()
