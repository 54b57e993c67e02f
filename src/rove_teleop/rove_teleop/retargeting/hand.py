# SPDX-License-Identifier: Apache-2.0
"""One hand of the operator: keypoints -> the robot's hand joints. What is learnt of the operator, and the order of the
steps: to the wrist's frame, smooth, scale, solve.

Smoothing comes after the wrist's motion has been taken out, so a hand that grasps rigidly stays rigid at any speed of
the arm.
"""

from __future__ import annotations

import math

import numpy as np

from rove_teleop.retargeting import rotations as rot
from rove_teleop.retargeting.hand_chains import KNUCKLES, HandChains
from rove_teleop.retargeting.hand_ik import HandIK
from rove_teleop.retargeting.smoothing import OneEuro

LEARNING = 0.05  # share of the newest frame in what is learnt; 20 frames of memory average the keypoints' noise
# The palm seen by the knuckles leans against the wrist's axes by the hand's build; more is a tracker mounted askew.
MAX_LEAN_RAD = 0.2
# |robot / operator - 1| of a hand's size up to which fingertips go exactly where the operator's are, and from which on
# they are scaled in full. Things that are grasped have one size.
SAME_SIZE, OTHER_SIZE = 0.05, 0.12
FLAT_M = 0.005  # a palm shorter or narrower than this is no hand
_KNUCKLES = np.array(KNUCKLES)
_ACROSS = np.array([1.0, 1.0 / 3.0, -1.0 / 3.0, -1.0])  # least-squares slope over four equally spaced knuckles


def palm_axes(knuckles: np.ndarray) -> np.ndarray | None:
    """knuckles: (4, 3) m from the wrist, index first -> (3, 3) the palm's axes as columns: x to the thumb's side, z
    back to the wrist. None where knuckles and wrist span no plane.
    """
    z = -0.25 * knuckles.sum(axis=0)
    length = math.sqrt(z @ z)
    if length < FLAT_M:
        return None
    z /= length
    x = _ACROSS @ knuckles
    x -= (x @ z) * z
    width = math.sqrt(x @ x)
    if width < FLAT_M:
        return None
    x /= width
    y = (z[1] * x[2] - z[2] * x[1], z[2] * x[0] - z[0] * x[2], z[0] * x[1] - z[1] * x[0])
    axes = np.empty((3, 3))
    axes[:, 0], axes[:, 1], axes[:, 2] = x, y, z
    return axes


class Hand:
    """chains: the robot's hand. lower, upper: (n,) rad, its joints' limits. smoothing: One-Euro on the keypoints in the
    wrist's frame.

    scale: robot's size / operator's, as applied. tips: (D, 3) m, where the robot's tips should be, wrist's frame; None
    before the first frame.
    """

    def __init__(self, chains: HandChains, lower: np.ndarray, upper: np.ndarray, smoothing: bool):
        self.ik = HandIK(chains, lower, upper)
        fingers = [d for d, name in enumerate(chains.digits) if name != "thumb"] or list(range(len(chains.digits)))
        self._robot_reach = chains.reach()[fingers]
        self._filter = OneEuro(63) if smoothing else None
        self._valid = np.ones(63, dtype=bool)
        # Links of the operator's fingers: from the wrist to the base, and from keypoint to keypoint to the tip.
        digits = [(0, *range(base, tip + 1)) for base, _, tip in chains.keypoints[fingers]]
        links = [(b, a) for digit in digits for a, b in zip(digit, digit[1:])]
        self._links = np.array(links).T
        owner = np.repeat(np.arange(len(digits)), [len(digit) - 1 for digit in digits])
        self._sums = (owner == np.arange(len(digits))[:, None]).astype(float)  # (D - 1, L)
        self._reach: np.ndarray | None = None  # (D - 1,) m, running mean of the operator's fingers
        self._lean = np.zeros(3)  # running mean of how the palm is turned against the wrist
        self._to_wrist = np.eye(3)  # palm's frame -> wrist's, of row vectors
        self.scale = 1.0
        self.lose()

    def lose(self) -> None:
        """What comes next need not go on from before; what was learnt of the operator's hand stays."""
        self.tips: np.ndarray | None = None
        if self._filter is not None:
            self._filter.reset()

    def solve(self, keypoints: np.ndarray, wrist: np.ndarray | None, seed: np.ndarray, dt: float) -> np.ndarray:
        """keypoints: (21, 3) m, any frame. wrist: (3, 3) of the operator's wrist in that frame, None where it is not
        known. seed: (n,) rad, where to begin without a solution before. dt: s since then. Returns (n,) rad within the
        limits.
        """
        fresh = self.tips is None
        centred = keypoints - keypoints[0]
        palm = palm_axes(centred[_KNUCKLES])
        if palm is None:
            return seed if fresh else self._solution
        self._learn(centred, None if wrist is None else wrist.T @ palm)
        points = centred @ palm @ self._to_wrist
        if self._filter is not None:
            points = self._filter.step(points.ravel(), dt, self._valid).reshape(21, 3)
        self.tips = self.scale * points[self.ik.chains.keypoints[:, 2]]
        self._solution = self.ik.solve(points, self.scale, seed if fresh else self._solution, None if fresh else dt)
        return self._solution

    def _learn(self, centred: np.ndarray, lean: np.ndarray | None) -> None:
        """centred: (21, 3) m from the wrist. lean: (3, 3) the operator's palm as the wrist sees it."""
        ends = np.take(centred, self._links, axis=0)  # (2, L, 3)
        links = ends[0] - ends[1]
        reach = np.maximum(self._sums @ np.sqrt((links * links).sum(axis=1)), 1e-2)
        first = self._reach is None
        self._reach = reach if first else self._reach + LEARNING * (reach - self._reach)
        # The digit that is shortest beside the operator's decides: then a stretched hand is within reach.
        ratio = float((self._robot_reach / self._reach).min())
        other = min(max((abs(ratio - 1.0) - SAME_SIZE) / (OTHER_SIZE - SAME_SIZE), 0.0), 1.0)
        self.scale = 1.0 + (ratio - 1.0) * other * other * (3.0 - 2.0 * other)
        if lean is not None:
            # Sine of the angle times the axis; the angle itself is small or limited.
            new = 0.5 * np.array([lean[2, 1] - lean[1, 2], lean[0, 2] - lean[2, 0], lean[1, 0] - lean[0, 1]])
            self._lean = new if first else self._lean + LEARNING * (new - self._lean)
            x, y, z = self._lean.tolist()
            sine = math.sqrt(x * x + y * y + z * z)
            half = 0.5 * min(math.asin(min(sine, 1.0)), MAX_LEAN_RAD)
            k = math.sin(half) / max(sine, 1e-12)
            turn = np.reshape(rot.from_quaternion(math.cos(half), k * x, k * y, k * z), (3, 3))
            self._to_wrist = turn.T
