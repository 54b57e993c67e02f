# SPDX-License-Identifier: Apache-2.0
"""The recorder: takes every message of the contract as raw CDR, one bag per episode; announces on /recorder/status that
it is ready.

The subscriptions are polled at 50 Hz instead of waking the executor for each of the session's 400 messages a second:
the middleware's thread receives and stamps them, so no message waits for Python, and one batch costs little more than
one message.
"""

from __future__ import annotations

import fnmatch
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSReliabilityPolicy
from std_srvs.srv import Trigger as TriggerService

from rove_contract import ros, topics
from rove_contract.modes import Trigger
from rove_contract.parameters import parameter
from rove_description import robot
from rove_recorder.bag.bag import COMPRESSION, BagTopic
from rove_recorder.bag.episode_recorder import EpisodeRecorder, Settings
from rove_recorder.bag.parameters import Parameters as RecordedParameters
from rove_recorder.bag.recording import RawMessage
from rove_recorder.bag.schema import OfferedQos, UnknownType

POLL_S = 0.02
DEPTH = 500  # messages per topic that may wait for the next poll: 5 s of joint states, should Python stall
UNSUPPORTED_SEQUENCE = 2**64 - 1  # rmw's mark


@dataclass(frozen=True)
class Parameters:
    """Of the node."""

    robot: str = parameter(robot.DEFAULT, "the robot: a name, or a folder with robot.yaml")
    out_dir: str = parameter("runs/bags", "directory of the bags")
    topics: list[str] = parameter([""], "patterns of topics recorded beside the contract's, e.g. /camera/*")
    compression: str = parameter("zstd", "of the chunks of a bag", choices=tuple(COMPRESSION))
    preroll_s: float = parameter(0.5, "how much of the time before an episode is kept", unit="s", low=0.0, high=60.0)
    min_free_gb: float = parameter(1.0, "no episode starts with less free space", unit="GB", low=0.0)
    split_gb: float = parameter(
        4.0, "a longer episode goes into several files of this size", unit="GB", low=0.001, high=1000.0
    )
    require: list[str] = parameter(
        [""], "topics that need a publisher before an episode can start; empty: joints, mode and the robot's cameras"
    )


UNSAVED_S = 1.0  # what a crash may take
# What every node logs. Its publishers offer transient_local, but old lines are no state: only new ones are asked for.
ROSOUT = topics.Topic("/rosout", "rcl_interfaces/msg/Log", topics.Qos("reliable", "volatile"), "every node", False)
REQUIRED = (topics.JOINT_STATES, topics.JOINT_COMMAND, topics.MODE)  # and the cameras of the robot


def revision() -> str:
    """Git revision of the running code, "" when it is not in a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


class RecorderNode(Node):
    """See Parameters."""

    def __init__(self):
        super().__init__("recorder")
        p = ros.read_parameters(self, Parameters)
        out_dir = Path(p.out_dir).expanduser()
        self.patterns = [pattern for pattern in p.topics if pattern]
        settings = Settings(out_dir, p.compression, p.preroll_s, p.min_free_gb, split_bytes=round(p.split_gb * 2**30))
        described = robot.load(p.robot)
        # Where a camera is described it is recorded, and nothing begins without it.
        self.cameras = [topics.picture(camera.topic) for camera in described.cameras.values()]
        # Depth cameras and tactile arrays are no input of a policy: an episode may begin without them, but says so.
        self.sensors = [topics.sensor(each.topic, each.type) for each in described.sensors.by_name.values()]
        required = [topic.name for topic in (*REQUIRED, *self.cameras)]
        self.require = set(required if p.require == [""] else p.require)
        provenance = {
            "revision": revision(),
            "robot": described.name,
            "robot_hash": described.hash,
            "parameters": {"recorder": asdict(p)},
        }
        try:
            self.recorder = EpisodeRecorder(
                settings, ros.now_ns, described.table, provenance, steady_ns=time.monotonic_ns
            )
        except OSError as error:
            raise ValueError(
                f"cannot record into {out_dir}: {error.strerror}; give a writable folder as out_dir"
            ) from error
        depth = [each.topic for each in described.sensors.depth.values()]
        infos = [topics.camera_info(name) for name in (*(topic.name for topic in self.cameras), *depth)]
        described_topics = (*topics.TOPICS, *self.cameras, *self.sensors, *infos)
        self.in_namespace = {topic.name: topic for topic in described_topics}
        for topic in (*self.in_namespace.values(), ROSOUT):
            # `check` finds out what its publishers offer
            self.recorder.add_topic(replace(BagTopic.of(topic), qos=()))
        self.parameters = RecordedParameters(self)
        self.recorder.parameters = self.parameters.values
        self.group = ros.Polled()
        self.subs: dict = {}
        self.matched: dict[str, int] = {}  # publishers of each topic, when it was last asked what they offer
        for topic in (*self.in_namespace.values(), ROSOUT):
            self.subscribe(topic.name, topic.type, topic.qos)
        self.refused: set[str] = set()
        self.waiting = "starting"
        self.absent: list[str] = []  # sensors of the description that nobody sends
        # Topics of one publisher: those of several have as many sequence counters, which say nothing about one stream.
        self.single: set[str] = set()
        self.announced = None
        self.status_pub = ros.publisher(self, topics.RECORDER_STATUS)
        self.abort = ros.client(self, topics.SUPERVISOR_SERVICES[Trigger.ABORT])
        self.poll_timer = ros.timer(self, POLL_S, self.poll)
        self.check_timer = ros.timer(self, 0.2, self.check)
        self.status_timer = ros.timer(self, 1.0, self.every_second)
        self.diagnostics = ros.Diagnostics(self, self.report)
        self.get_logger().info(
            f"recording into {out_dir}, {len(self.subs)} topics" + (f" and {self.patterns}" if self.patterns else "")
        )

    def subscribe(self, name: str, type_name: str, qos: topics.Qos) -> None:
        profile = ros.qos_profile(qos, publisher=False)
        profile.depth = DEPTH
        kind = ros.message_class(type_name)
        self.subs[name] = self.create_subscription(
            kind, self.graph_name(name), lambda msg: None, profile, raw=True, callback_group=self.group
        )

    def graph_name(self, name: str) -> str:
        """What the node asks the graph for: the contract's topics are in its namespace, others where they are."""
        return topics.relative(name) if name in self.in_namespace else name

    def poll(self) -> None:
        """Take everything that has come since the last poll, oldest first."""
        samples = []
        for name, sub in self.subs.items():
            with sub.handle:
                while (taken := sub.handle.take_message(sub.msg_type, True)) is not None:
                    data, info = taken
                    sequence = info.get("publication_sequence_number") or 0
                    if name not in self.single or sequence == UNSUPPORTED_SEQUENCE:
                        sequence = 0
                    received = info["received_timestamp"] or ros.now_ns()
                    samples.append(
                        RawMessage(name, received, info["source_timestamp"] or received, data, sequence & 0xFFFFFFFF)
                    )
        failed = self.recorder.failed
        if samples:
            samples.sort(key=lambda sample: sample.log_ns)
            self.recorder.feed(samples)
        self.recorder.poll()
        if self.recorder.failed > failed:  # what happens from here on would be lost
            self.get_logger().error(f"the episode is ended: {self.recorder.error}")
            self.abort.call_async(TriggerService.Request())
        self.announce()

    def check(self) -> None:
        """What is still missing before an episode may start."""
        waiting, single = [], set()
        for name, sub in self.subs.items():
            matched = sub.get_publisher_count()
            if matched == 1:
                single.add(name)
            if matched != self.matched.get(name, 0):
                self.matched[name] = matched
                found = self.get_publishers_info_by_topic(sub.topic_name)
                if found:  # else they left: what they offered still holds for what is recorded of them
                    offered = dict.fromkeys(OfferedQos.of_profile(info.qos_profile) for info in found)
                    self.recorder.set_offered(name, tuple(offered))
            if name == ROSOUT.name:  # every tool that comes and goes has a publisher there
                continue
            if matched < self.count_publishers(sub.topic_name) or (name in self.require and matched == 0):
                waiting.append(name)
        self.single = single
        self.absent = [topic.name for topic in self.sensors if self.subs[topic.name].get_publisher_count() == 0]
        self.waiting = f"waiting for the publishers of {', '.join(waiting)}" if waiting else ""

    def every_second(self) -> None:
        self.parameters.update()
        if self.patterns:
            self.discover()
        if self.recorder.disk_almost_full():
            self.get_logger().error("the disk is almost full: the episode is ended")
            self.recorder.stop("the disk was almost full", timeout_s=0.0)
            self.abort.call_async(TriggerService.Request())
        self.announced = None
        self.announce()

    def discover(self) -> None:
        """Subscribe to topics that match a pattern, with QoS that matches all their publishers."""
        taken = {sub.topic_name for sub in self.subs.values()}
        for name, types in self.get_topic_names_and_types():
            if (
                name in taken
                or name in self.refused
                or not any(fnmatch.fnmatch(name, pattern) for pattern in self.patterns)
            ):
                continue
            offered = [info.qos_profile for info in self.get_publishers_info_by_topic(name)]
            if not offered:
                continue
            reliable = all(qos.reliability == QoSReliabilityPolicy.RELIABLE for qos in offered)
            latched = all(qos.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL for qos in offered)
            qos = topics.Qos("reliable" if reliable else "best_effort", "transient_local" if latched else "volatile")
            profiles = tuple(dict.fromkeys(map(OfferedQos.of_profile, offered)))
            try:
                self.recorder.add_topic(BagTopic(name, types[0], profiles, latched))
                self.subscribe(name, types[0], qos)
            except (UnknownType, ImportError, AttributeError) as error:
                self.refused.add(name)
                self.get_logger().error(f"{name} is not recorded: {error}")

    def announce(self) -> None:
        """Publish the status now when something important changed since the last time."""
        level, message, values = self.report()
        key = (level, message, values["ready"], values["recording"], values["last_bag"])
        if key != self.announced:
            self.announced = key
            self.status_pub.publish(ros.status("recorder", message, values, level))

    def report(self):
        """(level, message, values) for /recorder/status and /diagnostics."""
        recorder = self.recorder
        reason = self.waiting or recorder.not_ready()
        values = {"ready": str(not reason).lower(), **recorder.values()}
        values["topics"] = json.dumps(values["topics"])
        if recorder.error:
            return 2, recorder.error, values
        if values["dropped"]:
            return 2, f"{values['dropped']} messages were dropped", values
        if float(str(values["unsaved_s"])) > UNSAVED_S:
            return 1, f"the disk does not keep up: a crash now would lose {values['unsaved_s']} s", values
        without = f" without {', '.join(self.absent)}, which nobody sends" if self.absent else ""
        if recorder.recording is not None:
            return int(bool(without)), f"recording{without}", values
        return (1, reason, values) if reason else (int(bool(without)), f"ready{without}", values)

    def close(self) -> None:
        if self.context.ok():
            self.poll()
        self.recorder.stop("the recorder was stopped")


def main() -> int:
    return ros.spin(RecorderNode, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
