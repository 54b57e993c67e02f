"""The VLA action publisher: ego image + joint states + instruction -> checkpoint -> 50-step action chunks on /policy/action_chunk.

Inference runs in its own thread, so callbacks never wait for it; the next chunk is computed while the current one runs; a pause
drops the chunk that is being computed. With a critic in the checkpoint, V(s) goes to /policy/value at a low rate in every active mode.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from pathlib import Path

from rclpy.node import Node
from std_msgs.msg import Float32
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rove_contract import episode as episodes
from rove_contract import joints, messages, ros, timing, topics
from rove_contract.modes import ACTIVE, Mode
from rove_policy.replan import Replanner

NO_CHECKPOINT = (
    "rove_policy needs a checkpoint, e.g. `rove launch session.launch.yaml checkpoint:=runs/demo/policy`. "
    "`make demo` trains one; on your own data: `rove run rove_learning train --dataset DATASET --out CHECKPOINT`."
)


class PolicyNode(Node):
    """Parameters: checkpoint (directory), instruction (text; empty: the episode's), guidance (NaN: the checkpoint's own),
    device ("cpu", "cuda", "auto"), threads (torch CPU threads), value_hz (rate of V(s); 0 = off), seed."""

    def __init__(self):
        super().__init__("policy")
        get = self.declare_parameter
        path = get("checkpoint", "").value
        self.instruction = get("instruction", "").value
        self.guidance = get("guidance", float("nan")).value
        device = get("device", "auto").value
        threads = get("threads", 1).value
        value_hz = get("value_hz", 2.0).value
        seed = get("seed", 0).value
        if not path:
            raise ValueError(NO_CHECKPOINT)
        if not (Path(path) / "config.json").is_file():
            raise ValueError(f"no checkpoint at {path} (expected {Path(path) / 'config.json'}). {NO_CHECKPOINT}")
        # torch takes seconds to import, so only after the cheap refusals.
        import numpy as np
        import torch

        from rove_learning import checkpoint

        torch.set_num_threads(threads)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.policy = checkpoint.load(path, device)
        self.trained_instruction = next(iter(self.policy.info.get("instructions", ())), "ready")
        self.rng = np.random.default_rng(seed)
        self.table = joints.load()
        self.reader = messages.JointReader(self.table)
        self.replan = Replanner()
        self.mode = Mode.IDLE
        self.value_period = 1.0 / value_hz if value_hz > 0 else float("inf")
        self.chunks = self.dropped = self.bad = 0
        self.latency_s = 0.0
        self.error = ""
        self._wake = threading.Condition()
        self._running = True

        self.episode_instruction = ""
        self.chunk_pub = ros.publisher(self, topics.ACTION_CHUNK)
        self.value_pub = ros.publisher(self, topics.POLICY_VALUE)
        ros.subscription(self, topics.JOINT_STATES, self.on_state)
        ros.subscription(self, topics.EGO_IMAGE, self.on_image)
        ros.subscription(self, topics.MODE, self.on_mode)
        ros.subscription(self, topics.EPISODE, self.on_episode)
        self.diagnostics = ros.Diagnostics(self, self.report)
        self.warm_up()
        self._thread = threading.Thread(target=self.work, name="inference", daemon=True)
        self._thread.start()
        self.get_logger().info(f"policy {self.policy.hash} ready on {device}, chunk in {self.latency_s * 1e3:.0f} ms")

    def warm_up(self) -> None:
        """One chunk from a black picture: allocations and lazy initialisation happen before the first rollout."""
        import numpy as np

        from rove_contract import robot

        image = np.zeros((192, 192, 3), dtype=np.uint8)
        for _ in range(2):
            begin = time.perf_counter()
            self.infer(image, robot.home(self.table))
            self.latency_s = time.perf_counter() - begin
        self.policy.value(image, self.text())

    def text(self) -> str:
        """The instruction given to the policy: the parameter, else the episode's, else (before any episode) one it was trained on."""
        return self.instruction or self.episode_instruction or self.trained_instruction

    def infer(self, image, q):
        import math

        guidance = None if math.isnan(self.guidance) else self.guidance
        return self.policy.act(image, q, self.text(), guidance=guidance, rng=self.rng)

    def on_state(self, msg) -> None:
        try:
            with self._wake:
                self.replan.state(self.reader.position(msg), time.monotonic())
        except ValueError as error:
            self.bad += 1
            self.error = str(error)

    def on_image(self, msg) -> None:
        with self._wake:
            self.replan.image(msg, time.monotonic())
            self._wake.notify()

    def on_episode(self, msg) -> None:
        try:
            self.episode_instruction = episodes.from_status(msg).instruction
        except ValueError as error:
            self.bad += 1
            self.error = str(error)

    def on_mode(self, msg) -> None:
        try:
            mode = ros.mode_of(msg)
        except ValueError:
            self.bad += 1
            return
        if mode is self.mode:
            return
        self.mode = mode
        with self._wake:
            if mode is Mode.ROLLOUT:
                self.replan.start()
            else:
                self.replan.stop()
            self._wake.notify()

    def work(self) -> None:
        """The inference thread: one chunk whenever one is due, V(s) in between."""
        next_value = 0.0
        while self._running:
            with self._wake:
                self._wake.wait(timeout=0.02)  # a due time may pass without a new image
                if not self._running:
                    return
                now = time.monotonic()
                observation = self.replan.observation(now, ros.now_ns())
                value_due = observation is None and self.mode in ACTIVE and now >= next_value and not self.replan.missing(now)
                latest = self.replan.latest(ros.now_ns()) if value_due else None
            try:
                if observation is not None:
                    self.publish_chunk(observation)
                elif latest is not None:
                    next_value = now + self.value_period
                    self.publish_value(latest)
            except Exception:  # the thread must outlive one bad picture; the reason is logged and on /diagnostics
                self.bad += 1
                self.error = traceback.format_exc(limit=1).strip().splitlines()[-1]
                self.get_logger().error(f"inference failed: {traceback.format_exc()}", throttle_duration_sec=5.0)

    def publish_chunk(self, observation) -> None:
        begin = time.monotonic()
        chunk = self.infer(messages.decode_image(observation.image), observation.q)
        self.latency_s = time.monotonic() - begin
        msg = messages.fill_chunk(
            JointTrajectory(), JointTrajectoryPoint, self.table, observation.stamp_ns, chunk, 1.0 / timing.POLICY_HZ
        )
        with self._wake:
            if not self.replan.current(observation):
                self.dropped += 1  # paused meanwhile
                return
            self.chunk_pub.publish(msg)
            self.chunks += 1
            self.error = ""

    def publish_value(self, observation) -> None:
        value = self.policy.value(messages.decode_image(observation.image), self.text())
        if value is not None:
            self.value_pub.publish(Float32(data=float(value)))

    def report(self):
        """(level, message, values) for /diagnostics."""
        with self._wake:
            missing = self.replan.missing(time.monotonic())
        values = {
            "checkpoint": self.policy.hash,
            "chunks": self.chunks,
            "dropped_after_pause": self.dropped,
            "bad_inputs": self.bad,
            "inference_ms": f"{self.latency_s * 1e3:.1f}",
            "ready": "true",
        }
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
