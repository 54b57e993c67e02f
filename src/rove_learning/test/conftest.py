# SPDX-License-Identifier: Apache-2.0
"""Fixtures: one torch thread, and a dataset with every kind of episode."""

import pytest
import torch

from rove_contract.modes import Outcome
from rove_learning.testing.synthetic import episode_frames, intervention, write_dataset


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def mixed(tmp_path_factory):
    """Demonstrations, a failed rollout, an intervention, a human video, an aborted episode."""
    return write_dataset(
        tmp_path_factory.mktemp("data") / "mixed",
        [
            episode_frames(0),
            episode_frames(1),
            episode_frames(2, 30, Outcome.FAILURE, "rollout"),
            intervention(3),
            episode_frames(4, 20, Outcome.FAILURE, "human_video"),
            episode_frames(5, 10, Outcome.ABORTED, "rollout"),
        ],
    )
