# SPDX-License-Identifier: Apache-2.0
"""Joints of a LeRobot dataset -> joints of ours in rad, by name or by a table; and which camera is the main one."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from rove_description.card import RobotCard
from rove_description.joints import SIDES
from rove_recorder.dataset.lerobot_format import ACTION, EGO, STATE, DatasetError
from rove_recorder.lerobot_import.foreign import ForeignDataset

COLUMNS = ("joint", "source", "scale", "offset")
LIKELY = ("ego", "head", "front", "top", "main")  # names of the camera that sees what the robot sees, most likely first
WORDS = {"hand": ("gripper", "hand", "finger", "thumb", "jaw"), "head": ("head", "neck"), "waist": ("waist", "torso")}
LARGEST_ANGLE = 4.0 * math.pi  # rad, as training accepts them
Unit = Literal["rad", "deg"]


class MappingError(ValueError):
    """Joints or cameras do not fit; the message names them, and what to write."""


@dataclass(frozen=True)
class Joint:
    """One joint of the new dataset: scale * x[source] + offset in rad. source: name or number of a value in the LeRobot
    dataset, "" for a joint that stands still at `offset`.
    """

    name: str
    source: str
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class JointMap:
    """names: (J,) joints of the new dataset. Values of a frame are scale * x[columns] + offset, all (J,); a joint that
    stands still has scale 0.
    """

    names: tuple[str, ...]
    state: np.ndarray
    action: np.ndarray
    scale: np.ndarray
    offset: np.ndarray

    def apply(self, values: np.ndarray, key: str) -> np.ndarray:
        """(T, D) of the LeRobot dataset -> (T, J) float32 rad. key: observation.state or action."""
        columns = self.state if key == STATE else self.action
        return (values[:, columns].astype(np.float64) * self.scale + self.offset).astype(np.float32)


def read_joints(path: Path) -> list[Joint]:
    """A table of joints: CSV with the columns joint, source, scale, offset (the last two by choice; rad). Raises
    MappingError naming the line.
    """
    try:
        rows = csv.DictReader(line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
        names = [name.strip() for name in rows.fieldnames or ()]
        rows.fieldnames = names
        if names[:2] != list(COLUMNS[:2]) or not set(names) <= set(COLUMNS):
            raise MappingError(f"{path}: the first line is {','.join(names)!r}, expected {','.join(COLUMNS)}")
        found: list[Joint] = []
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            cells = {key: (row.get(key) or "").strip() for key in COLUMNS}
            try:
                scale, offset = float(cells["scale"] or 1.0), float(cells["offset"] or 0.0)
            except ValueError:
                raise MappingError(
                    f"{where}: scale and offset are {cells['scale']!r} and {cells['offset']!r}"
                ) from None
            if not cells["joint"] or not math.isfinite(scale) or not math.isfinite(offset):
                raise MappingError(
                    f"{where}: expected a joint's name and finite numbers, got {','.join(cells.values())!r}"
                )
            if cells["joint"] in {joint.name for joint in found}:
                raise MappingError(f"{where}: joint {cells['joint']!r} stands there twice")
            found.append(Joint(cells["joint"], cells["source"], scale, offset))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MappingError(f"cannot read {path}: {error}") from error
    if not found:
        raise MappingError(f"{path} maps no joints")
    return found


def map_joints(
    dataset: ForeignDataset, table: Sequence[Joint] = (), robot: Sequence[str] = (), unit: Unit = "rad"
) -> JointMap:
    """How joints of `dataset` become the robot's.

    table: from `read_joints`; empty: every joint keeps its name and only its unit changes. robot: joints of a robot in
    its order, all of which must be there; empty: those of the table or of the dataset. Raises MappingError.
    """
    for key in (STATE, ACTION):
        if key not in dataset.features:
            raise MappingError(f"dataset {dataset.root} has no {key}; it has {', '.join(dataset.features)}")
    names = {key: dataset.joints(key) for key in (STATE, ACTION)}
    if not table and not names[STATE]:
        raise MappingError(
            f"dataset {dataset.root} does not name the values of {STATE}; write a table with --map "
            f"({','.join(COLUMNS)}; source is a number from 0)"
        )
    factor = math.pi / 180.0 if unit == "deg" else 1.0
    known = {joint.name: joint for joint in table or [Joint(plain(name), name, factor) for name in names[STATE]]}
    wanted = tuple(robot) or tuple(known)
    if missing := [name for name in wanted if name not in known]:
        raise MappingError(
            f"the robot's {_few(missing)} ({len(missing)} joints) are not among {_few(known)}; map them with --map, "
            f"where an empty source is a joint that stands still"
        )
    joints = [known[name] for name in wanted]
    columns = {key: np.array([_column(dataset, key, names, joint) for joint in joints], dtype=np.intp) for key in names}
    return JointMap(
        wanted,
        columns[STATE],
        columns[ACTION],
        np.array([joint.scale if joint.source else 0.0 for joint in joints]),
        np.array([joint.offset for joint in joints]),
    )


def _few(names: Collection[str]) -> str:
    """The first six of them."""
    return ", ".join(list(names)[:6]) + (" ..." if len(names) > 6 else "")


def plain(name: str) -> str:
    """LeRobot's robots call the position of a joint "elbow_flex.pos"."""
    return name.removesuffix(".pos")


def _column(dataset: ForeignDataset, key: str, names: dict[str, tuple[str, ...]], joint: Joint) -> int:
    """Where a joint's value stands in `key`. An action without names has the state's, if it is as long."""
    if not joint.source:
        return 0
    size = dataset.features[key]["shape"][0]
    own = names[key] or (names[STATE] if len(names[STATE]) == size else ())
    if joint.source in own:
        return own.index(joint.source)
    short = [plain(name) for name in own]
    if short.count(plain(joint.source)) == 1:
        return short.index(plain(joint.source))
    if joint.source.isdecimal() and int(joint.source) < size:
        return int(joint.source)
    raise MappingError(
        f"joint {joint.name!r}: {key} of {dataset.root} has no {joint.source!r}; it has {', '.join(own) or size}"
    )


def check_radians(joint_map: JointMap, values: np.ndarray, key: str) -> None:
    """Raises DatasetError when values (T, J) of a joint cannot be radians."""
    bad = np.argwhere(~(np.abs(values) <= LARGEST_ANGLE))  # NaN too
    if len(bad):
        frame, joint = bad[0]
        raise DatasetError(
            f"{key} of joint {joint_map.names[joint]} is {values[frame, joint]:g} at frame {frame}, expected rad "
            f"within {LARGEST_ANGLE:.1f}; if these are degrees, give --unit deg, if another scale, a table with --map"
        )


def guess_card(name: str, joints: Sequence[str]) -> RobotCard:
    """What the names of joints tell of a robot that is not described: block and side of each. Training weighs the
    joints of a block alike; whatever is neither hand, head nor waist counts as arm.
    """
    blocks = tuple(next((b for b, words in WORDS.items() if any(w in joint for w in words)), "arm") for joint in joints)
    sides = tuple(next((side for side in SIDES if side in joint), "") for joint in joints)
    return RobotCard(name, "", tuple(joints), blocks, sides)


def choose_cameras(dataset: ForeignDataset, name: str = "", others: Sequence[str] | None = None) -> dict[str, str]:
    """Camera of the new dataset -> its key in `dataset`; the main one, ego, first.

    name: of the main camera, its key or the last part of it; "": the only one, or one that is called like an ego
    camera. others: those to keep beside it, None for all. Raises MappingError.
    """
    main = choose_main(dataset, name)
    short = {key.rsplit(".", 1)[-1]: key for key in dataset.cameras}
    chosen = [word for word, key in short.items() if key != main] if others is None else list(others)
    if unknown := [word for word in chosen if word not in short]:
        raise MappingError(f"dataset {dataset.root} has no camera {', '.join(unknown)}; it has {', '.join(short)}")
    if EGO in chosen and short[EGO] != main:
        raise MappingError(f"dataset {dataset.root} has a camera {EGO} beside the main one {name!r}; leave one out")
    return {EGO: main} | {word: short[word] for word in chosen if short[word] != main}


def choose_main(dataset: ForeignDataset, name: str) -> str:
    """The key of the main camera, see `choose_cameras`. Raises MappingError."""
    short = {key.rsplit(".", 1)[-1]: key for key in dataset.cameras}
    known = ", ".join(short) or "none"
    if name:
        if name not in dataset.cameras and name not in short:
            raise MappingError(f"dataset {dataset.root} has no camera {name!r}; it has {known}")
        return name if name in dataset.cameras else short[name]
    if len(dataset.cameras) == 1:
        return dataset.cameras[0]
    for word in LIKELY:
        if word in short:
            return short[word]
    raise MappingError(f"dataset {dataset.root} has the cameras {known}; say with --camera which one the policy sees")
