# SPDX-License-Identifier: Apache-2.0
"""The robot's joints: names, blocks and limits as one validated table.

The default layout (`joints.csv`) is head 3, waist 3, arms 2 x 7, hands 2 x 15 = 50 joints. Nothing public
settles IRON-R01's 50-D layout, so it stays data: `load("my_robot.csv")` takes another one.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

BLOCKS = ("head", "waist", "arm", "hand", "end_effector")
COLUMNS = ("name", "block", "lower", "upper", "velocity", "acceleration", "jerk")
SIDES = ("left", "right")  # an eighth column may name one; a joint without is of the middle
RAD, METRE = "rad", "m"  # units of a joint that turns, and of one that slides
# Where angles and lengths are compared with one threshold, sliding so far counts as turning by 1 rad: a forearm's
# length, by which 1 rad of the elbow moves the wrist.
METRES_PER_RAD = 0.3
DEFAULT_PATH = Path(__file__).parent / "robots" / "iron_r01" / "joints.csv"


class LayoutError(ValueError):
    """A joint layout file is wrong; the message names the file, the row and what was expected."""


@dataclass(frozen=True)
class Limits:
    """Per-joint limits, each (J,) float64; rad, rad/s, rad/s^2, rad/s^3; m instead of rad where a joint slides.
    Velocity, acceleration and jerk are symmetric.
    """

    lower: np.ndarray
    upper: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    jerk: np.ndarray

    def __len__(self) -> int:
        return len(self.lower)


@dataclass(frozen=True)
class JointTable:
    """The joints in contract order; every `(50,)` array of ROVE is in this order.

    names: (J,) joint names. blocks: (J,) block of each joint. sides: (J,) "left", "right" or "". limits: see `Limits`.
    slides: indices of the joints that slide, whose every value is in m; the others' are in rad.
    """

    names: tuple[str, ...]
    blocks: tuple[str, ...]
    sides: tuple[str, ...]
    limits: Limits
    index: dict[str, int] = field(repr=False)
    slides: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.names)

    def unit(self, i: int) -> str:
        """Of joint i: RAD or METRE."""
        return METRE if i in self.slides else RAD

    @cached_property
    def in_rad(self) -> np.ndarray:
        """(J,): what a difference of each joint is multiplied with before it is compared with a threshold in rad; 1,
        and 1 / METRES_PER_RAD for a joint that slides.
        """
        return np.array([1.0 / METRES_PER_RAD if i in self.slides else 1.0 for i in range(len(self))])

    def indices(self, block: str, side: str | None = None) -> np.ndarray:
        """Indices (n,) int of the joints of `block`, optionally only those of `side` ("left", "right")."""
        chosen = [
            i for i, (b, s) in enumerate(zip(self.blocks, self.sides)) if b == block and (side is None or s == side)
        ]
        return np.array(chosen, dtype=np.intp)

    def blocks_present(self) -> tuple[str, ...]:
        """Blocks in order of first appearance."""
        return tuple(dict.fromkeys(self.blocks))


def _read_rows(path: Path) -> list[tuple[int, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise LayoutError(f"{path}: cannot read the joint layout: {error.strerror}") from error
    rows = []
    for number, row in enumerate(csv.reader(text.splitlines()), start=1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#") or cells[0] == "name":
            continue
        rows.append((number, cells))
    if not rows:
        raise LayoutError(f"{path}: no joints; expected rows of {','.join(COLUMNS)}")
    return rows


def _parse_row(where: str, cells: list[str], blocks: Sequence[str]) -> tuple[str, str, str, list[float]]:
    if len(cells) not in (len(COLUMNS), len(COLUMNS) + 1):
        raise LayoutError(
            f"{where}: {len(cells)} columns, expected {len(COLUMNS)}, or one more for the side: "
            f"{','.join(COLUMNS)}[,side]"
        )
    name, block = cells[:2]
    side = cells[len(COLUMNS)] if len(cells) > len(COLUMNS) else ""
    if not name:
        raise LayoutError(f"{where}: the joint has no name")
    if block not in blocks:
        raise LayoutError(f"{where} ({name}): block {block!r} is not one of {', '.join(blocks)}")
    if side not in ("", *SIDES):
        raise LayoutError(f"{where} ({name}): side is {side!r}, expected left, right or nothing")
    values = []
    for column, cell in zip(COLUMNS[2:], cells[2 : len(COLUMNS)]):
        try:
            value = float(cell)
        except ValueError:
            raise LayoutError(f"{where} ({name}): {column} is {cell!r}, expected a number") from None
        if not np.isfinite(value):
            raise LayoutError(f"{where} ({name}): {column} is {cell}, expected a finite number")
        values.append(value)
    if values[0] >= values[1]:
        raise LayoutError(f"{where} ({name}): lower {values[0]:g} is not below upper {values[1]:g}")
    for column, value in zip(COLUMNS[4:], values[2:]):
        if value <= 0.0:
            raise LayoutError(f"{where} ({name}): {column} is {value:g}, expected a positive number")
    return name, block, side, values


def _load(path: Path, extra_blocks: tuple[str, ...]) -> JointTable:
    names: list[str] = []
    blocks: list[str] = []
    sides: list[str] = []
    values: list[list[float]] = []
    seen: dict[str, int] = {}
    for number, cells in _read_rows(path):
        where = f"{path}, row {number}"
        name, block, side, numbers = _parse_row(where, cells, (*BLOCKS, *extra_blocks))
        if name in seen:
            raise LayoutError(f"{where}: joint {name!r} stands already in row {seen[name]}")
        seen[name] = number
        names.append(name)
        blocks.append(block)
        sides.append(side)
        values.append(numbers)
    columns = np.array(values, dtype=np.float64).T.copy()
    columns.setflags(write=False)
    index = {name: i for i, name in enumerate(names)}
    return JointTable(tuple(names), tuple(blocks), tuple(sides), Limits(*columns), index)


@lru_cache(maxsize=8)
def _load_cached(path: Path, mtime_ns: int, extra_blocks: tuple[str, ...]) -> JointTable:
    return _load(path, extra_blocks)


def load(path: str | Path | None = None, extra_blocks: Sequence[str] = ()) -> JointTable:
    """The joint table; `path=None` gives the 50 joints of the simulated IRON-R01.

    path: CSV with columns name, block, lower, upper (rad, or m of a joint that slides in the model), velocity (/s),
    acceleration (/s^2), jerk (/s^3) and, by choice, side; rows starting with `#` are comments. extra_blocks: names of
    blocks beside BLOCKS. Raises LayoutError naming the row.
    """
    chosen = DEFAULT_PATH if path is None else Path(path).expanduser().resolve()
    try:
        stamp = chosen.stat().st_mtime_ns
    except OSError as error:
        raise LayoutError(f"{chosen}: cannot read the joint layout: {error.strerror}") from error
    return _load_cached(chosen, stamp, tuple(extra_blocks))


def mirror_signs(names: Sequence[str]) -> np.ndarray:
    """(J,) +-1: sign of each joint under left/right reflection of the body.

    Reflection in the x-z plane flips rotations about x and z (roll, yaw) and keeps those about y (pitch, elbow). Hand
    joints are defined mirrored (positive always flexes, opposes or splays towards the little finger), so they keep
    their sign.
    """
    return np.array([-1.0 if name.endswith(("_yaw", "_roll")) else 1.0 for name in names])


def mirror_index(table: JointTable) -> np.ndarray:
    """(J,) int: index of each joint's counterpart on the other side; the joint itself where there is none.

    The n-th joint of a block on one side is the counterpart of the n-th on the other.
    """
    index = np.arange(len(table))
    for block in table.blocks_present():
        left, right = table.indices(block, "left"), table.indices(block, "right")
        if len(left) == len(right):
            index[left], index[right] = right, left
    return index.astype(np.intp)
