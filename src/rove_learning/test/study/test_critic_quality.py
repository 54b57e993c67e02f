# SPDX-License-Identifier: Apache-2.0
"""A critic is judged against what the simulator knew: a perfect one passes, a blind one does not."""

import numpy as np
import pytest

from rove_contract.modes import Stage
from rove_learning.algorithm.advantage import h_step_advantage
from rove_learning.config import RewardConfig
from rove_learning.data.buffer import Buffer
from rove_learning.data.dataset import Dataset
from rove_learning.deployment.truth import load_truth, save_truth
from rove_learning.report.critic_quality import measure, reference_steps
from rove_learning.testing.synthetic import episode_frames, write_dataset

MILESTONES = ("nothing done", "half done")


@pytest.fixture(scope="module")
def episodes(tmp_path_factory):
    """Twelve demonstrations of 80 frames, in the middle half of which nothing goes on; and what the simulator knew."""
    root = tmp_path_factory.mktemp("held") / "data"
    write_dataset(root, [episode_frames(seed, 80) for seed in range(12)])
    buffer = Buffer([Dataset(root)], 48, False, False)
    advance = np.concatenate([np.linspace(0, 0.5, 20), np.full(40, 0.5), np.linspace(0.5, 1, 20)])
    for episode in buffer.episodes:
        columns = {"advance": advance, "milestone": (advance > 0.5).astype(int), "behaviour": np.full(80, "work")}
        save_truth(root, episode.episode_id, columns)
    return buffer, advance


def judge(buffer, value):
    rewards = buffer.rewards(RewardConfig())
    advantage = np.concatenate([h_step_advantage(rewards[s], value[s], 16) for s in buffer.slices()])
    return measure(buffer, value, advantage, float(np.percentile(advantage, 70)), 16, MILESTONES)


def test_a_critic_that_knows_the_work_left_tells_work_from_waiting(episodes):
    buffer, advance = episodes
    steps_left = np.tile(-(1.0 - advance) * 40.0, len(buffer.episodes))  # 40 of the 80 frames are work
    numbers, rows, _ = judge(buffer, steps_left)
    assert numbers["auc_demonstrations"] > 0.95 and numbers["rank_correlation"] > 0.95 and numbers["end_error"] < 8.0
    assert [row["phase"] for row in rows] == list(MILESTONES)


def test_a_critic_that_sees_nothing_fails_every_figure(episodes):
    buffer, _ = episodes
    numbers, _, _ = judge(buffer, np.random.default_rng(0).normal(-30.0, 10.0, len(buffer)))
    assert abs(numbers["auc_demonstrations"] - 0.5) < 0.15 and numbers["end_error"] > 8.0
    assert abs(numbers["rank_correlation"]) < 0.2 and numbers["worst_bias_to_allowed"] > 1.0


def test_the_reference_is_what_the_fastest_quarter_needed_at_like_advance():
    advance = np.repeat(np.linspace(0.0, 1.0, 11), 100)
    remaining = 100.0 * (1.0 - advance) + np.tile(np.arange(100.0), 11)  # some need up to 99 steps more
    reference = reference_steps(np.zeros(1100, dtype=int), advance, remaining)
    assert np.all(reference <= remaining.reshape(11, 100).mean(1).repeat(100))
    assert np.corrcoef(reference, -advance)[0, 1] > 0.95


def test_an_episode_without_truth_is_named(episodes, tmp_path):
    root = tmp_path / "data"
    write_dataset(root, [episode_frames(0, 20)])
    buffer = Buffer([Dataset(root)], 48, False, False)
    assert load_truth(root, buffer.episodes[0].episode_id) is None
    assert buffer.stage[0] == Stage.DEMONSTRATION
    with pytest.raises(ValueError, match="lack what the simulator knew"):
        judge(buffer, np.zeros(len(buffer)))
