# SPDX-License-Identifier: Apache-2.0
"""Where to wipe: the stroke to take next and the path of the felt over what is left of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WORTH = 0.004  # share of the trial's ink below which a stroke counts as wiped
COLUMN = 0.085  # m, wider than this along the bar takes two columns; the felt is 0.12 long


def turn_at(u: float) -> float:
    """rad by which the bar is turned from u at a place u of the board: keeps the elbow at the robot's side."""
    return float(np.clip(np.radians(30.0) - 3.0 * u, 0.0, np.radians(70.0)))


def choose_stroke(cells: np.ndarray, present: int | None) -> int:
    """The stroke to wipe: the present one until it is gone, else the one farthest to the right.

    cells: (n, 4) stroke, u, v, share of the trial's ink. Small remainders come last.
    """
    strokes = {int(s): cells[cells[:, 0] == s] for s in np.unique(cells[:, 0])}
    left = {s: float(c[:, 3].sum()) for s, c in strokes.items()}
    worthy = {s: c for s, c in strokes.items() if left[s] > WORTH} or strokes
    if present in worthy:
        return present
    return max(worthy, key=lambda s: float(np.average(worthy[s][:, 1], weights=worthy[s][:, 3])))


@dataclass(frozen=True)
class Sweep:
    """One pass of the felt: to `point` (2,) m, board frame, of stroke `stroke`, with the bar turned by `psi` rad.

    end: +1 = upwards along the fingers' direction, -1 = back. passes: sweeps over this stroke so far.
    """

    stroke: int
    psi: float
    point: np.ndarray
    end: int = 1
    passes: int = 0

    @classmethod
    def over(cls, cells: np.ndarray, stroke: int, overrun: float, where: np.ndarray) -> Sweep:
        """The pass that begins at the lower end of a stroke."""
        mine = cells[cells[:, 0] == stroke]
        psi = turn_at(float(np.average(mine[:, 1], weights=mine[:, 3])))
        return cls(stroke, psi, _end_of(mine, psi, -1, overrun, where), -1)

    def onwards(self, cells: np.ndarray, overrun: float, where: np.ndarray) -> Sweep:
        """The next pass over what is left, in the opposite direction."""
        mine = cells[cells[:, 0] == self.stroke]
        end = -self.end
        return Sweep(self.stroke, self.psi, _end_of(mine, self.psi, end, overrun, where), end, self.passes + 1)


def _end_of(mine: np.ndarray, psi: float, end: int, overrun: float, where: np.ndarray) -> np.ndarray:
    """(2,) m: where the felt's middle goes at one end of the cells."""
    along, across = np.array([np.cos(psi), np.sin(psi)]), np.array([-np.sin(psi), np.cos(psi)])
    a, b = mine[:, 1:3] @ along, mine[:, 1:3] @ across
    middle = (a.max() + a.min()) / 2
    if a.max() - a.min() > COLUMN:  # the half that the felt is nearer to
        middle = (a.min() + 0.04) if where[:2] @ along < middle else (a.max() - 0.04)
        near = np.abs(a - middle) < 0.05
        b = b[near] if near.any() else b
    return middle * along + (b.max() + overrun if end > 0 else b.min() - overrun) * across
