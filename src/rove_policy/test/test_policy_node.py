"""The policy node as its own process over real ROS, fed by a test node."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import rclpy
from sensor_msgs.msg import CompressedImage, JointState

from rove_contract import joints, messages, robot, ros, topics
from rove_contract.modes import Mode, Trigger

pytestmark = pytest.mark.ros
TABLE = joints.load()


def command(*parameters):
    args = [word for p in parameters for word in ("-p", p)]
    return [sys.executable, "-m", "rove_policy.policy_node", "--ros-args", *args]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A randomly initialised actor and critic: their values mean nothing, their path through the node does."""
    import torch

    from rove_learning import checkpoint
    from rove_learning.actor import Actor
    from rove_learning.config import ActorConfig, CriticConfig
    from rove_learning.critic import Critic

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint")
    return checkpoint.save(path, Actor(ActorConfig(), len(TABLE)), Critic(CriticConfig()), info={"joints": list(TABLE.names)})


@pytest.mark.parametrize(("path", "reason"), [("", "needs a checkpoint"), ("/nonexistent", "no checkpoint at /nonexistent")])
def test_without_a_checkpoint_it_refuses_and_says_how_to_get_one(path, reason):
    parameters = [f"checkpoint:={path}"] if path else []
    result = subprocess.run(command(*parameters), capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert reason in result.stderr
    assert "make demo" in result.stderr and "rove_learning train" in result.stderr
    assert "Traceback" not in result.stderr


class World:
    """Publishes state, pictures and modes; collects what the policy publishes."""

    def __init__(self):
        self.node = rclpy.create_node("world")
        self.state = ros.publisher(self.node, topics.JOINT_STATES)
        self.image = ros.publisher(self.node, topics.EGO_IMAGE)
        self.mode_pub = ros.publisher(self.node, topics.MODE)
        self.mode = Mode.IDLE
        self.chunks, self.values = [], []
        ros.subscription(self.node, topics.ACTION_CHUNK, lambda msg: self.chunks.append((time.monotonic(), msg)))
        ros.subscription(self.node, topics.POLICY_VALUE, self.values.append)
        self.node.create_timer(0.02, self.tick)
        rgb = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        self.jpeg = messages.encode_jpeg(rgb)
        self.frozen_camera = False

    def tick(self):
        self.state.publish(messages.fill_joint_state(JointState(), TABLE, ros.now_ns(), robot.home(TABLE), np.zeros(50)))
        if not self.frozen_camera:
            self.image.publish(CompressedImage(format="jpeg", data=self.jpeg))

    def set_mode(self, trigger, mode):
        self.mode_pub.publish(ros.mode_event(self.mode, trigger, mode, ros.now_ns()))
        self.mode = mode

    def spin_until(self, condition, timeout=30.0):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.05)
            if condition():
                return True
        return False


@pytest.fixture
def world():
    rclpy.init()
    world = World()
    yield world
    world.node.destroy_node()
    rclpy.try_shutdown()


def test_it_publishes_chunks_in_rollout_only_and_survives_a_frozen_camera(world, checkpoint):
    process = subprocess.Popen(command(f"checkpoint:={checkpoint}", "value_hz:=10.0"))
    try:
        assert world.spin_until(lambda: ready(world), 60)
        world.set_mode(Trigger.START_ROLLOUT, Mode.ROLLOUT)
        assert world.spin_until(lambda: len(world.chunks) >= 3)
        msg = world.chunks[-1][1]
        chunk, times = messages.JointReader(TABLE).chunk(msg)
        assert chunk.shape == (50, 50) and np.all(np.isfinite(chunk))
        np.testing.assert_allclose(times, np.arange(50) / 20.0, atol=1e-9)
        assert world.spin_until(lambda: len(world.values) > 0)
        assert -1.0 <= world.values[-1].data <= 0.0

        world.set_mode(Trigger.PAUSE, Mode.PAUSED)
        world.spin_until(lambda: False, 1.0)  # a chunk published before the pause arrived may still be on its way
        count = len(world.chunks)
        world.spin_until(lambda: False, 2.0)
        assert len(world.chunks) == count

        world.frozen_camera = True
        world.spin_until(lambda: False, 1.0)  # older than the image time-out
        world.set_mode(Trigger.RESUME, Mode.ROLLOUT)
        world.spin_until(lambda: False, 1.5)
        assert len(world.chunks) == count
        world.frozen_camera = False
        assert world.spin_until(lambda: len(world.chunks) > count)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0


def ready(world):
    """The policy node is discovered: its chunk publisher and its state subscription exist."""
    return world.node.count_publishers(topics.ACTION_CHUNK.name) and world.node.count_subscribers(topics.JOINT_STATES.name)
