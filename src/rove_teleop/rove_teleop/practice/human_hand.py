# SPDX-License-Identifier: Apache-2.0
"""A person's hand as 21 keypoints, for tests, benchmarks and practice: human proportions, not the robot's.

Bone lengths are the means of 66 adult hands (Buryanov and Kotiuk, Proportions of Hand Segments, Int. J. Morphol.
28(3):755-758, 2010). Frame: the wrist site of the robot model (fingers hang along -z, the thumb's side is +x, palms
face inward: -y of a left hand, +y of a right one), metres.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

# mm: proximal, middle and distal phalanx of index … little; metacarpal, proximal and distal phalanx of the thumb.
PHALANGES = np.array([[39.8, 22.4, 15.8], [44.6, 26.3, 17.4], [41.4, 25.7, 17.3], [32.7, 18.1, 16.0]]) * 1e-3
THUMB = np.array([46.2, 31.6, 21.7]) * 1e-3
# Knuckles at the heads of the metacarpals (68.1, 64.6, 58.0, 53.7 mm), fanned out from a carpus of 25 mm and arched
# towards the palm at both edges; the thumb's first joint at the carpus' edge. x, y of a left hand, z.
KNUCKLES = np.array([[25, 0, -89], [4, 3, -90], [-16, 1, -82], [-33, -4, -71]]) * 1e-3
THUMB_BASE = np.array([26, -10, -15]) * 1e-3
THUMB_TILT = 0.75  # rad from the fingers towards the thumb's side, at rest
TIP_OF_BONE = 0.85  # a fingertip tracker reports the pad, not the bone's end: this share of the last bone

JOINTS = (
    *(f"thumb_{joint}" for joint in ("oppose", "spread", "mcp", "ip")),
    *(f"{finger}_{joint}" for finger in ("index", "middle", "ring", "little") for joint in ("splay", "mcp", "pip")),
)
# rad; the last joint of a finger bends with the one before it, by two thirds.
LOWER = np.array([0.0, -0.2, 0.0, -0.1, *([-0.2, -0.1, 0.0] * 4)])
UPPER = np.array([1.4, 0.2, 0.9, 1.1, *([0.2, 1.4, 1.7] * 4)])
RELAXED = np.array([0.4, 0.0, 0.2, 0.2, 0.05, 0.4, 0.5, 0.0, 0.45, 0.5, -0.03, 0.5, 0.5, -0.06, 0.5, 0.5])
DIP_SHARE = 2.0 / 3.0
THUMB_TIP, FINGERTIPS = 4, (8, 12, 16, 20)


class HumanHand:
    """One hand. side: "left" or "right". size: 1 is the mean adult's."""

    def __init__(self, side: str = "left", size: float = 1.0):
        self.side, self.size = side, size
        self._mirror = np.array([1.0, 1.0 if side == "left" else -1.0, 1.0])

    def keypoints(self, angles: np.ndarray) -> np.ndarray:
        """angles: (16,) rad in the order of JOINTS; positive opposes, flexes, or splays to the thumb's side -> (21, 3)
        m, wrist first.
        """
        points = np.zeros((21, 3))
        oppose, spread, mcp, ip = angles[:4]
        turn = Rotation.from_euler("ZY", [-oppose, -THUMB_TILT - spread])
        bones, bends = THUMB * [1, 1, TIP_OF_BONE], (0.0, mcp, ip)
        points[1:5] = _chain(THUMB_BASE, turn, bones, bends)
        for finger in range(4):
            splay, mcp, pip = angles[4 + 3 * finger : 7 + 3 * finger]
            turn = Rotation.from_euler("Y", -splay)
            bones, bends = PHALANGES[finger] * [1, 1, TIP_OF_BONE], (mcp, pip, DIP_SHARE * pip)
            points[5 + 4 * finger : 9 + 4 * finger] = _chain(KNUCKLES[finger], turn, bones, bends)
        return self.size * self._mirror * points

    def motion(self, seconds: float, rate: float, seed: int, top_hz: float = 0.8) -> np.ndarray:
        """(T, 16) rad: every joint on its own slow sine over 70 % of its range."""
        rng = np.random.default_rng(seed)
        t = np.arange(round(seconds * rate))[:, None] / rate
        frequency, phase = rng.uniform(0.15, top_hz, len(JOINTS)), rng.uniform(0, 2 * np.pi, len(JOINTS))
        return (LOWER + UPPER) / 2 + 0.35 * (UPPER - LOWER) * np.sin(2 * np.pi * frequency * t + phase)

    def pinch(self, finger: int, gap: float, start: np.ndarray = RELAXED) -> np.ndarray:
        """(16,) rad: thumb and finger (0 = index … 3 = little) with tips `gap` m apart, all else as near to `start` as
        that allows.
        """
        free = [0, 1, 2, 3, *range(4 + 3 * finger, 7 + 3 * finger)]

        def angles(x):
            q = start.copy()
            q[free] = x
            return q

        def residual(x):
            points = self.keypoints(angles(x))
            distance = np.linalg.norm(points[4] - points[8 + 4 * finger])
            return np.append(2e3 * (distance - gap), x - start[free])

        bounds = (LOWER[free], UPPER[free])
        solved = least_squares(
            residual, np.clip(start[free], bounds[0] + 1e-6, bounds[1] - 1e-6), bounds=bounds, max_nfev=30
        )
        return angles(solved.x)


def _chain(base: np.ndarray, turn: Rotation, bones, bends) -> np.ndarray:
    """(4, 3) m: joints of a digit of a left hand from its base on; every bend turns towards the palm (-y)."""
    points, bend = [base], 0.0
    for bone, more in zip(bones, bends):
        bend += more
        points.append(points[-1] + turn.apply([0.0, -bone * np.sin(bend), -bone * np.cos(bend)]))
    return np.array(points)
