# SPDX-License-Identifier: Apache-2.0
"""Threshold, labels, guidance and state regularisation."""

import numpy as np
import pytest
import torch

from rove_description import joints
from rove_learning.algorithm import baselines
from rove_learning.algorithm.advantage import Frames, label_rove, threshold
from rove_learning.algorithm.methods import METHODS
from rove_learning.command_line import parse
from rove_learning.config import RegulariseConfig, TrainConfig
from rove_learning.data.augmentation import augment_images, draw_augmentation, noise_scale, regularise_state
from rove_learning.models.guidance import guide

A = np.arange(11.0)  # 70th percentile: exactly 7
WHO = np.array(["demonstration"] * 3 + ["policy"] * 3 + ["adaptation"] * 2 + ["recovery"] * 3)


def frames(failed=()):
    success = np.ones(11, dtype=bool)
    success[list(failed)] = False
    return Frames(WHO == "demonstration", WHO == "adaptation", WHO == "recovery", success)


def test_threshold_is_the_70th_percentile():
    assert threshold(A) == pytest.approx(7.0)


def test_rove_labels_strictly_above_the_threshold_and_keeps_everything():
    labels = label_rove(A, frames(), 70.0)
    np.testing.assert_array_equal(labels.positive, A > 7.0)
    assert labels.keep.all() and labels.threshold == pytest.approx(7.0)


def test_recap_adds_the_recovery_but_not_the_adaptation():
    labels = baselines.label_recap(A[::-1], frames(), 70.0)
    np.testing.assert_array_equal(labels.positive, (A[::-1] > 7.0) | (WHO == "recovery"))
    assert not labels.positive[WHO == "adaptation"].any()


def test_hg_dagger_keeps_people_and_drops_the_policy():
    labels = baselines.label_hg_dagger(A, frames(), 70.0)
    np.testing.assert_array_equal(labels.keep, WHO != "policy")
    assert labels.positive.all()


def test_filtered_bc_keeps_high_advantage_of_successes_and_demonstrations():
    labels = baselines.label_filtered_bc(A, frames(failed=[8]), 70.0)
    np.testing.assert_array_equal(labels.keep, (WHO == "demonstration") | (A > 8))


def test_sft_is_successful_demonstrations():
    np.testing.assert_array_equal(np.flatnonzero(baselines.label_sft(A, frames(failed=[0]), 70.0).keep), [1, 2])


def test_every_method_is_registered_once_and_the_command_line_knows_it():
    assert set(METHODS) == {"rove", "recap", "filtered_bc", "hg_dagger", "sft"}
    assert parse(TrainConfig, ["--method", "recap", "--dataset", "d", "--out", "o"]).method == "recap"
    assert not METHODS["recap"].human_videos and METHODS["rove"].human_videos  # App. E: "the same robot data"


def test_guidance_ends_are_the_branches():
    negative, positive = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -2.0])
    assert torch.equal(guide(negative, positive, 0.0), negative)
    assert torch.equal(guide(negative, positive, 1.0), positive)
    assert torch.equal(guide(negative, positive, 2.0), torch.tensor([5.0, -6.0]))


def test_noise_is_smaller_for_head_and_waist():
    table = joints.load()
    sigma = noise_scale(table.blocks, RegulariseConfig())
    for block in ("head", "waist"):
        assert np.all(sigma[table.indices(block)] < 0.01)
    for block in ("arm", "hand"):
        np.testing.assert_allclose(sigma[table.indices(block)], 0.01)


def test_state_noise_and_dropout_have_the_configured_rates_and_stay_in_range():
    rng = np.random.default_rng(0)
    q = np.zeros((4000, 50))
    noisy, visible = regularise_state(
        q, np.full(50, 0.01), np.full(50, -0.005), np.full(50, 0.02), RegulariseConfig(), rng
    )
    assert np.mean(~visible) == pytest.approx(0.3, abs=0.03)
    assert np.mean(noisy.any(axis=1)) == pytest.approx(0.4, abs=0.03)
    assert noisy.min() >= -0.005 and noisy.max() <= 0.02


def test_image_shift_moves_pixels_and_gain_keeps_the_type():
    images = np.random.default_rng(0).integers(0, 255, (3, 12, 12, 3), dtype=np.uint8)
    gain, shift = draw_augmentation(3, RegulariseConfig(image_gain=0.1, image_shift=2), np.random.default_rng(1))
    out = augment_images(images, gain, shift)
    assert out.shape == images.shape and out.dtype == np.uint8 and not np.array_equal(out, images)
    moved = augment_images(images, shift=np.array([[2, -1]] * 3))
    np.testing.assert_array_equal(moved[:, 2:, :-1], images[:, :-2, 1:])
