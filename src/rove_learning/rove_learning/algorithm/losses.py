# SPDX-License-Identifier: Apache-2.0
"""The critic's losses as the paper prints them: MC regression (eq. 3), expectile loss and OVE (eq. 5)."""

from __future__ import annotations

import torch

from rove_learning.algorithm.histogram import Histogram
from rove_learning.algorithm.targets import ove_target


def mc_loss(value: torch.Tensor, returns: torch.Tensor, histogram: Histogram | None = None) -> torch.Tensor:
    """Eq. 3: mean of (V(s_t) - sum of gamma^(i - t) r_i)^2. value, returns: (B,) in [-1, 0].

    histogram: of a critic that predicts one; value is then its logits (B, bins), the loss the cross-entropy.
    """
    if histogram is not None:
        return histogram.cross_entropy(value, returns).mean()
    return ((value - returns) ** 2).mean()


def expectile_loss(target: torch.Tensor, value: torch.Tensor, tau: float) -> torch.Tensor:
    """Eq. 5, per sample: |tau - 1{target - value < 0}| (target - value)^2; tau = 0.5 is half the squared error."""
    difference = target - value
    return expectile_weight(difference, tau) * difference**2


def expectile_weight(difference: torch.Tensor, tau: float) -> torch.Tensor:
    """Eq. 5: |tau - 1{difference < 0}|; difference: target - value."""
    return (tau - (difference < 0).to(difference.dtype)).abs()


def ove_loss(
    value: torch.Tensor,
    sums: torch.Tensor,
    discount: torch.Tensor,
    next_value: torch.Tensor,
    tau: float,
    histogram: Histogram | None = None,
) -> torch.Tensor:
    """Eq. 5 on the target of eq. 4, mean over the batch; all (B,).

    sums, discount: see `targets.segment_rewards`. next_value: V of the EMA target critic at t + H, without gradient.
    The target is kept in [-1, 0] (App. G): only an error of next_value can lead out of it. histogram: see `mc_loss`.
    """
    target = ove_target(sums, discount, next_value).clamp(-1.0, 0.0)
    if histogram is not None:
        weight = expectile_weight(target - histogram.mean(value).detach(), tau)
        return (weight * histogram.cross_entropy(value, target)).mean()
    return expectile_loss(target, value, tau).mean()
