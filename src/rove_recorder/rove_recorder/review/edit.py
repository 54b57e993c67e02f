# SPDX-License-Identifier: Apache-2.0
"""Correct and edit one episode of a dataset from the command line, as the review page does.

    rove run rove_recorder edit runs/data 3                                  (what it is, and its history)
    rove run rove_recorder edit runs/data 3 --start 12 --stop 240            (keep frames 12 to 239)
    rove run rove_recorder edit runs/data 3 --split 80 --task "close the lid"
    rove run rove_recorder edit runs/data 3 --undo

The dataset itself does not change: corrections stand beside it, append-only. Labels, a new task text and a deletion
count for training at once; `bake` writes all of it, cuts too, into a new dataset.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from rove_recorder.dataset.corrections import CorrectionError
from rove_recorder.dataset.lerobot_format import DatasetError
from rove_recorder.review.data import ReviewData
from rove_recorder.review.server import login

FLAG = tyro.conf.FlagCreatePairsOff
SHOWN = ("episode_id", "kind", "operator", "task", "length", "outcome", "takeover", "t_r", "start", "stop", "split")


def describe(brief: dict) -> str:
    """An episode and its history, for people."""
    lines = [f"{name}: {brief[name]}" for name in SHOWN]
    words = [word for word in ("excluded", "deleted") if brief[word]]
    lines += [f"{', '.join(words)}: not trained on"] if words else []
    for entry in brief["history"]:
        mark = "undo: " if entry["undo"] else ""
        old, new = (json.dumps(entry[key], ensure_ascii=False) for key in ("old", "new"))
        lines.append(f"  {entry['at']} {entry['by']}: {mark}{entry['field']} {old} -> {new}")
    return "\n".join(lines)


def run(
    dataset: tyro.conf.Positional[Path],
    episode: tyro.conf.Positional[int],
    task: str | None = None,
    start: int | None = None,
    stop: int | None = None,
    split: int | None = None,
    delete: Annotated[bool, FLAG] = False,
    restore: Annotated[bool, FLAG] = False,
    outcome: str | None = None,
    t_r: int | None = None,
    exclude: Annotated[bool, FLAG] = False,
    include: Annotated[bool, FLAG] = False,
    undo: Annotated[bool, FLAG] = False,
    by: str = "",
) -> int:
    """Correct and edit one episode; without an option: what it is, and its history.

    Args:
        dataset: the dataset's folder, as export writes it.
        episode: its number.
        task: another text of its task.
        start: first frame that is kept; 0: from the beginning.
        stop: first frame that is cut off at the end; the length: none.
        split: first frame of the second of two episodes; -1: one.
        delete: leave it out of training, and of what `bake` writes.
        restore: the opposite of delete.
        outcome: success, failure, aborted or none.
        t_r: first frame of the recovery; -1: none.
        exclude: keep it, but do not train on it.
        include: the opposite of exclude.
        undo: take back the last correction of this episode that is not undone yet.
        by: your name, stored with every correction; your login name if left out.
    """
    wanted: dict[str, Any] = {
        "task": task,
        "stop": stop,
        "start": start,
        "split": split,
        "outcome": outcome,
        "t_r": t_r,
    }
    for field, yes, no in (("deleted", delete, restore), ("excluded", exclude, include)):
        wanted[field] = None if yes == no else yes
    changes = {field: value for field, value in wanted.items() if value is not None}
    try:
        if undo and changes:
            raise CorrectionError("undo takes back one correction and is given alone")
        data = ReviewData(dataset)
        if undo:
            data.undo(episode, by or login())
        for field, value in changes.items():
            data.correct(episode, field, value, by or login())
        print(describe(data.brief(episode)))
    except (DatasetError, CorrectionError, OSError) as error:
        print(f"edit: {error}", file=sys.stderr)
        return 2
    return 0


def main() -> int:
    return tyro.cli(run, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
