# SPDX-License-Identifier: Apache-2.0
"""The whole loop on a robot that is not the default one: 29 joints, six-joint arms, three fingers, three cameras, in a
namespace. A session records a rollout with a takeover over ZMQ; its bag is exported, trained on, and the policy loads.
"""

import socket
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import zmq

from rove_bringup.bag_audit import audit
from rove_contract.modes import Stage
from rove_contract.operator_frame import encode
from rove_description import joints, mjcf, robot
from rove_supervisor.testing.panel_client import Panel

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(240)]
ROBIN = robot.load("robin_h1")
CAMERAS = ("ego", "left_wrist", "right_wrist")
LONG_S = 90.0


def free_endpoint() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


class Suit:
    """A person in a motion-capture suit who bends the right elbow when `bent` is set."""

    def __init__(self, endpoint: str):
        from rove_teleop.retargeting.robot_geometry import RobotSkeleton

        table = joints.load()
        self.skeleton, self.pose, self.elbow = RobotSkeleton(table), mjcf.home(table), table.index["right_elbow"]
        self.bent, self.stop = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.send, args=(endpoint,), daemon=True)
        self.thread.start()

    def send(self, endpoint: str) -> None:
        context = zmq.Context()
        out = context.socket(zmq.PUB)
        out.setsockopt(zmq.LINGER, 0)
        out.connect(endpoint)
        seq = 0
        while not self.stop.wait(1 / 40):
            goal = -0.6 if self.bent.is_set() else -1.4
            self.pose[self.elbow] += np.clip(goal - self.pose[self.elbow], -0.03, 0.03)
            out.send(encode(self.skeleton.frame(self.pose, seq, time.time(), "suit")))
            seq += 1
        out.close()
        context.term()


@pytest.fixture
def suit():
    suit = Suit(endpoint := free_endpoint())
    yield suit, endpoint
    suit.stop.set()
    suit.thread.join(5.0)


@pytest.fixture
def untrained(tmp_path):
    """A checkpoint for this robot that sees two of its cameras and holds its home pose."""
    import torch

    from rove_learning.inference import checkpoint
    from rove_learning.models.actor import Actor
    from rove_learning.testing.synthetic import ACTOR, BACKBONE

    actor = Actor(replace(ACTOR, backbone=replace(BACKBONE, cameras=CAMERAS[:2])), len(ROBIN.table))
    actor.action_mean.copy_(torch.from_numpy(ROBIN.home))
    return checkpoint.save(tmp_path / "untrained", actor, info={"robot": ROBIN.card.to_dict()})


def test_the_whole_loop_runs_on_another_robot(rove_launch, own_domain, suit, untrained, tmp_path):
    suit, endpoint = suit
    arguments = ["robot:=robin_h1", "task:=free_space", "namespace:=lab/robin", "device:=zmq", f"endpoint:={endpoint}"]
    arguments += [f"checkpoint:={untrained}", f"bags:={tmp_path / 'bags'}", "panel_port:=0", "operator:=ann"]
    session = rove_launch("session.launch.yaml", *arguments, cwd=tmp_path)
    panel = Panel(session.wait_for_word_after("panel: ", timeout_s=LONG_S))
    panel.wait(lambda state: state["links"]["operator"]["ok"], "an operator")
    panel.reach("ROLLOUT", 1.0, {"IDLE": "start_rollout", "PAUSED": "resume"})
    suit.bent.set()
    panel.reach("ADAPTATION", 1.5, {"ROLLOUT": "pause", "PAUSED": "force_takeover"})
    panel.reach("RECOVERY", 0.6, {"ADAPTATION": "recovered", "PAUSED": "force_takeover"})
    panel.wait(lambda state: list(state["links"]["camera"]["cameras"]) == list(CAMERAS), "all cameras in the panel")
    panel.press("succeed")
    panel.wait(lambda state: not state["links"]["recorder"]["recording"], "a closed bag")
    session.stop()
    assert session.end() == 130, session.output

    learn(tmp_path)


def learn(folder) -> None:
    from rove_learning.config import TrainConfig
    from rove_learning.data.dataset import Dataset
    from rove_learning.testing.synthetic import ACTOR, BACKBONE, CRITIC
    from rove_learning.train import train
    from rove_policy.loading import Loader
    from rove_recorder.export.export import export_bags

    (result,) = export_bags([folder / "bags"], folder / "data", progress=False)
    assert not result.error, result.error
    dataset = Dataset(folder / "data")
    assert dataset.robot == ROBIN.card and tuple(dataset.cameras) == CAMERAS
    assert {Stage.ROLLOUT, Stage.ADAPTATION, Stage.RECOVERY} <= set(dataset.stage.tolist())
    moved = np.ptp(dataset.action[dataset.stage != Stage.ROLLOUT], axis=0)
    assert moved[ROBIN.arms["right"].joints].max() > 0.2, "the operator's elbow moved the arm"
    (bag,) = (folder / "bags").iterdir()
    found = audit(bag, ROBIN.table)
    assert found.velocity_ratio <= 1.0 + 1e-6, "the filter kept this robot's limits"
    shown = ["/robot_description", "/tf", "/tf_static", *(f"/{name}_camera/camera_info" for name in CAMERAS)]
    assert not [topic for topic in shown if not found.messages.get(topic)], (
        "a viewer finds robot and cameras in the bag"
    )
    assert set(result.quality.rates_hz) >= {camera.topic for camera in ROBIN.cameras.values()}

    actor = replace(ACTOR, backbone=replace(BACKBONE, cameras=CAMERAS), steps=3, batch=4)
    critic = replace(CRITIC, mc_steps=3, steps=3, batch=8)
    train(
        TrainConfig((str(folder / "data"),), str(folder / "run"), threads=1, actor=actor, critic=critic), progress=False
    )
    fast = {"graphs": False, "precision": "auto", "compile": False}
    load = Loader(ROBIN, lambda policy: "move", None, "cpu", {}, print, **fast).load
    policy, _ = load(str(folder / "run"))
    assert policy.robot == ROBIN.card and policy.cameras == CAMERAS
    with pytest.raises(ValueError, match=r"belongs to the robot robin_h1 .*, this is iron_r01"):
        Loader(robot.load(), lambda policy: "move", None, "cpu", {}, print, **fast).load(str(folder / "run"))
