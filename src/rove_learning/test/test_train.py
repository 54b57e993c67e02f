"""One iteration of Algorithm 1 on a tiny dataset: every method, kill and resume, start from k - 1, refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest

from rove_learning import checkpoint
from rove_learning.command_line import parse
from rove_learning.config import RewardConfig, TrainConfig
from rove_learning.run import RunMismatch
from rove_learning.synthetic import ACTOR, CRITIC
from rove_learning.train import train

SHORT = TrainConfig(
    dataset=(),
    out="",
    threads=1,
    actor=replace(ACTOR, steps=6, steps_next=4, batch=4),
    critic=replace(CRITIC, mc_steps=5, steps=6, batch=6),
)


def config(mixed, out, **changes):
    return replace(SHORT, dataset=(str(mixed),), out=str(out), **changes)


@pytest.mark.parametrize("method", ["rove", "recap", "hg_dagger", "filtered_bc", "sft"])
def test_every_method_ends_with_a_checkpoint_that_acts(mixed, tmp_path, method):
    summary = train(config(mixed, tmp_path / "out", method=method), progress=False)
    policy = checkpoint.load(tmp_path / "out")
    chunk = policy.act(np.zeros((48, 48, 3), dtype=np.uint8), np.zeros(50), "erase the whiteboard")
    assert np.isfinite(chunk).all() and 0 < summary["kept"] <= 1
    assert policy.critic is not None  # imitation alone still pretrains the value model that the next iteration starts from
    assert policy.guidance == (ACTOR.guidance if method in ("rove", "recap") else 1.0)


class After:
    """stop() that turns true at its n-th call."""

    def __init__(self, n):
        self.left = n

    def __call__(self):
        self.left -= 1
        return self.left == 0


@pytest.mark.parametrize("steps", [3, 8, 14])  # in MC pretraining, in OVE, in the actor
def test_killed_and_resumed_gives_the_same_weights_and_losses(mixed, tmp_path, steps):
    train(config(mixed, tmp_path / "whole"), progress=False)
    with pytest.raises(KeyboardInterrupt):
        train(config(mixed, tmp_path / "killed"), progress=False, stop=After(steps))
    train(config(mixed, tmp_path / "killed"), progress=False)
    assert checkpoint.load(tmp_path / "whole").hash == checkpoint.load(tmp_path / "killed").hash
    whole, killed = (json.loads((tmp_path / name / "history.json").read_text()) for name in ("whole", "killed"))
    assert whole == killed


def test_next_iteration_starts_from_the_previous_one(mixed, tmp_path):
    train(config(mixed, tmp_path / "k0"), progress=False)
    train(config(mixed, tmp_path / "k1", init=str(tmp_path / "k0")), progress=False)
    info = checkpoint.load(tmp_path / "k1").info
    history = json.loads((tmp_path / "k1/history.json").read_text())
    assert info["iteration"] == 1 and len(history["actor"]) == 4 and "critic_mc" not in history


def test_a_critic_of_another_scale_is_refused(mixed, tmp_path):
    train(config(mixed, tmp_path / "k0", method="sft"), progress=False)
    with pytest.raises(ValueError, match="divides returns by 800, this run by 900"):
        train(config(mixed, tmp_path / "k1", init=str(tmp_path / "k0"), reward=RewardConfig(max_steps=400)), progress=False)


def test_another_configuration_in_the_same_folder_is_refused(mixed, tmp_path):
    train(config(mixed, tmp_path / "out", method="sft"), progress=False)
    with pytest.raises(RunMismatch, match="another seed"):
        train(config(mixed, tmp_path / "out", method="sft", seed=5), progress=False)


def test_command_line_and_yaml(tmp_path):
    (tmp_path / "c.yaml").write_text("method: recap\ncritic: {tau: 0.9}\ndataset: [a]\nout: o\n")
    read = parse(TrainConfig, ["--config", str(tmp_path / "c.yaml"), "--actor.steps", "7"])
    assert read.method == "recap" and read.critic.tau == 0.9 and read.actor.steps == 7 and read.dataset == ("a",)
