# SPDX-License-Identifier: Apache-2.0
"""What shows within minutes whether a critic deserves its labels: rank and calibration on held-out episodes, and which
behaviour the labels call good.
"""

from __future__ import annotations

import numpy as np

from rove_contract.modes import Outcome, Stage
from rove_learning.data.recoveries import describe_short_recoveries, recovery_lengths
from rove_learning.report.statistics import spearman

STILL = 0.05  # rad; a robot whose every joint moves less within H steps stands
LAST = 16  # frames of a success whose end everybody knows
BINS = 10


def held_out_scores(labels: dict[str, np.ndarray]) -> dict | None:
    """The critic on the robot's episodes that it was not trained on, in steps; None without any. labels: labels.npz.

    rank_correlation: Spearman of V and the episode's own return within episodes, mean. rank_correlation_pooled: over
    all frames. bias: mean of V minus return. end_error: the same over the last 16 frames of successes. OVE is
    optimistic, so V above the return of a slow episode is no error by itself.
    """
    chosen = labels["held_out"] & np.isfinite(labels["value"])
    if not chosen.any():
        return None
    value, returns = labels["value"] * labels["scale"], labels["returns"]
    numbers = np.unique(labels["episode"][chosen])
    within, ends = [], []
    for number in numbers:
        frames = np.flatnonzero(labels["episode"] == number)
        within.append(spearman(value[frames], returns[frames]))
        if labels["outcome"][frames[0]] == Outcome.SUCCESS:
            ends.extend(value[frames[-LAST:]] - returns[frames[-LAST:]])
    known = [rank for rank in within if np.isfinite(rank)]
    return {
        "episodes": len(numbers),
        "rank_correlation": float(np.mean(known)) if known else None,
        "rank_correlation_pooled": _number(spearman(value[chosen], returns[chosen])),
        "bias": float((value[chosen] - returns[chosen]).mean()),
        "end_error": float(np.mean(ends)) if ends else None,
    }


def calibration(labels: dict[str, np.ndarray]) -> list[dict]:
    """Held-out frames in groups of equal size by V: their mean V and mean return, in steps."""
    chosen = np.flatnonzero(labels["held_out"] & np.isfinite(labels["value"]))
    value, returns = labels["value"][chosen] * labels["scale"], labels["returns"][chosen]
    groups = np.array_split(np.argsort(value, kind="stable"), min(BINS, max(1, len(chosen))))
    return [
        {"frames": len(g), "value": float(value[g].mean()), "return": float(returns[g].mean())}
        for g in groups
        if len(g)
    ]


def behaviour_rows(labels: dict[str, np.ndarray]) -> list[dict]:
    """Share of positive labels per kind of behaviour, of all frames and of all positives.

    stalled: the policy acts and the robot stands. hesitating: a person acts, not yet in recovery, and it stands.
    working: it moves, under policy or person. after t_r: the recovery.
    """
    stage, still = labels["stage"], labels["movement"] < STILL
    recovery, policy = stage == Stage.RECOVERY, stage == Stage.ROLLOUT
    classes = {
        "stalled": policy & still,
        "policy working": policy & ~still,
        "hesitating": ~policy & ~recovery & still,
        "person working": ~policy & ~recovery & ~still,
        "after t_r": recovery,
    }
    positive = labels["positive"]
    return [
        {
            "behaviour": name,
            "frames": int(frames.sum()),
            "share_of_frames": float(frames.mean()),
            "positive": float(positive[frames].mean()),
            "share_of_positives": float(frames[positive].mean()) if positive.any() else None,
        }
        for name, frames in classes.items()
        if frames.any()
    ]


def recovery_row(labels: dict[str, np.ndarray]) -> dict:
    """Interventions, and the median length of their recovery beside the horizon H, in steps."""
    lengths, horizon = recovery_lengths(labels["stage"], labels["episode"]), int(labels["horizon"])
    return {
        "recoveries": len(lengths),
        "median_recovery_steps": float(np.median(lengths)) if lengths else None,
        "horizon_steps": horizon,
        "warning": describe_short_recoveries(lengths, horizon),
    }


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
