# SPDX-License-Identifier: Apache-2.0
"""Eq. 2 to 5 and Algorithm 1 line 4, against numbers computed by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rove_learning.algorithm.advantage import h_step_advantage
from rove_learning.algorithm.losses import expectile_loss
from rove_learning.algorithm.rewards import Normaliser, penalty_frame, pretraining_c_fail, rewards
from rove_learning.algorithm.targets import monte_carlo_returns, ove_target, segment_rewards

S, F = True, False


def test_success_costs_one_per_step_and_ends_with_zero():
    np.testing.assert_array_equal(rewards(4, S, c_fail=-500), [-1, -1, -1, 0])


def test_failure_ends_with_c_fail():
    np.testing.assert_array_equal(rewards(3, F, c_fail=-500), [-1, -1, -500])


def test_intervention_pays_c_fail_at_t_r_and_not_at_takeover():
    t_r = penalty_frame(6, S, adaptation_end=3, takeover=1)
    np.testing.assert_array_equal(rewards(6, S, c_fail=-500, penalty=t_r), [-1, -1, -1, -500, -1, 0])


def test_ablation_pays_at_takeover():
    assert penalty_frame(6, S, adaptation_end=3, takeover=1, penalty_at="takeover") == 1


def test_penalty_of_an_intervention_without_marked_recovery():
    assert penalty_frame(6, S, adaptation_end=6, takeover=2) == 4  # adapted to the end; frame 5 is the success itself
    assert penalty_frame(6, F, adaptation_end=6, takeover=2) == -1  # the failure at T says it already
    assert penalty_frame(6, F, adaptation_end=-1, takeover=-1) == -1


def test_recovery_marked_only_at_the_success_does_not_lose_the_penalty():
    """Seen in simulated deployments: the last mark went in the frame in which the operator first made progress."""
    assert penalty_frame(6, S, adaptation_end=5, takeover=2) == 4
    np.testing.assert_array_equal(rewards(6, S, c_fail=-500, penalty=4), [-1, -1, -1, -1, -500, 0])
    assert penalty_frame(6, F, adaptation_end=5, takeover=2) == 5
    assert penalty_frame(6, S, adaptation_end=6, takeover=5, penalty_at="takeover") == 4


def test_the_first_matching_case_of_eq_2_counts_at_the_last_frame():
    assert rewards(3, S, c_fail=-500, penalty=2)[-1] == 0.0


def test_pretraining_penalty_is_minus_the_mean_length():
    assert pretraining_c_fail([80, 100, 120]) == -100.0


def test_the_scale_is_the_longest_episode_and_the_penalties_that_can_meet_in_it():
    n = Normaliser.of(-500.0, 300)  # C_fail at t_r and at T
    assert n.scale == 1300.0 and n.returns(np.array([-1300.0, 0.0])).tolist() == [-1.0, 0.0]
    assert n.steps(n.returns(np.array([-123.0]))) == pytest.approx([-123.0])


def test_a_return_beyond_the_scale_is_refused_and_not_clipped():
    with pytest.raises(ValueError, match="-1301 steps is beyond the normalisation's scale of 1300"):
        Normaliser(1300.0).returns(np.array([-5.0, -1301.0]))


@given(st.integers(2, 400), st.booleans(), st.integers(-1, 400), st.integers(0, 400), st.floats(-600, 0))
def test_no_return_of_eq_2_is_beyond_the_scale(length, success, takeover, stage_length, c_fail):
    takeover = min(takeover, length - 1)
    end = min(takeover + stage_length, length) if takeover >= 0 else -1
    penalty = penalty_frame(length, success, end, takeover)
    g = monte_carlo_returns(rewards(length, success, c_fail=c_fail, penalty=penalty))
    normalised = Normaliser.of(c_fail, length).returns(g)
    assert normalised.min() >= -1.0 and normalised.max() <= 0.0


def test_monte_carlo_returns_by_hand():
    np.testing.assert_allclose(monte_carlo_returns(np.array([-1.0, -1.0, -1.0, 0.0])), [-3, -2, -1, 0])
    # gamma 0.5: t=2: -8; t=1: -1 - 4 = -5; t=0: -1 - 2.5
    np.testing.assert_allclose(monte_carlo_returns(np.array([-1.0, -1.0, -8.0]), 0.5), [-3.5, -5.0, -8.0])


def test_segments_end_at_the_terminal_step():
    sums, following, discount = segment_rewards(np.array([-1.0, -1.0, -1.0, -1.0, 0.0]), horizon=2)
    np.testing.assert_allclose(sums, [-2, -2, -2, -1, 0])
    np.testing.assert_array_equal(following[:3], [2, 3, 4])
    np.testing.assert_array_equal(discount, [1, 1, 1, 0, 0])  # t = 2 still bootstraps, from the last frame


def test_window_longer_than_the_episode_is_its_return():
    r = np.array([-1.0, -1.0, -500.0])
    sums, _, discount = segment_rewards(r, horizon=16)
    np.testing.assert_allclose(sums, monte_carlo_returns(r))
    assert not discount.any()


def test_t_r_inside_at_the_edge_of_and_behind_a_window():
    r = rewards(10, S, c_fail=-500, penalty=4)
    sums, _, _ = segment_rewards(r, horizon=4)
    assert sums[0] == -4.0  # frames 0..3: t_r = 4 is the bootstrap frame, not in the sum
    assert sums[1] == -503.0  # frames 1..4: t_r is the window's last frame
    assert sums[4] == -503.0  # frames 4..7: t_r is its first
    assert sums[5] == -4.0  # frames 5..8: behind t_r


def test_discount_below_one_by_hand():
    sums, following, discount = segment_rewards(np.array([-1.0, -2.0, -4.0, -8.0]), horizon=2, gamma=0.5)
    np.testing.assert_allclose(sums, [-2.0, -4.0, -8.0, -8.0])  # -1 - 1, -2 - 2, -4 - 4, -8
    np.testing.assert_allclose(discount, [0.25, 0.25, 0, 0])
    value = np.array([0.0, 0.0, -10.0, -20.0])
    np.testing.assert_allclose(ove_target(sums, discount, value[following]), [-4.5, -9.0, -8.0, -8.0])


def test_advantage_by_hand():
    r = np.array([-1.0, -1.0, -1.0, 0.0])
    value = np.array([-5.0, -2.0, -1.0, 0.0])
    # A_0 = -2 + V_2 - V_0 = -2 - 1 + 5; A_1 = -2 + 0 + 2; A_2 = -1 + 0 + 1 past the end; A_3 = 0
    np.testing.assert_allclose(h_step_advantage(r, value, horizon=2), [2.0, 0.0, 0.0, 0.0])


def test_expectile_loss_by_hand():
    target, value = torch.tensor([0.0, -1.0]), torch.tensor([-1.0, 0.0])
    np.testing.assert_allclose(expectile_loss(target, value, 0.7).numpy(), [0.7, 0.3], rtol=1e-6)
    np.testing.assert_allclose(expectile_loss(target, value, 0.5).numpy(), [0.5, 0.5])


def test_expectile_gradient_is_right():
    value = torch.tensor([-0.3, -0.8, -0.1], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([-0.5, -0.2, -0.1 + 1e-3], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: expectile_loss(target, v, 0.7), value)


@given(st.lists(st.floats(-500, 0), min_size=1, max_size=30), st.integers(1, 20), st.floats(0.5, 1.0))
def test_true_values_have_no_advantage(r, horizon, gamma):
    """On one deterministic episode V = MC return is the fixed point of eq. 4, at terminals too."""
    r = np.array(r)
    g = monte_carlo_returns(r, gamma)
    np.testing.assert_allclose(h_step_advantage(r, g, horizon, gamma), 0.0, atol=1e-8 * max(1.0, np.abs(g).max()))


def chain(tau: float, target: str, iterations: int = 1000):
    """States 0 -> 1 -> end. From state 1 the data holds a success (0) and two failures (-9); a step costs 1. Exact
    tabular descent.
    """
    episodes = [np.array([-1.0, 0.0]), np.array([-1.0, -9.0]), np.array([-1.0, -9.0])]
    value = torch.zeros(2, dtype=torch.float64)
    sums, following, discount, states = [], [], [], []
    for r in episodes:
        a, b, c = segment_rewards(r, horizon=1)
        g = monte_carlo_returns(r)
        for t in range(2):
            states.append(t)
            sums.append(g[t] if target == "mc" else a[t])
            following.append(int(b[t]))
            discount.append(0.0 if target == "mc" else c[t])
    states, following = torch.tensor(states), torch.tensor(following)
    sums, discount = torch.tensor(sums), torch.tensor(discount)
    for _ in range(iterations):
        v = value.clone().requires_grad_(True)
        expectile_loss(ove_target(sums, discount, value[following]), v[states], tau).sum().backward()
        value = value - 0.2 * v.grad
    return value.numpy()


def test_chain_with_a_discount_by_hand():
    """0 -> 1 -> 2 -> end, one step costs 1, success: V_2 = 0, V_1 = -1, V_0 = -1 + 0.5 V_1 = -1.5; H = 2 bootstraps
    0.25 V_2 instead.
    """
    r = np.array([-1.0, -1.0, 0.0])
    np.testing.assert_allclose(monte_carlo_returns(r, 0.5), [-1.5, -1.0, 0.0])
    for horizon in (1, 2):
        sums, following, discount = segment_rewards(r, horizon, 0.5)
        value = np.zeros(3)
        for _ in range(5):
            value = ove_target(sums, discount, value[following])
        np.testing.assert_allclose(value, [-1.5, -1.0, 0.0])


def test_chain_mc_gives_the_mean_return():
    np.testing.assert_allclose(chain(0.5, "mc"), [-7.0, -6.0], atol=1e-6)


def test_chain_expectile_half_gives_the_td_mean():
    np.testing.assert_allclose(chain(0.5, "ove"), [-7.0, -6.0], atol=1e-6)


def test_chain_optimism_approaches_the_best_return_in_the_data():
    best = chain(0.999, "ove", 4000)
    np.testing.assert_allclose(best, [-1.0, 0.0], atol=0.1)
    assert np.all(chain(0.7, "ove") < best) and np.all(chain(0.7, "ove") > chain(0.5, "ove"))
