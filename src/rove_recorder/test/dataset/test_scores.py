# SPDX-License-Identifier: Apache-2.0
"""A critic's scores beside a dataset: what is written comes back per episode, nothing else changes, mistakes are
named.
"""

import json
import os

import numpy as np
import pytest

from rove_recorder.dataset.lerobot_format import DatasetError
from rove_recorder.dataset.scores import read_scores, score_names, write_scores


@pytest.fixture
def root(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text(json.dumps({"codebase_version": "v3.0"}))
    return tmp_path


def test_scores_come_back_per_episode_and_gaps_are_nan(root):
    write_scores(
        root,
        "policy",
        [3, 3, 0],
        [4, 1, 0],
        value=[-0.4, -0.1, -0.9],
        advantage=[4.0, 1.0, np.nan],
        positive=[True, False, False],
        threshold=2.5,
        scale=600.0,
        checkpoint="abc",
    )
    scores = read_scores(root, "policy")
    assert (scores.threshold, scores.scale, scores.checkpoint) == (2.5, 600.0, "abc")
    third = scores.of(3, 6)
    np.testing.assert_array_equal(third["value"], np.array([np.nan, -0.1, np.nan, np.nan, -0.4, np.nan], np.float32))
    assert third["positive"].tolist() == [False, False, False, False, True, False]
    assert scores.of(1, 6) is None
    assert np.isnan(scores.of(0, 2)["advantage"]).all()


def test_the_newest_scores_stand_first_and_a_rewrite_replaces(root):
    for name in ("old", "new"):
        write_scores(root, name, [0], [0], value=[-0.5], advantage=[0.0], positive=[True])
    os.utime(root / "meta/scores/new.parquet", (1, 1))
    assert score_names(root) == ["old", "new"]
    write_scores(root, "old", [0], [1], value=[-0.25], advantage=[0.0], positive=[True])
    assert read_scores(root, "old").frame_index.tolist() == [1] and np.isnan(read_scores(root, "old").threshold)
    assert sorted(file.name for file in (root / "meta/scores").iterdir()) == ["new.parquet", "old.parquet"]


@pytest.mark.parametrize(
    ("name", "episode", "frame", "value", "words"),
    [
        ("../evil", [0], [0], [0.0], "cannot be named"),
        ("a", [0, 0], [0], [0.0], "one length"),
        ("a", [0, 0], [2, 2], [0.0, 0.0], "frame 2 of episode 0 comes twice"),
        ("a", [-1], [0], [0.0], "negative"),
    ],
)
def test_mistakes_are_named_and_write_nothing(root, name, episode, frame, value, words):
    with pytest.raises(DatasetError, match=words):
        write_scores(root, name, episode, frame, value=value, advantage=value, positive=np.zeros(len(value), bool))
    assert score_names(root) == []


def test_missing_scores_are_named_with_those_that_are_there(root):
    write_scores(root, "policy", [0], [0], value=[-0.5], advantage=[0.0], positive=[True])
    with pytest.raises(DatasetError, match="no scores 'other'; it has policy"):
        read_scores(root, "other")
