# SPDX-License-Identifier: Apache-2.0
"""Labels survive tools that know LeRobot's columns only, and corrections can be written into the columns."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rove_contract.modes import Mode, Outcome, Source, Stage
from rove_description.card import RobotCard
from rove_learning.data.dataset import Dataset
from rove_learning.data.picture_cache import content_hash
from rove_recorder.dataset import correction_mark, corrections, flags, reader
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset.bake import bake
from rove_recorder.dataset.flags import REWARD
from rove_recorder.dataset.lerobot import DatasetError, DatasetWriter, EpisodeFrames
from rove_recorder.dataset.reader import LeRobotReader
from rove_recorder.review.data import ReviewData

STORY = [Stage.ROLLOUT] * 8 + [Stage.ADAPTATION] * 6 + [Stage.RECOVERY] * 10
OURS = (
    "outcome",
    "t_r",
    "takeover",
    "episode_id",
    "kind",
    "operator",
    "start_stage",
    "milestone",
    "excluded",
    "started_ns",
)


@pytest.fixture
def root(tmp_path):
    outcomes = (Outcome.SUCCESS, Outcome.FAILURE, Outcome.ABORTED)
    card = RobotCard("x", joints=("a", "b"), blocks=("arm", "hand"))
    with DatasetWriter(tmp_path / "d", card, image_size=(32, 32), camera="image") as writer:
        for number, outcome in enumerate(outcomes):
            demonstration = number == 1
            stage = np.array([Stage.DEMONSTRATION] * 24 if demonstration else STORY)
            pictures = np.random.default_rng(number).integers(0, 255, (24, 32, 32, 3), np.uint8)
            state = np.full((24, 2), 0.1 * number)
            labels = stage, np.full(24, Source.POLICY), np.full(24, Mode.ROLLOUT)
            marks = {"t_r": -1, "takeover": -1} if demonstration else {"t_r": 14, "takeover": 8}
            kind = "demonstration" if demonstration else "rollout"
            episode = EpisodeFrames(state, state, pictures, *labels, "wipe", outcome, **marks, kind=kind)
            episode.episode_id, episode.milestone = f"e{number}", f"milestone {number}"
            writer.add_episode(episode)
    return tmp_path / "d"


def drop_our_columns(root):
    """What LeRobot's delete_episodes and split do to the table of episodes."""
    for path in (root / "meta/episodes").glob("*/*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.drop_columns([name for name in OURS if name in table.column_names]), path)


def test_frames_carry_the_fields_names(root):
    frames = LeRobotReader(root).frames(["next.done", "next.success", "next.truncated", "intervention", "excluded"])
    assert np.flatnonzero(frames["next.done"].to_numpy()).tolist() == [23, 47, 71]
    assert np.flatnonzero(frames["next.success"].to_numpy()).tolist() == [23]
    assert np.flatnonzero(frames["next.truncated"].to_numpy()).tolist() == [71]
    assert np.flatnonzero(frames["intervention"].to_numpy()).tolist() == [*range(8, 24), *range(56, 72)]
    assert frames["excluded"].to_numpy().tolist() == [False] * 48 + [True] * 24
    reward = LeRobotReader(root).frames(["next.reward"])["next.reward"].to_numpy()
    assert reward.dtype == np.float32 and np.flatnonzero(reward).tolist() == [23] and reward[23] == 1.0
    info = json.loads((root / "meta/info.json").read_text())["features"]
    assert info["next.success"] == {"dtype": "bool", "shape": [1], "names": None}


def test_labels_that_a_tool_dropped_are_rebuilt_from_the_frames(root):
    before = [(e.outcome, e.t_r, e.takeover, e.kind, e.excluded) for e in Dataset(root).episodes]
    drop_our_columns(root)
    assert [(e.outcome, e.t_r, e.takeover, e.kind, e.excluded) for e in Dataset(root).episodes] == before
    shown = ReviewData(root).listing()["episodes"]
    assert [(e["outcome"], e["t_r"], e["excluded"]) for e in shown] == [
        ("success", 14, False),
        ("failure", -1, False),
        ("aborted", 14, True),
    ]


def test_the_milestone_stays_with_an_episode_and_is_empty_where_an_older_dataset_has_none(root):
    assert [e["milestone"] for e in ReviewData(root).listing()["episodes"]] == [
        "milestone 0",
        "milestone 1",
        "milestone 2",
    ]
    for path in (root / "meta/episodes").glob("*/*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["milestone"]), path)
    card = RobotCard("x", joints=("a", "b"), blocks=("arm", "hand"))
    with DatasetWriter(root, card, image_size=(32, 32), camera="image") as writer:
        state, pictures = np.zeros((5, 2)), np.zeros((5, 32, 32, 3), np.uint8)
        labels = np.full(5, Stage.ROLLOUT), np.full(5, Source.POLICY), np.full(5, Mode.ROLLOUT)
        writer.add_episode(EpisodeFrames(state, state, pictures, *labels, "wipe", milestone="all ink wiped"))
    assert [e["milestone"] for e in ReviewData(root).listing()["episodes"]] == ["", "", "", "all ink wiped"]


def test_a_column_that_training_needs_and_a_tool_removed_is_named(root):
    for path in (root / "data").glob("*/*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["mode"]), path)
    with pytest.raises(DatasetError, match="has no column 'mode'"):
        Dataset(root)


def test_a_feature_that_a_tool_removed_whole_is_named_by_every_reader(root, tmp_path):
    """What `lerobot-edit-dataset remove_feature mode` leaves."""
    ReviewData(root).correct(0, "t_r", 11, "ann")
    info = json.loads((root / "meta/info.json").read_text())
    del info["features"]["mode"]
    (root / "meta/info.json").write_text(json.dumps(info))
    for path in (root / "data").glob("*/*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["mode"]), path)
    for read in (Dataset, lambda root: bake(root, tmp_path / "baked", progress=False)):
        with pytest.raises(DatasetError, match="has no column 'mode'"):
            read(root)


def test_lost_corrections_are_refused_by_name(root, tmp_path):
    """What LeRobot's merge, split and delete_episodes leave: info.json's features are kept, the file is not."""
    before = content_hash(root)
    review = ReviewData(root)
    review.correct(0, "t_r", 11, "ann")
    assert content_hash(root) == before  # a correction changes no picture
    (root / corrections.FILE).unlink()
    for read in (
        Dataset,
        lambda root: ReviewData(root).listing(),
        lambda root: bake(root, tmp_path / "baked", progress=False),
    ):
        with pytest.raises(ValueError, match="was corrected in review, but meta/corrections.jsonl is missing"):
            read(root)
    with pytest.raises(corrections.CorrectionError, match="is missing"):
        review.correct(0, "t_r", 12, "ann")
    (root / corrections.FILE).write_text("")
    assert Dataset(root).episodes[0].t_r == 14


def test_an_append_keeps_the_mark_and_a_baked_copy_has_none(root, tmp_path):
    ReviewData(root).correct(0, "t_r", 11, "ann")
    with DatasetWriter(root, LeRobotReader(root).robot, image_size=(32, 32), camera="image") as writer:
        stage = np.full(24, Stage.DEMONSTRATION)
        pictures, state = np.zeros((24, 32, 32, 3), np.uint8), np.zeros((24, 2))
        labels = stage, np.full(24, Source.OPERATOR), np.full(24, Mode.DEMONSTRATION)
        kind = {"kind": "demonstration", "episode_id": "e3"}
        writer.add_episode(EpisodeFrames(state, state, pictures, *labels, "wipe", Outcome.SUCCESS, **kind))
    assert correction_mark.is_marked(root)
    bake(root, tmp_path / "baked", progress=False)
    assert not correction_mark.is_marked(tmp_path / "baked")


def test_baked_corrections_need_no_file_beside_the_data(root, tmp_path):
    data = ReviewData(root)
    data.correct(0, "t_r", 11, "ann")
    data.correct(2, "outcome", "success", "ann")
    data.correct(2, "excluded", False, "ann")
    data.correct(1, "excluded", True, "ann")
    assert bake(root, tmp_path / "baked", progress=False) == (3, 3)
    corrected, baked = Dataset(root), Dataset(tmp_path / "baked")
    assert not (tmp_path / "baked" / corrections.FILE).exists()
    assert [e.__dict__ | {"video": None} for e in baked.episodes] == [
        e.__dict__ | {"video": None} for e in corrected.episodes
    ]
    np.testing.assert_array_equal(baked.stage, corrected.stage)
    np.testing.assert_array_equal(baked.state, corrected.state)
    source, target = LeRobotReader(root), LeRobotReader(tmp_path / "baked")
    for row in reader.read_episodes(root):
        columns = ["observation.images.ego"]
        assert source.jpegs(source.episode(row, columns)) == target.jpegs(target.episode(row, columns))
    drop_our_columns(tmp_path / "baked")
    assert [e.t_r for e in Dataset(tmp_path / "baked").episodes] == [11, -1, 14]
    with pytest.raises(DatasetError, match="holds a dataset already"):
        bake(root, tmp_path / "baked", progress=False)


@given(
    st.integers(1, 20),
    st.integers(0, 10),
    st.integers(0, 10),
    st.sampled_from([o for o in Outcome if o]),
    st.booleans(),
)
def test_labels_of_an_episode_and_of_its_frames_tell_the_same(rollout, adaptation, recovery, outcome, excluded):
    stage = np.array([Stage.ROLLOUT] * rollout + [Stage.ADAPTATION] * adaptation + [Stage.RECOVERY] * recovery)
    found = flags.episode_labels(stage, flags.frame_flags(stage, outcome, excluded))
    assert found == {
        "outcome": outcome,
        "t_r": rollout + adaptation if recovery else -1,
        "takeover": rollout if adaptation else -1,
        "kind": "rollout",
        "excluded": excluded,
    }


def test_a_dataset_of_before_the_reward_grows_without_it(tmp_path, monkeypatch):
    card, features = RobotCard("x", joints=("a", "b"), blocks=("arm", "hand")), layout.features

    def features_of_before(*arguments):
        return {name: feature for name, feature in features(*arguments).items() if name != REWARD}

    def append(name):
        with DatasetWriter(tmp_path / "old", card, image_size=(32, 32), camera="image") as writer:
            stage, state = np.full(8, int(Stage.DEMONSTRATION)), np.zeros((8, 2))
            labels = stage, np.full(8, Source.OPERATOR), np.full(8, Mode.DEMONSTRATION)
            pictures = np.zeros((8, 32, 32, 3), np.uint8)
            marks = {"t_r": -1, "takeover": -1, "kind": "demonstration", "episode_id": name}
            writer.add_episode(EpisodeFrames(state, state, pictures, *labels, "wipe", Outcome.SUCCESS, **marks))

    with monkeypatch.context() as before:
        before.setattr(layout, "features", features_of_before)
        append("first")
    append("second")
    reader = LeRobotReader(tmp_path / "old")
    assert reader.info["total_episodes"] == 2 and REWARD not in reader.features
