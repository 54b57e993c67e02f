"""The report is one file with everything in it; the interval is Wilson's."""

import json
from dataclasses import replace

import pytest

from rove_learning.config import TrainConfig
from rove_learning.evaluate import wilson
from rove_learning.report import ReportConfig, report
from rove_learning.synthetic import ACTOR, CRITIC
from rove_learning.train import train


def test_wilson_interval_by_hand():
    low, high = wilson(5, 10)
    assert (low, high) == (pytest.approx(0.2366, abs=1e-3), pytest.approx(0.7634, abs=1e-3))
    assert wilson(0, 10)[0] == 0.0 and wilson(10, 10)[1] == 1.0 and wilson(0, 0) == (0.0, 1.0)


def test_report_is_self_contained_and_has_its_numbers_beside_it(mixed, tmp_path):
    short = TrainConfig((str(mixed),), str(tmp_path / "run"), threads=1, actor=replace(ACTOR, steps=3, batch=4),
                        critic=replace(CRITIC, mc_steps=3, steps=3, batch=4))  # fmt: skip
    train(short, progress=False)
    evaluation = {"success_rate": 0.5, "wilson95": [0.2, 0.8], "episodes": 10, "rows": []}
    (tmp_path / "e.json").write_text(json.dumps(evaluation))
    out = report(ReportConfig(str(tmp_path / "run"), evaluation=(f"after={tmp_path / 'e.json'}",)))
    page = out.read_text()
    for text in ("Value over episode", "Advantages and threshold", "Losses", "Episodes", "same seeds", "data:image/png;base64"):
        assert text in page
    assert "http" not in page and "<script" not in page
    numbers = json.loads(out.with_suffix(".json").read_text())
    assert len(numbers["episode_table"]) == 4 and numbers["evaluations"]["after"]["success_rate"] == 0.5


def test_report_of_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a folder that `train` finished"):
        report(ReportConfig(str(tmp_path)))
