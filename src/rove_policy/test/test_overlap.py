# SPDX-License-Identifier: Apache-2.0
"""Chunks in time: passed steps are skipped, executed steps are kept, a bad checkpoint changes nothing."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from rove_learning.models.actor import Actor
from rove_learning.models.backbone import Pictures
from rove_learning.models.guidance import sample
from rove_learning.models.realtime import align, soft_mask
from rove_learning.testing.synthetic import ACTOR
from rove_policy.overlap import Overlap, TooLate, skip_passed
from rove_policy.reload import Reload

CHUNK = np.arange(50.0)[:, None] * np.ones((1, 50))  # row i is i


def test_a_slow_inference_loses_the_steps_that_passed():
    chunk, stamp = skip_passed(CHUNK, 1_000_000_000, 0.3)
    assert len(chunk) == 50 and stamp == 1_000_000_000
    chunk, stamp = skip_passed(CHUNK, 1_000_000_000, 1.03)
    assert chunk[0, 0] == 20 and stamp == 2_000_000_000
    with pytest.raises(TooLate, match=r"inference took 10\.0 s, longer than a chunk of 2\.5 s"):
        skip_passed(CHUNK, 0, 10.0)


def test_the_soft_mask_freezes_the_delay_and_ends_with_the_previous_chunk():
    weight = soft_mask(50, 4, 34)
    assert np.all(weight[:4] == 1.0) and np.all(weight[34:] == 0.0) and np.all(np.diff(weight[3:35]) < 0.0)
    c = np.array(
        [1, 1, 4 / 5, 3 / 5, 2 / 5, 1 / 5, 0, 0, 0, 0]
    )  # the example in the authors' code: frozen up to 2, free from 6 of 10
    np.testing.assert_allclose(soft_mask(10, 2, 6), c * (np.exp(c) - 1) / (np.e - 1), atol=1e-12)
    np.testing.assert_array_equal(
        soft_mask(10, 8, 3), [1.0] * 3 + [0.0] * 7
    )  # the previous chunk ends before the delay


def test_the_previous_chunk_is_seen_from_the_new_observation_s_time():
    overlap = Overlap()
    assert overlap.known(0, 0.1) is None
    overlap.published(CHUNK, 0)
    known, weight = overlap.known(int(0.825e9), 0.12)  # 16.5 steps later; 0.12 s are 3 steps, and one for transport
    np.testing.assert_allclose(known[:33, 0], 16.5 + np.arange(33))
    assert np.all(weight[:4] == 1.0) and weight[4] < 1.0 and np.all(weight[33:] == 0.0)
    assert overlap.known(int(3e9), 0.1) is None and align(CHUNK, -1.0, 2) is None
    overlap.clear()
    assert overlap.known(int(0.8e9), 0.1) is None


@pytest.mark.parametrize("predict", ["clean", "velocity"])
def test_real_time_chunking_keeps_the_steps_that_are_executed_and_changes_the_rest(predict):
    torch.manual_seed(0)
    actor = Actor(replace(ACTOR, predict=predict)).eval()
    torch.nn.init.normal_(actor.head.out.weight, std=0.3)
    observation = Pictures(torch.zeros(1, 48, 48, 3, dtype=torch.uint8), ["erase"], (["bad"], ["good"]))
    given, noise = torch.randn(1, 50, 50), torch.randn(1, 50, 50)
    weight = torch.from_numpy(soft_mask(50, 6, 34)).float()[None, :, None]
    free = sample(actor, observation, torch.zeros(1, 50), noise, 1.5)
    held = sample(actor, observation, torch.zeros(1, 50), noise, 1.5, known=(given, weight))
    torch.testing.assert_close(held[:, :6], given[:, :6], atol=1e-5, rtol=1e-5)
    distance = (held - given).abs().mean((0, 2)) / (free - given).abs().mean((0, 2))
    assert distance[6:10].mean() < 0.5 < distance[34:].mean()  # the soft steps lean towards the previous chunk
    none = sample(actor, observation, torch.zeros(1, 50), noise, 1.5, known=(given, torch.zeros_like(weight)))
    torch.testing.assert_close(none, free)


def test_a_checkpoint_that_cannot_be_loaded_leaves_the_old_one(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    failures, ended, gate = [], threading.Event(), threading.Event()

    def load(path):
        gate.wait(5)
        if not failures:
            raise ValueError("SHA-256 differs")
        return "policy"

    reload = Reload(load, "old", lambda path, reason: failures.append(reason))
    assert "no checkpoint at /none" in reload.begin("/none")
    assert reload.begin(str(tmp_path), lambda reason: ended.set()) == ""
    assert "is being loaded" in reload.begin(str(tmp_path))
    gate.set()
    assert ended.wait(5) and reload.take() is None and reload.path == "old"
    assert "old stays in force: SHA-256 differs" in failures[0]
    assert reload.begin(str(tmp_path)) == ""
    for _ in range(500):
        if loaded := reload.take():
            break
        ended.clear()
        ended.wait(0.01)
    assert loaded[0] == "policy" and reload.path == str(tmp_path) and reload.loading == ""
