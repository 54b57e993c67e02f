# SPDX-License-Identifier: Apache-2.0
"""The VLA action publisher: pictures + joint states + instruction -> checkpoint -> 50-step action chunks on
/policy/action_chunk.

Inference runs in its own thread, so callbacks never wait for it; the next chunk is computed while the current one runs;
a pause drops the chunk that is being computed. With a critic in the checkpoint, V(s) goes to /policy/value at a low
rate in every active mode. Between episodes a checkpoint can be loaded without a restart; one that cannot be used leaves
the old one in force.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future
from std_msgs.msg import Float32
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rove_contract import episode as episodes
from rove_contract import images, messages, ros, timing, topics
from rove_contract.modes import ACTIVE, Mode
from rove_contract.parameters import parameter
from rove_description import robot
from rove_policy.loading import AnyLoader, Loader
from rove_policy.overlap import Overlap, skip_passed
from rove_policy.reload import Reload, absent
from rove_policy.replan import Observation, Replanner

NO_CHECKPOINT = (
    "rove_policy needs a checkpoint, e.g. `rove launch session.launch.yaml checkpoint:=runs/demo/policy`. "
    "`make demo` trains one; on your own data: `rove run rove_learning train --dataset DATASET --out CHECKPOINT`."
)


# an inference that takes longer is reported while it runs: the chunk in force lasts 1.7 s beyond its replanning
SLOW_S = 1.0
DISCOVERY_S = 0.5  # how long it looks for another policy before it loads anything


@dataclass(frozen=True)
class Parameters:
    """Of the node."""

    robot: str = parameter(robot.DEFAULT, "the robot: a name, or a folder with robot.yaml")
    checkpoint: str = parameter(
        "",
        "directory of the policy, or the address of a policy server (wss://, openpi://); setting it between episodes "
        "loads another one",
        live=True,
    )
    instruction: str = parameter("", "what the policy is told; empty: the episode's")
    guidance: float = parameter(
        math.nan, "strength of guidance, beta of eq. 9; NaN: the checkpoint's own", low=0.0, high=100.0
    )
    device: str = parameter("auto", "cpu, cuda or auto")
    threads: int = parameter(1, "of torch on the CPU", low=1, high=1024)
    value_hz: float = parameter(2.0, "rate of /policy/value; 0 turns it off", unit="Hz", low=0.0, high=100.0)
    seed: int = parameter(0, "of the noise from which chunks are sampled", low=0)
    server_ca: str = parameter("", "certificate (PEM) that a policy server's is checked against; empty: the system's")
    realtime_chunking: bool = parameter(False, "a new chunk continues the steps that are executed while it is computed")
    actor_backbone: str = parameter(
        "", "folder or hub id of a pretrained backbone that is not where the checkpoint says"
    )
    critic_backbone: str = parameter(
        "", "folder or hub id of a pretrained backbone that is not where the checkpoint says"
    )
    cuda_graphs: bool = parameter(
        True, "on a GPU: replay a chunk as one CUDA graph, recorded when a checkpoint is loaded"
    )
    precision: str = parameter(
        "auto",
        "of the action head; auto: bfloat16 on a GPU with a pretrained backbone",
        choices=("auto", "bfloat16", "float32"),
    )
    compile: bool = parameter(False, "torch.compile for the layers; the start then takes minutes")


def pictures_of(observation: Observation) -> dict[str, np.ndarray]:
    """Camera -> (H, W, 3) uint8 RGB of the messages of an observation."""
    return {name: images.decode(message.data) for name, message in observation.images.items()}


class PolicyNode(Node):
    """See Parameters."""

    def __init__(self):
        super().__init__("policy")
        p = ros.read_parameters(self, Parameters)
        path = p.checkpoint
        self.instruction, self.realtime = p.instruction, p.realtime_chunking
        self.guidance = None if math.isnan(p.guidance) else p.guidance
        backbones = {"actor": p.actor_backbone, "critic": p.critic_backbone}
        fast: dict[str, Any] = {"graphs": p.cuda_graphs, "precision": p.precision, "compile": p.compile}
        if not path:
            raise ValueError(NO_CHECKPOINT)
        if reason := absent(path):
            raise ValueError(f"{reason}. {NO_CHECKPOINT}")
        ros.claim_role(self, topics.ACTION_CHUNK, "policy", DISCOVERY_S)
        described = robot.load(p.robot)
        self.table = described.table
        self.episode_instruction = ""

        def local() -> Loader:
            import torch

            torch.set_num_threads(p.threads)
            warn = self.get_logger().warning
            return Loader(described, self.words, self.guidance, p.device, backbones, warn, **fast)

        def remote():
            from rove_policy.remote.policies import RemoteLoader

            token = os.environ.get("ROVE_POLICY_TOKEN", "")
            return RemoteLoader(described, self.words, self.guidance, token, p.server_ca)

        self.loader = AnyLoader(local, remote)
        self.get_logger().info(f"loading {path} on {self.loader.device(path)}")
        self.policy, self.latency_s = self.loader.load(path)
        self.reload = Reload(self.loader.load, path, self.not_loaded)
        self.rng = np.random.default_rng(p.seed)
        self.reader = messages.JointReader(self.table)
        self.replan = Replanner(self.policy.cameras, in_rad=described.table.in_rad)
        self.overlap = Overlap()
        self.mode, self.mode_ns = Mode.IDLE, 0
        self.session, self.episode_id = ros.session_id(self), ""
        self.value_period = 1.0 / p.value_hz if p.value_hz > 0 else math.inf
        self.chunks = self.dropped = self.late = self.bad = 0
        self.busy_since = 0.0  # monotonic s of the inference that runs, 0 = none
        self.error = ""
        self._wake = threading.Condition()
        self._running = True

        self.chunk_pub = ros.publisher(self, topics.ACTION_CHUNK)  # from here on a rollout may be started
        self.value_pub = ros.publisher(self, topics.POLICY_VALUE)
        ros.subscription(self, topics.JOINT_STATES, self.on_state)
        for name, camera in described.cameras.items():
            ros.subscription(self, topics.picture(camera.topic), partial(self.on_image, name))
        ros.subscription(self, topics.MODE, self.on_mode)
        ros.subscription(self, topics.EPISODE, self.on_episode)
        self.diagnostics = ros.Diagnostics(self, self.report)
        self.add_on_set_parameters_callback(self.on_parameters)
        alone = MutuallyExclusiveCallbackGroup()  # the other callbacks go on while it waits
        ros.service(self, topics.POLICY_RELOAD_SERVICE, self.on_reload, callback_group=alone)
        self._thread = threading.Thread(target=self.work, name="inference", daemon=True)
        self._thread.start()
        self.say("ready")

    def say(self, state: str) -> None:
        how = f"chunk in {self.latency_s * 1e3:.0f} ms, {self.policy.execution}"
        self.get_logger().info(f"policy {self.policy.hash} {state} on {self.loader.device(self.reload.path)}, {how}")

    # ---- another checkpoint

    def in_episode(self) -> str:
        """Why no checkpoint can be loaded now, or ""."""
        running = f"an episode is running ({self.mode.name}) and its bag names one checkpoint; reload between episodes"
        return running if self.mode in ACTIVE else ""

    def on_parameters(self, parameters) -> SetParametersResult:
        """Setting `checkpoint` loads it; the other parameters are read once, at the start."""
        for one in parameters:
            if one.name != "checkpoint":
                return SetParametersResult(
                    successful=False, reason=f"{one.name} is read at the start only; restart the node"
                )
            if one.value != self.reload.path and (reason := self.in_episode() or self.reload.begin(one.value)):
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    async def on_reload(self, _request, response):
        """Read the checkpoint again, e.g. after another iteration wrote it; answers when it is in force or refused."""
        done = Future()
        reason = self.in_episode() or self.reload.begin(self.reload.path, done.set_result) or await done
        response.success, response.message = not reason, reason or f"policy {self.policy.hash} from {self.reload.path}"
        return response

    def not_loaded(self, path: str, reason: str) -> None:
        self.get_logger().error(reason)
        self.error = reason
        if path != self.reload.path:
            self.set_parameters([Parameter("checkpoint", value=self.reload.path)])

    # ---- observation in, chunks and values out

    def words(self, policy) -> str:
        """The instruction given to a policy: the parameter, else the episode's, else (before any episode) one it was
        trained on.
        """
        return self.instruction or self.episode_instruction or next(iter(policy.info.get("instructions", ())), "ready")

    def on_state(self, msg) -> None:
        try:
            with self._wake:
                self.replan.state(self.reader.position(msg), time.monotonic())
        except ValueError as error:
            self.bad += 1
            self.error = str(error)

    def on_image(self, camera: str, msg) -> None:
        with self._wake:
            self.replan.image(msg, time.monotonic(), camera, msg.data)
            self._wake.notify()

    def on_episode(self, msg) -> None:
        try:
            episode = episodes.from_status(msg)
            self.episode_instruction, self.episode_id = episode.instruction, episode.id
        except ValueError as error:
            self.bad += 1
            self.error = str(error)

    def on_mode(self, msg) -> None:
        try:
            mode = ros.mode_of(msg)
        except ValueError:
            self.bad += 1
            return
        if mode is self.mode and msg.timestamp == self.mode_ns:
            return  # a heartbeat
        self.mode, self.mode_ns = mode, msg.timestamp
        with self._wake:
            if mode is Mode.ROLLOUT:
                self.replan.start(msg.timestamp)
            else:
                self.replan.stop()
                self.overlap.clear()
            self._wake.notify()

    def work(self) -> None:
        """The inference thread: one chunk whenever one is due, V(s) with it where both share a backbone, else in
        between.
        """
        next_value = 0.0 if self.value_period < math.inf else math.inf
        while self._running:
            with self._wake:
                self._wake.wait(timeout=0.02)  # a due time may pass without a new image
                if not self._running:
                    return
                if self.mode not in ACTIVE and (loaded := self.reload.take()):
                    (self.policy, self.latency_s), done = loaded
                    self.replan.look_at(self.policy.cameras)
                    self.error = ""
                    done("")
                    self.say(f"from {self.reload.path} in force")
                    self.diagnostics.publish()  # now: the next episode names what is in force
                now = time.monotonic()
                observation = self.replan.observation(now, ros.now_ns())
                value_due = self.mode in ACTIVE and now >= next_value and self.policy.critic is not None
                alone = value_due and observation is None and not self.replan.missing(now)
                latest = self.replan.latest(ros.now_ns()) if alone else None
                known = None
                if observation is not None and self.realtime:
                    known = self.overlap.known(observation.stamp_ns, self.latency_s)
            try:
                self.busy_since = now
                if observation is not None:
                    with_value = value_due and self.policy.shared
                    self.publish_chunk(observation, known, with_value)
                    next_value = now + self.value_period if with_value else next_value
                elif latest is not None:
                    next_value = now + self.value_period
                    self.publish_value(self.policy.value(pictures_of(latest), self.words(self.policy)))
                else:
                    self.loader.prepare(self.policy, self.words(self.policy))  # another episode's instruction
            except (
                Exception
            ) as error:  # the thread must outlive one bad picture; the reason is logged and on /diagnostics
                self.bad += 1
                self.error = (
                    str(error)
                    if isinstance(error, ValueError)
                    else traceback.format_exc(limit=1).strip().splitlines()[-1]
                )
                self.get_logger().error(f"inference failed: {traceback.format_exc()}", throttle_duration_sec=5.0)
            finally:
                self.busy_since = 0.0

    def publish_chunk(self, observation, known, with_value: bool) -> None:
        begin = time.monotonic()
        act = self.policy.act_and_value if with_value else self.policy.act
        seen = pictures_of(observation)
        chunk = act(seen, observation.q, self.words(self.policy), guidance=self.guidance, rng=self.rng, known=known)
        if with_value:
            chunk, value = chunk
            self.publish_value(value)
        self.latency_s = time.monotonic() - begin
        played, stamp_ns = skip_passed(chunk, observation.stamp_ns, self.latency_s)
        plan = messages.Plan(observation.mode_ns, self.session, self.episode_id)
        msg = messages.fill_chunk(
            JointTrajectory(), JointTrajectoryPoint, self.table, stamp_ns, played, 1.0 / timing.POLICY_HZ, plan
        )
        with self._wake:
            if not self.replan.current(observation):
                self.dropped += 1  # planned before the last change of mode
                return
            self.chunk_pub.publish(msg)
            self.overlap.published(chunk, observation.stamp_ns)
            self.chunks += 1
            self.late += len(played) < len(chunk)
            self.error = ""

    def publish_value(self, value: float) -> None:
        self.value_pub.publish(Float32(data=float(value)))

    def report(self):
        """(level, message, values) for /diagnostics."""
        with self._wake:
            missing = self.replan.missing(time.monotonic())
        values = {
            "checkpoint": self.policy.hash,
            "chunks": self.chunks,
            "dropped_after_pause": self.dropped,
            "shortened": self.late,
            "bad_inputs": self.bad,
            "inference_ms": f"{self.latency_s * 1e3:.1f}",
            "execution": ". ".join(filter(None, (str(self.policy.execution), self.policy.execution.note))),
            "ready": "true",
            "loading": self.reload.loading,
            "in_force": self.reload.path,
        }
        busy = self.busy_since and time.monotonic() - self.busy_since
        if busy > SLOW_S:
            return 2, f"inference has been running for {busy:.0f} s", values
        if self.error:
            return 2, self.error, values
        if missing:
            return 1, missing, values
        return 0, "running" if self.mode is Mode.ROLLOUT else "ready", values

    def close(self) -> None:
        self._running = False
        with self._wake:
            self._wake.notify()
        self._thread.join(timeout=2.0)


def main() -> int:
    return ros.spin(PolicyNode, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
