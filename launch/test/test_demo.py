# SPDX-License-Identifier: Apache-2.0
"""`rove demo` works on every task, and refuses what it does not know before it begins."""

import pytest

from rove_bringup import bag_film, demo, demo_loop, demo_report
from rove_sim.tasks.task import TASKS


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_episode_of_the_demo_begins_at_a_stage_of_its_task(task, tmp_path, monkeypatch):
    commands = []

    def note(self, name, title, *command):
        commands.append(command)
        (self.out / "bags").mkdir(exist_ok=True)

    monkeypatch.setattr(demo.Demo, "stage", note)
    monkeypatch.setattr(demo_report, "write", lambda *arguments, **options: tmp_path / "report.html")
    demo.run_stages(demo.DemoConfig(out=tmp_path, task=task.name))
    begin = {word for c in commands for word in c if isinstance(word, str) and word in task.start_stages}
    assert begin == set(task.part)
    session = next(c for c in commands if c[0] == "launch")
    assert f"start_stage:={task.part[0]}" in session


def test_no_number_of_a_stage_repeats_and_the_last_one_is_the_total(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo.subprocess, "Popen", lambda *arguments, **options: Done())
    monkeypatch.setattr(demo_report, "write", lambda out, **options: out / "report.html")
    (tmp_path / "demo/bags").mkdir(parents=True)
    (tmp_path / "demo/stages.json").write_text("{}")
    for experience, count in ((40, 9), (0, 8)):
        demo.main(["--out", str(tmp_path / "demo"), "--resume", "--experience", str(experience)])
        (tmp_path / "demo/stages.json").write_text("{}")
        said = capsys.readouterr().out
        assert [line.split("]")[0] for line in said.splitlines() if line.startswith("[")] == [
            f"[{number}/{count}" for number in range(1, count + 1)
        ]
        assert "rove run rove_recorder review" in said.splitlines()[-4]  # the last lines say what to do next
        assert "--init" in said.splitlines()[-1]


class Done:
    """A process that has ended well."""

    def wait(self):
        return 0


def test_a_strip_shows_every_stay_in_a_mode_and_long_ones_more_often():
    timeline = (
        ("IDLE", 0.0),
        ("ROLLOUT", 0.5),
        ("PAUSED", 4.5),
        ("ADAPTATION", 5.0),
        ("RECOVERY", 5.4),
        ("IDLE", 15.4),
    )
    shown = bag_film.moments(timeline, 16.0, 8)
    modes = [mode for _, mode in shown]
    assert len(shown) == 8 and [at for at, _ in shown] == sorted(at for at, _ in shown)
    assert modes.count("PAUSED") == modes.count("ADAPTATION") == 1 and modes.count("RECOVERY") == 4
    assert [mode for _, mode in bag_film.moments(timeline, 16.0, 2)] == ["ROLLOUT", "RECOVERY"]
    assert bag_film.moments((("IDLE", 0.0),), 3.0) == []


def test_the_loop_is_drawn_with_the_numbers_of_the_demo():
    numbers = {"demonstrations": 60, "before": 0.41, "rollouts": 47, "taken_over": 18, "positive": 0.3, "after": 0.34}
    drawn = demo_loop.loop_picture(**numbers)
    for text in ("60", "41%", "18 of 47", "30%", "34%"):
        assert f">{text}<" in drawn


def test_a_change_is_called_better_or_worse_only_where_the_interval_says_so():
    def rows(successes):
        return {"rows": [{"success": n < successes} for n in range(40)]}

    assert demo_report.verdict(demo_report.pairs_of(rows(10), rows(30))) == "better"
    assert demo_report.verdict(demo_report.pairs_of(rows(30), rows(10))) == "worse"
    assert demo_report.verdict(demo_report.pairs_of(rows(20), rows(21))).startswith("no difference")


def test_a_resumed_demo_counts_the_minutes_of_the_stages_that_were_finished_before(tmp_path, monkeypatch):
    reported = {}
    monkeypatch.setattr(demo.Demo, "stage", lambda self, *_: (self.out / "bags").mkdir(exist_ok=True))
    monkeypatch.setattr(demo_report, "write", lambda *_, **values: reported.update(values) or tmp_path / "report.html")
    (tmp_path / "stages.json").write_text('{"collect": 500.0, "base": 100.0}')
    demo.run_stages(demo.DemoConfig(out=tmp_path, resume=True))
    assert 600.0 <= reported["wall_s"] < 700.0


def test_a_folder_of_something_else_is_left_as_it_is(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert demo.main(["--out", str(tmp_path)]) == 2
    assert "not the folder of a demo" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_an_unknown_task_is_refused_before_anything_is_made(tmp_path, capsys):
    out = tmp_path / "demo"
    assert demo.main(["--task", "juggle", "--out", str(out)]) == 2
    assert "juggle" in capsys.readouterr().err
    assert not (out / "demonstrations").exists()
