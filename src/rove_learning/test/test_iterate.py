# SPDX-License-Identifier: Apache-2.0
"""Algorithm 1 as a loop: each iteration starts from the one before on growing buffers, deploys, and resumes where it
was.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rove_contract.modes import Outcome
from rove_learning import iterate as loop
from rove_learning.command_line import parse
from rove_learning.config import TrainConfig
from rove_learning.inference import checkpoint
from rove_learning.iterate import IterateConfig, WaitingForRobot, iterate
from rove_learning.testing.synthetic import ACTOR, CRITIC, episode_frames, intervention, write_dataset


@pytest.fixture
def deployed(monkeypatch):
    """Deployments that cost nothing: made-up episodes instead of the simulator; the folders that were asked for."""
    asked = []

    def collect(config, progress=True):
        asked.append((config.checkpoint.rsplit("/", 1)[1], config.out.rsplit("/", 1)[1]))
        write_dataset(
            config.out, [intervention(config.seed), episode_frames(config.seed + 1, 30, Outcome.FAILURE, "rollout")]
        )

    monkeypatch.setattr(loop, "collect", collect)
    return asked


@pytest.fixture
def no_reports(monkeypatch):
    """Drawing costs more than these tiny trainings; one test looks at the reports."""
    monkeypatch.setattr(loop, "write_report", lambda config: None)


def config(mixed, out, **changes):
    short = TrainConfig(
        (str(mixed),),
        "",
        threads=1,
        actor=replace(ACTOR, steps=3, steps_next=3, batch=4),
        critic=replace(CRITIC, mc_steps=3, steps=3, batch=4),
    )
    return replace(IterateConfig(str(out), iterations=2, train=short), **changes)


class After:
    def __init__(self, n):
        self.left = n

    def __call__(self):
        self.left -= 1
        return self.left == 0


def test_iterations_start_from_the_one_before_and_the_buffers_grow(mixed, tmp_path, deployed):
    rows = iterate(config(mixed, tmp_path / "loop"), progress=False)
    assert deployed == [("k0", "data_1")]  # as printed: pi_1 is deployed behind iteration 0
    page = (tmp_path / "loop/report.html").read_text()
    assert "k1/report.html" in page and (tmp_path / "loop/k1/report.html").is_file()
    assert [row["iteration"] for row in rows] == [None, 0, 1] and [row["datasets"] for row in rows] == [1, 1, 2]
    assert rows[2]["intervention_fraction"] == pytest.approx(20 / 40)  # 6 adaptation and 14 recovery frames of 40
    second = checkpoint.load(tmp_path / "loop/k1").info
    assert second["iteration"] == 1 and second["train"]["init"].endswith("k0") and len(second["train"]["dataset"]) == 2


def test_killed_in_the_second_iteration_and_resumed_ends_the_same(mixed, tmp_path, deployed, no_reports):
    iterate(config(mixed, tmp_path / "whole"), progress=False)
    with pytest.raises(KeyboardInterrupt):  # base 6 steps, k0 6 steps, then into k1
        iterate(config(mixed, tmp_path / "killed"), progress=False, stop=After(14))
    iterate(config(mixed, tmp_path / "killed"), progress=False)
    for k in ("base", "k0", "k1"):
        assert checkpoint.load(tmp_path / "whole" / k).hash == checkpoint.load(tmp_path / "killed" / k).hash
    rows = [json.loads((tmp_path / name / "iterations.json").read_text()) for name in ("whole", "killed")]
    assert [row["datasets"] for row in rows[0]] == [row["datasets"] for row in rows[1]]
    assert len(deployed) == 2  # not deployed again by the resumed loop


def test_every_policy_is_evaluated_on_the_same_seeds_the_one_it_starts_from_included(
    mixed, tmp_path, deployed, no_reports, monkeypatch
):
    iterate(config(mixed, tmp_path / "first", iterations=0), progress=False)
    seen = []

    def evaluate(settings, progress=True):
        if settings.guidance is None:
            seen.append((settings.checkpoint.rsplit("/", 1)[1], settings.seed))
        rate = len(seen) / 10 if settings.guidance is None else settings.guidance
        Path(settings.out).write_text(json.dumps({"episodes": 20, "success_rate": rate, "wilson95": [0.0, 1.0]}))

    monkeypatch.setattr(loop, "evaluate", evaluate)
    settings = config(mixed, tmp_path / "loop", evaluation_episodes=20, deploy_first=True, evaluation_betas=(0.0, 1.0))
    settings = replace(settings, train=replace(settings.train, init=str(tmp_path / "first/base")))
    rows = iterate(settings, progress=False)
    assert [row.get("success_rate") for row in rows] == [0.1, 0.2, 0.3]
    assert [(row["success_at_beta_0"], row["success_at_beta_1"]) for row in rows] == [(0.0, 1.0)] * 3
    assert seen == [(name, settings.evaluation_seed) for name in ("base", "k0", "k1")]
    assert iterate(settings, progress=False) == rows and len(seen) == 3  # evaluated once
    assert not list((tmp_path / "first/base").glob("evaluation*"))  # what was given is left as it is


def test_on_the_robot_it_waits_for_the_deployment_and_takes_its_videos(mixed, tmp_path, no_reports):
    settings = config(mixed, tmp_path / "loop", deploy="robot")
    with pytest.raises(WaitingForRobot, match=r"deploy .*k0 and bring the data to .*data_1"):
        iterate(settings, progress=False)
    write_dataset(tmp_path / "loop/data_1", [intervention(50)])
    write_dataset(tmp_path / "loop/videos_1", [episode_frames(60, 20, Outcome.FAILURE, "human_video")])
    rows = iterate(settings, progress=False)
    # Table 2 counts the robot's new episodes, not the videos: 20 of 40 frames under intervention.
    assert (rows[-1]["new_episodes"], rows[-1]["intervention_fraction"]) == (1, 0.5)
    trained = checkpoint.load(tmp_path / "loop/k1").info["train"]["dataset"]
    assert [path.rsplit("/", 1)[1] for path in trained] == [mixed.name, "data_1", "videos_1"]


def test_without_demonstrations_it_says_how_to_get_them(tmp_path):
    with pytest.raises(ValueError, match="--train.dataset is missing"):
        iterate(IterateConfig(str(tmp_path)))


def test_the_shipped_configuration_fits_the_loop_too():
    read = parse(IterateConfig, ["--config", "paper", "--out", "o", "--iterations", "2"], required={"out": ""})
    assert read.train.critic.steps == 8000 and read.iterations == 2 and read.train.reward.c_fail == -500
