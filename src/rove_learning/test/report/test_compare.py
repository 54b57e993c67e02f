# SPDX-License-Identifier: Apache-2.0
"""Policies are compared on the seeds that both played, and told apart only where these show it."""

import base64
import json
import re
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rove_contract import images
from rove_description import robot
from rove_learning.deployment.evaluate import EvaluateConfig
from rove_learning.inference import checkpoint
from rove_learning.models.actor import Actor
from rove_learning.models.critic import Critic
from rove_learning.report import compare as module
from rove_learning.report import film_strips
from rove_learning.report.compare import CompareConfig, compare
from rove_learning.report.statistics import difference, holm, mcnemar
from rove_learning.testing.synthetic import ACTOR, CRITIC


def evaluation(path, successes, first=0, **settings):
    """A file as `evaluate` writes it."""
    rows = [{"seed": first + i, "success": bool(success)} for i, success in enumerate(successes)]
    path.write_text(json.dumps({"rows": rows, "config": {"task": "erase_whiteboard", **settings}}))
    return path


def test_a_better_policy_is_called_so(tmp_path):
    base = evaluation(tmp_path / "base.json", [i % 3 == 0 for i in range(60)])
    better = evaluation(tmp_path / "better.json", [i % 3 != 2 for i in range(60)])
    result = compare(CompareConfig((f"base={base}", f"better={better}"), out=str(tmp_path / "page.html")))
    (pair,) = result["pairs"]
    assert (pair["pairs"], pair["won"], pair["lost"]) == (60, 20, 0)
    assert pair["difference"] == pytest.approx(1 / 3)
    assert pair["p"] == pytest.approx(2 * 0.5**20)
    assert pair["sentence"].startswith("better is better: +33.3 points over base [+")
    page = (tmp_path / "page.html").read_text()
    assert pair["sentence"] in page
    assert json.loads((tmp_path / "page.json").read_text()) == result


def test_equal_policies_are_not_told_apart_and_single_seeds_are_left_out(tmp_path):
    base = evaluation(tmp_path / "base.json", [True, False] * 20)
    other = evaluation(tmp_path / "other.json", [True, False] * 20, first=10)
    (pair,) = compare(CompareConfig((f"base={base}", f"other={other}")))["pairs"]
    assert (pair["pairs"], pair["left_out"], pair["difference"], pair["p"]) == (30, 20, 0.0, 1.0)
    assert pair["sentence"].startswith("no difference")


def test_three_policies_are_compared_with_the_first_and_corrected_for_two_tests(tmp_path):
    names = {"base": 10, "a": 22, "b": 30}
    policies = tuple(
        f"{name}={evaluation(tmp_path / f'{name}.json', [i < count for i in range(40)])}"
        for name, count in names.items()
    )
    first, second = compare(CompareConfig(policies))["pairs"]
    assert (first["before"], second["before"]) == ("base", "base")
    assert second["p_holm"] == pytest.approx(2 * second["p"])
    assert first["p_holm"] == pytest.approx(max(first["p"], 2 * second["p"]))


def test_trials_of_a_robot_need_only_a_number_and_an_outcome(tmp_path):
    for name, outcomes in (("a", "110100"), ("b", "111101")):
        rows = [{"seed": i, "success": mark == "1"} for i, mark in enumerate(outcomes)]
        (tmp_path / f"{name}.json").write_text(json.dumps({"rows": rows}))
    (pair,) = compare(CompareConfig((f"a={tmp_path / 'a.json'}", f"b={tmp_path / 'b.json'}")))["pairs"]
    assert (pair["won"], pair["lost"]) == (2, 0)


def test_checkpoints_are_played_on_the_same_seeds(tmp_path, monkeypatch):
    played = []

    def play(config, progress):
        played.append((config.checkpoint, config.seed, config.episodes, config.start_stage))
        rows = [{"seed": config.seed + i, "success": "good" in config.checkpoint} for i in range(config.episodes)]
        return {"rows": rows, "config": {"task": config.task}}

    monkeypatch.setattr(module, "evaluate", play)
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
        history = {"actor": [{"loss": 1.0 / (i + 1)} for i in range(30)]}
        (tmp_path / name / "history.json").write_text(json.dumps(history))
    words = [f"{name}={tmp_path / name}" for name in ("bad", "good")]
    monkeypatch.setattr(
        sys, "argv", ["compare", *words, "--episodes", "12", "--seed", "5", "--out", str(tmp_path / "page.html")]
    )
    assert module.main() == 0
    assert played == [(str(tmp_path / name), 5, 12, "start") for name in ("bad", "good")]
    assert "Losses" in (tmp_path / "page.html").read_text()


def test_the_page_shows_both_policies_on_seeds_on_which_one_succeeded(tmp_path):
    """A real checkpoint in the simulator; its outcomes are made up, and the strips say that they were others."""
    described = robot.load()
    actor = Actor(ACTOR, len(described.table))
    actor.action_mean.copy_(torch.from_numpy(described.home))
    folder = checkpoint.save(tmp_path / "policy", actor, Critic(CRITIC), info={"robot": described.card.to_dict()})
    settings = asdict(EvaluateConfig(str(folder), image_size=32, max_seconds=1.0, workers=1))
    files = [
        evaluation(tmp_path / f"{name}.json", successes, **settings)
        for name, successes in (("base", [True, True, False]), ("new", [True, False, False]))
    ]
    policies = tuple(f"{file.stem}={file}" for file in files)
    compare(CompareConfig(policies, out=str(tmp_path / "page.html")))
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg") == 2 * 3 and "<h3>Seed 1</h3>" in page and "Seed 0" not in page
    assert "base: failure after 1.1 s, reached: nothing done (it was a success when it was evaluated" in page
    assert re.search("new: failure after 1.1 s, reached: nothing done<", page)
    assert re.findall("<figcaption>([^<]*)<", page) == 2 * ["0.0 s", "0.4 s", "0.8 s"]
    picture = base64.b64decode(re.search(r"data:image/jpeg;base64,([^\"]+)", page)[1])
    assert images.decode(picture).shape == (
        film_strips.SIZE,
        film_strips.SIZE,
        3,
    )  # for people, whatever the policy sees
    compare(CompareConfig(policies, out=str(tmp_path / "page.html"), films=0))
    assert "Where they differ" not in (tmp_path / "page.html").read_text()


def test_films_are_chosen_of_what_was_won_and_lost_by_turns():
    assert film_strips.choose([5, 3, 9], [4], 4) == [3, 4, 5, 9]
    assert film_strips.choose([], [4, 2], 1) == [2]
    assert film_strips.choose([1], [2], 0) == []


def test_what_cannot_be_compared_is_refused_before_anything_is_played(tmp_path):
    base = evaluation(tmp_path / "base.json", [True] * 4)
    late = evaluation(tmp_path / "late.json", [True] * 4, first=100)
    other = evaluation(tmp_path / "other.json", [True] * 4, task="toast_bread")
    broken = tmp_path / "broken.json"
    broken.write_text('{"rows": [{"seed": 1, "success": "yes"}]}')
    for policies, sentence in (
        ((f"a={base}",), "give two policies"),
        ((f"a={base}", f"a={base}"), "every name once"),
        ((f"a={base}", "b=nowhere"), "there is no nowhere"),
        ((f"a={base}", f"b={late}"), "have no seed in common"),
        ((f"a={base}", f"b={other}"), "with task 'erase_whiteboard' and 'toast_bread'"),
        ((f"a={base}", f"b={broken}"), "success is not true or false"),
    ):
        with pytest.raises(ValueError, match=sentence):
            compare(CompareConfig(policies), progress=False)


def test_interval_of_a_paired_difference_as_published():
    """Newcombe 1998, table II, method 10: of 50 pairs 36 both, 12 first only, 2 second only, none neither."""
    first = [True] * 36 + [True] * 12 + [False] * 2
    second = [True] * 36 + [False] * 12 + [True] * 2
    low, high = difference(first, second)
    assert (-high, -low) == (pytest.approx(0.0569, abs=5e-4), pytest.approx(0.3404, abs=5e-4))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80))
def test_the_interval_holds_the_difference_and_turns_with_its_sign(pairs):
    first, second = (np.array(column) for column in zip(*pairs))
    low, high = difference(first, second)
    at = second.mean() - first.mean()
    assert -1 <= low <= at <= high <= 1 + 1e-12
    assert difference(second, first) == pytest.approx((-high, -low))
    assert mcnemar(first, second) == pytest.approx(mcnemar(second, first))
