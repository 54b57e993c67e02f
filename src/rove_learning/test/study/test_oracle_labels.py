# SPDX-License-Identifier: Apache-2.0
"""Labels by what the simulator knew: work of people and the policy's own successes are positive, mistakes are not."""

import numpy as np
import pytest

from rove_contract.modes import Outcome, Stage
from rove_learning.data.buffer import Buffer
from rove_learning.data.dataset import Dataset
from rove_learning.deployment.truth import save_truth
from rove_learning.study.oracle_labels import label_by_truth
from rove_learning.testing.synthetic import episode_frames, write_dataset

HORIZON = 4


def labels(tmp_path, episode, behaviour):
    root = write_dataset(tmp_path / "data", [episode])
    buffer = Buffer([Dataset(root)], 48, progress=False)
    if behaviour is not None:
        save_truth(root, buffer.episodes[0].episode_id, {"behaviour": np.array(behaviour)})
    return label_by_truth(buffer, HORIZON)


def test_a_chunk_of_a_person_is_positive_where_three_of_four_of_its_steps_are_work(tmp_path):
    found = labels(tmp_path, episode_frames(0, 12), ["work"] * 4 + ["hesitates"] * 4 + ["work"] * 4)
    assert found.positive.tolist() == [True] * 2 + [False] * 5 + [True] * 5
    assert found.keep.all()


def test_nothing_of_a_failure_is_positive(tmp_path):
    assert not labels(tmp_path, episode_frames(0, 12, Outcome.FAILURE), ["work"] * 12).positive.any()


def test_the_policys_chunks_are_positive_only_where_nobody_had_to_take_over(tmp_path):
    alone = labels(tmp_path / "a", episode_frames(0, 12, kind="rollout"), [""] * 12)
    assert alone.positive.all()
    stages = np.repeat([Stage.ROLLOUT, Stage.ADAPTATION, Stage.RECOVERY], 4)
    saved = labels(
        tmp_path / "b",
        episode_frames(0, 12, kind="rollout", stages=stages, t_r=8, takeover=4),
        [""] * 4 + ["fumble"] * 4 + ["work"] * 4,
    )
    assert saved.positive.tolist() == [False] * 8 + [True] * 4


def test_episodes_without_the_truth_are_refused(tmp_path):
    with pytest.raises(ValueError, match="meta/truth"):
        labels(tmp_path, episode_frames(0, 12), None)
