"""Reading: what is right comes through unchanged, what is wrong is named before training."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rove_learning.buffer import Buffer
from rove_learning.config import RewardConfig
from rove_learning.dataset import Dataset, DatasetError
from rove_learning.picture_cache import pictures
from rove_learning.synthetic import episode_frames, write_dataset

DATA = "data/chunk-000/file-000.parquet"


@pytest.fixture
def copy(mixed, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(mixed, root)
    shutil.rmtree(root / ".cache", ignore_errors=True)
    return root


def rewrite(root, column, change):
    table = pq.read_table(root / DATA)
    values = change(table[column].to_pylist())
    field = table.schema.field(column)
    table = table.set_column(table.schema.get_field_index(column), field, pa.array(values, field.type))
    pq.write_table(table, root / DATA)


def test_arrays_and_pictures_come_back(mixed):
    dataset = Dataset(mixed)
    assert len(dataset) == 24 + 24 + 30 + 40 + 20 + 10 and len(dataset.episodes) == 6
    original = episode_frames(1)
    rows = slice(dataset.episodes[1].start, dataset.episodes[1].end)
    np.testing.assert_allclose(dataset.state[rows], original.state, atol=1e-6)
    decoded = pictures(dataset, 48, progress=False)[rows].astype(int)
    assert np.abs(decoded - original.images.astype(int)).mean() < 4.0  # H.264
    assert pictures(dataset, 24, progress=False).shape == (148, 24, 24, 3)


def test_jpeg_datasets_read_the_same(tmp_path):
    root = write_dataset(tmp_path / "jpeg", [episode_frames(0)], camera="image")
    decoded = pictures(Dataset(root), 48, progress=False).astype(int)
    assert np.abs(decoded - episode_frames(0).images.astype(int)).mean() < 4.0


def test_actor_buffer_has_no_videos_and_no_aborted_episodes(mixed):
    datasets = [Dataset(mixed)]
    actor, critic = Buffer(datasets, 24, progress=False), Buffer(datasets, 24, human_videos=True, progress=False)
    assert [e.kind for e in actor.episodes] == ["demonstration", "demonstration", "rollout", "rollout"]
    assert len(critic) == len(actor) + 20


def test_chunks_past_the_episode_are_invalid_and_never_cross_it(mixed):
    buffer = Buffer([Dataset(mixed)], 24, progress=False)
    chunks, valid = buffer.chunks(np.array([20, 24]), 50)
    assert valid[0].sum() == 4 and valid[1].sum() == 24
    np.testing.assert_array_equal(chunks[0, 4:], np.broadcast_to(buffer.action[23], (46, 50)))


def test_buffer_rewards_follow_stage_and_outcome(mixed):
    buffer = Buffer([Dataset(mixed)], 24, progress=False)
    r = buffer.rewards(RewardConfig())
    s = buffer.slices()
    assert r[s[0]][-1] == 0 and r[s[2]][-1] == -500 and r[s[3]][26] == -500 and r[s[3]][20] == -1
    assert buffer.rewards(RewardConfig(penalty_at="takeover"))[s[3]][20] == -500


def test_nan_is_named_with_episode_frame_and_joint(copy):
    def spoil(rows):
        rows[24 + 5][3] = float("nan")
        return rows

    rewrite(copy, "action", spoil)
    with pytest.raises(DatasetError, match=r"copy, episode 1, frame 5: action of joint waist_yaw is nan"):
        Dataset(copy)


def test_missing_state_is_named(copy):
    def spoil(rows):
        rows[24 + 7] = None
        return rows

    rewrite(copy, "observation.state", spoil)
    with pytest.raises(DatasetError, match="episode 1, frame 7: observation.state is missing"):
        Dataset(copy)


def test_missing_rows_are_found(copy):
    table = pq.read_table(copy / DATA)
    pq.write_table(pa.concat_tables([table.slice(0, 10), table.slice(11)]), copy / DATA)
    with pytest.raises(DatasetError, match="frame 10 of the table has index 11"):
        Dataset(copy)


def test_no_dataset_and_wrong_version(copy, tmp_path):
    with pytest.raises(DatasetError, match="no dataset at .*nowhere"):
        Dataset(tmp_path / "nowhere")
    info = json.loads((copy / "meta/info.json").read_text())
    (copy / "meta/info.json").write_text(json.dumps({**info, "codebase_version": "v2.1"}))
    with pytest.raises(DatasetError, match="'v2.1', expected LeRobot 'v3.0'"):
        Dataset(copy)


def test_truncated_video_is_named_and_leaves_no_cache(copy):
    video = next((copy / "videos").rglob("*.mp4"))
    data = video.read_bytes()
    video.write_bytes(data[: len(data) // 2])
    with pytest.raises(DatasetError, match="copy, episode .*file-000.mp4"):
        pictures(Dataset(copy), 48, progress=False)
    assert not list((copy / ".cache").iterdir())
