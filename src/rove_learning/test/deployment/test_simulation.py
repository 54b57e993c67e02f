# SPDX-License-Identifier: Apache-2.0
"""The in-process simulation plays chunks and operator targets as the running system does; what it writes trains."""

import numpy as np
import pytest

from rove_contract.modes import Outcome, Stage
from rove_description import joints, mjcf
from rove_learning.data.buffer import Buffer
from rove_learning.data.dataset import Dataset
from rove_learning.deployment.evaluate import EvaluateConfig
from rove_learning.deployment.evaluate import run_episode as evaluate_episode
from rove_learning.deployment.human_videos import VideoConfig, film
from rove_learning.deployment.interventions import InterventionConfig
from rove_learning.deployment.interventions import run_episode as deploy
from rove_learning.deployment.simulation import Simulation, episodes

TABLE = joints.load()


@pytest.fixture(scope="module")
def sim():
    simulation = Simulation(image_size=48)
    yield simulation
    simulation.env.close()


class Waving:
    """A policy that moves one joint of the left arm and never touches the task."""

    def __init__(self):
        self.calls = 0

    def act(self, image, q, instruction, guidance=None, rng=None):
        self.calls += 1
        chunk = np.tile(mjcf.home(TABLE), (50, 1))
        chunk[:, TABLE.index["left_elbow"]] += 0.3 * np.sin(np.arange(50) / 8)
        return chunk


def test_chunk_rows_are_reached_in_their_time(sim):
    sim.reset(3)
    elbow, home = TABLE.index["left_elbow"], mjcf.home(TABLE)
    chunk = np.tile(home, (50, 1))
    chunk[:, elbow] += 0.1 * (1 - np.cos(np.arange(50) / 10))
    sim.load(chunk)
    for row in range(29):
        sim.play()
        assert abs(sim.command[elbow] - chunk[row, elbow]) < 0.01  # 10 ms of lag at 0.2 rad/s, and the filter's own
    assert sim.tick == 29 and sim.env.time == pytest.approx(29 / 20)


def test_actions_of_a_recording_played_as_a_chunk_repeat_its_commands(sim):
    """Policy, simulator and recording agree: row i of a chunk is the action of frame i, due one tick after it."""
    sim.reset(3)
    elbow = TABLE.index["left_elbow"]
    actions = []
    for i in range(30):
        goal = np.array(mjcf.home(TABLE))
        goal[elbow] += 0.2 * (1 - np.cos((i + 1) / 10))
        sim.observe()
        sim.follow(goal)
        actions.append(np.array(sim.command))
    sim.reset(3)
    sim.load(np.array(actions))
    for action in actions[:28]:
        sim.play()
        assert abs(sim.command[elbow] - action[elbow]) < 0.01


def test_a_chunk_that_ran_out_stops_the_robot(sim):
    sim.reset(3)
    sim.load(
        np.tile(mjcf.home(TABLE), (4, 1)) + np.linspace(0, 0.1, 4)[:, None] * np.eye(50)[TABLE.index["left_elbow"]]
    )
    for _ in range(12):
        sim.play()
    still = np.array(sim.command)
    sim.play()
    np.testing.assert_allclose(sim.command, still, atol=1e-6)


def test_evaluation_replans_every_16_steps_and_counts_a_failure(sim):
    policy = Waving()
    row = evaluate_episode(sim, policy, EvaluateConfig("none", max_seconds=2.0), seed=5)
    assert policy.calls == 3 and not row["success"] and row["seconds"] == 2.0  # 40 ticks: chunks at 0, 16, 32


def test_deployment_near_failure_is_taken_over_and_finished(sim):
    config = InterventionConfig("none", "none", patience_s=0.5, takeover=1.0, max_seconds=25.0)
    episode = deploy(sim, Waving(), config, seed=7)
    stage = episode["stage"]
    assert episode["outcome"] == Outcome.SUCCESS
    assert (stage[: episode["takeover"]] == Stage.ROLLOUT).all() and stage[episode["takeover"]] == Stage.ADAPTATION
    assert stage[episode["t_r"]] == Stage.RECOVERY and stage[episode["t_r"] - 1] == Stage.ADAPTATION
    jump = np.abs(np.diff(episode["action"], axis=0)).max(axis=0)
    assert np.all(jump <= TABLE.limits.velocity / 20 + 1e-6)  # takeover included


def test_human_videos_have_both_outcomes_and_stay_out_of_the_actor_buffer(tmp_path):
    film(
        VideoConfig(str(tmp_path / "videos"), episodes=2, workers=1, image_size=48, start_stages=("half_erased",)),
        progress=False,
    )
    dataset = Dataset(tmp_path / "videos")
    assert [e.outcome for e in dataset.episodes] == [Outcome.SUCCESS, Outcome.FAILURE]
    assert not any(e.has_robot for e in dataset.episodes) and np.isnan(dataset.state).all()
    assert len(Buffer([dataset], 24, human_videos=True, progress=False)) == len(dataset)
    with pytest.raises(ValueError, match="no episode to train on"):
        Buffer([dataset], 24, progress=False)


def _fails(config):
    raise ValueError(f"cannot load {config}")


def test_a_worker_that_cannot_start_says_why_instead_of_starting_for_ever():
    with pytest.raises(ValueError, match="cannot load checkpoint-of-last-year"):
        list(episodes(_fails, "checkpoint-of-last-year", range(4), workers=2))
