# SPDX-License-Identifier: Apache-2.0
"""What a killed or damaged run left in its folder: a note with the file's name, and the work is done anew."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from rove_learning.config import TrainConfig
from rove_learning.training.phases import _saved
from rove_learning.training.run_folder import RunFolder, RunMismatch, lock


@pytest.mark.parametrize("damage", ["cut", "empty", "zeros", "another", "list"])
def test_a_damaged_state_of_a_phase_is_named_and_not_used(tmp_path, capsys, damage):
    file = tmp_path / "ove.pt"
    torch.save({"step": 3, "models": {"online": {}}, "optimizer": {}, "history": "[]"}, file)
    assert _saved(file)["step"] == 3
    content = file.read_bytes()
    if damage == "another":
        torch.save({"step": 3}, file)
    elif damage == "list":
        torch.save([1, 2], file)
    else:
        cut = len(content) // 2
        file.write_bytes({"cut": content[:cut], "empty": b"", "zeros": content[:cut] + bytes(cut)}[damage])
    assert _saved(file) is None
    assert "ove.pt is damaged" in capsys.readouterr().err


def folder_in(tmp_path, seed=0):
    config = TrainConfig(("d",), str(tmp_path), seed=seed)
    plan = SimpleNamespace(
        out=tmp_path, work=tmp_path / "work", config=config, contents=[], previous=None, fixed_critic=None
    )
    return RunFolder(plan), plan


def test_a_damaged_claim_makes_the_step_begin_anew(tmp_path, capsys):
    folder, plan = folder_in(tmp_path)
    folder.claim("train_critic", a=1)
    sound = (plan.work / "train_critic.json").read_text()
    (plan.work / "ove.pt").write_bytes(b"begun with who knows which settings")
    (plan.work / "train_critic.json").write_text(sound[: len(sound) // 2])
    folder.claim("train_critic", a=1)
    assert "train_critic.json is damaged" in capsys.readouterr().err
    assert (plan.work / "train_critic.json").read_text() == sound and not (plan.work / "ove.pt").exists()
    with pytest.raises(RunMismatch, match="another seed"):
        folder_in(tmp_path, seed=1)[0].claim("train_critic", a=1)


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000])
def test_a_damaged_history_is_named_and_begun_anew(tmp_path, capsys, text):
    folder, _ = folder_in(tmp_path)
    (tmp_path / "history.json").write_text(text)
    assert folder.add_history({"ove": [{"loss": 1.0}]}) == {"ove": [{"loss": 1.0}]}
    assert "history.json is damaged" in capsys.readouterr().err
    assert json.loads((tmp_path / "history.json").read_text()) == {"ove": [{"loss": 1.0}]}


def test_two_trainings_cannot_share_a_folder(tmp_path):
    (tmp_path / "train.json").touch()
    name = str(tmp_path)
    code = f"import pathlib, rove_learning.training.run_folder as r\nwith r.lock(pathlib.Path({name!r})): pass"
    with lock(tmp_path):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode != 0 and "another process is training into" in done.stderr
    with lock(tmp_path):  # free again
        pass
    os.unlink(tmp_path / ".lock")
    (tmp_path / ".lock").symlink_to("/tmp/somewhere")
    with pytest.raises(RunMismatch, match="symbolic link"), lock(tmp_path):
        pass


def test_a_run_that_was_refused_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError), lock(tmp_path / "out"):
        raise ValueError
    assert not (tmp_path / "out").exists()
