# SPDX-License-Identifier: Apache-2.0
"""Episodes of states and actions with what the critics and the actor learn from: eq. 2's rewards, returns, H-step
segments and chunks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rove_learning.algorithm.rewards import Normaliser, rewards
from rove_learning.algorithm.targets import monte_carlo_returns, segment_rewards


@dataclass(frozen=True)
class Episodes:
    """N frames of E episodes, one after the other.

    state: (N, S). action: (N, A) in [-1, 1], taken at the frame. start: (E + 1,) first frame of each episode, and N.
    success: (E,) bool; an episode without success was cut off, somewhere: its last frame is not a terminal one.
    """

    state: np.ndarray
    action: np.ndarray
    start: np.ndarray
    success: np.ndarray

    def __post_init__(self):
        n = len(self.state)
        if len(self.action) != n or self.start[-1] != n or len(self.success) != len(self.start) - 1:
            raise ValueError(
                f"{n} states, {len(self.action)} actions, {len(self.success)} episodes that end at frame "
                f"{self.start[-1]}"
            )
        for name, values in (("state", self.state), ("action", self.action)):
            if not np.isfinite(values).all():
                frame = int(np.argwhere(~np.isfinite(values))[0, 0])
                episode = int(np.searchsorted(self.start, frame, side="right")) - 1
                raise ValueError(
                    f"episode {episode} frame {frame - self.start[episode]}: {name} is not finite: {values[frame]}"
                )

    @classmethod
    def of_streams(cls, state, action, end, success) -> Episodes:
        """From streams (n, T, ...) of back-to-back episodes; end, success: (n, T) bool at their last frames. Drops the
        unfinished.
        """
        pieces, reached = [], []
        for stream in range(len(end)):
            stops = np.flatnonzero(end[stream]) + 1
            for a, b in zip([0, *stops[:-1]], stops):
                pieces.append((stream, slice(a, b)))
                reached.append(success[stream, b - 1])
        if not pieces:
            raise ValueError("no episode was finished; collect more frames")
        start = np.concatenate([[0], np.cumsum([b.stop - b.start for _, b in pieces])])
        return cls(
            np.concatenate([state[i, p] for i, p in pieces]).astype(np.float32),
            np.concatenate([action[i, p] for i, p in pieces]).astype(np.float32),
            start,
            np.array(reached, dtype=bool),
        )

    def __len__(self) -> int:
        return len(self.state)

    def slices(self):
        return [slice(a, b) for a, b in zip(self.start[:-1], self.start[1:])]

    def rewards(self, c_fail: float) -> list[np.ndarray]:
        """Eq. 2 of every episode, in steps: 0 at the goal; an episode that did not reach it is a failure."""
        return [rewards(p.stop - p.start, bool(s), c_fail=c_fail) for p, s in zip(self.slices(), self.success)]


@dataclass(frozen=True)
class Segments:
    """What all critics and the actor train on, M frames t of the episodes, normalised to [-1, 0] (App. G).

    state, following: (M, S) at t and t + H. action: (M, H, A); valid: (M, H) bool, False behind the episode's end.
    sums, discount: (M,) of eq. 4. returns: (M,) of eq. 3, NaN where the episode was cut.
    """

    state: np.ndarray
    following: np.ndarray
    action: np.ndarray
    valid: np.ndarray
    sums: np.ndarray
    discount: np.ndarray
    returns: np.ndarray

    def __len__(self) -> int:
        return len(self.state)


def segments(episodes: Episodes, horizon: int, c_fail: float, normaliser: Normaliser, gamma: float) -> Segments:
    """The H-step segments of the episodes. c_fail: steps.

    A window that runs past the end of a success is complete: the goal is terminal. One that runs past a cut is not:
    nobody knows what came behind it, so its frame is left out, for every critic and for the actor (D4RL's timeouts).
    The window of a Monte-Carlo return is all the rest of the episode, so it is complete in successes only.
    """
    columns: list[list[np.ndarray]] = [[] for _ in range(7)]
    for where, r, success in zip(episodes.slices(), episodes.rewards(c_fail), episodes.success):
        r = normaliser.rewards(r)
        sums, following, discount = segment_rewards(r, horizon, gamma)
        frames = np.arange(len(r)) if success else np.flatnonzero(discount > 0)
        step = frames[:, None] + np.arange(horizon)
        valid = step < len(r)
        state, action = episodes.state[where], episodes.action[where]
        chunk = action[np.minimum(step, len(r) - 1)] * valid[..., None]
        returns = monte_carlo_returns(r, gamma) if success else np.full(len(r), np.nan)
        row = state[frames], state[following[frames]], chunk, valid, sums[frames], discount[frames], returns[frames]
        for column, part in zip(columns, row):
            column.append(part)
    return Segments(*(np.concatenate(c).astype(bool if i == 3 else np.float32) for i, c in enumerate(columns)))
