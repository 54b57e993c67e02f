# SPDX-License-Identifier: Apache-2.0
"""The statistics that reports quote, from SciPy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import stats


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a success rate; (0, 1) without a trial."""
    if n == 0:
        return 0.0, 1.0
    interval = stats.binomtest(successes, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> float:
    """p of the exact two-sided McNemar test of two policies on the same seeds, (n,) each; 1 where none differs."""
    first, second = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    won, lost = int((second & ~first).sum()), int((first & ~second).sum())
    return float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation of two (n,) series, ties at their mean rank; NaN where one of them is constant."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(stats.spearmanr(a, b).statistic)


def intervention_fraction(episodes: Iterable[tuple[float, float]]) -> float:
    """ "The fraction of episode time under human intervention, computed over rollout-intervention episodes" (paper,
    Table 2). episodes: (time under human control, whole time without pauses) of each, in any unit; those that nobody
    took over do not count.
    """
    taken_over = [(human, whole) for human, whole in episodes if human > 0]
    whole = sum(time for _, time in taken_over)
    return sum(human for human, _ in taken_over) / whole if whole else 0.0
