# SPDX-License-Identifier: Apache-2.0
"""How long operators go on after t_r, beside the horizon H of the critic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rove_contract.modes import Stage


def recovery_lengths(stage: np.ndarray, episode: np.ndarray) -> list[int]:
    """Steps of recovery of each episode that has any. stage, episode: (N,) of a buffer's frames."""
    return np.unique(episode[stage == Stage.RECOVERY], return_counts=True)[1].tolist()


def describe_short_recoveries(lengths: Sequence[int], horizon: int) -> str:
    """A warning where the median recovery is shorter than H steps, else "".

    The penalty at t_r (eq. 2) lies in every window that begins within H steps before it. Where recoveries are shorter
    than that, few windows show what the operator achieved without it.
    """
    median = float(np.median(lengths)) if len(lengths) else np.inf
    if median >= horizon:
        return ""
    return (
        f"the median recovery after t_r is {median:g} steps long, shorter than the horizon H = {horizon} steps: few "
        f"windows show a recovery without the penalty at t_r. Mark t_r earlier, or let operators work on for longer"
    )
