# SPDX-License-Identifier: Apache-2.0
"""Trackers follow a run through accelerate, none by default; the help is short; what is missing is said first."""

import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from rove_learning.command_line import parse
from rove_learning.config import BackboneConfig, TrainConfig, to_dict
from rove_learning.models.pretrained import BackboneError
from rove_learning.testing.synthetic import ACTOR, CRITIC
from rove_learning.train import train
from rove_learning.training import plan, tracking
from rove_learning.training.tracking import Tracking, flatten

SHORT = TrainConfig(
    dataset=(),
    out="",
    threads=1,
    actor=replace(ACTOR, steps=12, batch=4),
    critic=replace(CRITIC, mc_steps=11, steps=3, batch=4),
)


@pytest.fixture
def trackio(monkeypatch):
    """A stand-in for the package that accelerate's TrackioTracker calls."""
    module = ModuleType("trackio")
    module.__spec__ = ModuleSpec("trackio", None)
    module.points, module.finished = [], []

    class Run:
        def log(self, values, **_):
            module.points.append(values)

        def finish(self):
            module.finished.append(True)

    module.init = lambda project, **_: Run()
    module.config = type("Config", (dict,), {"update": lambda self, values, **_: dict.update(self, values)})()
    module.log = lambda values, **_: module.points.append(values)
    module.finish = lambda: module.finished.append(True)
    monkeypatch.setitem(sys.modules, "trackio", module)
    return module


def test_a_run_is_followed_from_critic_to_actor(mixed, tmp_path, trackio):
    config = replace(SHORT, dataset=(str(mixed),), out=str(tmp_path / "run"), track=("trackio",))
    train(config, progress=False)
    keys = {key for point in trackio.points for key in point}
    assert {"critic_mc/loss", "critic_mc/learning_rate", "critic_ove/loss", "actor/loss", "actor/samples_per_s"} <= keys
    assert {"labels/positive", "labels/threshold_steps", "condition/condition_effect_rad"} <= keys
    assert sum("critic_mc/loss" in point for point in trackio.points) == 2  # steps 0 and 10 of 11
    assert trackio.config["critic.tau"] == 0.7 and trackio.config["out"] == config.out
    assert trackio.finished == [True]


def test_steps_of_several_phases_are_one_count_that_never_goes_back(tmp_path, monkeypatch):
    seen = []
    speed = {}
    follower = Tracking((), "run", tmp_path, to_dict(SHORT))
    follower._names = ("x",)
    monkeypatch.setattr(follower, "_log", lambda values: (seen.append(follower._last), speed.update(values)))
    for phase, steps in (("critic_ove", range(25)), ("actor", range(40, 55))):  # the second was resumed at its step 40
        for step in steps:
            follower.follow(phase, step, {"loss": 1.0, "seconds": 0.1}, 1e-4)
    assert seen == [0, 10, 20, 25, 35]
    for phase, part in (("critic_ove", SHORT.critic), ("actor", SHORT.actor)):
        assert speed[f"{phase}/samples_per_s"] == pytest.approx(10.0 * part.batch * part.accumulate)


def test_a_tracker_that_is_not_installed_is_named_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setitem(tracking.PACKAGES, "wandb", "no_such_package")
    config = replace(SHORT, dataset=("nowhere",), out=str(tmp_path / "run"), track=("wandb",))
    with pytest.raises(ValueError, match="--track wandb needs a package: pip install no_such_package"):
        train(config, progress=False)


def test_a_backbone_that_cannot_be_had_is_refused_before_a_dataset_is_opened(tmp_path, monkeypatch):
    backbone = BackboneConfig(kind="qwen3vl", path="owner/name")
    config = replace(SHORT, dataset=("nowhere",), out=str(tmp_path / "run"), actor=replace(ACTOR, backbone=backbone))

    def offline(*_args, **_more):
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    monkeypatch.setattr(plan, "Dataset", lambda root: pytest.fail("opened"))
    with pytest.raises(BackboneError, match="cannot get owner/name from the hub: no network"):
        train(config, progress=False)


def test_settings_are_told_flat():
    assert flatten({"a": {"b": 1, "c": (2, 3)}, "d": None}) == {"a.b": 1, "a.c": "(2, 3)", "d": None}


def test_help_shows_the_common_options_and_help_all_the_rest(capsys):
    shown = {}
    for flag in ("--help", "--help-all"):
        with pytest.raises(SystemExit) as end:
            parse(TrainConfig, [flag], "about", required={"dataset": (), "out": ""})
        assert end.value.code == 0
        shown[flag] = capsys.readouterr().out
    assert "--dataset" in shown["--help"] and "--critic.tau" not in shown["--help"]
    assert "more options in reward, critic, critic.backbone, labels, actor" in shown["--help"]
    assert shown["--help"].count("\n") < 70
    assert "--critic.tau" in shown["--help-all"]
