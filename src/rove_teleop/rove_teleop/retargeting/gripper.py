# SPDX-License-Identifier: Apache-2.0
"""A hand without fingers that follow: closed as far as the operator's is, between the description's two poses."""

from __future__ import annotations

import numpy as np

from rove_teleop.retargeting.smoothing import OneEuro

FINGERS = ((5, 8), (9, 12), (13, 16), (17, 20))  # base and tip of a person's
OPEN_REACH, CLOSED_REACH = 0.95, 0.52  # tip to base, in lengths of the stretched finger


def closure(keypoints: np.ndarray) -> float:
    """(21, 3) m -> 0 (fingers stretched) to 1 (a fist): from how near the fingertips are to their bases."""
    shares = []
    for base, tip in FINGERS:
        bones = np.diff(keypoints[base : tip + 1], axis=0)
        length = np.sqrt((bones * bones).sum(axis=1)).sum()
        shares.append(np.linalg.norm(keypoints[tip] - keypoints[base]) / max(length, 1e-6))
    return float(np.clip((OPEN_REACH - np.mean(shares)) / (OPEN_REACH - CLOSED_REACH), 0.0, 1.0))


class Gripper:
    """opened, closed: (n,) rad. smoothing: One-Euro on the closure. The same interface as `Hand`."""

    def __init__(self, opened: np.ndarray, closed: np.ndarray, smoothing: bool):
        self.opened, self.closed = opened, closed
        self._filter = OneEuro(1, beta=4.0) if smoothing else None
        self._valid = np.ones(1, dtype=bool)
        self.scale, self.tips = 1.0, None

    def lose(self) -> None:
        """What comes next need not go on from before."""
        if self._filter is not None:
            self._filter.reset()

    def solve(self, keypoints: np.ndarray, wrist: np.ndarray | None, seed: np.ndarray, dt: float) -> np.ndarray:
        """keypoints: (21, 3) m. dt: s since the last call. Returns (n,) rad."""
        share = np.array([closure(keypoints)])
        if self._filter is not None:
            share = self._filter.step(share, dt, self._valid)
        return self.opened + float(share[0]) * (self.closed - self.opened)
