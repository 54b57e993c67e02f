# SPDX-License-Identifier: Apache-2.0
"""A LeRobot dataset of another robot, imported, is trained on and labelled."""

import sys
from dataclasses import replace

import numpy as np

from rove_learning.config import TrainConfig
from rove_learning.inference import checkpoint
from rove_learning.testing.synthetic import ACTOR, CRITIC
from rove_learning.train import train
from rove_recorder.dataset.scores import read_scores
from rove_recorder.lerobot_import import command
from rove_recorder.testing.lerobot_sets import ARM, write_set


def test_an_arm_of_six_joints_from_import_to_policy_and_labels(tmp_path, monkeypatch):
    driven = [np.arange(60) >= 20, np.zeros(50, bool)]
    success = [np.arange(60) == 59, np.zeros(50, bool)]
    extra = {"intervention": driven, "next.success": success}
    source = write_set(tmp_path / "arm", fps=20, lengths=(60, 50), extra=extra)
    data = tmp_path / "data"
    words = [
        str(source),
        "--out",
        str(data),
        "--camera",
        "front",
        "--image-size",
        "48",
        "48",
        "--workers",
        "1",
        "--quiet",
    ]
    monkeypatch.setattr(sys, "argv", ["import_lerobot", *words])
    assert command.main() == 0
    config = TrainConfig(
        (str(data),),
        str(tmp_path / "policy"),
        threads=1,
        actor=replace(ACTOR, steps=3, batch=4),
        critic=replace(CRITIC, mc_steps=3, steps=3, batch=4),
    )
    train(config, progress=False)
    policy = checkpoint.load(tmp_path / "policy")
    assert policy.names == ARM
    chunk = policy.act(np.zeros((48, 48, 3), np.uint8), np.zeros(6), "pick the cube")
    assert chunk.shape[1] == 6 and np.isfinite(chunk).all()
    assert len(read_scores(data, "policy").value) == 110
