# SPDX-License-Identifier: Apache-2.0
"""Several cameras from the dataset to the policy: order and names are the configuration's, and travel in the
checkpoint.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rove_description import robot
from rove_learning.config import TrainConfig
from rove_learning.data.augmentation import augment_images
from rove_learning.data.buffer import Buffer
from rove_learning.data.dataset import Dataset, DatasetError
from rove_learning.inference import checkpoint
from rove_learning.models.actor import Actor
from rove_learning.models.backbone import build
from rove_learning.testing.synthetic import ACTOR, BACKBONE, CRITIC, episode_frames, write_dataset
from rove_learning.train import train
from rove_recorder.dataset.lerobot import DatasetWriter
from rove_recorder.dataset.merge import read_encoded
from rove_recorder.dataset.reader import LeRobotReader

TWO = ("ego", "left_wrist")
SIZES = {"ego": (48, 48), "left_wrist": (24, 32)}


def seen(episode):
    """The same episode with a second camera, whose pictures are brighter with time."""
    wrist = np.stack([np.full((24, 32, 3), 60 + 4 * i, np.uint8) for i in range(len(episode))])
    return replace(episode, images={"ego": episode.images, "left_wrist": wrist})


@pytest.fixture(scope="module", params=["video", "image"])
def root(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("cameras") / request.param
    for seed in (0, 1):  # the second one is appended
        with DatasetWriter(root, robot.load().card, 20, SIZES, camera=request.param) as writer:
            writer.add_episode(seen(episode_frames(seed)))
    return root


@pytest.mark.parametrize("cache", [True, False])
def test_a_buffer_gives_the_pictures_of_the_cameras_asked_for_in_their_order(root, cache):
    both = Buffer([Dataset(root)], 24, progress=False, cache=cache, cameras=TWO[::-1])
    ego = Buffer([Dataset(root)], 24, progress=False, cache=cache)
    index = np.array([0, 30, 47])
    pictures = both.images(index)
    assert pictures.shape == (3, 2, 24, 24, 3)
    np.testing.assert_array_equal(pictures[:, 1], ego.images(index))
    np.testing.assert_allclose(pictures[:, 0].mean((1, 2, 3)), 60 + 4 * (index % 24), atol=3)


def test_a_camera_that_the_dataset_lacks_is_named(root):
    with pytest.raises(DatasetError, match="has no pictures of right_wrist; it has ego, left_wrist"):
        Buffer([Dataset(root)], 24, progress=False, cameras=("ego", "right_wrist"))


def test_an_episode_keeps_all_cameras_when_it_is_moved_to_another_dataset(root, tmp_path):
    source = LeRobotReader(root)
    (row, _) = source.episodes(stats=True)
    kind = "image" if source.camera == "image" else "video"
    with DatasetWriter(tmp_path / "d", source.robot, 20, SIZES, camera=kind) as writer:
        writer.add_encoded(read_encoded(source, row, writer.segments))
    moved = Buffer([Dataset(tmp_path / "d")], 24, progress=False, cameras=TWO)
    original = Buffer([Dataset(root)], 24, progress=False, cameras=TWO)
    np.testing.assert_array_equal(moved.images(np.arange(24)), original.images(np.arange(24)))


def test_augmentation_treats_the_pictures_of_a_moment_alike():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, 3, 12, 12, 3), dtype=np.uint8)
    gain, shift = np.array([0.8, 1.1]), np.array([[1, -2], [0, 3]])
    found = augment_images(images, gain, shift)
    for camera in range(3):
        np.testing.assert_array_equal(found[:, camera], augment_images(images[:, camera], gain, shift))


def test_the_order_of_cameras_matters_to_a_backbone():
    torch.manual_seed(0)
    backbone = build(replace(BACKBONE, cameras=TWO))
    images = torch.randint(0, 255, (2, 2, 48, 48, 3), dtype=torch.uint8)
    tokens = backbone(images, ["a", "a"]).tokens
    assert tokens.shape[1] == 2 * 16 + 1
    assert not torch.allclose(backbone(images.flip(1), ["a", "a"]).tokens.mean(1), tokens.mean(1), atol=1e-4)
    with pytest.raises(ValueError, match=r"expected pictures \(B, 2, 48, 48, 3\)"):
        backbone(images[:, 0], ["a", "a"])


def test_a_policy_is_trained_on_two_cameras_its_critic_on_one_and_the_checkpoint_says_so(root, tmp_path):
    actor = replace(ACTOR, backbone=replace(BACKBONE, cameras=TWO), steps=2, batch=4)
    config = TrainConfig(
        (str(root),), str(tmp_path / "out"), threads=1, actor=actor, critic=replace(CRITIC, mc_steps=2, steps=2)
    )
    train(config, progress=False)
    policy = checkpoint.load(tmp_path / "out")
    assert policy.cameras == TWO and policy.critic.backbone.cameras == ("ego",)
    picture, q = np.zeros((30, 40, 3), np.uint8), np.zeros(50)
    chunk, value = policy.act_and_value(dict.fromkeys(TWO, picture), q, "erase the whiteboard")
    assert chunk.shape == (50, 50) and -1.0 <= value <= 0.0
    with pytest.raises(ValueError, match="needs the picture of left_wrist, got ego"):
        policy.act(picture, q, "erase the whiteboard")


def test_a_policy_of_one_camera_has_no_weights_for_several(tmp_path):
    assert "backbone.camera" not in Actor(ACTOR, 50).state_dict()
    assert "backbone.camera" in Actor(replace(ACTOR, backbone=replace(BACKBONE, cameras=TWO)), 50).state_dict()
    root = write_dataset(tmp_path / "d", [episode_frames(0)])
    assert list(LeRobotReader(root).cameras) == ["ego"]
