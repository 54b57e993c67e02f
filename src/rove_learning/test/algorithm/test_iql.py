# SPDX-License-Identifier: Apache-2.0
"""IQL's losses (App. C) against numbers computed by hand, and on a chain whose best way no single episode takes."""

import numpy as np
import pytest
import torch

from rove_learning.algorithm.iql import q_advantage, q_loss, v_loss
from rove_learning.algorithm.targets import monte_carlo_returns, segment_rewards


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_q_is_regressed_on_reward_plus_discounted_value():
    # targets: -1 + 0.5 * (-4) = -3 and, at the terminal step, -5 + 0 * (-100) = -5; errors 1 and -1
    loss = q_loss(tensor(-2.0, -6.0), tensor(-1.0, -5.0), tensor(0.5, 0.0), tensor(-4.0, -100.0))
    assert loss.item() == pytest.approx(1.0)
    # two critics: errors (1, -1) and (3, 1): mean of 1, 1, 9, 1
    both = torch.stack([tensor(-2.0, -6.0), tensor(0.0, -4.0)])
    assert q_loss(both, tensor(-1.0, -5.0), tensor(0.5, 0.0), tensor(-4.0, -100.0)).item() == pytest.approx(3.0)


def test_v_is_the_expectile_of_q_by_hand():
    # Q - V = 2 weighs 0.9, Q - V = -1 weighs 0.1: (0.9 * 4 + 0.1 * 1) / 2
    assert v_loss(tensor(-3.0, -1.0), tensor(-1.0, -2.0), 0.9).item() == pytest.approx(1.85)


def test_advantage_is_q_minus_v():
    np.testing.assert_array_equal(q_advantage(tensor(-1.0, -4.0), tensor(-3.0, -2.0)), [2.0, -2.0])


def test_q_teaches_only_q_and_v_only_v():
    q, value = tensor(-1.0).requires_grad_(True), tensor(-2.0).requires_grad_(True)
    q_loss(q, tensor(-1.0), tensor(1.0), value).backward()
    assert value.grad is None and q.grad.item() == pytest.approx(4.0)  # 2 (-1 - (-3))
    q.grad = None
    v_loss(value, q, 0.5).backward()
    assert q.grad is None and value.grad.item() == pytest.approx(-1.0)  # 2 * 0.5 * (V - Q)


def test_gradients_are_right():
    q, value = tensor(-1.0, -2.5).requires_grad_(True), tensor(-2.0, -2.0).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: q_loss(x, tensor(-1.0, -1.0), tensor(1.0, 0.0), value), q)
    assert torch.autograd.gradcheck(lambda x: v_loss(x, q, 0.9), value)


# Crossing 1 -> 3 (goal, 0) or 2 (nowhere, -9). Two episodes: 0 -> 1 -> 2, which failed, and 4 -> 1 -> 3, which
# succeeded: the best way from 0 is the beginning of the first and the end of the second. (states, actions, rewards) per
# episode; -1 a step.
EPISODES = [((0, 1, 2), (0, 0, 0), (-1.0, -1.0, -9.0)), ((4, 1, 3), (0, 1, 0), (-1.0, -1.0, 0.0))]


def tabular_iql(tau: float, iterations: int = 1500):
    """Exact gradient descent on tables V (5,) and Q (5, 2), from below since an expectile near 1 falls slowly; Q's
    target is Q itself.
    """
    state, action, sums, following, discount = [], [], [], [], []
    for states, actions, r in EPISODES:
        a, b, c = segment_rewards(np.array(r), horizon=1)
        state += states
        action += actions
        following += [states[i] for i in b]
        sums += list(a)
        discount += list(c)
    state, action, following = torch.tensor(state), torch.tensor(action), torch.tensor(following)
    sums, discount = tensor(*sums), tensor(*discount)
    q, value = (torch.full(size, -12.0, dtype=torch.float64, requires_grad=True) for size in ((5, 2), (5,)))
    for _ in range(iterations):
        loss = q_loss(q[state, action], sums, discount, value[following]) + v_loss(value[state], q[state, action], tau)
        for table, gradient in zip((q, value), torch.autograd.grad(loss, (q, value))):
            table.data -= 1.5 * gradient
    return q.detach(), value.detach()


def test_iql_stitches_what_no_single_episode_shows():
    _, value = tabular_iql(0.999)
    np.testing.assert_allclose(value[[0, 1, 3, 2]], [-2.0, -1.0, 0.0, -9.0], atol=0.15)
    assert monte_carlo_returns(np.array(EPISODES[0][2]))[0] == -11.0  # all that MC ever sees from 0


def test_iql_with_tau_half_is_the_mean_over_the_data():
    q, value = tabular_iql(0.5)
    np.testing.assert_allclose(value[[0, 1]], [-6.5, -5.5], atol=1e-3)  # state 1: mean of -1 - 9 and -1 + 0
    np.testing.assert_allclose(q_advantage(q[1], value[1]), [-4.5, 4.5], atol=1e-3)
