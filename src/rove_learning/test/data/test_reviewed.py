# SPDX-License-Identifier: Apache-2.0
"""What a person corrected in review is what training sees; the exported files stay as they were."""

import shutil

import numpy as np
import pytest

from rove_contract.modes import Outcome, Stage
from rove_learning.config import RewardConfig
from rove_learning.data.buffer import Buffer
from rove_learning.data.dataset import Dataset, DatasetError
from rove_learning.data.picture_cache import content_hash
from rove_recorder.dataset import corrections
from rove_recorder.dataset.correction_mark import without_mark
from rove_recorder.dataset.scores import write_scores
from rove_recorder.review.data import ReviewData


@pytest.fixture
def root(mixed, tmp_path):
    shutil.copytree(mixed, tmp_path / "copy", ignore=shutil.ignore_patterns(".cache"))
    return tmp_path / "copy"


def rewards(root, episode):
    buffer = Buffer([Dataset(root)], 24, progress=False)
    number = [e.index for e in buffer.episodes].index(episode)
    return buffer.rewards(RewardConfig())[buffer.slices()[number]]


def test_corrected_t_r_moves_the_penalty_and_the_stages(root):
    before = {path: path.read_bytes() for path in root.rglob("*.*") if path.is_file()}
    assert rewards(root, 3)[26] == -500
    ReviewData(root).correct(3, "t_r", 30, "ann")
    r = rewards(root, 3)
    assert r[30] == -500 and r[26] == -1 and r[-1] == 0
    dataset = Dataset(root)
    stage = dataset.stage[dataset.episodes[3].start : dataset.episodes[3].end]
    assert (
        dataset.episodes[3].t_r == 30
        and (stage[20:30] == Stage.ADAPTATION).all()
        and (stage[30:] == Stage.RECOVERY).all()
    )
    assert all(without_mark(path.read_bytes()) == data for path, data in before.items())


def test_corrected_outcome_flips_the_last_reward(root):
    ReviewData(root).correct(3, "outcome", "failure", "ann")
    assert rewards(root, 3)[-1] == -500
    ReviewData(root).undo(3, "ann")
    assert rewards(root, 3)[-1] == 0


def test_an_excluded_episode_is_gone_and_an_aborted_one_judged_a_success_comes_back(root):
    review = ReviewData(root)
    review.correct(1, "excluded", True, "ann")
    review.correct(5, "outcome", "success", "ann")
    review.correct(5, "excluded", False, "ann")
    buffer = Buffer([Dataset(root)], 24, progress=False)
    assert [e.index for e in buffer.episodes] == [0, 2, 3, 5]


def test_scores_and_corrections_keep_the_decoded_pictures(root):
    content = content_hash(root)
    ReviewData(root).correct(3, "t_r", 30, "ann")
    write_scores(root, "critic", [0], [0], value=[-0.5], advantage=[1.0], positive=[True])
    assert content_hash(root) == content


def test_corrections_of_another_dataset_stop_training(root):
    ReviewData(root).correct(3, "outcome", "failure", "ann")
    file = root / corrections.FILE
    file.write_text(file.read_text().replace('"e3"', '"other"'))
    with pytest.raises(DatasetError, match="the dataset was made anew"):
        Dataset(root)


def test_an_uncorrected_dataset_reads_as_before(mixed):
    dataset = Dataset(mixed)
    assert dataset.episodes[3].t_r == 26 and dataset.episodes[3].outcome == Outcome.SUCCESS
    assert np.flatnonzero(dataset.stage[dataset.episodes[3].start :] == Stage.RECOVERY)[0] == 26
