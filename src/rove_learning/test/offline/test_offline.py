# SPDX-License-Identifier: Apache-2.0
"""Mazes: the batched ball is the environment's, the data must be stitched, segments end where they should, critics and
actor learn.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rove_learning.algorithm.rewards import Normaliser
from rove_learning.offline import d4rl, train, waypoints
from rove_learning.offline.episodes import Episodes, segments
from rove_learning.offline.evaluate import success_rate
from rove_learning.offline.networks import FlowActor
from rove_learning.offline.point_maze import TASKS, PointMazes


def line(*lengths, success):
    """Episodes whose state counts the frames; the action is the state."""
    start = np.concatenate([[0], np.cumsum(lengths)])
    frame = np.arange(start[-1], dtype=np.float32)[:, None]
    return Episodes(frame, frame, start, np.array(success))


@pytest.fixture(scope="module")
def medium():
    pytest.importorskip("gymnasium_robotics")
    mazes = PointMazes("medium", 50)
    yield mazes
    mazes.close()


def test_batched_balls_move_as_the_environment_does(medium):
    env = medium.env
    env.reset(seed=0, options={"reset_cell": np.array([1, 1]), "goal_cell": np.array([6, 6])})
    medium.place(np.ones(50, bool), env.point_env.data.qpos.copy())
    for step in range(150):  # into walls and along them
        action = np.array([np.sin(step / 40), np.cos(step / 25)])
        expected = env.step(action)[0]["observation"]
        state = medium.step(np.tile(action, (50, 1)))
        np.testing.assert_allclose(state, np.tile(expected, (50, 1)), atol=1e-9)


def test_a_way_leads_from_every_cell_to_every_goal(medium):
    table = waypoints.next_cells(medium.wall)
    for goal in range(len(table)):
        cell = np.arange(len(table))
        for _ in range(len(table)):
            following = table[goal, cell]
            assert (np.abs(medium.cells[following] - medium.cells[cell]).sum(1) == (cell != goal)).all()
            cell = following
        assert (cell == goal).all()


@pytest.mark.parametrize("variety", ["play", "diverse"])
def test_no_episode_of_the_data_shows_the_way_from_start_to_goal(medium, variety):
    data = waypoints.collect(medium, variety, 15_000, np.random.default_rng(0), progress=False)
    assert data.success.any() and np.diff(data.start).max() <= waypoints.EPISODE_STEPS["medium"]
    for where, success in zip(data.slices(), data.success):
        near = np.linalg.norm(data.state[where, :2] - medium.start, axis=1).min() < 1.0
        assert not (near and success)
        assert success == (np.linalg.norm(data.state[where.stop - 1, :2] - medium.goal) <= 0.45)


def test_the_controller_itself_solves_the_task(medium):
    """Of the evaluation: a policy that knows the way arrives, one that does nothing does not."""
    table, centres = waypoints.next_cells(medium.wall), medium.centre(medium.cells)
    goal = int(np.flatnonzero((medium.cells == TASKS["medium"][1]).all(1))[0])

    def controller(state):
        cell = np.linalg.norm(state[:, None, :2] - centres, axis=2).argmin(1)
        return np.clip(10.0 * (centres[table[goal, cell]] - state[:, :2]) - state[:, 2:], -1, 1)[:, None]

    rate, steps = success_rate(medium, controller, 1, np.random.default_rng(0))
    assert rate == 1.0 and 4 * waypoints.EPISODE_STEPS["medium"] <= steps + 25
    rate, steps = success_rate(medium, lambda state: np.zeros((len(state), 16, 2)), 16, np.random.default_rng(0))
    assert rate == 0.0 and np.isnan(steps)


def test_a_cut_makes_no_target_and_a_goal_is_terminal():
    data = line(5, 4, success=[False, True])
    parts = segments(data, 2, c_fail=-10.0, normaliser=Normaliser(10.0), gamma=1.0)
    # The cut episode keeps frames 0, 1, 2, whose windows end at 2, 3, 4; the success keeps all of 5..8.
    np.testing.assert_array_equal(parts.state[:, 0], [0, 1, 2, 5, 6, 7, 8])
    np.testing.assert_array_equal(parts.following[:5, 0], [2, 3, 4, 7, 8])
    np.testing.assert_array_equal(parts.discount, [1, 1, 1, 1, 1, 0, 0])
    np.testing.assert_allclose(parts.sums, [-0.2, -0.2, -0.2, -0.2, -0.2, -0.1, 0.0], rtol=1e-6)  # C_fail is in none
    # A return ends at the goal; of an episode that was cut nobody knows it, so MC leaves its frames out too.
    np.testing.assert_allclose(parts.returns, [np.nan] * 3 + [-0.3, -0.2, -0.1, 0.0], rtol=1e-6)
    tensors = train.Tensors(parts, train.Scale.of(parts.state), 0)
    assert set(tensors.complete_batch(64).tolist()) == {3, 4, 5, 6}
    np.testing.assert_array_equal(parts.valid[-2:], [[True, True], [True, False]])
    np.testing.assert_array_equal(parts.action[-1, :, 0], [8, 0])


def test_bad_data_names_episode_and_frame():
    data = line(3, 3, success=[True, True])
    data.action[4] = np.nan
    with pytest.raises(ValueError, match="episode 1 frame 1: state is not finite"):
        replace(data)


CROSSING = torch.eye(5)  # states 0 -> 1 -> 2 (nowhere) and 4 -> 1 -> 3 (goal), one-hot


@pytest.mark.parametrize("critic, start, crossing", [("ove", 2.9, 1.9), ("iql", 2.9, 1.9), ("mc", 10.0, 5.5)])
def test_ove_and_iql_stitch_at_a_crossing_and_mc_averages(critic, start, crossing):
    """From state 0 the data only shows the failure (-10); over the crossing the goal is 2 steps away. -1 per step,
    never = -10.

    The crossing's targets are -10 (clipped) and -1: mean -5.5; expectile 0.9 of them: 0.9 (-1 - V) = 0.1 (V + 10), V =
    -1.9.
    """
    visits = [(0, 1, 0.0), (1, 2, 0.0), (4, 1, 1.0), (1, 3, 1.0)]  # state, next, action
    data = train.Tensors.__new__(train.Tensors)
    data.state = torch.stack([CROSSING[s] for s, _, _ in visits] + [CROSSING[2], CROSSING[3]])
    data.following = torch.stack([CROSSING[n] for _, n, _ in visits] + [CROSSING[2], CROSSING[3]])
    data.action = torch.tensor([a for _, _, a in visits] + [0.0, 1.0])[:, None, None]
    data.sums = torch.tensor([-0.1, -0.1, -0.1, -0.1, -1.0, 0.0])
    data.discount = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    data.returns = torch.tensor([-1.0, -1.0, -0.2, -0.1, -1.0, 0.0])
    data.generator, data.complete = torch.Generator().manual_seed(0), torch.arange(6)
    torch.manual_seed(0)
    config = train.OfflineConfig(horizon=1, gamma=0.9, tau=0.9, width=32, critic_steps=700, batch=16, ema=0.05, lr=3e-3)
    advantage, value = train.train_critic(critic, data, config, progress=False)
    v = -10.0 * value.value(CROSSING)
    np.testing.assert_allclose(v[[0, 1, 3]], [start, crossing, 0.0], atol=0.3)
    assert advantage[3] > advantage[1]  # at the crossing, the turn to the goal


def test_the_actor_follows_its_label():
    """Two actions at one state, the positive one is +0.5; guidance 1 gives it, guidance 0 the other."""
    data = train.Tensors.__new__(train.Tensors)
    data.state = torch.zeros(64, 3)
    data.action = torch.tensor([0.5, -0.5]).repeat(32)[:, None, None].expand(64, 2, 1).contiguous()
    data.valid, data.generator = torch.ones(64, 2, dtype=torch.bool), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    config = train.OfflineConfig(percentile=50.0, actor_steps=400, actor_width=32, batch=64, lr=3e-3)
    actor = train.train_actor(data, data.action[:, 0, 0].numpy(), config, progress=False)
    assert isinstance(actor, FlowActor)
    for beta, expected in ((1.0, 0.5), (0.0, -0.5)):
        chunks = actor.sample(torch.zeros(20, 3), torch.randn(20, 2, 1), beta, 5)
        np.testing.assert_allclose(chunks, expected, atol=0.15)


def write_antmaze(path, frames=30, **changes):
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    columns = {
        "observations": rng.normal(size=(frames, 29)),
        "actions": rng.uniform(-1, 1, (frames, 8)),
        "rewards": np.zeros(frames),
        "terminals": np.zeros(frames, bool),
        "timeouts": np.arange(frames) % 10 == 9,
    } | changes
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            if values is not None:
                file[name] = values
    return path


def test_d4rl_files_are_split_at_timeouts_and_end_at_the_goal(tmp_path):
    reward = np.zeros(30)
    reward[14:20] = 1.0  # the second episode arrives at its frame 4 and stays
    data = d4rl.read(write_antmaze(tmp_path / "large.hdf5", rewards=reward))
    np.testing.assert_array_equal(np.diff(data.start), [10, 5, 10])
    np.testing.assert_array_equal(data.success, [False, True, False])


def test_other_files_are_refused_by_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="no timeouts; expected an AntMaze file"):
        d4rl.read(write_antmaze(tmp_path / "a.hdf5", timeouts=None))
    with pytest.raises(ValueError, match=r"AntMaze has \(N, 29\)"):
        d4rl.read(write_antmaze(tmp_path / "b.hdf5", observations=np.zeros((30, 4))))
    broken = np.zeros((30, 29))
    broken[12, 3] = np.nan
    with pytest.raises(ValueError, match="episode 1 frame 2: state is not finite"):
        d4rl.read(write_antmaze(tmp_path / "c.hdf5", observations=broken))
    with pytest.raises(ValueError, match="expected medium or large"):
        d4rl.size_of("umaze.hdf5")
    assert d4rl.size_of("Ant_maze_hardest-maze_noisy_multistart_True.hdf5") == "large"


def test_the_ant_maze_is_d4rls():
    """Goal cell of D4RL's large maze: (row 7, column 9), 8 columns and 6 rows of 4 m behind the start; an ant at the
    origin can stand.
    """
    pytest.importorskip("gymnasium_robotics")
    mazes = d4rl.AntMazes("large", 3)
    mazes.begin(np.random.default_rng(0))
    assert ((mazes.goal >= [32, 24]) & (mazes.goal <= [33.5, 25.5])).all()
    assert np.abs(mazes.state[:, :2]).max() < 0.2 and mazes.state.shape == (3, 29)
    for _ in range(10):
        state = mazes.step(np.zeros((3, 8)))
    assert np.isfinite(state).all() and np.abs(state[:, :2]).max() < 1.0 and (state[:, 2] > 0.2).all()
    assert not mazes.at_goal().any()
    from gymnasium_robotics.envs.maze.maps import LARGE_MAZE

    boxes = (
        mazes.model.geom_pos[mazes.model.geom_type == 6][:, :2] - mazes._origin
    )  # mjGEOM_BOX; D4RL: x from columns, y from rows
    walls = 4.0 * (np.argwhere(np.array(LARGE_MAZE) == 1) - 1)[:, ::-1]
    assert {tuple(p) for p in np.round(boxes, 6)} == {tuple(p) for p in walls}
    mazes.close()
