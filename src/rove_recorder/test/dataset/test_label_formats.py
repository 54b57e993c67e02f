# SPDX-License-Identifier: Apache-2.0
"""A critic's labels in the layouts of other training code."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from rove_contract.modes import Mode, Outcome, Source, Stage
from rove_description.card import RobotCard
from rove_learning.data.dataset import Dataset
from rove_recorder.dataset.label_formats import read_labels, write_labels
from rove_recorder.dataset.lerobot import DatasetError, DatasetWriter, EpisodeFrames
from rove_recorder.dataset.scores import write_scores
from rove_recorder.review.data import ReviewData

LENGTH = 12


@pytest.fixture
def root(tmp_path):
    """A success, a failure and an aborted episode; the critic scored the first two."""
    card = RobotCard("two", joints=("a", "b"), blocks=("arm", "arm"), sides=("", ""))
    with DatasetWriter(tmp_path / "d", card, image_size=(32, 32)) as writer:
        for number, outcome in enumerate((Outcome.SUCCESS, Outcome.FAILURE, Outcome.ABORTED)):
            state = np.full((LENGTH, 2), 0.1 * number)
            columns = (np.full(LENGTH, value) for value in (Stage.ROLLOUT, Source.POLICY, Mode.ROLLOUT))
            pictures = np.full((LENGTH, 32, 32, 3), 40 * number, np.uint8)
            writer.add_episode(
                EpisodeFrames(state, state, pictures, *columns, "wipe", outcome, episode_id=f"e{number}")
            )
    frame = np.arange(2 * LENGTH) % LENGTH
    value, advantage = -1 + frame / 20, frame * 5.0 - 30
    write_scores(
        tmp_path / "d",
        "critic",
        np.arange(2 * LENGTH) // LENGTH,
        frame,
        value=value,
        advantage=advantage,
        positive=advantage > 10,
        threshold=10.0,
        scale=500.0,
    )
    return tmp_path / "d"


def columns_of(folder):
    return pq.read_table(folder / "data/chunk-000/file-000.parquet").to_pydict()


def test_frames_without_a_score_are_negative_and_finite(root):
    labels = read_labels(root, "critic")
    assert len(labels.value) == 3 * LENGTH
    assert not labels.positive[2 * LENGTH :].any()
    assert set(labels.advantage[2 * LENGTH :]) == {-30.0}
    assert set(labels.value[2 * LENGTH :]) == {-1.0}


def test_rlinf_reads_a_sidecar_and_a_threshold_of_its_tag(root):
    (root / "meta/mixture_config.yaml").write_text("tags: {other: {positive_threshold: 0.5}}\n")
    file, mixture = write_labels(root, "critic", "rlinf")
    assert file == root / "meta/advantages_critic.parquet"
    table = pq.read_table(file).to_pydict()
    assert list(table) == ["episode_index", "frame_index", "advantage", "advantage_continuous", "value_current"]
    assert table["advantage"][:LENGTH] == [i * 5 - 30 > 10 for i in range(LENGTH)]
    assert table["advantage_continuous"][3] == pytest.approx(-15 / 500)
    tags = yaml.safe_load(mixture.read_text())["tags"]
    assert tags["critic"]["unified_threshold"] == pytest.approx(10 / 500)
    assert tags["other"] == {"positive_threshold": 0.5}
    # The bool is what a threshold on the continuous column gives.
    continuous = np.array(table["advantage_continuous"])
    assert ((continuous > tags["critic"]["positive_threshold"] + 1e-9) == table["advantage"]).all()


def test_evo_rl_reads_an_indicator_per_frame_and_a_success_per_episode(root, tmp_path):
    write_labels(root, "critic", "evo-rl", tmp_path / "out")
    found = columns_of(tmp_path / "out")
    indicator = found["complementary_info.acp_indicator_critic"]
    assert indicator == [int(i * 5 - 30 > 10) for i in range(LENGTH)] * 2 + [0] * LENGTH
    assert found["complementary_info.value_critic"][1] == pytest.approx(-0.95)
    assert found["complementary_info.advantage_critic"][1] == pytest.approx(-25 / 500)
    features = json.loads((tmp_path / "out/meta/info.json").read_text())["features"]
    assert features["complementary_info.acp_indicator_critic"] == {"dtype": "int64", "shape": [1], "names": None}
    stats = json.loads((tmp_path / "out/meta/stats.json").read_text())
    assert stats["complementary_info.acp_indicator_critic"]["max"] == [1.0]
    episodes = pq.read_table(tmp_path / "out/meta/episodes/chunk-000/file-000.parquet").to_pydict()
    assert episodes["episode_success"] == ["success", "failure", "failure"]


def test_a_labelled_copy_is_the_same_dataset_with_more_columns(root, tmp_path):
    ReviewData(root).correct(1, "outcome", "success", "ann")
    copy, table = write_labels(root, "critic", "lerobot", tmp_path / "out")
    assert table.read_text() == "episode_index,success\n0,1\n1,1\n2,0\n"
    before, after = Dataset(root), Dataset(copy)
    np.testing.assert_array_equal(before.state, after.state)
    assert [e.outcome for e in before.episodes] == [e.outcome for e in after.episodes]
    video = "videos/observation.images.ego/chunk-000/file-000.mp4"
    assert (root / video).read_bytes() == (copy / video).read_bytes()
    found = columns_of(copy)
    assert found["positive_critic"][:LENGTH] == [i * 5 - 30 > 10 for i in range(LENGTH)]
    kinds = json.loads(pq.read_schema(copy / "data/chunk-000/file-000.parquet").metadata[b"huggingface"])
    assert kinds["info"]["features"]["positive_critic"] == {"dtype": "bool", "_type": "Value"}
    with pytest.raises(DatasetError, match="is not empty"):
        write_labels(root, "critic", "lerobot", copy)


def test_one_table_for_ones_own_code(root, tmp_path):
    (file,) = write_labels(root, "critic", "parquet", tmp_path / "labels.parquet")
    table = pq.read_table(file).to_pydict()
    assert table["index"] == list(range(3 * LENGTH))
    assert table["advantage"][:3] == [-30, -25, -20]


def test_labels_of_a_method_without_a_critic_are_refused(root):
    write_scores(root, "sft", [0], [0], value=[np.nan], advantage=[np.nan], positive=[True])
    with pytest.raises(DatasetError, match="have no advantages"):
        write_labels(root, "sft", "rlinf")
