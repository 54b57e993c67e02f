# SPDX-License-Identifier: Apache-2.0
"""A session without a robot, for the tests and the benchmark: fake robot, operator and recorder over real ROS, and a
supervisor process.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import rclpy
from aiohttp import WSMsgType
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CompressedImage, JointState
from std_msgs.msg import Float32, String
from std_srvs.srv import Trigger as TriggerService

from rove_contract import episode as episodes
from rove_contract import images, messages, ros, timing, topics
from rove_description import joints, mjcf

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def picture(i: int, size: int = 192) -> bytes:
    """JPEG of a scene in which something moves: a board, a hand, and a bright square that travels with `i`."""
    y, x = np.mgrid[0:size, 0:size] / size
    rgb = np.stack([40 + 50 * y, 48 + 55 * y, 60 + 60 * y], axis=-1)
    rgb[(y > 0.18) & (y < 0.72) & (x > 0.1) & (x < 0.9)] = (235, 238, 240)
    for k in range(4):
        rgb[(np.abs(y - 0.3 - 0.08 * k) < 0.012) & (x > 0.2) & (x < 0.75 - 0.1 * (k % 2))] = (30, 60, 160)
    t = i / 30.0
    cx, cy = 0.5 + 0.25 * np.cos(t), 0.62 + 0.12 * np.sin(2 * t)
    rgb[(np.abs(x - cx) < 0.07) & (np.abs(y - cy) < 0.04)] = (250, 160, 40)
    rgb[(np.hypot(x - cx, (y - cy - 0.16) * 0.8) < 0.10)] = (150, 158, 170)
    return images.encode_jpeg(np.clip(rgb, 0, 255).astype(np.uint8), 85)


TASK = "erase_whiteboard"
MILESTONES = ("nothing done", "eraser in the hand", "half of the ink wiped", "all ink wiped")


class World:
    """Fake robot, operator and recorder, and a listener on what the supervisor says; its executor runs in a thread.

    Switches: robot, camera, operator, recorder_ready (publish or not), policy_ready, errors (alignment per block, rad),
    target (pose the operator asks for, rad), value (V(s) or None), diagnosis (level and text of the policy's report),
    reported (more values of that report), dropped, disk_free_gb (of the recorder), milestone (one of MILESTONES that a
    simulator says, or "" for a robot). stages: start stages announced for the next episode.
    """

    def __init__(self):
        rclpy.init()
        self.node = rclpy.create_node("fake_world")
        self.robot = self.camera = self.operator = True
        self.recorder_ready = self.policy_ready = True
        self.errors = {"head": 0.04, "waist": 0.09, "arm": 0.12, "hand": 0.21}
        self.worst = "right_index_proximal"
        self.value: float | None = None
        self.diagnosis = (0, "ready")
        self.reported: dict[str, str] = {}
        self.dropped, self.disk_free_gb = 0, 212.4
        self.milestone = ""
        self.modes: list[tuple[str, int]] = []  # distinct transitions: (mode, stamp in ns)
        self.heartbeats: list[float] = []
        self.episodes: list[episodes.Episode] = []
        self.stages: list[str] = []
        self.order: list[str] = []  # arrival of modes and episode states
        self.frames = 0
        self._changed = threading.Condition()
        self._pictures = [picture(i) for i in range(90)]
        table = joints.load()
        self.q = mjcf.home(table)
        self.target = self.q + 0.08 * np.sin(np.arange(len(table)))
        pub = {
            t.name: ros.publisher(self.node, t)
            for t in (
                topics.JOINT_STATES,
                topics.EGO_IMAGE,
                topics.TELEOP_TARGETS,
                topics.TELEOP_ALIGNMENT,
                topics.RECORDER_STATUS,
                topics.ACTION_CHUNK,
                topics.POLICY_VALUE,
                topics.DIAGNOSTICS,
                topics.SIM_TASK,
                topics.SIM_STATE,
            )
        }
        words = {"name": TASK, "instruction": "", "start_stages": [], "milestones": MILESTONES}
        pub["/sim/task"].publish(String(data=json.dumps(words)))

        def state():
            if self.robot:
                pub["/joint_states"].publish(messages.fill_joint_state(JointState(), table, ros.now_ns(), self.q))
            if self.operator:
                pub["/teleop/joint_targets"].publish(
                    messages.fill_joint_state(JointState(), table, ros.now_ns(), self.target)
                )

        def camera():
            if self.camera:
                self.frames += 1
                msg = CompressedImage(format="jpeg", data=self._pictures[self.frames % len(self._pictures)])
                messages.set_stamp(msg.header.stamp, ros.now_ns())
                pub["/ego_camera/image/compressed"].publish(msg)

        def operator():
            if self.operator:
                values = {
                    **{b: f"{e:.3f}" for b, e in self.errors.items()},
                    "worst_joint": self.worst,
                    "age_s": "0.012",
                }
                pub["/teleop/alignment"].publish(ros.status("alignment", "aligned", values))
            if self.milestone:
                pub["/sim/state"].publish(String(data=json.dumps({"task": TASK, "milestone": self.milestone})))
            if self.value is not None:
                pub["/policy/value"].publish(Float32(data=self.value))

        def slow():
            values = {"ready": str(self.recorder_ready).lower(), "recording": "false", "dropped": self.dropped}
            values["disk_free_gb"] = f"{self.disk_free_gb:.1f}"
            pub["/recorder/status"].publish(
                ros.status("recorder", "ready" if self.recorder_ready else "the disk is full", values)
            )
            level, text = self.diagnosis
            report = {"ready": str(self.policy_ready).lower()} | self.reported
            array = ros.DiagnosticArray(status=[ros.status("policy", text, report, level)])
            pub["/diagnostics"].publish(array)

        for period, callback in ((0.01, state), (1.0 / timing.CAMERA_HZ, camera), (0.05, operator), (0.25, slow)):
            self.node.create_timer(period, callback)
        ros.subscription(self.node, topics.MODE, self._on_mode)
        ros.subscription(self.node, topics.EPISODE, self._on_episode)
        ros.subscription(self.node, topics.START_STAGE, lambda msg: self.stages.append(msg.data))
        self.clients = {
            t.service: self.node.create_client(TriggerService, name) for t, name in topics.SUPERVISOR_SERVICES.items()
        }
        self.clients["force_takeover"] = self.node.create_client(TriggerService, topics.FORCE_TAKEOVER_SERVICE)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._running = True
        self._thread.start()

    def _spin(self):
        while self._running:
            self._executor.spin_once(timeout_sec=0.1)

    def _on_mode(self, msg):
        with self._changed:
            self.heartbeats.append(time.monotonic())
            entry = (ros.mode_of(msg).name, msg.timestamp)
            if not self.modes or self.modes[-1] != entry:
                self.modes.append(entry)
                self.order.append(entry[0])
            self._changed.notify_all()

    def _on_episode(self, msg):
        with self._changed:
            self.episodes.append(episodes.from_status(msg))
            self.order.append(f"episode {self.episodes[-1].state}")
            self._changed.notify_all()

    def wait(self, condition, timeout: float = 15.0, what: str = "") -> None:
        """Until condition() holds; fails with `what` after `timeout` s."""
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise TimeoutError(f"waited {timeout} s in vain for {what or condition}; modes so far: {self.modes}")

    def wait_mode(self, mode: str) -> None:
        self.wait(lambda: self.modes and self.modes[-1][0] == mode, what=f"mode {mode}")

    def call(self, action: str) -> tuple[bool, str]:
        """Call a service of the supervisor: (success, message)."""
        client = self.clients[action]
        if not client.wait_for_service(timeout_sec=15.0):
            raise TimeoutError(f"no service for {action}: is a supervisor running in this ROS domain?")
        done = threading.Event()
        future = client.call_async(TriggerService.Request())
        future.add_done_callback(lambda _: done.set())
        if not done.wait(15.0):
            raise TimeoutError(f"{action} was not answered")
        return future.result().success, future.result().message

    def until(self, action: str, accepted: bool = True, containing: str = "") -> str:
        """Repeat a request until its answer is as wanted (the supervisor has to notice the world first); returns the
        message.
        """
        deadline = time.monotonic() + 15.0
        while True:
            ok, text = self.call(action)
            if ok == accepted and containing in text:
                return text
            if time.monotonic() > deadline:
                raise TimeoutError(f"{action}: {ok}, {text!r}")
            with self._changed:
                self._changed.wait(0.05)

    def close(self):
        self._running = False
        self._thread.join(timeout=5.0)
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()


class Process:
    """The supervisor as its own process. parameters: ROS parameters; the panel takes any free port unless one is
    given. ros_domain: of its own, for a second supervisor beside one that runs; "" for that of this process.
    """

    def __init__(self, ros_domain: str = "", **parameters):
        parameters = {"panel_port": 0} | parameters
        arguments = [x for key, value in parameters.items() for x in ("-p", f"{key}:={value}")]
        environment = os.environ | {"PYTHONUNBUFFERED": "1"} | ({"ROS_DOMAIN_ID": ros_domain} if ros_domain else {})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rove_supervisor.supervisor_node", "--ros-args", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        self.lines: list[str] = []
        self.url = ""
        self._announced = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        if not self._announced.wait(20.0) or not self.url:
            self.process.kill()
            raise RuntimeError("the supervisor did not start:\n" + "".join(self.lines))

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            found = re.search(r"panel: (https?://\S+)", line)
            if found:
                self.url = found.group(1)
                self._announced.set()
        self._announced.set()

    @property
    def port(self) -> int:
        return int(self.url.rstrip("/").rsplit(":", 1)[1])

    def stop(self, signum=signal.SIGTERM, timeout: float = 5.0) -> int:
        """Exit status after the signal; a process that does not end in time is killed and fails the test."""
        if self.process.poll() is None:
            self.process.send_signal(signum)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self._thread.join(timeout=5.0)
        return code


# -- a person, or a program, at the panel
# ----------------------------------------------------------------------------------------


def press(page, action: str) -> None:
    """Click a button of the page (Playwright) once it is enabled.

    A start is refused while an input is late, as it is on a starved machine; a person would press again.
    """
    page.click(f"[data-do={action}]")
    for _ in range(5 if action.startswith("start_") else 0):
        deadline = time.monotonic() + 2.0
        while time.monotonic() < deadline:
            if page.evaluate("document.body.dataset.mode") != "IDLE":
                return
            page.wait_for_timeout(50)
        page.click(f"[data-do={action}]")


def shows(page, mode: str) -> None:
    """Wait until the page shows the mode."""
    page.wait_for_function(f"document.body.dataset.mode === {mode!r}", timeout=15000)


def talk(coroutine):
    """Result of a coroutine that runs in a thread of its own: Playwright's loop lives in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


async def answer(ws) -> dict:
    """The next reply or pong on an aiohttp WebSocket, past states and camera frames."""
    while True:
        message = await asyncio.wait_for(ws.receive(), 10.0)
        if message.type is WSMsgType.TEXT and json.loads(message.data)["type"] in ("reply", "pong"):
            return json.loads(message.data)
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            raise ConnectionError(f"the connection ended: {message}")
