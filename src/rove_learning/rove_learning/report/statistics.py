# SPDX-License-Identifier: Apache-2.0
"""The statistics that reports quote, from SciPy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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


def difference(before: Sequence[bool], after: Sequence[bool]) -> tuple[float, float]:
    """95 % interval of the difference of success rates, after - before, of two policies on the same seeds, (n,) each.

    Method 10 of Newcombe (Statistics in Medicine 17, 1998, 2635-2650): the two Wilson intervals, joined with the
    correlation of the pairs. (-1, 1) without a trial.
    """
    first, second = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    n = len(first)
    if n == 0:
        return -1.0, 1.0
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    lost, won = int((first & ~second).sum()), int((second & ~first).sum())
    p1, p2 = (both + lost) / n, (both + won) / n
    (low1, high1), (low2, high2) = wilson(both + lost, n), wilson(both + won, n)
    margins = (both + lost) * (won + neither) * (both + won) * (lost + neither)
    agreement = float(both * neither - lost * won)
    if agreement > 0:
        agreement = max(agreement - n / 2, 0.0)
    phi = agreement / float(np.sqrt(margins)) if margins else 0.0

    def width(own: float, other: float) -> float:
        return float(np.sqrt(max(own**2 - 2 * phi * own * other + other**2, 0.0)))

    return p2 - p1 - width(p2 - low2, high1 - p1), p2 - p1 + width(high2 - p2, p1 - low1)


@dataclass(frozen=True)
class Comparison:
    """Two policies on the same episodes. won, lost: episodes in which only the second, only the first succeeded.
    difference: of success rates, second - first; low, high: its 95 % interval; p: of the exact McNemar test.
    """

    episodes: int
    won: int
    lost: int
    difference: float
    low: float
    high: float
    p: float


def compare_paired(before: Sequence[bool], after: Sequence[bool]) -> Comparison:
    """before, after: (n,) success of each policy in the same episodes, n > 0."""
    first, second = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    won, lost = int((second & ~first).sum()), int((first & ~second).sum())
    low, high = difference(before, after)
    return Comparison(len(first), won, lost, (won - lost) / len(first), low, high, mcnemar(before, after))


def holm(p: Sequence[float]) -> list[float]:
    """p values of several tests, adjusted after Holm (1979) so that all of them together keep their level."""
    order, adjusted, floor = np.argsort(p), [0.0] * len(p), 0.0
    for rank, at in enumerate(order):
        floor = max(floor, min(1.0, (len(p) - rank) * float(p[at])))
        adjusted[at] = floor
    return adjusted


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
