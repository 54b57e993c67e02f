# SPDX-License-Identifier: Apache-2.0
"""A headset session end to end: headless Chromium with an emulated headset, the page over HTTPS, the teleop node over
real ROS.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import mujoco
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CompressedImage, JointState

from rove_contract import domain, images, messages, ros, topics
from rove_contract.modes import Mode, Trigger
from rove_description import joints, mjcf
from rove_teleop.retargeting.robot_geometry import RobotSkeleton
from rove_teleop.sources.webxr import Message, Scene
from rove_teleop.sources.webxr_emulation import holding, message_of

ROOT = Path(__file__).resolve().parents[4]
IWER = Path(sys.prefix) / "node_modules" / "iwer" / "build" / "iwer.min.js"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
IMAGES = ROOT / "docs" / "img"  # ROVE_SCREENSHOTS=1 puts the pictures of the docs there
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make setup installs it)")
expect = sync_api.expect
pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)"),
    pytest.mark.skipif(
        not IWER.exists(), reason=f"the npm package iwer is not in {sys.prefix} (make setup installs it where npm is)"
    ),
]

DOMAIN = str(domain.reserve())
TABLE = joints.load()
HOME = mjcf.home(TABLE)
SKELETON = RobotSkeleton(TABLE)
SCENE = Scene(SKELETON)
GREEN, RED = np.array([61, 219, 133]), np.array([255, 69, 59])
CUBE = np.array([235, 180, 20])
CUBE_AT = (0.5, 0.0, 0.905)  # m, world
FOVY = 1.4  # rad, of the emulated headset

# The emulated headset: places head and 25 joints of both hands wherever the test wants them.
EMULATION = """
const device = new IWER.XRDevice(IWER.metaQuest3, {fovy: FOVY, ipd: 0});
   // one eye in the middle: ghosts and picture coincide
device.installRuntime({polyfillLayers: false, forceInstall: true});
device.primaryInputMode = "hand";
const spaceOf = (joint) => joint[Object.getOwnPropertySymbols(joint).find((symbol) => joint[symbol].offsetMatrix)];
window.headset = {
  device,
  relaxed: (side) => [...device.hands[side].inputSource.hand.values()].map((joint) => [...spaceOf(joint).offsetMatrix]),
  place(head, hands) {
    device.position.set(...head.slice(0, 3));
    device.quaternion.set(...head.slice(3));
    for (const [side, matrices] of Object.entries(hands)) {
      const hand = device.hands[side];
      const state = hand[Object.getOwnPropertySymbols(hand).find((symbol) => hand[symbol].poses)];
      const joints = [...hand.inputSource.hand.keys()];
      const custom = {jointTransforms: {}};
      joints.forEach((name, i) => { custom.jointTransforms[name] = {offsetMatrix: matrices[i], radius: 0.01}; });
      state.poses = {...state.poses, custom};
      state.poseId = "custom";
      hand.position.set(0, 0, 0);
      hand.quaternion.set(0, 0, 0, 1);
    }
  },
  hold(head, grips) {
    device.primaryInputMode = "controller";
    device.position.set(...head.slice(0, 3));
    device.quaternion.set(...head.slice(3));
    for (const [side, [pose, trigger]] of Object.entries(grips)) {
      const controller = device.controllers[side];
      // The test places the grip itself, not the ray that comes out of the controller.
      const grip = spaceOf(controller.inputSource.gripSpace);
      grip.offsetMatrix.set([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
      grip.emulated = false; // the emulation calls every place a guess, and the page refuses guesses
      controller.position.set(...pose.slice(0, 3));
      controller.quaternion.set(...pose.slice(3));
      controller.updateButtonValue("trigger", trigger);
    }
  },
};
"""
MIRROR = np.array(
    [1, -1, -1, 0, -1, 1, 1, 0, -1, 1, 1, 0, -1, 1, 1, 1.0]
)  # by which the emulation turns left hands into right ones


def matrices(side, hand):
    """(25, 7) poses -> column-major matrices as the emulation stores them."""
    out = []
    for pose in hand:
        m, r = np.eye(4), np.empty(9)
        mujoco.mju_quat2Mat(r, np.roll(pose[3:], 1))
        m[:3, :3], m[:3, 3] = r.reshape(3, 3), pose[:3]
        out.append((m.T.ravel() * (MIRROR if side == "right" else 1.0)).tolist())
    return out


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class World:
    """Robot with an ego camera, supervisor, and a listener on teleop's topics; its executor runs in a thread."""

    def __init__(self):
        rclpy.init()
        self.node = rclpy.create_node("world")
        self.measured, self.mode = HOME.copy(), Mode.PAUSED
        self.targets, self.alignment, self.statistics = [], None, {}
        self.jpeg = self.picture()
        state, mode, image = (ros.publisher(self.node, t) for t in (topics.JOINT_STATES, topics.MODE, topics.EGO_IMAGE))
        reader = messages.JointReader(TABLE)

        def tick():
            now = ros.now_ns()
            state.publish(messages.fill_joint_state(JointState(), TABLE, now, self.measured, np.zeros(50)))
            mode.publish(ros.mode_event(Mode.ROLLOUT, Trigger.PAUSE, self.mode, now))

        def camera():
            msg = CompressedImage(format="jpeg", data=self.jpeg)
            messages.set_stamp(msg.header.stamp, ros.now_ns())
            image.publish(msg)

        def diagnostics(msg):
            for status in msg.status:
                if status.name == "teleop":
                    self.statistics = messages.diagnostic_values(status)

        self.node.create_timer(0.02, tick)
        self.node.create_timer(0.1, camera)
        ros.subscription(self.node, topics.TELEOP_TARGETS, lambda m: self.targets.append(reader.position(m)))
        ros.subscription(self.node, topics.TELEOP_ALIGNMENT, lambda m: setattr(self, "alignment", m))
        ros.subscription(self.node, topics.DIAGNOSTICS, diagnostics)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.running = True
        self.thread = threading.Thread(target=self.spin, daemon=True)
        self.thread.start()

    def spin(self):
        while self.running:
            self.executor.spin_once(timeout_sec=0.1)

    def picture(self):
        """What the robot's camera sees of its own hands over a table with a yellow cube."""
        sky = (
            '<texture type="skybox" builtin="gradient" rgb1="0.62 0.68 0.75" rgb2="0.3 0.33 0.38" width="64" '
            'height="64"/>'
        )
        model = mujoco.MjModel.from_xml_string(
            mjcf.mjcf(
                TABLE,
                assets=sky,
                world=f"""
            <light pos="0.5 0 2.5" dir="0 0 -1" castshadow="false"/>
            <geom type="box" size="0.4 0.7 0.02" pos="0.62 0 0.85" rgba="0.25 0.32 0.42 1"/>
            <geom type="box" size="0.035 0.035 0.035" pos="{CUBE_AT[0]} {CUBE_AT[1]} {CUBE_AT[2]}" rgba="0.92 0.7
              0.08 1"/>""",
            )
        )
        data = mujoco.MjData(model)
        for name, value in zip(TABLE.names, self.measured):
            data.joint(name).qpos[0] = value
        mujoco.mj_forward(model, data)
        renderer = mujoco.Renderer(model, 360, 480)
        renderer.update_scene(data, "ego")
        jpeg = images.encode_jpeg(renderer.render())
        renderer.close()
        return jpeg

    def wait(self, condition, what, limit_s=30.0):
        end = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end, (
                f"{what}: not within {limit_s} s; alignment {self.alignment}, statistics {self.statistics}"
            )
            time.sleep(0.02)

    def wait_target(self, q, what, sides=mjcf.SIDES):
        """Until head and hands of the targets are those of pose q (elbows are free: a headset does not see them)."""
        wanted = SKELETON.parts(q)

        def met():
            if not self.targets:
                return False
            parts = SKELETON.parts(self.targets[-1])
            turned = 1.0 - abs(parts["head"][3:] @ wanted["head"][3:])
            return turned < 1e-4 and all(np.abs(parts[f"{s}_hand"] - wanted[f"{s}_hand"]).max() < 0.005 for s in sides)

        self.wait(met, what)

    def close(self):
        self.running = False
        self.thread.join(timeout=5.0)
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", DOMAIN)
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    world = World()
    yield world
    world.close()


@pytest.fixture
def url(world, tmp_path):
    port = free_port()
    words = [sys.executable, "-m", "rove_teleop.teleop_node", "--ros-args"]
    # Software rendering on a busy machine draws fewer than 10 pictures a second, so the frames may be further apart
    # than a headset's.
    for key, value in {"endpoint": f"https://127.0.0.1:{port}", "keys": tmp_path, "input_timeout_s": 1.0}.items():
        words += ["-p", f"{key}:={value}"]
    process = subprocess.Popen(words)
    world.wait(lambda: world.alignment is not None, "the node's first alignment")
    yield f"https://127.0.0.1:{port}/"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 0


@pytest.fixture
def page(url):
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        )
        # The headset was told to trust the certificate; bypass_csp: Playwright's own waiting conditions are strings.
        context = browser.new_context(viewport={"width": 800, "height": 600}, ignore_https_errors=True, bypass_csp=True)
        page = context.new_page()
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.add_init_script(path=IWER)
        page.add_init_script(EMULATION.replace("FOVY", str(FOVY)))
        page.goto(url)
        yield page
        browser.close()


def stand(page, q, eyes=(0.2, 1.5, -0.3), heading=0.6):
    """The operator stands like the robot at q (50,), somewhere in the room."""
    message = message_of(SKELETON.parts(q), SCENE.trunk(), eyes, heading)
    hands = {side: matrices(side, hand) for side, hand in message.hands.items()}
    page.evaluate("([head, hands]) => headset.place(head, hands)", [message.head.tolist(), hands])


def hold(page, q, trigger, eyes=(0.2, 1.5, -0.3), heading=0.6):
    """The same operator with controllers in the hands."""
    message = holding(message_of(SKELETON.parts(q), SCENE.trunk(), eyes, heading), SCENE.grasp.palms, trigger)
    grips = {side: [pose.tolist(), closure] for side, (pose, closure) in message.grips.items()}
    page.evaluate("([head, grips]) => headset.hold(head, grips)", [message.head.tolist(), grips])


def save(pixels, name):
    if os.environ.get("ROVE_SCREENSHOTS"):
        (IMAGES / name).write_bytes(images.encode_png(pixels.astype(np.uint8)))


def stage(page):
    """(H, W, 3) int pixels of what the headset shows."""
    return images.decode(page.screenshot()).astype(int)


def wait_seen(page, condition, what, limit_s=30.0):
    """The first picture of what the headset shows that meets the condition (software rendering is slow, and a busy
    machine slower).
    """
    end = time.monotonic() + limit_s
    while not condition(pixels := stage(page)):
        assert time.monotonic() < end, f"{what}: not seen within {limit_s} s"
    return pixels


def like(pixels, colour):
    """(H, W) bool: pixels that have a colour's hue, whatever their brightness."""
    norm = np.linalg.norm(pixels, axis=-1)
    return (pixels @ colour / np.maximum(norm, 1.0) / np.linalg.norm(colour) > 0.98) & (norm > 100)


def share(pixels, colour):
    return float(like(pixels, colour).mean())


def seen_at(points, q, size):
    """(N, 3) pelvis frame, m -> (N, 2) x, y pixels where an eye in the robot's camera at pose q sees them in the
    headset.
    """
    SKELETON.parts(q)
    mujoco.mj_camlight(SKELETON.model, SKELETON.data)
    camera = SKELETON.data.cam("ego")
    local = (points + SKELETON.data.body("pelvis").xpos - camera.xpos) @ camera.xmat.reshape(3, 3)
    f = 0.5 * size[0] / np.tan(FOVY / 2)
    return np.stack(
        [0.5 * size[1] - f * local[:, 0] / local[:, 2], 0.5 * size[0] + f * local[:, 1] / local[:, 2]], axis=1
    )


def relaxed_hand(page, side):
    """(25, 7) of the emulation's own hand, which was recorded on a real headset."""
    poses = []
    for m in np.array(page.evaluate("side => headset.relaxed(side)", side)).reshape(25, 4, 4).swapaxes(1, 2):
        q = np.empty(4)
        mujoco.mju_mat2Quat(q, m[:3, :3].ravel())
        poses.append(np.concatenate([m[:3, 3], np.roll(q, -1)]))
    return np.array(poses)


def check_wrist_convention(page):
    """A real hand in the robot's wrist frame: thumb forward (x), fingers along -z, fingertips curled towards the palm
    (inward y).
    """
    hands = {side: relaxed_hand(page, side) for side in mjcf.SIDES}
    parts = SCENE.trunk().frame(Message(0, 0.0, np.array([0, 0, 0, 0, 0, 0, 1.0]), hands), "x").parts
    for side, inward in (("left", -1.0), ("right", 1.0)):
        rotation = np.empty(9)
        mujoco.mju_quat2Mat(rotation, parts[f"{side}_wrist"][3:])
        x, y, z = ((parts[f"{side}_hand"] - parts[f"{side}_hand"][0]) @ rotation.reshape(3, 3)).T
        assert x[4] > 0.03 and x[5] > x[9] > x[13] > x[17], "the thumb in front, then index to little"
        assert (z[[8, 12, 16, 20]] < -0.1).all() and (inward * (y[[8, 12, 16, 20]] - y[[5, 9, 13, 17]]) > 0.005).all()


def test_an_emulated_headset_drives_the_robot_and_shows_what_it_sees(world, page, url):
    # The 2D page: connected, the camera is live, the headset can be entered.
    expect(page.locator("#link")).to_have_text("connected", timeout=20000)
    expect(page.locator("#no-camera")).to_be_hidden(timeout=20000)
    page.wait_for_function("rove.link.pictures.total > 3", timeout=20000)
    wait_seen(page, lambda pixels: share(pixels, CUBE) > 5e-4, "the cube on the 2D page")
    expect(page.locator("#vr")).to_be_enabled()
    expect(page.locator("#ar")).to_be_enabled()
    check_wrist_convention(page)

    upright = HOME.copy()
    upright[TABLE.indices("head")] = 0.0
    stand(page, upright)
    page.click("#vr")
    page.wait_for_function(
        "rove.state().session && rove.state().tracked.left && rove.state().tracked.right", timeout=20000
    )
    world.wait_target(upright, "the operator's first pose in the targets")

    # Aligned: everything but the waist, which a headset cannot see, is where the operator is.
    stand(page, HOME)
    world.wait_target(HOME, "the home pose in the targets")
    world.wait(lambda: world.alignment.level == ros.LEVELS[0], "aligned")
    page.wait_for_function("rove.state().robot?.text === 'aligned'", timeout=20000)
    # Picture and ghosts are where an eye in the robot's camera would see cube and hands.
    high, wide = size = stage(page).shape[:2]
    column, row = seen_at(np.array([CUBE_AT]) - [0, 0, mjcf.PELVIS_HEIGHT], HOME, size)[0].round().astype(int)

    def aligned(pixels):
        cube = like(pixels, CUBE)[row - 2 : row + 3, column - 2 : column + 3].all()
        return cube and share(pixels, GREEN) > 2e-3 and share(pixels, RED) < 1e-3

    pixels = wait_seen(page, aligned, f"green ghosts, and the cube of the camera's picture at {column}, {row}")
    save(pixels, "webxr_aligned.png")
    green, seen = like(pixels, GREEN), 0
    for side in mjcf.SIDES:
        for x, y in seen_at(SKELETON.parts(HOME)[f"{side}_hand"], HOME, size).round().astype(int):
            if 5 < x < wide - 5 and 5 < y < high - 5:
                assert green[y - 5 : y + 6, x - 5 : x + 6].mean() > 0.2, f"the ghost of the {side} hand at {x}, {y}"
                seen += 1
    assert seen >= 12

    # The operator moves both hands: the targets follow, the ghosts stay where the robot is and turn red.
    away = HOME.copy()
    away[TABLE.index["left_shoulder_pitch"]] -= 0.5
    away[TABLE.index["right_elbow"]] -= 0.8
    away[TABLE.index["right_index_proximal"]] = 1.2
    stand(page, away)
    world.wait_target(away, "the moved hands in the targets")
    page.wait_for_function(
        "rove.state().robot.errors.left > 0.4 && rove.state().robot.errors.right > 0.7", timeout=20000
    )
    pixels = wait_seen(
        page,
        lambda pixels: share(pixels, RED) > 2e-3 and like(pixels, CUBE)[row, column],
        "a red ghost over the picture",
    )
    save(pixels, "webxr.png")

    # Walking and turning round in the room moves nothing but, by the neck's range, the head.
    stand(page, away, eyes=(1.0, 1.1, 0.4))
    world.wait_target(away, "the same targets elsewhere in the room")

    # One hand is lost: it is missing, not frozen; the other goes on.
    page.evaluate("headset.device.hands.left.connected = false")
    world.wait(
        lambda: messages.diagnostic_values(world.alignment).get("held") == "left_hand,left_wrist",
        "the lost hand is named",
    )
    held = world.targets[-1]
    stand(page, HOME, eyes=(1.0, 1.1, 0.4))
    world.wait_target(HOME, "the right hand back home", sides=["right"])
    left = np.concatenate([TABLE.indices("arm", "left"), TABLE.indices("hand", "left")])
    np.testing.assert_array_equal(world.targets[-1][left], held[left])

    # The closed tab is a stale source, and the next one takes over.
    world.wait(lambda: float(world.statistics.get("rtt_ms", 0)) > 0, "a round trip")
    assert int(world.statistics["accepted"]) > 10 and int(world.statistics["malformed"]) == 0
    assert page.errors == []
    page.close()
    world.wait(lambda: world.alignment.level == ros.LEVELS[3], "stale after the tab is closed")
    count = len(world.targets)
    time.sleep(0.3)
    assert len(world.targets) == count


def test_controllers_move_the_wrists_and_their_triggers_close_the_hands(world, page):
    expect(page.locator("#vr")).to_be_enabled(timeout=20000)
    upright = HOME.copy()
    upright[TABLE.indices("head")] = 0.0
    hold(page, upright, 0.0)  # the trunk's heading is the head's at the start
    page.click("#vr")
    page.wait_for_function(
        "rove.state().session && rove.state().tracked.left && rove.state().tracked.right", timeout=20000
    )
    moved = HOME.copy()
    moved[TABLE.index["left_shoulder_pitch"]] -= 0.4
    moved[TABLE.index["right_elbow"]] -= 0.5
    fingers = {side: TABLE.indices("hand", side) for side in mjcf.SIDES}

    def wrists_at(q):
        wanted = SKELETON.parts(q)

        def met():
            parts = SKELETON.parts(world.targets[-1]) if world.targets else {}
            return parts and all(
                np.abs(parts[f"{s}_wrist"][:3] - wanted[f"{s}_wrist"][:3]).max() < 0.005
                and abs(parts[f"{s}_wrist"][3:] @ wanted[f"{s}_wrist"][3:]) > 0.9995
                for s in mjcf.SIDES
            )

        return met

    world.wait(lambda: world.targets, "targets")
    hold(page, HOME, 0.0)
    world.wait(wrists_at(HOME), "the wrists at home")
    hold(page, moved, 0.0)
    world.wait(wrists_at(moved), "the wrists where the controllers are")
    opened = {side: world.targets[-1][at].sum() for side, at in fingers.items()}
    hold(page, moved, 1.0)
    world.wait(
        lambda: all(world.targets[-1][at].sum() > opened[side] + 6.0 for side, at in fingers.items()), "closed hands"
    )
    world.wait(wrists_at(moved), "the wrists where they were")
    assert page.errors == []
