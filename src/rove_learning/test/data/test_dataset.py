# SPDX-License-Identifier: Apache-2.0
"""Reading: what is right comes through unchanged, what is wrong is named before training."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rove_description import robot
from rove_learning.config import RewardConfig, TrainConfig
from rove_learning.data.buffer import Buffer
from rove_learning.data.dataset import Dataset, DatasetError
from rove_learning.data.picture_cache import pictures
from rove_learning.testing.synthetic import episode_frames, write_dataset
from rove_learning.train import train, train_critic
from rove_learning.training.plan import resolve

DATA = "data/chunk-000/file-000.parquet"


@pytest.fixture
def copy(mixed, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(mixed, root)
    shutil.rmtree(root / ".cache", ignore_errors=True)
    return root


def link(path):
    """The file lies elsewhere, and a symbolic link stands in its place."""
    outside = path.parents[4] / f"outside-{path.name}"
    path.rename(outside)
    path.symlink_to(outside)


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


EPISODES = "meta/episodes/chunk-000/file-000.parquet"


def change_info(root, change):
    file = root / "meta/info.json"
    info = json.loads(file.read_text())
    change(info)
    file.write_text(json.dumps(info))


def set_episode(root, number, column, value):
    table = pq.read_table(root / EPISODES)
    values = table[column].to_pylist()
    values[number] = value
    field = table.schema.field(column)
    pq.write_table(
        table.set_column(table.schema.get_field_index(column), field, pa.array(values, field.type)), root / EPISODES
    )


def place(values, row, value):
    values[row] = value
    return values


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: change_info(r, lambda i: i.update(fps=30)), "episode 0, frame 1: timestamp 0.05 s, expected 0.0333"),
        (lambda r: change_info(r, lambda i: i.pop("fps")), "fps None"),
        (lambda r: change_info(r, lambda i: i.pop("features")), "features is None"),
        (
            lambda r: change_info(r, lambda i: i["features"]["action"]["names"].reverse()),
            "same joints in the same order",
        ),
        (lambda r: (r / "meta/info.json").write_text("[]"), "holds a list, expected a JSON object"),
        (lambda r: (r / "meta/tasks.parquet").unlink(), "cannot read .*tasks.parquet"),
        (lambda r: set_episode(r, 3, "t_r", 35), "episode 3: t_r = 35, but its first frame of stage RECOVERY is 26"),
        (lambda r: set_episode(r, 3, "t_r", 40), "episode 3: t_r = 40 is outside its 40 frames"),
        (
            lambda r: set_episode(r, 3, "takeover", -1),
            "episode 3: takeover = -1, but its first frame of stage ADAPTATION is 20",
        ),
        (lambda r: set_episode(r, 2, "outcome", 9), "episode 2 has outcome 9, known are"),
        (lambda r: set_episode(r, 1, "episode_id", "e0"), "episodes 0 and 1 have the same episode_id 'e0'"),
        (lambda r: set_episode(r, 1, "length", 0), "episode 1: rows 24 to 48 do not fit its length 0"),
        (
            lambda r: set_episode(r, 1, "videos/observation.images.ego/from_timestamp", 0.0),
            "episode 1: its pictures begin at frame 0",
        ),
        (
            lambda r: rewrite(r, "stage", lambda v: place(v, 29, 0)),
            "episode 1, frame 5: stage 0 in an episode of kind 'demonstration'",
        ),
        (lambda r: change_info(r, lambda i: i.update(video_path="../outside.mp4")), "no path inside"),
        (lambda r: change_info(r, lambda i: i.update(video_path="/etc/hosts")), "no path inside"),
        (lambda r: change_info(r, lambda i: i.update(video_path="{video_key.__class__}")), "expected a pattern like"),
        (
            lambda r: change_info(r, lambda i: i.update(video_path="{file_index:099999d}")),
            "expected a pattern like",
        ),
        (lambda r: link(r / "videos/observation.images.ego/chunk-000/file-000.mp4"), "symbolic link"),
        (lambda r: link(r / "data/chunk-000/file-000.parquet"), "symbolic link"),
        (lambda r: rewrite(r, "stage", lambda v: place(v, 29, None)), "episode 1, frame 5: stage is missing"),
        (
            lambda r: rewrite(r, "action", lambda v: place(v, 29, [90.0] * 50)),
            "episode 1, frame 5: action of joint head_yaw is 90.0",
        ),
    ],
)
def test_what_does_not_fit_together_is_named(copy, spoil, message):
    spoil(copy)
    with pytest.raises(DatasetError, match=message):
        Dataset(copy)


def test_a_video_cut_so_that_no_picture_stream_is_left_is_named(copy):
    video = next((copy / "videos").rglob("*.mp4"))
    video.write_bytes(video.read_bytes()[: int(video.stat().st_size * 0.9)])
    with pytest.raises(DatasetError, match="copy, episode .*file-000.mp4"):
        pictures(Dataset(copy), 48, progress=False)


def test_pictures_of_another_size_are_named(copy):
    change_info(copy, lambda info: info["features"]["observation.images.ego"].update(shape=[96, 96, 3]))
    with pytest.raises(DatasetError, match="episode 0, frame 0, .*: the picture is 48 x 48, but meta/info.json says"):
        pictures(Dataset(copy), 48, progress=False)


def test_another_robot_or_the_same_data_twice_is_refused_by_the_run(copy, tmp_path):
    def run(*roots):
        return resolve(TrainConfig(tuple(map(str, roots)), str(tmp_path / "out"), threads=1), progress=False)

    with pytest.raises(DatasetError, match="copy is given twice"):
        run(copy, copy / ".")

    def rename(info):
        for key in ("observation.state", "action"):
            info["features"][key]["names"][:2] = reversed(info["features"][key]["names"][:2])

    change_info(copy, rename)
    with pytest.raises(DatasetError, match="joint 0 is head_pitch, expected head_yaw"):
        run(copy)


def test_the_robots_name_in_a_dataset_opens_no_folder(copy, tmp_path):
    """A name is looked up among ROVE's own robots; nothing of a stranger's is read for it, however it is spelled."""
    mine = shutil.copytree(robot.ROBOTS / "robin_h1", tmp_path / "mine")
    for name in ("x" * 300, str(mine), "../robots/robin_h1", ".", "iron\0"):
        change_info(copy, lambda info, name=name: info.update(robot_type=name))
        assert Dataset(copy).robot.name == name


def test_human_videos_alone_are_refused_before_the_critic_is_trained(tmp_path):
    root = write_dataset(tmp_path / "videos", [episode_frames(4, 20, kind="human_video")])
    with pytest.raises(DatasetError, match="nothing for the actor in .*videos"):
        train(TrainConfig((str(root),), str(tmp_path / "out"), threads=1), progress=False)
    assert not (tmp_path / "out").exists()


def test_an_unwritable_out_is_one_line(mixed, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setattr("sys.argv", ["train_critic", "--dataset", str(mixed), "--out", str(tmp_path / "file" / "out")])
    assert train_critic() == 2
    assert "train_critic: " in capsys.readouterr().err
