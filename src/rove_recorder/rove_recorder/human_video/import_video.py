# SPDX-License-Identifier: Apache-2.0
"""Human experience videos -> dataset, for the critic only.

    rove run rove_recorder import_video wipe1.mp4 wipe2.mp4 --task "erase the whiteboard" --success --out runs/human
    rove run rove_recorder import_video videos/ --out runs/human

A folder holds the videos and one CSV with the columns file, task, outcome (success | failure) and, where wanted, start,
end (seconds) and operator; or it is given with --task and --success or --failure for all its videos. Stopped or killed,
the same command goes on.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from rove_contract.modes import Outcome
from rove_recorder.human_video.clips import Clip, Result
from rove_recorder.human_video.command import DEFAULT, Options, run_import

SUFFIXES = {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts"}
NEEDED, OPTIONAL = ("file", "task", "outcome"), ("start", "end", "operator")
OUTCOMES = {"success": Outcome.SUCCESS, "failure": Outcome.FAILURE}


class LabelError(ValueError):
    """Videos without task or outcome; the message names the file, and what to write where."""


def read_csv(path: Path) -> tuple[list[Clip], list[Result]]:
    """The clips that a CSV names, and an error for each row that cannot be used. Raises LabelError when the table
    itself cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"cannot read {path} as UTF-8 text: {error}") from error
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    rows = csv.DictReader(text.splitlines(), delimiter=delimiter)
    columns = [(name or "").strip().lower() for name in rows.fieldnames or ()]
    rows.fieldnames = columns
    missing, unknown = [n for n in NEEDED if n not in columns], [n for n in columns if n and n not in NEEDED + OPTIONAL]
    if missing or unknown:
        wrong = f"lacks the column {', '.join(missing)}" if missing else f"has the unknown column {', '.join(unknown)}"
        raise LabelError(
            f"{path} {wrong}; expected a first line with {', '.join(NEEDED)} and, where wanted, {', '.join(OPTIONAL)}"
        )
    clips, errors = [], []
    for row in rows:
        if not any(row.values()):
            continue
        where = f"{path}, line {rows.line_num}"
        try:
            clips.append(_clip(row, path.parent, where))
        except LabelError as error:
            errors.append(Result(Clip(Path(row["file"] or "?"), "", Outcome.NONE, origin=where), error=str(error)))
    return clips, errors


def _clip(row: dict, folder: Path, where: str) -> Clip:
    value = {name: (row.get(name) or "").strip() for name in NEEDED + OPTIONAL}
    for name in ("file", "task"):
        if not value[name]:
            raise LabelError(f"{name} is empty")
    if value["outcome"].lower() not in OUTCOMES:
        raise LabelError(f"the outcome of {value['file']} is {value['outcome']!r}, expected success or failure")
    path = folder / value["file"]
    if not path.is_file():
        raise LabelError(f"there is no file {path}")
    times = {}
    for name in ("start", "end"):
        try:
            times[name] = float(value[name]) if value[name] else None
        except ValueError:
            raise LabelError(f"{name} of {value['file']} is {value[name]!r}, expected seconds") from None
    return Clip(
        path,
        value["task"],
        OUTCOMES[value["outcome"].lower()],
        times["start"] or 0.0,
        times["end"],
        value["operator"],
        where,
    )


def collect(paths: tuple[Path, ...], task: str, outcome: Outcome, operator: str) -> tuple[list[Clip], list[Result]]:
    """Clips of files, folders and CSVs. Raises LabelError when something has no label."""
    clips, errors = [], []
    for path in paths:
        tables = [path] if path.suffix.lower() == ".csv" else sorted(path.glob("*.csv")) if path.is_dir() else []
        videos = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if len(tables) > 1:
            names = ", ".join(table.name for table in tables)
            raise LabelError(
                f"{path} holds {len(tables)} CSV files ({names}); name the one to use instead of the folder"
            )
        if tables:
            if task or outcome:
                raise LabelError(
                    f"{tables[0]} says task and outcome of each video; leave --task, --success and --failure out, "
                    f"or the CSV"
                )
            named, wrong = read_csv(tables[0])
            clips += named
            errors += wrong
            rest = sorted(set(videos) - {clip.path for clip in named}) if path.is_dir() else []
            if rest:
                some = ", ".join(str(p.relative_to(path)) for p in rest[:3]) + (", ..." if len(rest) > 3 else "")
                note = f"{tables[0].name} does not name {len(rest)} videos of {path}: {some}"
                errors.append(Result(Clip(path, "", Outcome.NONE), note=note))
            continue
        if not path.exists():
            raise LabelError(f"there is no file or folder {path}")
        if not videos:
            raise LabelError(f"{path} holds neither a CSV nor videos ({', '.join(sorted(SUFFIXES))})")
        if not task or not outcome:
            lacks = " and ".join(
                text for text, there in (("--task", task), ("--success or --failure", outcome)) if not there
            )
            raise LabelError(f"{path} needs {lacks}, or a CSV beside the videos with the columns {', '.join(NEEDED)}")
        clips += [Clip(video, task, outcome, operator=operator) for video in videos]
    return clips, errors


def run(
    paths: tyro.conf.Positional[tuple[Path, ...]],
    out: Path,
    task: str = "",
    success: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    failure: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    operator: str = "",
    start: float = 0.0,
    end: float | None = None,
    encoding: Options = DEFAULT,
) -> int:
    """Import human experience videos as episodes for the critic; appends when the dataset exists, and goes on after a
    stop.

    Args:
        paths: video files, folders of videos with one CSV (file, task, outcome, start, end, operator), or CSV files.
        out: the dataset's folder; best one of its own, given to training beside the robot's.
        task: the instruction, in the words of the robot's task.
        success: the videos show the task done.
        failure: the videos show it failed.
        operator: who is seen.
        start: seconds; where the part to import begins. For a single file; in a CSV it is a column.
        end: seconds; where it ends.
    """

    def clips() -> tuple[list[Clip], list[Result]]:
        if success and failure:
            raise LabelError(
                "--success and --failure exclude each other; import the two kinds one after the other, or write a CSV"
            )
        if not paths:
            raise LabelError("no videos were given; name files or a folder")
        outcome = Outcome.SUCCESS if success else Outcome.FAILURE if failure else Outcome.NONE
        found, rest = collect(paths, task.strip(), outcome, operator)
        if (start, end) == (0.0, None):
            return found, rest
        if len(found) != 1 or found[0].origin:
            raise LabelError(
                "--start and --end are for one file; for several, write a CSV with the columns start and end"
            )
        return [replace(found[0], start_s=start, end_s=end)], rest

    return run_import(clips, out, encoding, LabelError)


def main() -> int:
    return tyro.cli(run, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
