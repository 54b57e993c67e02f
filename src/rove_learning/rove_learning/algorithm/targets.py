# SPDX-License-Identifier: Apache-2.0
"""Value targets: Monte-Carlo returns (eq. 1 and 3) and H-step bootstrapped targets (eq. 4).

`r` is one episode's rewards (T,); r[T - 1] is the paper's r_T. Behind the last frame there is nothing, so its value is
r[T - 1] alone.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = TypeVar("Numbers", Floats, torch.Tensor)


def monte_carlo_returns(r: Floats, gamma: float = 1.0) -> Floats:
    """(T,): sum over i >= t of gamma^(i - t) r_i (eq. 1 and 3)."""
    g = np.empty(len(r))
    tail = 0.0
    for t in range(len(r) - 1, -1, -1):
        tail = float(r[t]) + gamma * tail
        g[t] = tail
    return g


def segment_rewards(r: Floats, horizon: int, gamma: float = 1.0) -> tuple[Floats, NDArray[np.int64], Floats]:
    """What eq. 4 needs of each H-step segment: (sums (T,), next frame (T,) int, discount (T,)).

    sums[t] = sum over t <= i < min(t + H, T) of gamma^(i - t) r_i. The segment bootstraps from frame t + H with
    discount gamma^H when that frame exists; otherwise it reached the terminal step: discount 0, and next = t only as a
    valid index. Raises ValueError for a horizon below 1.
    """
    if horizon < 1:
        raise ValueError(f"the horizon is {horizon} steps, expected at least 1")
    length = len(r)
    weighted = np.convolve(r, gamma ** np.arange(horizon)[::-1])[horizon - 1 :]
    index = np.arange(length)
    inside = index + horizon < length
    return weighted[:length], np.where(inside, index + horizon, index), np.where(inside, gamma**horizon, 0.0)


def ove_target(sums: Numbers, discount: Numbers, next_value: Numbers) -> Numbers:
    """Eq. 4: sum of rewards + gamma^H V_target(s_{t+H}); discount is 0 past the end. Arrays or tensors, any shape."""
    return sums + discount * next_value
