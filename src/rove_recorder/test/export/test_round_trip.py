# SPDX-License-Identifier: Apache-2.0
"""What was exported is what training loads: bit for bit where nothing is lossy, and the decoder's very pixels where the
codec is.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from rove_contract import images
from rove_contract.modes import Outcome
from rove_learning.data.buffer import Buffer
from rove_learning.data.dataset import Dataset, DatasetError
from rove_learning.data.picture_cache import pictures
from rove_learning.data.picture_stream import PictureStream
from rove_learning.testing.synthetic import episode_frames, write_dataset
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset import video
from rove_recorder.export.episode_bag import EpisodeBag
from rove_recorder.export.export import export_bags
from rove_recorder.testing.synthetic import T0, TABLE, samples, write_bag

SIZE = (48, 48)


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    root = tmp_path_factory.mktemp("bags")
    outcomes = (Outcome.SUCCESS, Outcome.FAILURE)
    return [
        write_bag(root / f"e{i}", samples(f"e{i}", start=T0 + i * 10**10, outcome=outcome))
        for i, outcome in enumerate(outcomes)
    ]


@pytest.mark.parametrize("camera", ["image", "video"])
def test_exported_episodes_are_loaded_equal(bags, tmp_path, camera):
    export_bags(bags, tmp_path / "d", image_size=SIZE, camera=camera, workers=1, progress=False)
    dataset = Dataset(tmp_path / "d")
    expected = [EpisodeBag(bag).frames(TABLE, 20, SIZE)[0] for bag in bags]
    for key in ("state", "action"):
        given = np.concatenate([getattr(frames, key) for frames in expected]).astype(np.float32)
        np.testing.assert_array_equal(getattr(dataset, key), given)
    for key in ("stage", "source", "mode"):
        np.testing.assert_array_equal(
            getattr(dataset, key), np.concatenate([getattr(frames, key) for frames in expected])
        )
    for episode, frames in zip(dataset.episodes, expected, strict=True):
        for key in ("task", "outcome", "t_r", "takeover", "episode_id", "kind", "operator", "start_stage", "excluded"):
            assert getattr(episode, key) == getattr(frames, key), key
    if camera == "image":
        shown = [images.decode(jpeg) for frames in expected for jpeg in frames.images]
    else:
        shown = list(video.read_frames(tmp_path / "d" / layout.Slot().path(layout.VIDEO)))
    np.testing.assert_array_equal(pictures(dataset, 48, progress=False), np.stack(shown))
    buffer = Buffer([dataset], 48, progress=False, cache=False)
    index = np.arange(len(buffer))
    np.testing.assert_array_equal(buffer.images(index), np.stack(shown))
    np.testing.assert_array_equal(buffer.chunks(index, 1)[0][:, 0], dataset.action)


@pytest.mark.parametrize("camera", ["image", "video"])
@pytest.mark.parametrize("size", [48, 24])
def test_pictures_decoded_when_asked_for_equal_the_cached_ones(tmp_path, camera, size):
    given = [episode_frames(0), episode_frames(1, 31), episode_frames(2, 20, Outcome.FAILURE, "human_video")]
    dataset = Dataset(write_dataset(tmp_path / "d", given, camera))
    stream, cached = PictureStream(dataset, size, threads=2), pictures(dataset, size, progress=False)
    assert stream.shape == cached.shape
    rows = np.random.default_rng(0).integers(0, len(dataset), 200)
    np.testing.assert_array_equal(stream[rows], cached[rows])
    np.testing.assert_array_equal(stream[np.arange(len(dataset))[::-1]], cached[::-1])


def test_a_damaged_video_is_named_when_it_is_opened_or_read(tmp_path):
    root = write_dataset(tmp_path / "d", [episode_frames(0, 200)])
    path = root / layout.Slot().path(layout.VIDEO)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"d, videos/.*file-000.mp4 cannot be read"):
        PictureStream(Dataset(root), 48)
    start = whole.index(b"mdat") + 1500
    path.write_bytes(whole[:start] + bytes(600) + whole[start + 600 :])
    stream = PictureStream(Dataset(root), 48, threads=1)
    with pytest.raises(DatasetError, match=r"file-000.mp4: cannot decode frame \d+"):
        stream[np.arange(200)]


SCHEDULING = """
import os, sys
import numpy as np
from rove_recorder.dataset import video
frames = (np.full((64, 64, 3), 10 * i, np.uint8) for i in range(6))
video.encode(sys.argv[1], frames, 20, (64, 64), codec="av1")
schedulers = {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}
print(schedulers <= {os.SCHED_OTHER, os.SCHED_BATCH})
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the encoder changes its priority only for root")
def test_encoding_leaves_the_process_at_its_priority(tmp_path):
    """A process of its own, since the test suite would go on at real-time 99 where this fails."""
    told = subprocess.run(
        [sys.executable, "-c", SCHEDULING, str(tmp_path / "a.mp4")], capture_output=True, text=True, timeout=60
    )
    assert told.stdout.strip() == "True", told.stdout + told.stderr
