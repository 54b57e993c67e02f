# SPDX-License-Identifier: Apache-2.0
"""The board's frame: u to the robot's right, v up the slope, n out of the board; origin in the middle of the writing
area."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FACE = 0.02  # m, from the middle of the eraser's plate to the felt's face; scene.xml


@dataclass(frozen=True)
class Board:
    """centre: (3,) m, pelvis frame. axes: (3, 3), columns u, v, n in the pelvis frame."""

    centre: np.ndarray
    axes: np.ndarray

    @classmethod
    def from_state(cls, state: dict) -> Board:
        """From the entry `board` of the world's state: centre, u and v, nine numbers."""
        centre, u, v = np.asarray(state["board"], dtype=float).reshape(3, 3)
        return cls(centre, np.stack([u, v, np.cross(u, v)], axis=1))

    def point(self, u: float, v: float, n: float = 0.0) -> np.ndarray:
        """Board coordinates, m -> (3,) in the pelvis frame."""
        return self.centre + self.axes @ np.array([u, v, n])

    def coordinates(self, point: np.ndarray) -> np.ndarray:
        """(3,) in the pelvis frame -> (u, v, n)."""
        return self.axes.T @ (np.asarray(point) - self.centre)
