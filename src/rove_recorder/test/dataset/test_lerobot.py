# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from rove_contract import images
from rove_contract.modes import Mode, Outcome, Source, Stage
from rove_description import robot
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset import reader, staging, video
from rove_recorder.dataset.lerobot import DatasetWriter, EpisodeFrames

CARD = robot.load().card
NAMES = CARD.joints
SIZE = (64, 96)


def picture(seed):
    """A smooth picture, as cameras give them; noise would only measure the codec."""
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    return np.stack([(x * 2 + seed * 7) % 256 // 2 + 60, y * 2 + 40, np.full(SIZE, (seed * 11) % 200)], axis=-1).astype(
        np.uint8
    )


def episode(name, length=12, seed=0, **more):
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(length, 50)).astype(np.float32)
    images = np.stack([picture(seed + i) for i in range(length)])
    labels = {
        "stage": np.full(length, Stage.ROLLOUT),
        "source": np.full(length, Source.POLICY),
        "mode": np.full(length, Mode.ROLLOUT),
    }
    return EpisodeFrames(
        state, state + 0.5, images, **labels, **{"task": "erase the whiteboard", "episode_id": name, **more}
    )


def writer(root, **more):
    return DatasetWriter(root, robot=CARD, image_size=SIZE, **more)


def rows(root, which):
    return [row for path in sorted((Path(root) / which).glob("*/*.parquet")) for row in pq.read_table(path).to_pylist()]


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(Path(root).rglob("*")) if path.is_file()}


def test_what_is_written_is_read_back_frame_by_frame(tmp_path):
    given = [
        episode("a", 12, 1),
        episode("b", 7, 2, task="pour", outcome=Outcome.FAILURE, t_r=5, takeover=3, operator="op"),
    ]
    with writer(tmp_path / "d") as out:
        assert [out.add_episode(frames) for frames in given] == [0, 1]
    frames, episodes = rows(tmp_path / "d", "data"), rows(tmp_path / "d", "meta/episodes")
    info = reader.read_info(tmp_path / "d")
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"], info["splits"]) == (
        2,
        19,
        2,
        {"train": "0:2"},
    )
    assert reader.read_tasks(tmp_path / "d") == ["erase the whiteboard", "pour"]
    for row, source in zip(episodes, given):
        mine = frames[row["dataset_from_index"] : row["dataset_to_index"]]
        assert len(mine) == len(source) == row["length"]
        np.testing.assert_array_equal(np.array([r["observation.state"] for r in mine], np.float32), source.state)
        np.testing.assert_array_equal(np.array([r["action"] for r in mine], np.float32), source.action)
        assert [r["frame_index"] for r in mine] == list(range(len(source)))
        assert [r["timestamp"] for r in mine] == [float(np.float32(i / 20)) for i in range(len(source))]
        assert {r["episode_index"] for r in mine} == {row["episode_index"]}
        path = (
            tmp_path
            / "d"
            / layout.VIDEO.format(
                video_key=layout.CAMERA,
                chunk_index=row[f"videos/{layout.CAMERA}/chunk_index"],
                file_index=row[f"videos/{layout.CAMERA}/file_index"],
            )
        )
        start = round(row[f"videos/{layout.CAMERA}/from_timestamp"] * 20)
        shown = list(video.read_frames(path, start, len(source)))
        assert len(shown) == len(source)
        for image, original in zip(shown, source.images):
            assert np.abs(image.astype(int) - original).mean() < 4  # lossy, 4:2:0
    assert [r["index"] for r in frames] == list(range(19))
    second = episodes[1]
    assert (second["outcome"], second["t_r"], second["takeover"], second["operator"], second["excluded"]) == (
        2,
        5,
        3,
        "op",
        False,
    )


def test_statistics_are_those_of_all_frames(tmp_path):
    given = [episode("a", 30, 1), episode("b", 11, 2)]
    with writer(tmp_path / "d") as out:
        for frames in given:
            out.add_episode(frames)
    state = np.concatenate([frames.state for frames in given]).astype(np.float64)
    stats = json.loads((tmp_path / "d" / layout.STATS).read_text())
    np.testing.assert_allclose(stats["observation.state"]["mean"], state.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(stats["observation.state"]["std"], state.std(axis=0), atol=1e-9)
    np.testing.assert_array_equal(stats["observation.state"]["max"], state.max(axis=0))
    assert stats["observation.state"]["count"] == [41]
    assert np.shape(stats[layout.CAMERA]["mean"]) == (3, 1, 1)
    assert 0 < np.mean(stats[layout.CAMERA]["mean"]) < 1


def test_appending_gives_the_same_bytes_as_writing_at_once(tmp_path):
    given = [episode(name, 9, i) for i, name in enumerate("abc")]
    with writer(tmp_path / "once") as out:
        for frames in given:
            out.add_episode(frames)
    for frames in given:
        with writer(tmp_path / "thrice") as out:
            out.add_episode(frames)
    once, thrice = contents(tmp_path / "once"), contents(tmp_path / "thrice")
    assert once.keys() == thrice.keys()
    assert [name for name in once if once[name] != thrice[name] and not name.endswith("stats.json")] == []


def test_episodes_encoded_in_another_way_go_into_a_video_file_of_their_own(tmp_path, monkeypatch):
    with writer(tmp_path / "d") as out:
        out.add_episode(episode("a"))
    monkeypatch.setitem(video.H264, "crf", "30")
    with writer(tmp_path / "d") as out:
        out.add_episode(episode("b"))
        monkeypatch.setitem(video.H264, "crf", "23")
        out.add_episode(episode("c"))
    assert [row[f"videos/{layout.CAMERA}/file_index"] for row in rows(tmp_path / "d", "meta/episodes")] == [0, 1, 2]


def test_files_roll_over_at_their_size_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "DATA_FILE_MB", 0.01)
    monkeypatch.setattr(layout, "VIDEO_FILE_MB", 0.005)
    monkeypatch.setattr(layout, "EPISODES_PER_FILE", 2)
    for part in range(2):
        with writer(tmp_path / "d") as out:
            for i in range(3):
                out.add_episode(episode(f"{part}{i}", 15, i))
    episodes = rows(tmp_path / "d", "meta/episodes")
    assert [row["episode_id"] for row in episodes] == ["00", "01", "02", "10", "11", "12"]
    assert [row["meta/episodes/file_index"] for row in episodes] == [0, 0, 1, 1, 2, 2]
    assert max(row["data/file_index"] for row in episodes) > 1
    assert max(row[f"videos/{layout.CAMERA}/file_index"] for row in episodes) > 1
    for row in episodes:
        path = (
            tmp_path / "d" / layout.DATA.format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
        )
        chosen = [r["index"] for r in pq.read_table(path).to_pylist() if r["episode_index"] == row["episode_index"]]
        assert chosen == list(range(row["dataset_from_index"], row["dataset_to_index"]))


def test_an_aborted_episode_is_kept_but_excluded(tmp_path):
    with writer(tmp_path / "d") as out:
        out.add_episode(episode("a", outcome=Outcome.ABORTED))
    assert rows(tmp_path / "d", "meta/episodes")[0]["excluded"] is True


def test_jpegs_are_stored_as_the_camera_sent_them(tmp_path):
    frames = episode("a", 5)
    jpegs = [images.encode_jpeg(image) for image in frames.images]
    frames.images = jpegs
    with writer(tmp_path / "d", camera="image") as out:
        out.add_episode(frames)
    assert [row[layout.CAMERA]["bytes"] for row in rows(tmp_path / "d", "data")] == jpegs
    assert not (tmp_path / "d" / "videos").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": np.zeros((3, 50))}, r"action is \(3, 50\), expected \(12, 50\)"),
        ({"state": np.full((12, 50), np.nan)}, "observation.state is not finite at frame 0, joint 0"),
        ({"images": None}, "pictures of the cameras none, the dataset wants ego"),
        ({"task": ""}, "has no task text"),
        ({"stage": np.zeros(3)}, r"stage is \(3,\)"),
        ({"images": np.zeros((12, 10, 10, 3), np.uint8)}, r"frame 0 is \(10, 10, 3\)"),
    ],
)
def test_an_episode_that_does_not_fit_is_refused_and_the_others_stay(tmp_path, change, message):
    wrong = episode("wrong")
    for name, value in change.items():
        setattr(wrong, name, value)
    with writer(tmp_path / "d") as out:
        out.add_episode(episode("a"))
        with pytest.raises(ValueError, match=message):
            out.add_episode(wrong)
        out.add_episode(episode("b"))
    assert [row["episode_id"] for row in rows(tmp_path / "d", "meta/episodes")] == ["a", "b"]


def test_the_same_episode_twice_and_another_picture_size_are_refused(tmp_path):
    with writer(tmp_path / "d") as out:
        out.add_episode(episode("a"))
    with writer(tmp_path / "d") as out, pytest.raises(layout.DatasetError, match="is in .* already"):
        out.add_episode(episode("a"))
    with pytest.raises(layout.DatasetError, match="cannot append"):
        DatasetWriter(tmp_path / "d", robot=CARD, image_size=(32, 32))


def test_two_writers_at_once_are_refused(tmp_path):
    with writer(tmp_path / "d"), pytest.raises(staging.Busy):
        writer(tmp_path / "d")


def test_a_failed_block_leaves_the_old_dataset_intact(tmp_path):
    with writer(tmp_path / "d") as out:
        out.add_episode(episode("a"))
    before = contents(tmp_path / "d")
    with pytest.raises(KeyboardInterrupt), writer(tmp_path / "d") as out:
        out.add_episode(episode("b"))
        raise KeyboardInterrupt
    assert contents(tmp_path / "d") == before


KILLED = """
import os, sys
sys.path.insert(0, {folder!r})
from test_lerobot import *
real, count = os.replace, 0
def replace(*args):
    global count
    count += 1
    if count > {moves}:
        os.kill(os.getpid(), 9)
    real(*args)
os.replace = replace
with writer({root!r}) as out:
    out.add_episode(episode("b", 8, 3))
"""


@pytest.mark.parametrize("moves", [0, 1, 3])
def test_a_writer_killed_while_committing_leaves_all_or_nothing(tmp_path, moves):
    root = tmp_path / "d"
    with writer(root) as out:
        out.add_episode(episode("a"))
    script = KILLED.format(folder=str(Path(__file__).parent), moves=moves, root=str(root))
    assert (
        subprocess.run([sys.executable, "-c", script], check=False, env={**os.environ, "PYTHONSAFEPATH": ""}).returncode
        == -9
    )
    with writer(root) as out:
        out.add_episode(episode("c"))
    expected = ["a", "c"] if moves == 0 else ["a", "b", "c"]
    assert [row["episode_id"] for row in rows(root, "meta/episodes")] == expected
    assert [r["index"] for r in rows(root, "data")] == list(range(reader.read_info(root)["total_frames"]))


def test_pandas_reads_the_tasks_as_lerobot_does(tmp_path):
    pandas = pytest.importorskip("pandas")
    layout.write_tasks(tmp_path / "tasks.parquet", ["erase", "pour"])
    tasks = pandas.read_parquet(tmp_path / "tasks.parquet")
    assert tasks.index.name == "task"
    assert tasks.loc["pour"].task_index == 1
    assert tasks.iloc[0].name == "erase"


def test_odd_picture_sizes_are_refused_with_the_reason(tmp_path):
    with pytest.raises(video.VideoError, match="needs even numbers"):
        video.encode(tmp_path / "v.mp4", [], 20, (63, 64))
