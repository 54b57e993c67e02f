# SPDX-License-Identifier: Apache-2.0
"""From a mode timeline and message stamps to dataset ticks: pauses removed, nothing from the future. Pure functions on
ns stamps.

A *stretch* is a time without pause in which a robot acted. Ticks run through a stretch at the dataset's rate, from its
very beginning; after a pause they begin anew. The stage of a tick is the mode in force at that tick.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from rove_contract.modes import STAGE_OF, Mode


@dataclass(frozen=True)
class Timeline:
    """starts_ns (N,) int64, strictly increasing: stamp of each transition. modes (N,): the mode from there on."""

    starts_ns: np.ndarray
    modes: tuple[Mode, ...]


def timeline(events: Iterable[tuple[int, Mode]]) -> Timeline:
    """(stamp_ns, mode) of mode messages, in any order, heartbeats and repetitions included -> Timeline of true
    changes.
    """
    starts: list[int] = []
    modes: list[Mode] = []
    for stamp, mode in sorted(events, key=lambda event: event[0]):  # stable: of equal stamps the later message holds
        if starts and stamp == starts[-1]:
            modes[-1] = mode
            if len(modes) > 1 and modes[-2] == mode:
                starts.pop(), modes.pop()
        elif not modes or modes[-1] != mode:
            starts.append(stamp)
            modes.append(mode)
    return Timeline(np.array(starts, dtype=np.int64), tuple(modes))


def stretches(line: Timeline, end_ns: int) -> list[tuple[int, int]]:
    """[begin, end) of the times without pause, in order; one that is still open ends at end_ns, the last message of the
    bag.
    """
    result: list[tuple[int, int]] = []
    for i, mode in enumerate(line.modes):
        if mode not in STAGE_OF:
            continue
        begin = int(line.starts_ns[i])
        end = int(line.starts_ns[i + 1]) if i + 1 < len(line.modes) else end_ns
        if result and result[-1][1] == begin:
            result[-1] = (result[-1][0], end)
        elif end > begin:
            result.append((begin, end))
    return result


def without(parts: Iterable[tuple[int, int]], holes: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The stretches [begin, end) without what lies in one of the holes [begin, end); both in ns."""
    result = list(parts)
    for begin, end in holes:
        kept = []
        for a, b in result:
            kept += [(a, min(b, begin)), (max(a, end), b)]
        result = [(a, b) for a, b in kept if a < b]
    return sorted(result)


def holes(stamps_ns: np.ndarray, longest_ns: int, kept_ns: int) -> list[tuple[int, int]]:
    """[begin, end) where a stream has no sample that counts: from kept_ns after a sample (N,) to the next one, where
    the two are more than longest_ns apart.
    """
    found = np.flatnonzero(np.diff(stamps_ns) > longest_ns)
    return [(int(stamps_ns[i]) + kept_ns, int(stamps_ns[i + 1])) for i in found]


def ticks(parts: Iterable[tuple[int, int]], period_ns: int, first_ns: int = 0) -> np.ndarray:
    """(T,) int64 source time of each frame, strictly increasing: begin, begin + period, ... < end of every stretch,
    none before first_ns.

    first_ns: when every stream had its first message; a stretch that begins earlier begins there.
    """
    pieces = [np.arange(max(begin, first_ns), end, period_ns, dtype=np.int64) for begin, end in parts]
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int64)


def last_before(stamps_ns: np.ndarray, at_ns: np.ndarray) -> np.ndarray:
    """Index (T,) of the last of the sorted stamps (N,) at or before each time (T,); -1 where there is none. Never the
    future.
    """
    return np.searchsorted(stamps_ns, at_ns, side="right") - 1


def modes_at(line: Timeline, at_ns: np.ndarray) -> np.ndarray:
    """(T,) int64 id of the mode in force at each time; IDLE before the first transition."""
    modes = np.array([Mode.IDLE, *line.modes], dtype=np.int64)
    return modes[last_before(line.starts_ns, at_ns) + 1]


def first_with(modes: np.ndarray, mode: Mode) -> int:
    """Index of the first frame in `mode`, -1 if there is none."""
    hits = np.flatnonzero(modes == mode)
    return int(hits[0]) if len(hits) else -1
