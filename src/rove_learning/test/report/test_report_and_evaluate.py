# SPDX-License-Identifier: Apache-2.0
"""The report is one file with everything in it; the interval is Wilson's."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rove_learning.config import TrainConfig
from rove_learning.data.dataset import Dataset
from rove_learning.report.compare_critics import CompareConfig, compare
from rove_learning.report.episode_pictures import COUNT, SIZE, Pictures
from rove_learning.report.run_report import ReportConfig, bars, critics_section, episodes_table, write_report
from rove_learning.report.statistics import mcnemar, spearman, wilson
from rove_learning.testing.synthetic import ACTOR, CRITIC
from rove_learning.train import run_step, train
from rove_learning.training.iteration import run_critic


def test_wilson_interval_by_hand():
    low, high = wilson(5, 10)
    assert (low, high) == (pytest.approx(0.2366, abs=1e-3), pytest.approx(0.7634, abs=1e-3))
    assert wilson(0, 10)[0] == 0.0 and wilson(10, 10)[1] == 1.0 and wilson(0, 0) == (0.0, 1.0)


def test_report_is_self_contained_and_has_its_numbers_beside_it(mixed, tmp_path):
    short = TrainConfig(
        (str(mixed),),
        str(tmp_path / "run"),
        threads=1,
        actor=replace(ACTOR, steps=3, batch=4),
        critic=replace(CRITIC, mc_steps=3, steps=3, batch=4),
    )
    train(short, progress=False)
    evaluation = {"success_rate": 0.5, "wilson95": [0.2, 0.8], "episodes": 10, "rows": []}
    (tmp_path / "e.json").write_text(json.dumps(evaluation))
    out = write_report(ReportConfig(str(tmp_path / "run"), evaluation=(f"after={tmp_path / 'e.json'}",)))
    page = out.read_text()
    for text in (
        "What the critic thinks of",
        "labelled positive",
        "<details><summary>Losses",
        "Advantages and threshold",
        "Losses",
        "Episodes",
        "same seeds",
        "data:image/png;base64",
    ):
        assert text in page
    assert "http:" not in page and "https:" not in page and "<script" not in page
    for key in ("mean_advantage", "condition_effect_rad", "rank_correlation", "share_of_frames"):
        assert key not in page  # headings are words
    numbers = json.loads(out.with_suffix(".json").read_text())
    assert len(numbers["episode_table"]) == 4 and numbers["evaluations"]["after"]["success_rate"] == 0.5


def test_report_of_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a folder that `train` finished"):
        write_report(ReportConfig(str(tmp_path)))


def test_episodes_that_differ_in_length_only_are_one_line_with_a_distribution():
    alike = {"kind": "demonstration", "outcome": "success", "intervention": 0.0, "mean_advantage": 1.0, "positive": 0.4}
    rows = [alike | {"episode": f"demonstration-{n:06d}", "seconds": 4.0 + n} for n in range(9)]
    taken_over = alike | {"episode": "rollout-000007", "kind": "rollout", "intervention": 0.5, "seconds": 9.0}
    page = episodes_table([*rows, taken_over])
    assert "9 demonstrations, all success" in page and "4.0 to 12.0, median 8.0" in page
    assert "demonstration-000003" not in page and "rollout-000007" in page
    assert bars(np.array([0, 1, 8])) == " ▁█"


def test_a_page_shows_an_episode_with_its_pictures_and_stands_without_them(mixed, tmp_path):
    (tmp_path / "config.yaml").write_text(f"dataset: [{mixed}, {tmp_path / 'moved'}]\n")
    pictures = Pictures(tmp_path)
    seen = pictures.of(Dataset(mixed).episodes[0].episode_id)
    assert seen.shape == (COUNT, SIZE, SIZE, 3) and seen.dtype == np.uint8
    assert pictures.of("an episode that is not there") is None


def test_critics_side_by_side_on_held_out_episodes(mixed, tmp_path):
    base = TrainConfig((str(mixed),), "", threads=1, critic=replace(CRITIC, mc_steps=2, steps=2, batch=4))
    for name, target in (("ove", "ove"), ("mc", "mc")):
        settings = replace(base, out=str(tmp_path / name), critic=replace(base.critic, target=target))
        run_step(run_critic, settings, progress=False)
    critics = tuple(f"{name}={tmp_path / name}" for name in ("ove", "mc"))
    result = compare(CompareConfig((str(mixed),), critics, str(tmp_path / "figures"), episodes=2), progress=False)
    assert len(result["figures"]) == 2 and all(Path(file).stat().st_size > 10_000 for file in result["figures"])
    assert set(result["ove"]["negative_advantage"]) == {
        "rollout",
        "adaptation",
        "recovery",
        "demonstration",
        "human_video",
    }
    assert result["ove"]["success"] is not None and result["mc"]["failure"] is not None
    title, content, _ = critics_section(tmp_path / "figures")
    assert content.count("data:image/png") == 2 and "A &lt; 0 in recovery" in content


def test_mcnemar_by_hand():
    before, after = [True, False, False, False, False], [True, True, True, True, False]
    assert mcnemar(before, after) == pytest.approx(2 * 0.5**3)  # 3 won, 0 lost
    assert mcnemar(before, before) == 1.0


def test_rank_correlation_by_hand():
    assert spearman(np.array([-3.0, -2.0, -1.0]), np.arange(3)) == pytest.approx(1.0)
    assert spearman(np.array([-1.0, -2.0, -3.0]), np.arange(3)) == pytest.approx(-1.0)
    assert spearman(np.array([-3.0, -1.0, -2.0]), np.arange(3)) == pytest.approx(0.5)
