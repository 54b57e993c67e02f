# SPDX-License-Identifier: Apache-2.0
"""The practice page in a real browser (headless Chromium), fed by real ZMQ frames; no ROS, no robot."""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zmq

from rove_contract import images
from rove_contract.operator_frame import OperatorFrame, encode
from rove_description import joints, mjcf, robot
from rove_teleop.practice.practice import Practice
from rove_teleop.practice.preview_picture import Picture, View
from rove_teleop.retargeting import calibration, skeleton
from rove_teleop.retargeting.robot_geometry import RobotSkeleton
from rove_teleop.sources import OperatorInput, ReceivedFrame

TABLE = joints.load()
HOME = mjcf.home(TABLE)
SKELETON = RobotSkeleton(TABLE)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
IMAGES = Path(__file__).resolve().parents[4] / "docs" / "img"  # ROVE_SCREENSHOTS=1 puts the page's picture there


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Suit:
    """A ZMQ operator at 60 Hz in a thread of its own. q: the pose that is sent. lost: parts that are left out. silent:
    sends nothing.

    swing: rad of a motion of all arm joints. scale: size of the whole operator.
    """

    def __init__(self, endpoint):
        self.q, self.lost, self.silent, self.swing, self.scale = HOME.copy(), set(), False, 0.0, 1.0
        self._endpoint, self._running = endpoint, True
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self):
        context = zmq.Context()
        publisher = context.socket(zmq.PUB)
        publisher.setsockopt(zmq.LINGER, 0)
        publisher.connect(self._endpoint)
        skeleton, arms, seq = RobotSkeleton(TABLE), TABLE.indices("arm"), 0
        while self._running:
            if not self.silent:
                q = self.q.copy()
                q[arms] += self.swing * np.sin(seq / 20 * (1 + 0.1 * np.arange(14)) + np.arange(14))
                parts = skeleton.parts(np.clip(q, TABLE.limits.lower, TABLE.limits.upper))
                for value in parts.values():
                    value[..., :3] *= self.scale
                kept = {name: value for name, value in parts.items() if name not in self.lost}
                publisher.send(encode(OperatorFrame(kept, seq, time.time() + 3.0, "test suit")))
                seq += 1
            time.sleep(1 / 60)
        publisher.close()
        context.term()

    def close(self):
        self._running = False
        self._thread.join()


@pytest.fixture(scope="module")
def preview(tmp_path_factory):
    """(address of the page, the suit, the calibration file) of a running `preview` process."""
    file = tmp_path_factory.mktemp("practice") / "operator.json"
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    size = "800x600" if os.environ.get("ROVE_SCREENSHOTS") else "400x300"
    words = ["--endpoint", endpoint, "--port", "0", "--size", size, "--fps", "15", "--calibration", str(file)]
    process = subprocess.Popen(
        [sys.executable, "-m", "rove_teleop.practice.preview", *words], stdout=subprocess.PIPE, text=True
    )
    lines = [process.stdout.readline() for _ in range(3)]
    url = re.search(r"open (http://127\.0\.0\.1:\d+/)", "".join(lines))[1]
    suit = Suit(endpoint)
    yield url, suit, file
    suit.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


@pytest.fixture(scope="module")
def page(preview):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make setup installs it)")
    if CHROMIUM is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        # bypass_csp: Playwright evaluates its waiting conditions as strings, which the page's own policy forbids.
        page = browser.new_page(viewport={"width": 1280, "height": 800}, bypass_csp=True)
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(preview[0])
        page.wait_for_function("preview.state()?.alive && preview.pictures() > 3", timeout=30000)
        yield page
        assert errors == []
        browser.close()


@pytest.fixture
def suit(preview, page):
    """The suit at the robot's home, everything tracked, the robot following."""
    suit = preview[1]
    suit.q, suit.lost, suit.silent, suit.swing, suit.scale = HOME.copy(), set(), False, 0.0, 1.0
    page.click("#follow")
    page.click("#restart")
    frames(page, 30)
    page.wait_for_function("document.querySelector('#verdict').textContent === 'Aligned'", timeout=15000)
    return suit


def frames(page, more):
    """Wait for so many more operator frames to be retargeted and shown."""
    page.wait_for_function(
        f"preview.state().input.frames >= {page.evaluate('preview.state().input.frames') + more}", timeout=20000
    )


SHOT = """(async () => { const n = preview.pictures();
  while (preview.pictures() < n + 3) await new Promise((r) => setTimeout(r, 20));
return document.querySelector('#picture').toDataURL(); })()"""


def pixels(page):
    """(300, 400, 3) of the canvas, after three more pictures."""
    data = base64.b64decode(page.evaluate(SHOT).partition(",")[2])
    return images.decode(data).astype(int)


def changed(a, b):
    """Share of pixels that differ by more than JPEG noise."""
    return float((np.abs(a - b).max(axis=2) > 40).mean())


def test_the_picture_moves_with_the_operator_and_stands_still_with_him(page, suit):
    first = pixels(page)
    assert changed(first, pixels(page)) < 0.001
    assert (np.ptp(first.reshape(-1, 3), axis=0) > 100).all()  # there is something in the picture
    suit.q[TABLE.index["left_shoulder_pitch"]] -= 1.0
    frames(page, 60)
    assert changed(first, pixels(page)) > 0.01
    assert page.evaluate("preview.state().input.source") == "test suit"
    assert page.evaluate("preview.state().input.hz") > 10
    page.wait_for_function("preview.state().picture.latency_ms > 0 && preview.state().picture.fps > 0")


def test_a_robot_that_stays_shows_how_far_the_operator_is_and_following_closes_the_gap(page, suit):
    page.click("#stay")
    page.wait_for_function("!preview.state().following")
    suit.q[TABLE.index["left_elbow"]] -= 0.6
    row = page.locator("#blocks [data-block=arm]")
    page.wait_for_function("preview.state().blocks.arm > 0.55", timeout=15000)
    page.wait_for_function("document.querySelector('#blocks [data-block=arm]').classList.contains('over')")
    assert "rad" in row.locator("output").inner_text()
    assert "left_elbow" in page.locator("#verdict").inner_text()
    assert page.evaluate("preview.state().parts.left_wrist.mm") > 50
    page.click("#follow")
    page.wait_for_function(
        "preview.state().blocks.arm < 0.05 && preview.state().parts.left_wrist.mm < 5", timeout=15000
    )


def test_a_lost_hand_is_shown_as_lost_while_the_rest_follows(page, suit):
    before = pixels(page)
    suit.lost = {"right_hand"}
    page.wait_for_function("document.querySelector('[data-part=right_hand]').dataset.state === 'lost'", timeout=15000)
    assert page.locator("[data-part=right_hand]").inner_text().split()[:3] == ["Right", "hand", "lost"]
    assert "right hand" in page.locator("#verdict").inner_text()
    assert page.evaluate("preview.state().parts.left_hand.state") == "ok"
    frames(page, 10)
    after = pixels(page)
    red = (after[..., 0] > after[..., 1] + 60) & (after[..., 0] > 110)
    assert red.sum() > before.shape[0] * before.shape[1] * 2e-4  # the held links are red
    suit.lost = set()


def test_silence_is_shown_and_never_a_dead_pose(page, suit):
    suit.silent = True
    page.wait_for_function("!preview.state().alive && !document.querySelector('#lost').hidden", timeout=15000)
    assert set(page.evaluate("Object.values(preview.state().parts).map((p) => p.state)")) == {"lost"}


def test_calibration_from_the_page_is_applied_and_written(page, suit, preview):
    suit.scale, suit.swing = 1.15, 0.35
    page.click("#calibrate")
    page.wait_for_function("preview.state().calibration.left_s !== null")
    page.wait_for_function("preview.state().calibration.left_s === null", timeout=30000)
    assert "upper arm 0.32" in page.locator("#calibration").inner_text()
    assert calibration.load(preview[2]).left.upper_arm == pytest.approx(1.15 * 0.28, abs=0.005)


def test_the_view_turns_and_wrong_messages_are_answered(page, suit):
    first = pixels(page)
    page.click("text=Behind")
    page.wait_for_function("preview.state().picture.view[0] === 0")
    assert changed(first, pixels(page)) > 0.03
    wrong = ["", "[", "null", '{"do": "fly"}', '{"view": [1, 2]}', '{"view": ["a", NaN, 1]}', '{"ack": "x"}']
    answers = page.evaluate(
        """async (wrong) => {
        const ws = new WebSocket(`ws://${location.host}/ws`), got = [];
        ws.onmessage = ({ data }) => {
          const message = typeof data === "string" ? JSON.parse(data) : {};
          if (message.type === "reply") got.push(message.text);
        };
        await new Promise((r) => { ws.onopen = r; });
        for (const message of wrong) ws.send(message);
        ws.send(new Uint8Array(3));
        while (got.length < 8) await new Promise((r) => setTimeout(r, 20));
        ws.close();
        return got; }""",
        wrong,
    )
    assert answers == ["malformed message"] * 8
    page.click("text=Front")
    page.wait_for_function("preview.state().picture.view[0] === 155")


def test_screenshot(page, suit):
    if not os.environ.get("ROVE_SCREENSHOTS"):
        pytest.skip("ROVE_SCREENSHOTS=1 renews the picture of the docs")
    suit.swing, suit.lost = 0.25, {"right_hand"}
    page.click("#stay")
    page.wait_for_timeout(2500)
    page.screenshot(path=IMAGES / "preview.png")
    suit.lost = set()


class Frames(OperatorInput):
    """Frames from a list, then silence."""

    endpoint = "list"

    def __init__(self, frames):
        self.frames = list(frames)

    def poll(self, timeout_s):
        if not self.frames:
            time.sleep(timeout_s)
            return None
        return ReceivedFrame(self.frames.pop(0), time.monotonic(), 0.0)

    def statistics(self):
        return {}

    def close(self):
        pass


def test_a_calibration_without_motion_says_what_to_do_and_changes_nothing():
    practice = Practice(Frames([]))
    practice.calibrate(0.0)
    end = time.monotonic() + 10
    while practice.snapshot()["calibration"]["left_s"] is not None and time.monotonic() < end:
        time.sleep(0.02)
    state = practice.snapshot()
    practice.close()
    assert state["calibration"]["text"].startswith("not calibrated") and "tracked" in state["calibration"]["text"]
    json.dumps(state, allow_nan=False)  # before the first frame as well


@pytest.mark.parametrize("name", ["iron_r01", "robin_h1"])
def test_the_practice_follows_any_robot_and_its_picture_shows_it(name, tmp_path):
    """Frames of the robot in a pose: the robot of the practice takes it, and operator and robot are drawn."""
    described = robot.load(name)
    q = described.home.copy()
    q[described.arms["right"].joints[3]] += 0.3 if name == "iron_r01" else -0.3
    frames = [skeleton.make(described).frame(q, seq, seq / 60.0) for seq in range(90)]
    practice, picture = Practice(Frames(frames), smoothing=False, described=described), Picture(described, (320, 240))
    try:
        end = time.monotonic() + 60
        while practice.snapshot()["input"]["frames"] < 90 and time.monotonic() < end:
            time.sleep(0.01)
        practice._taken_s = time.monotonic() + 10.0  # however long drawing takes
        state, scene = practice.snapshot(), practice.scene()
        np.testing.assert_allclose(scene.q, q, atol=0.05)
        assert state["names"] == list(described.table.blocks_present()) and max(state["blocks"].values()) < 0.05
        assert {"right_wrist", "right_hand", "head"} <= state["parts"].keys()
        assert all(values.get("mm", 0.0) < 10.0 for values in state["parts"].values()), "what is drawn is where it is"
        json.dumps(state, allow_nan=False)
        with_operator = picture.draw(scene, View())
        without = picture.draw(replace(scene, lines=[]), View())
        held = picture.draw(replace(scene, lines=[], states={"right_wrist": "lost"}), View())
        assert with_operator.std() > 10
        drawn, red = (np.abs(image.astype(int) - without).max(axis=2) > 20 for image in (with_operator, held))
        assert drawn.sum() > 50, "the operator's lines"
        assert red.sum() > 50, "the arm that holds"
        (tmp_path / f"{name}.png").write_bytes(images.encode_png(with_operator))
    finally:
        practice.close()
        picture.close()


def test_a_taken_port_or_a_broken_calibration_is_one_sentence(tmp_path):
    file = tmp_path / "operator.json"
    file.write_text("{")
    result = subprocess.run(
        [sys.executable, "-m", "rove_teleop.practice.preview", "--endpoint", "inproc://x", "--calibration", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (
        result.returncode == 2
        and "operator.json is not a calibration" in result.stdout
        and "Traceback" not in result.stderr
    )
