# SPDX-License-Identifier: Apache-2.0
"""What the commands that import human videos have in common: options, progress, errors and the report."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from rove_contract.modes import Outcome
from rove_description.description_file import RobotError
from rove_recorder.dataset.engine import Engine, EngineError
from rove_recorder.dataset.lerobot_format import DatasetError
from rove_recorder.dataset.staging import Busy
from rove_recorder.human_video.clips import Clip, Result, import_clips
from rove_recorder.human_video.video_clip import Fit


@dataclass(frozen=True)
class ImportOptions:
    """How clips become episodes of the dataset.

    Args:
        fps: frames per second; the dataset's, for a new one the policy's (20).
        image_size: height and width; the dataset's, for a new one the ego camera's (192 192).
        camera: video or JPEGs in the data files; the dataset's, for a new one video.
        robot: name or folder; the dataset's, for a new one the default robot: videos and robots train together.
        fit: what happens where the shapes differ: crop the middle, pad with black, or stretch.
        workers: processes; 0 is one per core.
        engine: process, or ray for a cluster that sees the same folders.
        quiet: no progress bar.
    """

    fps: int | None = None
    image_size: tuple[int, int] | None = None
    camera: Literal["video", "image"] | None = None
    robot: str | None = None
    fit: Fit = "crop"
    workers: int = 0
    engine: Engine = "process"
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


Options = tyro.conf.OmitArgPrefixes[ImportOptions]
DEFAULT = ImportOptions()


def run_import(
    collect: Callable[[], tuple[list[Clip], list[Result]]], out: Path, options: ImportOptions, refusal: type[ValueError]
) -> int:
    """Import what `collect` finds into the dataset `out` and print a report; returns the exit status.

    collect: () -> (clips, results of what cannot be imported). refusal: what it raises for wrong arguments.
    """
    settings = dataclasses.asdict(options)
    try:
        clips, results = collect()
        results += import_clips(clips, out, progress=not settings.pop("quiet"), **settings)
    except (refusal, RobotError, DatasetError, Busy, EngineError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    return report(results, out)


def report(results: list[Result], out: Path) -> int:
    """Print what was done, notes and errors; returns the exit status."""
    for result in results:
        if result.note:
            print(f"note: {result.note}")
        if result.error:
            where = f"{result.clip.origin}: " if result.clip.origin else ""
            print(f"error: {where}{result.error}", file=sys.stderr)
    done = [result.episode.frames for result in results if result.episode is not None]
    failed = sum(bool(result.error) for result in results)
    good = sum(frames.outcome == Outcome.SUCCESS for frames in done)
    count = sum(map(len, done))
    already = sum(result.already for result in results)
    text = f"{len(done)} human videos ({good} successes, {len(done) - good} failures), {count} frames -> {out}"
    text += f", {already} there already" if already else ""
    print(text + (f"; {failed} failed" if failed else ""))
    return 1 if failed else 0
