# SPDX-License-Identifier: Apache-2.0
"""Human videos and EgoDex become episodes for the critic: what comes in is what training sees, and what is wrong is
named.
"""

import json
import os
import struct
import subprocess
import sys
from fractions import Fraction

import av
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from rove_contract.modes import Mode, Outcome, Source, Stage
from rove_description import robot
from rove_learning.data.buffer import Buffer
from rove_learning.data.dataset import Dataset
from rove_learning.data.picture_cache import pictures
from rove_learning.testing.synthetic import episode_frames, write_dataset
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset import video
from rove_recorder.dataset.lerobot import DatasetWriter, EpisodeFrames
from rove_recorder.human_video.clips import Clip, import_clips
from rove_recorder.human_video.import_egodex import read_annotation
from rove_recorder.human_video.video_clip import VideoClip

SIZE = (48, 48)


def shade(i):
    """Grey level of frame i: tells the frame from the picture, 5 levels apart."""
    return 20 + 5 * (i % 40)


def film(path, count=30, rate=30, size=(54, 96), picture=None, stamps_ms=None):
    """A video of `count` frames, frame i in shade(i) unless `picture` paints it; stamps_ms: of a camera whose rate
    varies.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.options = {"crf": "1", "preset": "ultrafast", "g": "12", "bf": "2"}
        if stamps_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(count):
            image = np.full((*size, 3), shade(i), np.uint8) if picture is None else picture
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if stamps_ms is not None:
                frame.pts, frame.time_base = stamps_ms[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shown(clip):
    """The frame numbers that the pictures of a clip show."""
    return [round((float(image.mean()) - 20) / 5) for image in clip]


def rows(root, which):
    return [row for path in sorted((root / which).glob("*/*.parquet")) for row in pq.read_table(path).to_pylist()]


def command(module, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", f"rove_recorder.human_video.{module}", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def egodex(folder, index=0, count=30, confidences=True, attributes=None, poses=None):
    film(folder / f"{index}.mp4", count)
    with h5py.File(folder / f"{index}.hdf5", "w") as file:
        file.attrs.update(
            {"llm_description": "open the box", "llm_type": "normal"} if attributes is None else attributes
        )
        for name in ("camera", "leftHand", "rightIndexFingerTip"):
            file[f"transforms/{name}"] = np.tile(np.eye(4, dtype=np.float32), (poses or count, 1, 1))
            if confidences and name != "camera":
                file[f"confidences/{name}"] = np.full(poses or count, 0.8, np.float32)
        file["camera/intrinsic"] = np.eye(3)


def test_each_frame_is_the_last_one_before_its_tick(tmp_path):
    path = film(tmp_path / "v.mp4")
    assert shown(VideoClip(path, 20, SIZE)) == [i * 30 // 20 for i in range(20)]
    assert shown(VideoClip(path, 30, SIZE)) == list(range(30))
    assert shown(VideoClip(path, 60, SIZE)) == [i // 2 for i in range(60)]


def test_a_camera_whose_rate_varies_never_shows_the_future(tmp_path):
    stamps = [0, 40, 90, 300, 310, 520, 530]
    clip = VideoClip(film(tmp_path / "v.mp4", len(stamps), stamps_ms=stamps), 20, SIZE)
    numbers = shown(clip)
    assert numbers == [max(i for i, stamp in enumerate(stamps) if stamp <= 50 * tick) for tick in range(len(numbers))]
    assert 10 <= len(numbers) <= 15


def test_a_container_that_counts_milliseconds_shows_every_frame_once(tmp_path):
    """30 Hz in Matroska: stamps 0, 33, 67, 100 ms; rounding up must not count as the future."""
    assert shown(VideoClip(film(tmp_path / "v.mkv"), 30, SIZE)) == list(range(30))


def test_a_part_begins_and_ends_where_asked(tmp_path):
    clip = VideoClip(film(tmp_path / "v.mp4", 60), 20, SIZE, start_s=0.5, end_s=1.25)
    assert len(clip) == 15
    assert shown(clip) == [15 + i * 30 // 20 for i in range(15)]
    assert shown(clip) == shown(clip)
    with pytest.raises(video.VideoError, match=r"v.mp4 is 2.00 s long; from 3 s to its end is no part"):
        VideoClip(tmp_path / "v.mp4", 20, SIZE, start_s=3)


@pytest.mark.parametrize(
    ("fit", "expected"), [("crop", "wwwwww"), ("stretch", "bwwwwb"), ("pad", "bwwwwb")], ids=["crop", "stretch", "pad"]
)
def test_the_shape_is_fitted_as_asked(tmp_path, fit, expected):
    """A wide film, black on the left and right quarter; read along the middle row."""
    wide = np.full((64, 128, 3), 255, np.uint8)
    wide[:, :32] = wide[:, 96:] = 0
    (image, *_) = VideoClip(film(tmp_path / "v.mp4", 2, size=(64, 128), picture=wide), 20, SIZE, fit=fit)
    assert image.shape == (*SIZE, 3)
    assert "".join("w" if image[24, x].mean() > 128 else "b" for x in (2, 14, 20, 28, 33, 45)) == expected
    assert (image[2].mean() < 10) == (fit == "pad")


def test_a_phones_portrait_film_comes_out_upright(tmp_path):
    lying = np.zeros((48, 64, 3), np.uint8)
    lying[:, :32] = 255  # turned clockwise by the display matrix, the left half comes to the top
    path = film(tmp_path / "v.mp4", 3, size=(48, 64), picture=lying)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    path.write_bytes(data)
    (image, *_) = VideoClip(path, 20, (64, 48))
    assert image[:30].mean() > 240 and image[34:].mean() < 15


def test_a_video_becomes_an_episode_without_robot_that_only_the_critic_sees(tmp_path):
    human, robot = tmp_path / "human", write_dataset(tmp_path / "robot", [episode_frames(0)])
    results = import_clips(
        [
            Clip(film(tmp_path / f"{o.name}.mp4"), "erase the whiteboard", o, operator="op")
            for o in (Outcome.SUCCESS, Outcome.FAILURE)
        ],
        human,
        image_size=SIZE,
        workers=1,
        progress=False,
    )
    assert [result.error for result in results] == ["", ""]
    for row, outcome in zip(rows(human, "meta/episodes"), (Outcome.SUCCESS, Outcome.FAILURE), strict=True):
        assert (row["kind"], row["outcome"], row["t_r"], row["takeover"], row["operator"]) == (
            "human_video",
            outcome,
            -1,
            -1,
            "op",
        )
        assert row["stats/observation.state/mean"] is None
    (frame, *_) = rows(human, "data")
    assert (frame["stage"], frame["source"], frame["mode"]) == (Stage.HUMAN_VIDEO, Source.NONE, Mode.IDLE)
    dataset = Dataset(human)
    assert np.isnan(dataset.state).all() and np.isnan(dataset.action).all()
    assert [round((float(image.mean()) - 20) / 5) for image in pictures(dataset, 48, progress=False)[:20]] == [
        i * 3 // 2 for i in range(20)
    ]
    both = [Dataset(robot), dataset]
    actor, critic = Buffer(both, 48, progress=False), Buffer(both, 48, human_videos=True, progress=False)
    assert {episode.kind for episode in actor.episodes} == {"demonstration"} and np.isfinite(actor.state).all()
    assert [episode.kind for episode in critic.episodes] == ["demonstration", "human_video", "human_video"]
    assert critic.tasks == ["erase the whiteboard"]


def test_robot_and_human_episodes_share_a_dataset_and_its_statistics_are_the_robots(tmp_path):
    root = write_dataset(tmp_path / "d", [episode_frames(0)])
    before = (root / layout.STATS).read_text()
    import_clips([Clip(film(tmp_path / "v.mp4"), "pour", Outcome.SUCCESS)], root, workers=1, progress=False)
    stats = json.loads((root / layout.STATS).read_text())
    assert stats["observation.state"] == json.loads(before)["observation.state"]
    assert stats["index"]["count"] == [24 + 20]
    assert [episode.kind for episode in Dataset(root).episodes] == ["demonstration", "human_video"]


def test_an_episode_of_the_wrong_kind_is_refused(tmp_path):
    frames = episode_frames(0, kind="human_video")
    frames.kind = "rollout"
    with DatasetWriter(tmp_path / "d", robot.load().card, 20, SIZE) as out:
        with pytest.raises(layout.DatasetError, match="of kind 'rollout' has no observation.state"):
            out.add_episode(frames)
        other = episode_frames(1)
        other.kind = "human_video"
        with pytest.raises(layout.DatasetError, match="human_video has none"):
            out.add_episode(other)
    assert isinstance(frames, EpisodeFrames)


def test_a_folder_with_a_csv_is_imported_and_its_bad_rows_are_named(tmp_path):
    folder = tmp_path / "videos"
    film(folder / "a.mp4"), film(folder / "b.mov", 45), film(folder / "forgotten.mp4")
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "labels.csv").write_text(
        "File;Task;Outcome;Start;End\na.mp4;erase the board;success;;\nb.mov;erase the board;Failure;0.5;1.5\n"
        "a.mp4;erase the board;maybe;;\ngone.mp4;x;success;;\nbroken.mp4;x;success;;\n\n"
    )
    code, out, err = command("import_video", folder, "--out", tmp_path / "d", "--image-size", 48, 48, "--quiet")
    assert code == 1
    assert "2 human videos (1 successes, 1 failures), 40 frames" in out and "3 failed" in out
    assert "does not name 1 videos" in out and "forgotten.mp4" in out
    for text in (
        "labels.csv, line 4: the outcome of a.mp4 is 'maybe'",
        "gone.mp4",
        "broken.mp4 cannot be read as a video",
    ):
        assert text in err
    assert [(row["length"], row["outcome"]) for row in rows(tmp_path / "d", "meta/episodes")] == [(20, 1), (20, 2)]


def test_what_lacks_a_label_is_refused_with_what_to_give(tmp_path):
    film(tmp_path / "a.mp4")
    for arguments, text in (
        (["--task", "x"], "needs --success or --failure"),
        (["--success"], "needs --task"),
        (["--task", "x", "--success", "--failure"], "exclude each other"),
    ):
        code, _, err = command("import_video", tmp_path / "a.mp4", "--out", tmp_path / "d", *arguments)
        assert code == 2 and text in err
    assert not (tmp_path / "d").exists()


def test_a_truncated_video_is_an_error_of_its_own(tmp_path):
    data = film(tmp_path / "a.mkv", 60).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    whole = film(tmp_path / "b.mp4", 60)
    spoilt = bytearray(whole.read_bytes())
    start = spoilt.index(b"mdat") + 2000
    spoilt[start : start + 1500] = os.urandom(1500)
    (tmp_path / "c.mp4").write_bytes(spoilt[: spoilt.index(b"mdat") + 3000])
    clips = [Clip(tmp_path / name, "x", Outcome.SUCCESS) for name in ("a.mkv", "c.mp4", "b.mp4")]
    results = import_clips(clips, tmp_path / "d", image_size=SIZE, workers=1, progress=False)
    assert "c.mp4" in results[1].error
    assert [bool(result.error) for result in results] == [False, True, False]


def test_a_killed_import_goes_on_where_it_was(tmp_path):
    clips = [Clip(film(tmp_path / f"{i}.mp4", 30 + i), "x", Outcome.SUCCESS) for i in range(5)]
    script = f"""
import os, sys
sys.path.insert(0, {str(tmp_path)!r})
from pathlib import Path
from rove_contract.modes import Outcome
from rove_recorder.human_video import clips as importing
real, count = importing.convert, 0
def convert(job):
    global count
    count += 1
    if count == 4:
        os.kill(os.getpid(), 9)
    return real(job)
importing.convert = convert
clips = [importing.Clip(Path({str(tmp_path)!r}) / f"{{i}}.mp4", "x", Outcome.SUCCESS) for i in range(5)]
options = dict(image_size=(48, 48), workers=1, progress=False, commit_every=2)
importing.import_clips(clips, Path({str(tmp_path / "d")!r}), **options)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == -9
    assert len(rows(tmp_path / "d", "meta/episodes")) == 2
    results = import_clips(clips, tmp_path / "d", workers=1, progress=False, commit_every=2)
    assert [result.already for result in results].count(True) == 2 and not any(result.note for result in results)
    (other,) = import_clips([Clip(clips[0].path, "x", Outcome.FAILURE)], tmp_path / "d", progress=False)
    assert other.already and "already, with the outcome success; change it with" in other.note
    once = import_clips(clips, tmp_path / "once", image_size=SIZE, workers=1, progress=False)
    assert [result.error for result in once] == [""] * 5
    for file in (
        "data/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        layout.Slot().path(layout.VIDEO),
    ):
        assert (tmp_path / "d" / file).read_bytes() == (tmp_path / "once" / file).read_bytes()


def test_egodex_is_imported_with_or_without_confidences_and_by_older_names(tmp_path):
    root = tmp_path / "part1"
    egodex(root / "box", 0)
    egodex(root / "box", 1, 36, confidences=False, attributes={"description": "close the box"})
    reversible = {
        "llm_type": "reversible",
        "which_llm_description": "2",
        "llm_description": "fold",
        "llm_description2": "unfold",
    }
    egodex(root / "cloth", 10, attributes=reversible)
    egodex(root / "pick_place", 2, attributes={})
    egodex(root / "pick_place", 3, count=30, poses=45)
    film(root / "pick_place" / "4.mp4")
    (root / "pick_place" / "5.hdf5").write_bytes(b"no hdf5")
    film(root / "pick_place" / "5.mp4")
    code, out, err = command("import_egodex", root, "--out", tmp_path / "d", "--image-size", 48, 48, "--quiet")
    assert code == 1
    assert (
        "4 human videos (4 successes, 0 failures)" in out
        and "3 failed" in out
        and "its task is the folder's name, 'pick place'" in out
    )
    for text in (
        "3.mp4 has 30 frames, its annotation 45",
        "4.mp4 has no 4.hdf5 beside it",
        "5.hdf5 cannot be read as HDF5",
    ):
        assert text in err
    episodes = rows(tmp_path / "d", "meta/episodes")
    assert [row["tasks"] for row in episodes] == [["open the box"], ["close the box"], ["unfold"], ["pick place"]]
    assert [row["length"] for row in episodes] == [20, 24, 20, 20]
    assert {row["kind"] for row in episodes} == {"human_video"} and episodes[2]["episode_id"].startswith(
        "egodex-cloth-10-"
    )
    assert Dataset(tmp_path / "d").episodes[0].trainable
    assert read_annotation(root / "box" / "0.hdf5").confidence == pytest.approx(0.8)
    assert read_annotation(root / "box" / "1.hdf5").confidence is None


def test_egodex_with_poorly_seen_hands_is_left_out_when_asked(tmp_path):
    egodex(tmp_path / "e" / "box", 0)
    code, out, _ = command("import_egodex", tmp_path / "e", "--out", tmp_path / "d", "--min-confidence", 0.9, "--quiet")
    assert code == 0 and "confidence 0.80 < 0.9: left out" in out
