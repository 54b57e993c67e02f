# SPDX-License-Identifier: Apache-2.0
"""Latency of the command path told apart by stage, over the last seconds, as it stands on /diagnostics. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

# In the order of the way from the operator to the robot. input: from the moment the operator was in a pose to the start
# of its retargeting. retargeting: to the publication of the joint targets. dds: to their arrival in the command filter.
# filter: to the first command that answers them. robot: age of a robot state when it arrives in the command filter.
STAGES = ("input", "retargeting", "dds", "filter", "robot")
WINDOW_S = 10.0
CAPACITY = 2048  # samples that are kept: 10 s at 200 Hz
PREFIX = "latency/"
NUMBERS = ("p50_ms", "p99_ms", "max_ms")


class Latency:
    """Latencies of one stage. Samples may come from one thread and be read in another."""

    def __init__(self, stage: str):
        if stage not in STAGES:
            raise ValueError(f"unknown stage {stage!r}; known: {', '.join(STAGES)}")
        self.stage = stage
        self._seconds = np.zeros(CAPACITY)
        self._at = np.full(CAPACITY, -math.inf)
        self._next = 0

    def add(self, seconds: float, now: float) -> None:
        """A sample, s, at `now`, monotonic s. Two clocks may disagree by a little: below 0 counts as 0."""
        self._seconds[self._next], self._at[self._next] = max(seconds, 0.0), now
        self._next = (self._next + 1) % CAPACITY

    def values(self, now: float) -> dict[str, str]:
        """p50, p99 and the worst of the last WINDOW_S for /diagnostics, ms; {} without a sample."""
        seconds = self._seconds[self._at > now - WINDOW_S]
        if not len(seconds):
            return {}
        p50, p99 = np.percentile(seconds, (50, 99))
        numbers = zip(NUMBERS, (p50, p99, seconds.max()))
        return {f"{PREFIX}{self.stage}/{name}": f"{1e3 * value:.2f}" for name, value in numbers}


def read(values: Mapping[str, str]) -> dict[str, tuple[float, float, float]]:
    """Values of a report on /diagnostics -> stage -> (p50, p99, worst), ms; what is no number is left out."""
    found = {}
    for stage in STAGES:
        try:
            numbers = [float(values[f"{PREFIX}{stage}/{name}"]) for name in NUMBERS]
        except (KeyError, ValueError):
            continue
        if all(map(math.isfinite, numbers)):
            found[stage] = (numbers[0], numbers[1], numbers[2])
    return found
