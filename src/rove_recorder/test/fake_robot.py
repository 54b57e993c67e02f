# SPDX-License-Identifier: Apache-2.0
"""Publishes what a session publishes, as fast as a session does, for one or more episodes; says what it sent. Run as a
process.

    python fake_robot.py DURATION_S [EPISODES]

FAKE_ROBOT, a folder with robot.yaml: its depth cameras and tactile arrays are sent, too.

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
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger as TriggerService

from rove_contract import depth, images, messages, ros, topics
from rove_contract import episode as episodes
from rove_contract.modes import Mode, Outcome, Trigger
from rove_description import joints, robot

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
        sensors = robot.load(os.environ.get("FAKE_ROBOT", robot.DEFAULT)).sensors
        self.depth, self.touch = sensors.depth.values(), sensors.tactile.values()
        for sensor in (*self.depth, *self.touch):
            self.pubs[sensor.topic] = ros.publisher(node, topics.sensor(sensor.topic, sensor.type))
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

    def sense(self, i):
        """What the description's further sensors send in the control period i: its number, wherever there is room."""
        for sensor in self.touch:
            msg = ros.message_class(sensor.type)(data=[float(i)] * sensor.size)
            self.publish(topics.sensor(sensor.topic, sensor.type), msg)
        for sensor in self.depth if i % 3 == 0 else ():
            picture = np.full((sensor.height, sensor.width), 1 + i, np.uint16)
            if sensor.type.endswith("CompressedImage"):
                msg = depth.fill_compressed(CompressedImage(), depth.encode(picture))
            else:
                msg = Image(height=sensor.height, width=sensor.width, step=2 * sensor.width, encoding="16UC1")
                msg.data = array.array("B", picture.tobytes())
            messages.set_stamp(msg.header.stamp, ros.now_ns())
            self.publish(topics.sensor(sensor.topic, sensor.type), msg)

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
        self.sense(i)
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
    fake = Robot(node, scale)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spinning = threading.Thread(target=executor.spin, daemon=True)
    spinning.start()
    fake.publish(topics.SIM_SUCCESS, Bool(data=False))
    try:
        pause, begin = threading.Event(), time.monotonic()
        while not fake.all_listen():  # the recorder is ready only once it has seen publishers; they exist already
            pause.wait(0.01)
            if time.monotonic() - begin > 30.0:
                heard = {name: pub.get_subscription_count() for name, pub in fake.pubs.items()}
                raise SystemExit(
                    f"not every recorder listens: {heard}; nodes {node.get_node_names()}; last status {fake.status}"
                )
        print("READY", flush=True)
        sent = []
        for k in range(count):
            fake.closed.clear()
            fake.expected = f"episode-{k}"
            fake.run(0.3)  # idle: fills the pre-roll
            episode = episodes.Episode(f"episode-{k}", "erase the whiteboard", operator="op", started_ns=ros.now_ns())
            before = dict(fake.sent)
            fake.publish(topics.EPISODE, ros.episode_status(episode))
            fake.switch(Trigger.START_ROLLOUT, Mode.ROLLOUT)
            node.get_logger().info(f"episode {k} has begun")
            print(f"STARTED {ros.now_ns()}", flush=True)
            fake.run(seconds, STORY)
            if fake.recorders > 1:  # they were killed
                return
            fake.switch(Trigger.SUCCEED, Mode.IDLE)
            fake.publish(topics.EPISODE, ros.episode_status(episode.ended(Outcome.SUCCESS, ros.now_ns())))
            sent.append({name: n - before[name] for name, n in fake.sent.items()})
            if not fake.closed.wait(10.0):
                raise SystemExit(f"the recorder did not close the bag; its last status: {fake.status}")
        fake.run(0.05)
        print(
            json.dumps({"sent": sent, "status": fake.status, "said": list(fake.said), "aborted": fake.aborted}),
            flush=True,
        )
    finally:
        executor.shutdown()
        rclpy.try_shutdown()
        spinning.join(2.0)
        node.destroy_node()


if __name__ == "__main__":
    main()
