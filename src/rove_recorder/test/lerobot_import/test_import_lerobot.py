# SPDX-License-Identifier: Apache-2.0
"""A LeRobot dataset of another robot becomes one that is trained on, reviewed and labelled, frame for frame."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rove_contract.modes import Outcome, Stage
from rove_description import joints
from rove_learning.data.dataset import Dataset
from rove_recorder.dataset.reader import LeRobotReader
from rove_recorder.dataset.video import read_frames
from rove_recorder.lerobot_import import command
from rove_recorder.lerobot_import.convert import pick_frames
from rove_recorder.lerobot_import.labels import label_stages
from rove_recorder.review.data import ReviewData
from rove_recorder.testing.lerobot_sets import ARM, posture, write_set


def imported(monkeypatch, *arguments):
    """The exit status of the command."""
    words = [str(word) for word in (*arguments, "--quiet", "--workers", "1", "--image-size", "32", "32")]
    monkeypatch.setattr(sys, "argv", ["import_lerobot", *words])
    return command.main()


def frames_shown(root, episode, camera="ego"):
    """The frame numbers that the pictures of an episode show."""
    reader = LeRobotReader(root)
    place = reader.video(reader.episodes()[episode], camera)
    found = read_frames(place.path, place.first, reader.episodes()[episode]["length"])
    return [round((float(picture.mean()) - 20) / 5) for picture in found]


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_an_arm_with_two_cameras_at_the_policy_rate(tmp_path, monkeypatch, version):
    source = write_set(tmp_path / "arm", version)
    out = tmp_path / "out"
    assert imported(monkeypatch, source, "--out", out, "--camera", "front", "--outcome", "success") == 0
    data = Dataset(out)
    assert (data.names, data.fps) == (ARM, 20)
    assert [len(episode) for episode in data.episodes] == [20, 16]
    picks = [0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 15, 16, 18, 19, 21, 22, 24, 25, 27, 28]
    np.testing.assert_allclose(data.state[:20], [posture(i, 6) for i in picks], atol=1e-6)
    # The target in force one period of 50 ms later: of the last frame of 33 ms that began before.
    sent = [1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 22, 23, 25, 26, 28, 29]
    np.testing.assert_allclose(data.action[:20], [posture(i + 1, 6) for i in sent], atol=1e-6)
    assert frames_shown(out, 0) == picks
    assert frames_shown(out, 1) == picks[:16]
    assert LeRobotReader(out).cameras == {"ego": "video", "wrist": "video"}
    assert frames_shown(out, 1, "wrist") == picks[:16]
    assert data.robot.name == "arm" and data.robot.blocks == (*("arm",) * 5, "hand")
    assert [(e.task, e.kind, e.outcome) for e in data.episodes] == [("pick the cube", "demonstration", 1)] * 2
    assert [e["outcome"] for e in ReviewData(out).listing()["episodes"]] == ["success"] * 2


def test_the_same_rate_keeps_every_frame_and_pictures_may_stand_in_the_data_files(tmp_path, monkeypatch):
    source = write_set(tmp_path / "arm", fps=20, image=True, lengths=(12,))
    assert imported(monkeypatch, source, "--out", tmp_path / "out", "--camera", "wrist", "--outcome", "success") == 0
    data = Dataset(tmp_path / "out")
    np.testing.assert_allclose(data.state, [posture(i, 6) for i in range(12)], atol=1e-6)
    np.testing.assert_allclose(data.action, [posture(i + 1, 6) for i in range(12)], atol=1e-6)
    assert frames_shown(tmp_path / "out", 0) == list(range(12))


def test_fifty_joints_in_another_order_and_in_degrees_become_the_robots(tmp_path, monkeypatch):
    names = joints.load().names
    source = write_set(tmp_path / "humanoid", joints=names[::-1], cameras=(("ego", (32, 32)),), fps=20)
    out = tmp_path / "out"
    words = ("--out", out, "--robot", "iron_r01", "--unit", "deg", "--outcome", "success")
    assert imported(monkeypatch, source, *words) == 0
    data = Dataset(out)
    assert data.names == names
    np.testing.assert_allclose(data.state[3], np.radians(posture(3, 50)[::-1]), atol=1e-6)


def test_a_table_maps_scales_and_holds_joints(tmp_path, monkeypatch):
    source = write_set(tmp_path / "arm", fps=20, lengths=(10,), names=[f"{name}.pos" for name in ARM])
    table = tmp_path / "joints.csv"
    table.write_text("joint,source,scale,offset\nelbow,elbow_flex,2,0.5\nwaist,,,-0.25\nhand,5,-1,\n")
    words = ("--camera", "front", "--out", tmp_path / "out", "--map", table, "--outcome", "unknown")
    assert imported(monkeypatch, source, *words) == 0
    data = Dataset(tmp_path / "out")
    assert data.names == ("elbow", "waist", "hand")
    at = posture(4, 6)
    np.testing.assert_allclose(data.state[4], [2 * at[2] + 0.5, -0.25, -at[5]], atol=1e-6)
    assert data.episodes[0].excluded  # until review decides
    assert data.episodes[0].outcome == Outcome.NONE


def test_interventions_become_stages_and_success_comes_from_columns(tmp_path, monkeypatch):
    driven = [np.arange(60) >= 25, np.zeros(40, bool), np.ones(30, bool)]
    success = [np.arange(60) == 59, np.zeros(40, bool), np.arange(30) == 29]
    extra = {"complementary_info.is_intervention": driven, "next.success": success}
    source = write_set(tmp_path / "arm", fps=20, lengths=(60, 40, 30), extra=extra)
    out = tmp_path / "out"
    assert imported(monkeypatch, source, "--camera", "front", "--out", out) == 0
    data = Dataset(out)
    facts = [(e.kind, e.outcome, e.takeover, e.t_r) for e in data.episodes]
    assert facts == [
        ("rollout", Outcome.SUCCESS, 25, 45),
        ("rollout", Outcome.FAILURE, -1, -1),
        ("demonstration", Outcome.SUCCESS, -1, -1),
    ]


def test_success_of_an_episode_may_stand_in_the_table_of_episodes(tmp_path, monkeypatch):
    source = write_set(tmp_path / "arm", fps=20, labels={"success": [True, False]})
    assert imported(monkeypatch, source, "--camera", "front", "--out", tmp_path / "out") == 0
    assert [e.outcome for e in Dataset(tmp_path / "out").episodes] == [Outcome.SUCCESS, Outcome.FAILURE]


def test_what_is_there_already_is_left_out_and_failures_are_named(tmp_path, monkeypatch, capsys):
    source = write_set(tmp_path / "arm", fps=20)
    words = (source, "--camera", "front", "--out", tmp_path / "out", "--outcome", "success", "--failures", "1")
    assert imported(monkeypatch, *words, "--episodes", "0") == 0
    assert imported(monkeypatch, *words) == 0
    assert "1 episodes (1 failures), 24 frames" in capsys.readouterr().out
    assert [e.outcome for e in Dataset(tmp_path / "out").episodes] == [Outcome.SUCCESS, Outcome.FAILURE]


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("--outcome", "success"), 0, ""),  # front is called like an ego camera
        (("--others", "rear"), 2, "has no camera rear; it has front, wrist"),
        (("--camera", "rear"), 2, "has no camera 'rear'; it has front, wrist"),
        ((), 1, "no column tells whether it succeeded; give --outcome"),
        (("--outcome", "success", "--robot", "iron_r01"), 2, "(50 joints) are not among shoulder_pan"),
        (("--outcome", "success", "--failures", "7"), 2, "has no episode 7"),
        (("--outcome", "success", "--intervention", "driven"), 1, "there is no column driven"),
    ],
)
def test_what_is_missing_is_named(tmp_path, monkeypatch, capsys, words, status, sentence):
    source = write_set(tmp_path / "arm", lengths=(20,))
    assert imported(monkeypatch, source, "--out", tmp_path / "out", *words) == status
    assert sentence in capsys.readouterr().err


def test_degrees_are_noticed(tmp_path, monkeypatch, capsys):
    source = write_set(tmp_path / "arm", fps=20, joints=[f"j{i}" for i in range(140)], lengths=(10,))
    words = ("--camera", "front", "--outcome", "success")
    assert imported(monkeypatch, source, "--out", tmp_path / "out", *words) == 1
    assert "if these are degrees, give --unit deg" in capsys.readouterr().err


def test_a_dataset_that_leads_out_of_its_folder_or_is_damaged_is_refused(tmp_path, monkeypatch, capsys):
    source = write_set(tmp_path / "arm", "v2.1", lengths=(10,))
    info = source / "meta/info.json"
    sound = info.read_text()
    for damage, sentence in (("../../", "expected a relative one without"), ("{episode_name}", "names 'episode_name'")):
        info.write_text(sound.replace("data/chunk-", f"{damage}data/chunk-"))
        assert imported(monkeypatch, source, "--camera", "front", "--out", tmp_path / "out") == 2
        assert sentence in capsys.readouterr().err
    info.write_text(sound)
    (source / "meta/episodes.jsonl").write_text('{"episode_index": 0, "length": 10}\n[1]\n')
    assert imported(monkeypatch, source, "--camera", "front", "--out", tmp_path / "out") == 2
    assert "episodes.jsonl, line 2 is no JSON object" in capsys.readouterr().err


def test_a_name_that_is_no_folder_is_asked_of_the_hub(tmp_path, monkeypatch, capsys):
    asked = []

    def deliver(name, **options):
        asked.append((name, options))
        return str(write_set(tmp_path / "hub", fps=20, lengths=(10,)))

    monkeypatch.setattr("huggingface_hub.snapshot_download", deliver)
    words = ("--camera", "front", "--out", tmp_path / "out", "--outcome", "success")
    assert imported(monkeypatch, "owner/cubes", *words, "--revision", "v1") == 0
    assert asked == [("owner/cubes", {"repo_type": "dataset", "revision": "v1"})]
    assert imported(monkeypatch, "no/such/folder", *words) == 2
    assert "neither a folder nor the name of a dataset on the Hub" in capsys.readouterr().err


@given(st.integers(1, 400), st.sampled_from([5, 10, 15, 20, 24, 25, 30, 50, 60, 100]))
def test_frames_are_never_from_the_future_and_targets_never_from_the_past(length, rate):
    states, actions = pick_frames(length, rate, 20)
    ticks = np.arange(len(states)) / 20
    assert (states / rate <= ticks + 1e-6).all()
    assert (states == np.minimum(np.floor(ticks * rate + 1e-4), length - 1)).all()
    assert (actions >= states).all()
    assert (actions / rate < ticks + 1 / 20).all()
    assert len(states) >= math.floor((length - 1) / rate * 20)


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 20))
def test_stages_of_any_intervention_are_ones_that_training_accepts(driven, adaptation):
    driven = np.array(driven)
    labels = label_stages(len(driven), driven, adaptation)
    if labels.kind == "demonstration":
        assert driven.all()
        return
    assert (np.isin(labels.stage, (Stage.ADAPTATION, Stage.RECOVERY)) == driven).all()
    recovery = np.flatnonzero(labels.stage == Stage.RECOVERY)
    assert labels.t_r == (recovery[0] if len(recovery) else -1)
    if labels.t_r >= 0:
        assert labels.t_r < len(driven) - 1
