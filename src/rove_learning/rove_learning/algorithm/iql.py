# SPDX-License-Identifier: Apache-2.0
"""IQL (Kostrikov et al., arXiv 2110.06169) as App. C writes it, over H-step segments as eq. 4; with H = 1 these are
App. C's equations.

The action-value Q(s_t, a_{t:t+H-1}) is regressed on rewards + gamma^H V(s_{t+H}); V is an upper expectile of Q over the
actions in the data; the advantage is Q - V. Neither network ever sees an action outside the data.
"""

from __future__ import annotations

import torch

from rove_learning.algorithm.losses import expectile_loss
from rove_learning.algorithm.targets import ove_target


def q_loss(q: torch.Tensor, sums: torch.Tensor, discount: torch.Tensor, next_value: torch.Tensor) -> torch.Tensor:
    """App. C, L_Q: mean of (Q(s_t, a) - sum of rewards - gamma^H V(s_{t+H}))^2. All (B,), or q (n, B) for n critics
    (their mean).

    sums and discount are `targets.segment_rewards`'; discount is 0 where the segment reached the terminal step. V gets
    no gradient.
    """
    return ((q - ove_target(sums, discount, next_value).detach()) ** 2).mean()


def v_loss(value: torch.Tensor, q: torch.Tensor, tau: float) -> torch.Tensor:
    """App. C, L_V: mean of |tau - 1{Q - V < 0}| (Q - V)^2 at actions of the data. (B,) each; Q (a target network) gets
    no gradient.
    """
    return expectile_loss(q.detach(), value, tau).mean()


def q_advantage(q: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """App. C: A(s_t, a_t) = Q(s_t, a_t) - V(s_t)."""
    return q - value
