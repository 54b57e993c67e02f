# SPDX-License-Identifier: Apache-2.0
"""Value targets and losses: Monte-Carlo returns (eq. 3), H-step bootstrapped targets (eq. 4), expectile loss (eq. 5).

`r` is one episode's rewards (T,), r[T - 1] the paper's r_T; after the last frame there is nothing, so its value is r[T
- 1] alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def monte_carlo_returns(r: np.ndarray, gamma: float = 1.0) -> np.ndarray:
    """(T,): sum over i >= t of gamma^(i - t) r_i (eq. 1 and 3)."""
    g = np.empty(len(r))
    tail = 0.0
    for t in range(len(r) - 1, -1, -1):
        tail = r[t] + gamma * tail
        g[t] = tail
    return g


def segment_rewards(r: np.ndarray, horizon: int, gamma: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What eq. 4 needs of each H-step segment: (sums (T,), next frame (T,) int, discount (T,)).

    sums[t] = sum over t <= i < min(t + H, T) of gamma^(i - t) r_i. The segment bootstraps from frame t + H with
    discount gamma^H when that frame exists; otherwise it reached the terminal step: discount 0, and next = t only as a
    valid index.
    """
    if horizon < 1:
        raise ValueError(f"the horizon is {horizon} steps, expected at least 1")
    length = len(r)
    weighted = np.convolve(r, gamma ** np.arange(horizon)[::-1])[horizon - 1 :]
    index = np.arange(length)
    inside = index + horizon < length
    return weighted[:length], np.where(inside, index + horizon, index), np.where(inside, gamma**horizon, 0.0)


def ove_target(sums: Any, discount: Any, next_value: Any) -> Any:
    """Eq. 4: sum of rewards + gamma^H V_target(s_{t+H}); discount is 0 past the end. Arrays or tensors, any shape."""
    return sums + discount * next_value


def expectile_loss(target: Any, value: Any, tau: float) -> Any:
    """Eq. 5, per sample: |tau - 1{target - value < 0}| (target - value)^2. Tensors; tau = 0.5 is half the squared
    error.
    """
    difference = target - value
    weight = (tau - (difference < 0).to(difference.dtype)).abs()
    return weight * difference**2
