# SPDX-License-Identifier: Apache-2.0
"""A policy sees a camera picture exactly as its training did: live decoding and resizing, picture cache and stream."""

from types import SimpleNamespace

import numpy as np
import pytest

from rove_contract import images
from rove_description.card import RobotCard
from rove_learning.data.dataset import Dataset
from rove_learning.data.picture_cache import pictures
from rove_learning.data.picture_stream import PictureStream
from rove_learning.inference.checkpoint import Policy
from rove_learning.testing.synthetic import episode_frames
from rove_recorder.dataset.lerobot import DatasetWriter

SIZES = (24, 36, 48, 96)  # px: a quarter, an uneven shrinking, the camera's own size, enlarged


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A dataset that holds the camera's own JPEGs, and these."""
    frames = episode_frames(0, 6)
    jpegs = [images.encode_jpeg(picture, 90) for picture in frames.images]
    frames.images = jpegs
    root = tmp_path_factory.mktemp("parity") / "jpegs"
    names = [f"joint_{i}" for i in range(frames.state.shape[1])]
    with DatasetWriter(
        root, RobotCard("x", joints=tuple(names), blocks=("arm",) * len(names)), 20, (48, 48), camera="image"
    ) as writer:
        writer.add_episode(frames)
    return Dataset(root), jpegs


@pytest.mark.parametrize("size", SIZES)
def test_live_pictures_are_those_of_the_training_cache_and_of_the_stream(recorded, size):
    dataset, jpegs = recorded
    live = SimpleNamespace(device="cpu")
    backbone = SimpleNamespace(image_size=size, cameras=("ego",), picture_shape=(size, size, 3))
    seen = np.concatenate([Policy._picture(live, images.decode(jpeg), backbone).numpy() for jpeg in jpegs])
    assert np.array_equal(seen, pictures(dataset, size, progress=False))
    assert np.array_equal(seen, PictureStream(dataset, size, threads=1)[np.arange(len(dataset))])
