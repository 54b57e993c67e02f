# SPDX-License-Identifier: Apache-2.0
"""The whole loop on a robot that is not the default one: 29 joints, six-joint arms, three fingers, three cameras, in a
namespace. A session records a rollout with a takeover over ZMQ; its bag is exported, trained on, and the policy loads.
"""

from dataclasses import replace

import numpy as np
import pytest

from rove_bringup.bag_audit import audit
from rove_bringup.testing.suit import Suit, free_endpoint
from rove_contract.modes import Stage
from rove_description import robot
from rove_supervisor.testing.panel_client import Panel

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(240)]
ROBIN = robot.load("robin_h1")
CAMERAS = ("ego", "left_wrist", "right_wrist")
LONG_S = 90.0


@pytest.fixture
def suit():
    suit = Suit(free_endpoint())
    yield suit
    suit.close()


def test_the_whole_loop_runs_on_another_robot(rove_launch, own_domain, suit, holding_robin, tmp_path):
    arguments = ["robot:=robin_h1", "task:=free_space", "namespace:=lab/robin", "device:=zmq"]
    arguments += [
        f"endpoint:={suit.endpoint}",
        f"checkpoint:={holding_robin}",
        f"bags:={tmp_path / 'bags'}",
        "panel_port:=0",
        "operator:=ann",
    ]
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
