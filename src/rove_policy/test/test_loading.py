# SPDX-License-Identifier: Apache-2.0
"""A checkpoint becomes a policy that is ready: recorded for the instructions it knows where that is possible, else said
once.
"""

import numpy as np
import pytest
import torch

from rove_description import robot
from rove_learning.inference import checkpoint, chunk_graph
from rove_learning.models.actor import Actor
from rove_learning.models.critic import Critic
from rove_learning.testing.synthetic import ACTOR, CRITIC
from rove_policy.loading import Loader

ROBOT = robot.load()
TABLE = ROBOT.table
TASKS = ["erase the whiteboard", "put the bread on the plate"]


@pytest.fixture
def path(tmp_path):
    torch.manual_seed(0)
    actor = Actor(ACTOR, len(TABLE))
    torch.nn.init.normal_(actor.head.out.weight, std=0.1)
    return checkpoint.save(
        tmp_path / "policy", actor, Critic(CRITIC), info={"robot": ROBOT.card.to_dict(), "instructions": TASKS}
    )


def loader(warnings, device="cpu", **changes):
    options = {"graphs": True, "precision": "auto", "compile": False} | changes
    return Loader(ROBOT, lambda policy: "wave", None, device, {}, warnings.append, **options)


def test_on_a_cpu_nothing_is_recorded_and_nothing_is_said(path):
    warnings = []
    policy, latency = loader(warnings).load(path)
    assert str(policy.execution) == "operation by operation, head in float32" and latency > 0.0 and warnings == []


def test_a_checkpoint_of_another_robot_is_refused_by_name(path):
    other = Loader(
        robot.load("robin_h1"),
        lambda policy: "wave",
        None,
        "cpu",
        {},
        print,
        graphs=False,
        precision="auto",
        compile=False,
    )
    with pytest.raises(
        ValueError, match=r"belongs to the robot iron_r01 \(50 joints\), this is robin_h1 \(29 joints\)"
    ):
        other.load(path)


def test_known_instructions_and_the_one_in_force_are_recorded_before_the_policy_is_ready(path, monkeypatch):
    recorded = []
    monkeypatch.setattr(chunk_graph.RecordableStep, "record", lambda self: recorded.append(set(self.buffers)))
    on_cpu = loader([])
    on_cpu._fast["graphs"] = True  # as on a GPU
    policy, _ = on_cpu.load(path)
    assert len(recorded) == 6 and not any(policy.execution.missing(text, policy.guidance) for text in (*TASKS, "wave"))
    on_cpu.prepare(policy, "another one")
    assert len(recorded) == 8


def test_what_cannot_be_recorded_is_said_once_and_the_policy_runs(path):
    warnings = []
    on_cpu = loader(warnings)
    on_cpu._fast["graphs"] = True
    policy, _ = on_cpu.load(path)
    first = list(warnings)
    on_cpu.prepare(policy, "another one")
    assert warnings == first and "CUDA graphs need a GPU" in first[0]
    assert np.isfinite(policy.act(np.zeros((48, 48, 3), dtype=np.uint8), np.zeros(50), "wave")).all()


def test_a_gpu_that_is_not_there_and_an_unknown_precision_are_refused_in_words(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device is 'cuda', but torch .* finds no GPU; use device:=cpu"):
        loader([], device="cuda")
    with pytest.raises(ValueError, match="precision is 'half', expected auto, bfloat16 or float32"):
        loader([], precision="half")
