# SPDX-License-Identifier: Apache-2.0
"""Threshold, labels, guidance and state regularisation."""

import numpy as np
import pytest
import torch

from rove_contract.modes import Outcome, Stage
from rove_description import joints
from rove_learning.algorithm import advantage as adv
from rove_learning.config import RegulariseConfig
from rove_learning.data.augmentation import augment_images, draw_augmentation, noise_scale, regularise_state
from rove_learning.models.actor import guide

A = np.arange(11.0)  # 70th percentile: exactly 7
STAGE = np.array([Stage.DEMONSTRATION] * 3 + [Stage.ROLLOUT] * 3 + [Stage.ADAPTATION] * 2 + [Stage.RECOVERY] * 3)
GOOD = np.full(11, Outcome.SUCCESS)


def test_threshold_is_the_70th_percentile():
    assert adv.threshold(A) == pytest.approx(7.0)


def test_rove_labels_strictly_above_the_threshold_and_keeps_everything():
    labels = adv.rove(A, STAGE, GOOD)
    np.testing.assert_array_equal(labels.positive, A > 7.0)
    assert labels.keep.all() and labels.threshold == pytest.approx(7.0)


def test_recap_adds_the_recovery_but_not_the_adaptation():
    labels = adv.recap(A[::-1], STAGE, GOOD)
    np.testing.assert_array_equal(labels.positive, (A[::-1] > 7.0) | (STAGE == Stage.RECOVERY))
    assert not labels.positive[STAGE == Stage.ADAPTATION].any()


def test_hg_dagger_keeps_people_and_drops_the_policy():
    labels = adv.hg_dagger(A, STAGE, GOOD)
    np.testing.assert_array_equal(labels.keep, STAGE != Stage.ROLLOUT)
    assert labels.positive.all()


def test_filtered_bc_keeps_high_advantage_of_successes_and_demonstrations():
    outcome = GOOD.copy()
    outcome[8] = Outcome.FAILURE
    labels = adv.filtered_bc(A, STAGE, outcome)
    np.testing.assert_array_equal(labels.keep, (STAGE == Stage.DEMONSTRATION) | (A > 8))


def test_sft_is_successful_demonstrations():
    outcome = GOOD.copy()
    outcome[0] = Outcome.FAILURE
    np.testing.assert_array_equal(np.flatnonzero(adv.sft(A, STAGE, outcome).keep), [1, 2])


def test_guidance_ends_are_the_branches():
    negative, positive = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -2.0])
    assert torch.equal(guide(negative, positive, 0.0), negative)
    assert torch.equal(guide(negative, positive, 1.0), positive)
    assert torch.equal(guide(negative, positive, 2.0), torch.tensor([5.0, -6.0]))


def test_noise_is_smaller_for_head_and_waist():
    table = joints.load()
    sigma = noise_scale(table, RegulariseConfig())
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
