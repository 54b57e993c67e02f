# SPDX-License-Identifier: Apache-2.0
"""`rove demo` works on every task, and refuses what it does not know before it begins."""

import pytest

from rove_bringup import demo, demo_report
from rove_sim.tasks.task import TASKS


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_episode_of_the_demo_begins_at_a_stage_of_its_task(task, tmp_path, monkeypatch):
    commands = []

    def note(self, number, name, title, *command):
        commands.append(command)
        (self.out / "bags").mkdir(exist_ok=True)

    monkeypatch.setattr(demo.Demo, "stage", note)
    monkeypatch.setattr(demo_report, "write", lambda *arguments, **options: tmp_path / "report.html")
    demo.run_stages(demo.DemoConfig(out=tmp_path, task=task.name))
    begin = {word for c in commands for word in c if isinstance(word, str) and word in task.start_stages}
    assert begin == set(task.part)
    session = next(c for c in commands if c[0] == "launch")
    assert f"start_stage:={task.part[0]}" in session


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
