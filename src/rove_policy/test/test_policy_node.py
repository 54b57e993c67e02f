# SPDX-License-Identifier: Apache-2.0
"""The policy node as its own process over real ROS, fed by a test node."""

import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from rove_contract import messages, ros
from rove_contract.modes import Mode, Trigger
from rove_description import joints, robot

pytestmark = pytest.mark.ros
TABLE = joints.load()


def command(*parameters):
    args = [word for p in parameters for word in ("-p", p)]
    return [sys.executable, "-m", "rove_policy.policy_node", "--ros-args", *args]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A randomly initialised actor and critic: their values mean nothing, their path through the node does."""
    import torch

    from rove_learning.config import ActorConfig, CriticConfig
    from rove_learning.inference import checkpoint
    from rove_learning.models.actor import Actor
    from rove_learning.models.critic import Critic

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint")
    return checkpoint.save(
        path, Actor(ActorConfig(), len(TABLE)), Critic(CriticConfig()), info={"robot": robot.load().card.to_dict()}
    )


@pytest.mark.parametrize(
    ("path", "reason"), [("", "needs a checkpoint"), ("/nonexistent", "no checkpoint at /nonexistent")]
)
def test_without_a_checkpoint_it_refuses_and_says_how_to_get_one(path, reason):
    parameters = [f"checkpoint:={path}"] if path else []
    result = subprocess.run(command(*parameters), capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert reason in result.stderr
    assert "make demo" in result.stderr and "rove_learning train" in result.stderr
    assert "Traceback" not in result.stderr


def test_it_publishes_chunks_in_rollout_only_and_survives_a_frozen_camera(world, checkpoint):
    process = subprocess.Popen(command(f"checkpoint:={checkpoint}", "value_hz:=10.0"))
    try:
        assert world.spin_until(world.policy_is_there, 60)
        world.set_mode(Trigger.START_ROLLOUT, Mode.ROLLOUT)
        assert world.spin_until(lambda: len(world.chunks) >= 3)
        msg = world.chunks[-1]
        chunk, times = messages.JointReader(TABLE).chunk(msg)
        assert chunk.shape == (50, 50) and np.all(np.isfinite(chunk))
        np.testing.assert_allclose(times, np.arange(1, 51) / 20.0, atol=1e-9)  # row i is due (i + 1) / 20 s later
        assert world.spin_until(lambda: len(world.values) > 0)
        assert -1.0 <= world.values[-1].data <= 0.0

        assert world.spin_until(lambda: world.diagnostics.get("message") == "running")
        world.set_mode(Trigger.PAUSE, Mode.PAUSED)
        assert world.spin_until(lambda: world.diagnostics["message"] == "ready")  # it knows of the pause
        world.spin_until(lambda: False, 1.0)  # a chunk published before the pause arrived may still be on its way
        count = len(world.chunks)
        world.spin_until(lambda: False, 2.0)
        assert len(world.chunks) == count

        world.frozen_camera = True
        assert world.spin_until(lambda: world.diagnostics["message"] == "the picture of the camera ego is missing")
        world.set_mode(Trigger.RESUME, Mode.ROLLOUT)
        world.spin_until(lambda: False, 1.5)
        assert len(world.chunks) == count
        world.frozen_camera = False
        assert world.spin_until(lambda: len(world.chunks) > count)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0


STALLS = """
import os, sys, time
from rove_learning.inference.checkpoint import Policy
from rove_policy import policy_node

chunk, stall = Policy._chunk, sys.argv.pop(1)

def stalling(self, *args):
    if os.path.exists(stall):
        os.remove(stall)
        time.sleep(10.0)
    return chunk(self, *args)

Policy._chunk = stalling
sys.exit(policy_node.main())
"""


def save_qwen(path, backbone_path, seed):
    """A random head on a tiny random Qwen3-VL; the critic reads its second layer, so one pass serves both."""
    import torch

    from rove_learning.config import ActorConfig, BackboneConfig, CriticConfig
    from rove_learning.inference import checkpoint
    from rove_learning.models.actor import Actor
    from rove_learning.models.critic import Critic

    torch.manual_seed(seed)
    backbone = BackboneConfig(kind="qwen3vl", path=str(backbone_path), image_size=64)
    actor = Actor(ActorConfig(backbone=backbone, width=48, layers=1, heads=2), len(TABLE))
    critic = Critic(CriticConfig(backbone=replace(backbone, layer=2), width=32, heads=2))
    return checkpoint.save(path, actor, critic, info={"robot": robot.load().card.to_dict()})


@pytest.mark.slow
def test_a_qwen3_vl_checkpoint_survives_a_stall_of_10_s_and_is_reloaded_between_episodes(world, tmp_path):
    synthetic_vlm = pytest.importorskip("rove_learning.testing.synthetic_vlm")
    qwen = synthetic_vlm.write_qwen3vl(tmp_path / "qwen")
    path, stall, script = save_qwen(tmp_path / "policy", qwen, 0), tmp_path / "stall", tmp_path / "stalling.py"
    script.write_text(STALLS)
    parameters = command(f"checkpoint:={path}", "value_hz:=10.0", "realtime_chunking:=true")[3:]
    process = subprocess.Popen([sys.executable, str(script), str(stall), *parameters])
    try:
        assert world.spin_until(lambda: world.diagnostics.get("ready") == "true", 90)
        first = world.diagnostics["checkpoint"]
        assert "head in " in world.diagnostics["execution"]  # "one CUDA graph per chunk" or "operation by operation"
        world.set_mode(Trigger.START_ROLLOUT, Mode.ROLLOUT)
        assert world.spin_until(lambda: len(world.chunks) >= 3 and len(world.values) >= 2)
        chunk, _ = messages.JointReader(TABLE).chunk(world.chunks[-1])
        assert np.isfinite(chunk).all() and all(-1.0 <= value.data <= 0.0 for value in world.values)
        refused = world.reload()
        assert not refused.success and "an episode is running (ROLLOUT)" in refused.message

        stall.touch()
        assert world.spin_until(lambda: not stall.exists())
        count = len(world.chunks)
        assert world.spin_until(lambda: "inference has been running" in world.diagnostics["message"])
        assert len(world.chunks) == count
        assert world.spin_until(lambda: len(world.chunks) >= count + 2)
        stamp = world.chunks[count].header.stamp
        assert ros.now_ns() - (stamp.sec * 10**9 + stamp.nanosec) < 5e9  # not what was seen before the stall

        world.frozen_camera = True
        assert world.spin_until(lambda: world.diagnostics["message"] == "the picture of the camera ego is missing")
        count, world.frozen_camera = len(world.chunks), False
        assert world.spin_until(lambda: len(world.chunks) > count)

        world.set_mode(Trigger.SUCCEED, Mode.IDLE)
        world.spin_until(lambda: False, 0.3)
        weights = (path / "actor.safetensors").read_bytes()
        (path / "actor.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
        refused = world.reload()
        assert not refused.success and "SHA-256 differs" in refused.message and "stays in force" in refused.message
        assert "no checkpoint at /nonexistent" in world.set_checkpoint("/nonexistent").reason
        assert world.spin_until(lambda: "SHA-256 differs" in world.diagnostics["message"])
        assert world.diagnostics["checkpoint"] == first
        assert world.set_checkpoint(save_qwen(tmp_path / "better", qwen, 1)).successful
        assert world.spin_until(lambda: world.diagnostics["checkpoint"] != first and not world.diagnostics["loading"])
        count, second = len(world.chunks), world.diagnostics["checkpoint"]
        assert world.reload().message == f"policy {second} from {tmp_path / 'better'}"
        world.set_mode(Trigger.START_ROLLOUT, Mode.ROLLOUT)
        assert world.spin_until(lambda: len(world.chunks) > count)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=15) == 0
