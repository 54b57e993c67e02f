# SPDX-License-Identifier: Apache-2.0
"""The whiteboard erased by dragging alone: the drag page in headless Chromium, real teleop, filter and simulated robot.

The person is the task's scripted expert: it sees the world's state and says where the right wrist should be, how far
the hand should be closed and how the waist should lean. All of that is then done with the page's own handles, slider
and keys, by mouse and keyboard; nothing else reaches the robot. Seconds are those of this machine, where Chromium draws
in software: a trial at a few drags a second is mostly waiting for pictures.

    .venv/bin/python bench/drag_whiteboard.py [--quick] [--trials 3] [--takeover]

--quick: one trial with the eraser in the hand already, until half of the ink is gone. --takeover: an intervention from
start to end (`make drag`): a rollout is started and paused, the operator aligns, takes over, grasps, wipes, is
recovered and has success; the exit status is 1 where a board is not erased or a stage is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import aiohttp
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor

from rove_contract import domain, messages, ros, topics
from rove_description import joints
from rove_description.kinematics import Kinematics, rotation_error
from rove_sim.tasks.erase_whiteboard.expert import Expert
from rove_supervisor.testing.fake_world import CHROMIUM, answer, talk
from rove_teleop.sources.webxr import matrix

GL = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PER_PX = 0.008  # rad that the page turns a hand by for a pixel
READY = 0.4  # closure of the hooked hand; the expert's 0 to 1 is from there to the fist
STEPS = 5  # of the expert, 0.05 s each, between two rounds of drags
LIMIT_S = 480.0  # of a board; headless Chromium draws in software, on a busy machine some pictures a second
SIZE = {"width": 640, "height": 440}  # px; the page needs no more, and a larger one is drawn less often
WAIST = (("waist_yaw", "a", "d"), ("waist_roll", "e", "q"), ("waist_pitch", "w", "s"))
PUPPET = """() => { const c = rove.camera, goal = rove.puppet.goal, palm = rove.puppet.palm("right", goal);
  return { wrist: goal.wrists.right, waist: goal.waist, closure: goal.closure.right, right: c.right, up: c.up,
    back: c.back, scale: c.focal / c.depth(palm) }; }"""
TELEOP = """
launch:
  - node: {pkg: rove_teleop, exec: teleop, name: teleop, output: screen, param: [{from: PARAMETERS}]}
"""


class Launch:
    """`rove launch` in a folder; lines of its output are waited for."""

    def __init__(self, folder: Path, *arguments: str):
        command = [sys.executable, "-m", "rove_bringup.cli", "launch", *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, start_new_session=True
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda: [self._lines.put(line) for line in self.process.stdout], daemon=True).start()

    def word_after(self, text: str) -> str:
        """The word behind `text` in the next line that holds it. Raises queue.Empty after 90 s of silence."""
        while text not in (line := self._lines.get(timeout=90.0)):
            pass
        return line.split(text, 1)[1].split()[0]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20.0)
        self.process.kill()


class Eyes:
    """What the person sees: the robot's joints and the simulated world's state."""

    def __init__(self):
        rclpy.init()
        self.node = rclpy.create_node("person")
        self.q: np.ndarray | None = None
        self.state: dict | None = None
        self.modes: list[str] = []
        # Without a policy the supervisor starts no rollout; this one is paused before it would have to say anything.
        self.policy = ros.publisher(self.node, topics.ACTION_CHUNK)
        ros.subscription(self.node, topics.MODE, self.on_mode)
        reader = messages.JointReader(joints.load())
        ros.subscription(self.node, topics.JOINT_STATES, lambda m: setattr(self, "q", reader.position(m)))
        ros.subscription(self.node, topics.SIM_STATE, lambda m: setattr(self, "state", json.loads(m.data)))
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._running = True
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def on_mode(self, msg) -> None:
        mode = ros.mode_of(msg).name
        if not self.modes or self.modes[-1] != mode:
            self.modes.append(mode)

    def _spin(self) -> None:
        while self._running:
            self._executor.spin_once(timeout_sec=0.1)

    def close(self) -> None:
        self._running = False
        self._thread.join(timeout=5.0)
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()


class Person:
    """Brings the page's puppet to where the expert wants the robot, by mouse and keyboard."""

    def __init__(self, page, eyes: Eyes):
        self.page, self.eyes, self.drags = page, eyes, 0
        self.kinematics = Kinematics()
        self.expert = Expert(Kinematics(), np.random.default_rng(0))
        self.expert.reset(eyes.q)

    def drag(self, handle: str, dx: float, dy: float, modifier: str = "") -> None:
        if max(abs(dx), abs(dy)) < 0.3:  # px
            return
        box = self.page.locator(handle).bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        with self.held(modifier):
            self.page.mouse.move(x + dx, y + dy)
            self.page.mouse.up()
        self.drags += 1

    @contextlib.contextmanager
    def held(self, key: str, seconds: float = 0.0):
        if key:
            self.page.keyboard.down(key)
            time.sleep(seconds)
        yield
        if key:
            self.page.keyboard.up(key)

    def close(self, closure: float) -> None:
        """The right hand's slider."""
        self.page.fill("#close-right", f"{closure:.2f}")
        self.page.evaluate("document.activeElement.blur()")

    def step(self) -> None:
        """One round: waist, hand, turn, place."""
        for _ in range(STEPS):
            target = self.expert.target(self.eyes.q, self.eyes.state)
        self.kinematics.forward(target)
        place, turn = self.kinematics.position("right_wrist"), self.kinematics.rotation("right_wrist")
        puppet = self.page.evaluate(PUPPET)
        for axis, (joint, more, less) in enumerate(WAIST):
            missing = target[self.kinematics.table.index[joint]] - puppet["waist"][axis]
            if abs(missing) > 0.03:
                with self.held(more if missing > 0 else less, min(abs(missing) / 0.4, 0.15)):
                    pass
        closure = READY + (1.0 - READY) * min(1.0, self.expert.steering.closure)
        if abs(closure - puppet["closure"]) > 0.02:
            self.close(closure)
        right, up, back = (np.array(puppet[name]) for name in ("right", "up", "back"))
        wrist = puppet["wrist"]
        error = rotation_error(turn, matrix([*wrist[4:], wrist[3]])) / PER_PX
        if np.linalg.norm(error) * PER_PX > 0.02:
            self.drag("#turn-right", error @ up, error @ right)
            self.drag("#turn-right", -error @ back, 0.0, "Alt")
            wrist = self.page.evaluate(PUPPET)["wrist"]
        way = (place - wrist[:3]) * puppet["scale"]
        self.drag("#move-right", way @ right, -way @ up)
        self.drag("#depth-right", 0.0, way @ back)


def press(panel: str, action: str) -> None:
    """At the supervisor's panel, until it is accepted."""

    async def ask():
        async with aiohttp.ClientSession() as session, session.ws_connect(panel + "ws?camera=0") as ws:
            await ws.send_json({"do": action, "id": 1})
            return await answer(ws)

    end = time.monotonic() + 90.0
    while not (reply := talk(ask()))["ok"]:
        if time.monotonic() > end:
            raise TimeoutError(f"{action}: {reply['text']}")
        time.sleep(0.2)


def begin(panel: str, takeover: bool) -> None:
    """The operator drives: a demonstration, or a rollout that is paused and, once aligned, taken over."""
    if not takeover:
        return press(panel, "start_demonstration")
    for action in ("start_rollout", "pause", "takeover"):  # a takeover is refused until the puppet is the robot
        press(panel, action)


def trial(stage: str, seed: int, limit_s: float, enough: float, takeover: bool) -> dict:
    """One board from `stage`: until success, or until the share `enough` of the ink is gone, or limit_s."""
    from playwright.sync_api import sync_playwright

    folder = Path(tempfile.mkdtemp(prefix="drag_"))
    (folder / "teleop.yaml").write_text(
        '/**: {ros__parameters: {input_timeout_s: 2.0, endpoint: "browser://127.0.0.1:0"}}\n'
    )
    (folder / "teleop.launch.yaml").write_text(TELEOP.replace("PARAMETERS", str(folder / "teleop.yaml")))
    arguments = ["device:=none", "record:=false", "panel_port:=0", f"start_stage:={stage}", f"seed:={seed}"]
    session = Launch(folder, "session.launch.yaml", *arguments)
    teleop = Launch(folder, str(folder / "teleop.launch.yaml"))
    eyes = Eyes()
    try:
        panel, url = session.word_after("panel: "), teleop.word_after("retargeting. open ")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=GL)
            page = browser.new_page(viewport=SIZE, bypass_csp=True)
            page.set_default_timeout(90_000)
            page.goto(url)
            page.wait_for_function("rove.puppet.now && rove.puppet.follows")
            begin(panel, takeover)
            page.wait_for_function("rove.puppet.driven")
            began = time.monotonic()
            person = Person(page, eyes)
            if stage != "start":
                person.close(0.95)  # firmly: the fingers start where they are, not where they press
            while not eyes.state["success"] and time.monotonic() - began < limit_s:
                if 1.0 - eyes.state["ink_left"] >= enough:
                    break
                person.step()
                if eyes.modes[-1] == "ADAPTATION" and eyes.state["held"]:
                    press(panel, "recovered")  # productive work has begun
            seconds = time.monotonic() - began
            browser.close()
        press(panel, "succeed" if eyes.state["success"] else "fail")
        end = time.monotonic() + 10.0
        while eyes.modes[-1] != "IDLE" and time.monotonic() < end:
            time.sleep(0.05)
        return {
            "stage": stage,
            "seed": seed,
            "success": eyes.state["success"],
            "ink_left": eyes.state["ink_left"],
            "seconds": round(seconds, 1),
            "drags": person.drags,
            "modes": eyes.modes,
        }
    finally:
        eyes.close()
        teleop.stop()
        session.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one trial, half of the ink")
    parser.add_argument("--takeover", action="store_true", help="by an intervention from pause to success")
    parser.add_argument("--trials", type=int, default=3, help="boards from the start; %(default)s")
    options = parser.parse_args()
    if CHROMIUM is None:
        print("no Chromium found; on Debian: apt-get install chromium", file=sys.stderr)
        return 2
    domain.isolate()
    rows = []
    for seed in range(1, 2 if options.quick else options.trials + 1):
        whole = ("start", seed, LIMIT_S, 2.0, options.takeover)
        rows.append(trial("grasped", seed, 120.0, 0.5, options.takeover) if options.quick else trial(*whole))
        row = rows[-1]
        print(
            f"{row['stage']:8} seed {seed}: {'erased' if row['success'] else 'not erased'}, "
            f"{row['ink_left']:.2f} of the ink left, {row['seconds']:.0f} s, {row['drags']} drags",
            flush=True,
        )
    result = {"bench": "drag_whiteboard", "quick": options.quick, "trials": rows}
    result |= {"cpus": os.cpu_count(), "load_1min": round(os.getloadavg()[0], 1)}
    print(json.dumps(result))
    if options.takeover and not options.quick:
        stages = ["IDLE", "ROLLOUT", "PAUSED", "ADAPTATION", "RECOVERY", "IDLE"]
        return int(not all(row["success"] and row["modes"] == stages for row in rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
