# SPDX-License-Identifier: Apache-2.0
"""Ink on the board: a grid of what is left, strokes drawn into it, and felt that wears it off.

Wear follows Archard's law (J. F. Archard, J. Appl. Phys. 24, 981, 1953): what a surface loses is proportional to
pressure times sliding distance. Here a cell under the felt keeps exp(-WEAR p s) of its ink, p in Pa, s in m. The felt
is an elastic bed (Winkler): where it is pressed in deeper it presses harder, and beyond its edge it does not press at
all. So a light hand, a tilted eraser and an edge that misses the stroke leave ink, and a resting eraser wipes nothing.
"""

from __future__ import annotations

import numpy as np

CELL = 0.004  # m; a stroke is three cells wide, a pixel of the ego picture about 5 mm
# One pass of an eraser 65 mm wide pressed with 8 N (1030 Pa) leaves exp(-0.06 * 1030 * 0.065) = 1.8 % of the ink.
WEAR = 0.06  # 1 / (Pa m)
SOFTNESS = 0.0015  # m, the felt reaches this far beyond its nominal face
POSITIONS_U = np.array([-0.24, -0.12, 0.0, 0.12, 0.24])  # m; with POSITIONS_V the twenty places where a stroke may be
POSITIONS_V = np.array([-0.165, -0.055, 0.055, 0.165])
POSITIONS = np.array([(u, v) for v in POSITIONS_V for u in POSITIONS_U])  # (20, 2) m, board frame
STROKES = (2, 4)  # fewest and most per trial
FACE_X, FACE_Y = np.meshgrid(np.linspace(-0.92, 0.92, 12), np.linspace(-0.88, 0.88, 8))  # samples of the felt's face
BLANK = 1e-3  # a cell below this has no ink


class Ink:
    """Ink per cell, in [0, 1] of a fresh stroke.

    half_size: (2,) m, half the extent of the grid along u and v. amount: (rows, columns), row 0 at the lowest v.
    stroke: the same shape, the number of the stroke that owns the cell, -1 = none. version: rises with every change.
    """

    def __init__(self, half_size: np.ndarray):
        columns, rows = np.round(2 * np.asarray(half_size) / CELL).astype(int)
        self.u = (np.arange(columns) + 0.5) * CELL - half_size[0]  # (columns,) m, centres of the cells
        self.v = (np.arange(rows) + 0.5) * CELL - half_size[1]
        self.amount = np.zeros((rows, columns))
        self.stroke = np.full((rows, columns), -1)
        self.total = 0.0
        self.version = 0

    def clear(self) -> None:
        """A clean board."""
        self.amount[:] = 0.0
        self.stroke[:] = -1
        self.total = 0.0
        self.version += 1

    def draw(self, number: int, points: np.ndarray, width: float) -> None:
        """Stroke `number` along points (n, 2) m, dense, with a round pen of `width` m."""
        (u0, v0), (u1, v1) = points.min(axis=0) - width, points.max(axis=0) + width
        rows, columns = (slice(*np.searchsorted(axis, ends)) for axis, ends in ((self.v, (v0, v1)), (self.u, (u0, u1))))
        du = self.u[columns][None, :, None] - points[:, 0]
        dv = self.v[rows][:, None, None] - points[:, 1]
        mask = ((du**2 + dv**2).min(axis=-1) <= (width / 2) ** 2) & (self.stroke[rows, columns] < 0)
        self.amount[rows, columns][mask] = 1.0
        self.stroke[rows, columns][mask] = number
        self.total = float(self.amount.sum())
        self.version += 1

    @property
    def left(self) -> float:
        """Share of the trial's ink that is left, in [0, 1]."""
        return float(self.amount.sum() / self.total) if self.total else 0.0

    def wear(self, centre, axes, half, pressed, velocity, spin, period_s: float) -> bool:
        """The felt slides over the board for one period. Returns whether any ink went.

        centre: (3,) m, middle of the felt's face, board coordinates. axes: (3, 3), its x, y, z in the board frame, z
        out of the board. half: (2,) m, half the felt's length and width. pressed: N. velocity: (3,) m/s of the face's
        middle; spin: (3,) rad/s, board frame.
        """
        if pressed <= 0.0 or self.total == 0.0:
            return False
        reach = float(np.hypot(*half)) + CELL
        i0, i1 = np.searchsorted(self.v, (centre[1] - reach, centre[1] + reach))
        j0, j1 = np.searchsorted(self.u, (centre[0] - reach, centre[0] + reach))
        window = self.amount[i0:i1, j0:j1]
        inked = window > 0.0
        if not inked.any():
            return False
        du, dv = np.meshgrid(self.u[j0:j1] - centre[0], self.v[i0:i1] - centre[1])
        x, y = du * axes[0, 0] + dv * axes[1, 0], du * axes[0, 1] + dv * axes[1, 1]
        under = inked & (np.abs(x) <= half[0]) & (np.abs(y) <= half[1])
        if not under.any():
            return False
        load = self._load(x[under], y[under], centre[2], axes)
        whole = float(self._load(FACE_X * half[0], FACE_Y * half[1], centre[2], axes).mean()) * 4.0 * half[0] * half[1]
        if whole <= 0.0:
            return False
        pressure = pressed * load / whole  # (n,) Pa
        slip = np.hypot(velocity[0] - spin[2] * dv[under], velocity[1] + spin[2] * du[under]) * period_s
        kept = window[under] * np.exp(-WEAR * pressure * slip)
        window[under] = np.where(kept < BLANK, 0.0, kept)
        self.version += 1
        return True

    @staticmethod
    def _load(x, y, height, axes) -> np.ndarray:
        """m by which the felt is pressed in at points (x, y) of its face, which is at `height` above the board."""
        return np.maximum(0.0, SOFTNESS - (height + axes[2, 0] * x + axes[2, 1] * y))

    def cells(self, block: int = 5) -> list[list[float]]:
        """What is left in blocks of `block` cells (2 cm): [stroke, u, v, amount], m and share of the trial's ink."""
        rows, columns = np.nonzero(self.amount)
        if not len(rows):
            return []
        amount = self.amount[rows, columns]
        height, width = (extent // block + 1 for extent in self.amount.shape)
        key = (self.stroke[rows, columns] * height + rows // block) * width + columns // block
        _, first, which = np.unique(key, return_index=True, return_inverse=True)
        sums = np.bincount(which, amount)
        u, v = (np.bincount(which, amount * place) / sums for place in (self.u[columns], self.v[rows]))
        stroke = self.stroke[rows[first], columns[first]]
        return np.round(np.stack([stroke, u, v, sums / self.total], axis=1), 5).tolist()

    def paint(self, pixels: np.ndarray, board: np.ndarray, colours: np.ndarray) -> None:
        """Write the picture (rows, columns, 3) uint8.

        board: (3,) colour of the clean board. colours: (strokes, 3) of the pens; both in [0, 1].
        """
        share = self.amount[..., None]
        ink = colours[np.maximum(self.stroke, 0)]
        pixels[:] = np.round(255.0 * (board * (1.0 - share) + ink * share)).astype(np.uint8)


def draw_strokes(ink: Ink, rng: np.random.Generator) -> int:
    """Two to four strokes of one trial, each a curve through one of the twenty positions. Returns their number."""
    ink.clear()
    count = int(rng.integers(STROKES[0], STROKES[1] + 1))
    places = rng.choice(len(POSITIONS), count, replace=False)
    for number, place in enumerate(places):
        centre = POSITIONS[place] + rng.uniform(-0.012, 0.012, 2)
        angle, bend = rng.uniform(-np.pi / 2, np.pi / 2), rng.uniform(-12.0, 12.0)  # rad, rad/m
        length, width = rng.uniform(0.05, 0.09), rng.uniform(0.010, 0.014)
        along = np.arange(-length / 2, length / 2, CELL / 2)
        heading = angle + bend * along
        points = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1) * CELL / 2, axis=0)
        ink.draw(number, centre + points - points.mean(axis=0), width)
    return count
