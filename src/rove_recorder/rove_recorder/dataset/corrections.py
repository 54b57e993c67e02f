# SPDX-License-Identifier: Apache-2.0
"""Corrections of episodes by a person, their labels and edits, beside the data in `meta/corrections.jsonl`;
append-only. What can be corrected stands in correction_fields.

Exported data never change; meta/info.json notes that there are corrections. One line per correction: who, when, which
episode, which field, old and new value; an undo is a line of its own. What counts is the last line of an episode and
field. Readers apply them with `corrected` and `restage`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from rove_contract.files import UnsafePath, inside, sync
from rove_contract.modes import Outcome, Stage
from rove_recorder.dataset import correction_mark
from rove_recorder.dataset.correction_fields import (
    CUTS,
    FIELDS,
    INTERVENTION,
    NUMBERS,
    CorrectionError,
    Value,
    check,
    check_cut,
    exported,
)
from rove_recorder.dataset.correction_mark import FILE

LARGEST_NUMBER = 2**31  # of an episode or a frame


@dataclass(frozen=True)
class Correction:
    """One line of the file. old, new: as `typed` gives them (t_r and split: -1 = none). undoes: number of the line
    (from 0) that it takes back, or None. by: who. at: ISO 8601, UTC."""

    episode_index: int
    episode_id: str
    field: str
    old: Value
    new: Value
    by: str
    at: str
    undoes: int | None = None

    def line(self) -> str:
        values = asdict(self)
        if self.field == "outcome":
            values |= {key: Outcome(values[key]).name.lower() for key in ("old", "new")}
        if self.undoes is None:
            del values["undoes"]
        return json.dumps(values, ensure_ascii=False)


def _parse(line: bytes) -> Correction:
    values = json.loads(line)
    field = values["field"]
    if field not in FIELDS:
        raise ValueError(f"unknown field {field!r}")
    for key in ("old", "new"):
        value = values[key]
        if field == "outcome":
            values[key] = int(Outcome[value.upper()])
        elif type(value) is not (str if field == "task" else int if field in NUMBERS else bool):
            raise ValueError(f"{field} cannot be {value!r}")
    found = Correction(**values)
    if type(found.episode_index) is not int or not isinstance(found.episode_id, str) or not isinstance(found.by, str):
        raise ValueError("episode_index, episode_id and by are no number and two texts")
    if found.undoes is not None and type(found.undoes) is not int:
        raise ValueError(f"undoes cannot be {found.undoes!r}")
    numbers = [number for number in (found.episode_index, found.old, found.new) if not isinstance(number, str)]
    if max(map(abs, numbers)) > LARGEST_NUMBER:
        raise ValueError("a number is out of range")
    datetime.fromisoformat(found.at.replace("Z", "+00:00"))
    return found


def _read(data: bytes, file: Path) -> list[Correction]:
    # A last line without its end was cut off while it was written; nobody was told that it is stored.
    found = []
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            found.append(_parse(line))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CorrectionError(f"{file}, line {number} is no correction ({error}): {line[:120]!r}"[:500]) from error
    return found


def _file(root: Path | str) -> Path:
    try:
        return inside(root, FILE)
    except UnsafePath as error:
        raise CorrectionError(str(error)) from error


def read(root: Path | str) -> list[Correction]:
    """All corrections of the dataset `root` in order; [] if there are none. Raises CorrectionError naming file and
    line, and when there were some that another tool lost.
    """
    file = _file(root)
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        if correction_mark.is_marked(root):
            raise CorrectionError(
                f"{root} was corrected in review, but {FILE} is missing: a tool that does not know it left it behind. "
                f"Edit the output of `rove run rove_recorder bake` instead, whose labels are corrected; an empty "
                f"{FILE} means the labels as they were recorded"
            ) from None
        return []
    except OSError as error:
        raise CorrectionError(f"cannot read {file}: {error.strerror}") from error
    return _read(data, file)


def fixes(root: Path | str, rows: list[dict]) -> dict[int, dict[str, Value]]:
    """Of every episode of `rows` (meta/episodes) by its index: what `corrected` says; {} for most. Raises
    CorrectionError.
    """
    lines: dict[int, list[Correction]] = {}
    for correction in read(root):
        lines.setdefault(correction.episode_index, []).append(correction)
    return {
        row["episode_index"]: corrected(
            lines.get(row["episode_index"], []), row["episode_index"], row.get("episode_id") or ""
        )
        for row in rows
    }


def digest(root: Path | str) -> str:
    """Hex digits that change with the corrections; "" without any: part of what tells one training run from another."""
    lines = read(root)
    return (
        hashlib.blake2b("\n".join(line.line() for line in lines).encode(), digest_size=8).hexdigest() if lines else ""
    )


def require_baked(root: Path | str, found: dict[int, dict[str, Value]], fields: tuple[str, ...] = CUTS) -> None:
    """Raise CorrectionError where an episode has an edit that its reader cannot apply; found: of `fixes`."""
    for index, fix in found.items():
        if pending := [field for field in fields if field in fix]:
            raise CorrectionError(
                f"{root}: episode {index} was edited in review ({', '.join(pending)}); `rove run rove_recorder bake` "
                f"writes that into a new dataset, use that one"
            )


def corrected(corrections: list[Correction], episode_index: int, episode_id: str) -> dict[str, Value]:
    """Fields of one episode that differ from the exported ones, after applying `corrections` in order; for `row |
    corrected(...)`.

    Raises CorrectionError when they were made for another episode, i.e. the dataset was made anew.
    """
    first: dict[str, Value] = {}
    last: dict[str, Value] = {}
    for correction in corrections:
        if correction.episode_index != episode_index:
            continue
        if correction.episode_id != episode_id:
            raise CorrectionError(
                f"{FILE} corrects episode {episode_index} {correction.episode_id!r} ({correction.field}, "
                f"{correction.at}), but episode "
                f"{episode_index} is {episode_id!r} now: the dataset was made anew; take those lines out and "
                f"correct it anew"
            )
        first.setdefault(correction.field, correction.old)
        last[correction.field] = correction.new
    return {field: value for field, value in last.items() if value != first[field]}


def undoable(corrections: list[Correction], episode_index: int) -> int | None:
    """Number (from 0) of the episode's last correction that is not undone; None if there is none."""
    undone = {correction.undoes for correction in corrections}
    left = [
        i
        for i, c in enumerate(corrections)
        if c.episode_index == episode_index and c.undoes is None and i not in undone
    ]
    return left[-1] if left else None


def restage(stage: np.ndarray, t_r: int) -> np.ndarray:
    """stage (T,) as exported -> stage (T,) whose first RECOVERY frame is t_r (-1: none); a copy.

    Of the operator's frames those before t_r are ADAPTATION; from t_r until the operator lets go, or adapts again, they
    are RECOVERY. Later interventions of the episode, and all other stages, stay as they are.
    """
    stage = np.array(stage)
    recovery, operator = stage == Stage.RECOVERY, np.isin(stage, INTERVENTION)
    if t_r < 0:
        stage[recovery] = Stage.ADAPTATION
        return stage
    again = np.flatnonzero(recovery[:-1] & ~recovery[1:]) + 1  # the recovery ends: let go, or a new adaptation
    released = np.flatnonzero(~operator)
    end = min([*again[again > t_r][:1], *released[released > t_r][:1], len(stage)])
    stage[:t_r][recovery[:t_r]] = Stage.ADAPTATION
    stage[t_r:end] = Stage.RECOVERY
    return stage


def _append(root: Path | str, make: Callable[[list[Correction]], Correction | None]) -> Correction | None:
    """Append what `make` returns for the corrections so far, fsynced, one writer at a time."""
    read(root)  # refuses where earlier corrections are lost
    file = _file(root)
    fresh = not file.exists()
    with file.open("a+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        data = stream.read()
        correction = make(_read(data, file))
        if correction is None:
            return None
        correction_mark.mark(root)  # the file exists by now: a kill in between leaves it empty, not missing
        stream.truncate(data.rfind(b"\n") + 1)  # a cut-off line of a writer that was killed
        stream.write((correction.line() + "\n").encode())
        stream.flush()
        os.fsync(stream.fileno())
    if fresh:
        sync(file.parent)
    return correction


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def correct(root, row: dict, stage: np.ndarray, field: str, new, by: str, expected=None) -> Correction | None:
    """Store a correction. row: the episode's exported row of meta/episodes; stage: its exported stages (T,). None:
    nothing changes.

    expected: the value that the person saw, refused when it is no longer that. Raises CorrectionError.
    """
    new = check(field, new, stage=stage, takeover=row["takeover"])

    def make(so_far: list[Correction]) -> Correction | None:
        index, name = row["episode_index"], row["episode_id"] or ""
        now = exported(row) | corrected(so_far, index, name)
        old = now[field]
        if expected is not None and old != expected:
            raise CorrectionError(f"{field} was corrected to {old} meanwhile; look again")
        if field in CUTS:
            check_cut(field, new, now)
        return None if new == old else Correction(index, name, field, old, new, by, _now())

    return _append(root, make)


def undo(root, episode_index: int, by: str) -> Correction:
    """Take back the episode's last correction that is not undone yet. Raises CorrectionError when there is none."""

    def make(so_far: list[Correction]) -> Correction:
        number = undoable(so_far, episode_index)
        if number is None:
            raise CorrectionError(f"episode {episode_index} has no correction to undo")
        last = so_far[number]
        return Correction(episode_index, last.episode_id, last.field, last.new, last.old, by, _now(), undoes=number)

    return _append(root, make)
