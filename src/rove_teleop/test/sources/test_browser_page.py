# SPDX-License-Identifier: Apache-2.0
"""The drag page in headless Chromium without ROS: mouse, touch, keys and gamepad move a robot that exists here only."""

import shutil
import threading
import time

import numpy as np
import pytest

from rove_contract import images
from rove_description import joints, mjcf
from rove_description import robot as robots
from rove_teleop.retargeting import any_robot
from rove_teleop.sources import RobotView
from rove_teleop.sources.endpoint import open_source

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make setup installs it)")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")

TABLE = joints.load()
HOME = mjcf.home(TABLE)
GL = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
# A gamepad of the browser's standard mapping that the test holds.
GAMEPAD = """
const buttons = Array.from({ length: 17 }, () => ({ pressed: false, value: 0 }));
window.pad = { mapping: "standard", axes: [0, 0, 0, 0], buttons };
navigator.getGamepads = () => [window.pad];
window.hold = (button, on) => { pad.buttons[button] = { pressed: on, value: on ? 1 : 0 }; };
"""


class Robot:
    """Follows the page's frames while `mode` lets it, and shows itself; stands in for teleop and robot."""

    def __init__(self, described):
        # Software rendering on a busy machine sends late.
        self.source = open_source("browser://127.0.0.1:0", max_delay_s=60.0, robot=described)
        self.q, self.mode = described.home.copy(), "PAUSED"
        self._retargeter = any_robot.make(described)
        self._running = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        picture = images.encode_jpeg(np.full((48, 64, 3), 90, dtype=np.uint8))
        while self._running:
            sample = self.source.poll(0.03)
            if self.mode == "PAUSED":
                self._retargeter.reset(self.q)
            elif sample is not None:
                self.q = self._retargeter.retarget(sample.frame)
            self.source.show_robot(RobotView(self.q, self.mode, 0, "aligned", {"left": 0.0, "right": 0.0}))
            self.source.show_camera(picture, time.time())

    def close(self):
        self._running = False
        self._thread.join()
        self.source.close()


@pytest.fixture(scope="module")
def robot():
    robot = Robot(robots.load())
    yield robot
    robot.close()


@pytest.fixture(scope="module")
def one_page(robot):
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=GL)
        page = browser.new_page(viewport={"width": 844, "height": 390}, bypass_csp=True, has_touch=True)
        page.set_default_timeout(60_000)
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.add_init_script(GAMEPAD)
        page.goto(robot.source.endpoint)
        yield page
        browser.close()


@pytest.fixture
def page(robot, one_page):
    """The robot at home, just taken over, nothing dragged."""
    robot.mode = "PAUSED"
    robot.q = HOME.copy()
    one_page.keyboard.press("m")
    one_page.wait_for_function("rove.puppet.now && rove.puppet.follows && !rove.puppet.driven")
    at_home = f"Math.abs(rove.state()?.pose.waist[0] - {HOME[TABLE.index['waist_yaw']]}) < 1e-3"
    one_page.wait_for_function(at_home)
    robot.mode = "ADAPTATION"
    one_page.wait_for_function("rove.puppet.driven")
    yield one_page
    assert one_page.errors == []


def wait(page, condition, what, limit_s=60.0):
    """Until condition() holds in this process, where the robot is."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, what
        page.wait_for_timeout(20)


def wrist(robot, side):
    return robot.source.puppet.skeleton.__class__(TABLE).parts(robot.q)[f"{side}_wrist"]


def test_a_finger_on_the_screen_drags_a_hand(page, robot):
    before = wrist(robot, "left")
    page.evaluate("""() => {
      const handle = document.querySelector("#move-left"), box = handle.getBoundingClientRect();
      const at = (type, dx, dy) => handle.dispatchEvent(new PointerEvent(type, { pointerId: 7, pointerType: "touch",
        bubbles: true, cancelable: true, clientX: box.x + 22 + dx, clientY: box.y + 22 + dy }));
      handle.setPointerCapture = () => {};
      at("pointerdown", 0, 0);
      for (let k = 1; k <= 10; k++) at("pointermove", -3 * k, -4 * k);
      at("pointerup", -30, -40);
    }""")
    goal = np.array(page.evaluate("rove.puppet.goal.wrists.left"))
    assert np.linalg.norm(goal[:3] - before[:3]) > 0.05
    wait(page, lambda: np.linalg.norm(wrist(robot, "left")[:3] - goal[:3]) < 0.01, "the hand where the finger took it")


def test_keys_close_the_hand_bend_the_waist_and_turn_the_head(page, robot):
    page.keyboard.press("1")
    for key, joint, sign in (("c", "left_index_proximal", 1), ("w", "waist_pitch", 1), ("ArrowLeft", "head_yaw", 1)):
        before = robot.q[TABLE.index[joint]]
        page.keyboard.down(key)
        wait(page, lambda: sign * (robot.q[TABLE.index[joint]] - before) > 0.15, f"{key} moves {joint}")  # noqa: B023
        page.keyboard.up(key)
    assert abs(robot.q[TABLE.index["right_index_proximal"]] - HOME[TABLE.index["right_index_proximal"]]) < 0.1


@pytest.mark.parametrize("modifier, axis", [("", "up"), ("Alt", "back")])
def test_the_turning_handle_turns_about_the_palm(page, modifier, axis):
    before = page.evaluate("[rove.puppet.palm('left', rove.puppet.goal), rove.puppet.goal.wrists.left.slice(3)]")
    box = page.locator("#turn-left").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    if modifier:
        page.keyboard.down(modifier)
    page.mouse.move(x + 50, y, steps=5)
    page.mouse.up()
    if modifier:
        page.keyboard.up(modifier)
    after = page.evaluate("[rove.puppet.palm('left', rove.puppet.goal), rove.puppet.goal.wrists.left.slice(3)]")
    np.testing.assert_allclose(after[0], before[0], atol=1e-6, err_msg="the palm stays")
    (w, *v), (a, *b) = after[1], before[1]  # turn = after * before^-1
    turned = np.array([w * a + np.dot(v, b), *(a * np.array(v) - w * np.array(b) - np.cross(v, b))])
    angle = 2 * np.arctan2(np.linalg.norm(turned[1:]), abs(turned[0]))
    assert angle == pytest.approx(0.4, abs=0.02), "50 px at 0.008 rad"
    about = turned[1:] / np.linalg.norm(turned[1:])
    assert abs(about @ np.array(page.evaluate(f"rove.camera.{axis}"))) > 0.99


def test_a_gamepad_moves_turns_and_closes_the_chosen_hand(page, robot):
    page.evaluate("hold(5, true)")
    page.wait_for_function("document.querySelector('#move-right').classList.contains('chosen')")
    page.evaluate("hold(5, false)")
    before = wrist(robot, "right")
    page.evaluate("pad.axes[1] = -0.5")
    wait(page, lambda: np.linalg.norm(wrist(robot, "right")[:3] - before[:3]) > 0.05, "the left stick moves it")
    page.evaluate("pad.axes[1] = 0; pad.axes[2] = 0.5")
    wait(page, lambda: abs(wrist(robot, "right")[3:] @ before[3:]) < 0.995, "the right stick turns it")
    page.evaluate("pad.axes[2] = 0; hold(7, true)")
    index = TABLE.index["right_index_proximal"]
    wait(page, lambda: robot.q[index] > 0.8, "the trigger closes it")
    page.evaluate("hold(7, false)")


def test_the_view_through_the_robots_eyes_puts_the_hands_into_its_picture(page, robot):
    page.keyboard.press("x")
    page.wait_for_function("rove.camera.eyes !== null && document.body.hasAttribute('data-eyes')")
    box = page.evaluate("rove.camera.box")
    assert box["width"] / box["height"] == pytest.approx(64 / 48, rel=1e-3), "the picture's own shape"
    # A point in front of the camera is in the middle of its picture.
    middle = page.evaluate("""() => { const c = rove.camera;
      const middle = [c.box.x + c.box.width / 2, c.box.y + c.box.height / 2];
      return c.project(c.place.map((v, i) => v - 0.5 * c.back[i])).map((v, i) => v - middle[i]);
    }""")
    assert np.abs(middle).max() < 0.05  # px; the camera's pose comes rounded
    page.keyboard.press("x")
    page.wait_for_function("rove.camera.eyes === null")


def test_what_was_dragged_in_a_pause_is_taken_back_by_matching_the_robot(page, robot):
    robot.mode = "PAUSED"
    page.wait_for_function("!rove.puppet.driven && rove.puppet.follows")
    page.evaluate("rove.puppet.move('right', [0, 0, 0.1])")
    off = "rove.puppet.now.wrists.right[2] - rove.state().pose.wrists.right[2]"
    page.wait_for_function(f"!rove.puppet.follows && {off} > 0.08")
    page.click("#match")
    page.wait_for_function(f"rove.puppet.follows && Math.abs({off}) < 1e-3")


def test_a_hand_goes_no_faster_than_a_calm_person_to_where_it_was_dragged(page):
    """A property of the page's own steps, not of this machine's time."""
    fastest = page.evaluate("""() => {
      const puppet = new rove.puppet.constructor();
      puppet.limits = rove.puppet.limits;
      puppet.match(rove.state().pose);
      puppet.move("right", [0.3, -0.4, 0.2]);
      puppet.rotate("right", [0.6, 0.8, 0, 0]);
      let fastest = 0, steps = 0;
      for (; steps < 500; steps++) {
        const before = puppet.now.wrists.right;
        puppet.step(0.016);
        const way = Math.hypot(...[0, 1, 2].map((i) => puppet.now.wrists.right[i] - before[i]));
        fastest = Math.max(fastest, way / 0.016);
      }
      const off = Math.hypot(...[0, 1, 2].map((i) => puppet.now.wrists.right[i] - puppet.goal.wrists.right[i]));
      return [fastest, off];
    }""")
    assert fastest[0] <= 1.0 + 1e-6 and fastest[1] < 1e-9


def test_on_a_phone_held_sideways_the_mode_the_hands_and_the_sliders_stand_on_the_screen(page):
    for what in ("#mode", "#scene", "#close-left", "#close-right", "#match", "#inset"):
        box = page.locator(what).bounding_box()
        assert box["x"] >= 0 and box["y"] >= 0 and box["x"] + box["width"] <= 844 and box["y"] + box["height"] <= 390, (
            what
        )
    page.screenshot(path="/tmp/drag_phone.png")


def test_the_page_is_another_robots_when_the_session_is(one_page, tmp_path):
    """29 joints, six-joint arms, three fingers: drawn, dragged and closed in the same page."""
    described = robots.load("robin_h1")
    other = Robot(described)
    page = one_page.context.browser.new_page(viewport={"width": 844, "height": 390}, bypass_csp=True)
    page.set_default_timeout(60_000)
    try:
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(other.source.endpoint)
        page.wait_for_function("rove.puppet.now && rove.puppet.follows")
        other.mode = "ADAPTATION"
        page.wait_for_function("rove.puppet.driven")
        assert page.evaluate("rove.puppet.limits.geoms.length") == sum(described.model.geom_group < 3)
        arm = described.arms["right"]
        before = other.q[arm.hand].copy()
        page.evaluate("rove.puppet.close('right', 1); rove.puppet.move('right', [0.03, 0.02, 0.05]); undefined")
        wanted = np.array(page.evaluate("rove.puppet.goal.wrists.right.slice(0, 3)"))

        def reached():
            return np.array(other.source.puppet.skeleton.parts(other.q)["right_wrist"][:3])

        wait(page, lambda: np.linalg.norm(reached() - wanted) < 0.01, "the hand where it was dragged")
        wait(page, lambda: np.abs(other.q[arm.hand] - before).max() > 0.8, "a closed hand")
        page.screenshot(path=tmp_path / "robin.png")
        seen = images.decode((tmp_path / "robin.png").read_bytes())
        assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 500, "a shaded body"
        assert errors == []
    finally:
        page.close()
        other.close()
