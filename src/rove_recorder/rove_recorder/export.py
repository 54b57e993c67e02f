"""Bags -> LeRobot v3.0 dataset.

    rove run rove_recorder export BAGS... --out DATASET

Episodes are read, resampled and encoded by several processes and appended in the order of their start, so the result does not depend on
the number of processes. Bags that were not closed are recovered first. One bad bag does not stop the others.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import tyro
from tqdm import tqdm

from rove_contract import joints
from rove_contract.timing import POLICY_HZ
from rove_recorder import lerobot_format as layout
from rove_recorder.bag import BagError
from rove_recorder.episode_bag import EpisodeBag, Quality, picture_size
from rove_recorder.lerobot import DatasetWriter, EncodedEpisode, encode_episode
from rove_recorder.recover import find_bags, needs_recovery, read_metadata, recover
from rove_recorder.staging import Busy


@dataclass(frozen=True)
class Job:
    """What a worker needs to make one episode."""

    folder: Path
    segments: Path
    fps: int
    image_size: tuple[int, int]
    camera: str
    resize: bool


@dataclass
class Result:
    """Of one bag: an episode, or a reason why there is none. notes: what was recovered."""

    folder: Path
    episode: EncodedEpisode | None = None
    quality: Quality | None = None
    error: str = ""
    notes: str = ""


def convert(job: Job) -> Result:
    """Read, resample and encode one bag; errors that belong to the bag end up in the result."""
    try:
        table = joints.load()
        frames, quality = EpisodeBag(job.folder).frames(table, job.fps, job.image_size if job.resize else None)
        episode = encode_episode(
            frames, job.segments, fps=job.fps, image_size=job.image_size, joints=len(table), camera=job.camera
        )
        return Result(job.folder, episode, quality)
    except (ValueError, BagError, OSError) as error:
        return Result(job.folder, error=str(error))


def _results(jobs: list[Job], workers: int) -> Iterator[Result]:
    """Results in the order of the jobs, at most two per worker waiting, so that memory stays flat."""
    if workers <= 1 or len(jobs) == 1:
        yield from map(convert, jobs)
        return
    # Spawned, not forked: the parent may have threads of codecs and of ROS.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        pending, rest = deque(), iter(jobs)
        for job in rest:
            pending.append(pool.submit(convert, job))
            if len(pending) >= 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _prepared(folders: Iterable[Path], results: list[Result]) -> list[tuple[int, str, Path, str]]:
    """(start, id, folder, note) of the usable bags in the order of their start; the others' reasons go to `results`."""
    usable = []
    for folder in folders:
        try:
            note = recover(folder).sentence() if needs_recovery(folder) else ""
            custom = read_metadata(folder)["custom_data"] or {}
            if {"id", "started_ns"} <= custom.keys():
                start_ns, name = int(custom["started_ns"]), custom["id"]
            else:  # another recorder's bag of a session
                episode = EpisodeBag(folder).episode
                start_ns, name = episode.started_ns, episode.id
            usable.append((start_ns, name, folder, note))
        except (ValueError, BagError, OSError) as error:
            results.append(Result(folder, error=str(error)))
    return sorted(usable, key=lambda entry: entry[:2])


def export_bags(
    bags: Iterable[Path],
    out: Path,
    *,
    fps: int = round(POLICY_HZ),
    image_size: tuple[int, int] | None = None,
    camera: str = "video",
    workers: int = 0,
    progress: bool = True,
) -> list[Result]:
    """Export bags (directories, or folders of them) into the dataset `out`, new or existing, in one step: all of them or, killed, none.

    image_size: (H, W), other pictures are resized; None: that of the dataset, or of the first bag, and others are refused. workers: 0 =
    one per core. Episodes that the dataset has already are left out with a note. Raises BagError, DatasetError, Busy for what concerns all.
    """
    folders = find_bags([Path(path) for path in bags])
    results: list[Result] = []
    usable = _prepared(folders, results)
    if not usable:
        return results
    size = image_size
    if size is None and (Path(out) / layout.INFO).is_file():
        size = tuple(layout.read_info(out)["features"][layout.CAMERA]["shape"][:2])
    if size is None:
        size = picture_size(usable[0][2])
    with DatasetWriter(out, fps, size, joints.load().names, camera) as writer:
        segments = writer.segments
        jobs, notes = [], {}
        seen = set(writer.episode_ids)
        for _, name, folder, note in usable:
            notes[folder] = note
            if name in seen:
                results.append(Result(folder, notes=f"episode {name} is in the dataset already"))
                continue
            seen.add(name)
            jobs.append(Job(folder, segments, fps, size, camera, image_size is not None))
        bar = tqdm(total=len(jobs), unit="episode", disable=not (progress and jobs))
        for result in _results(jobs, workers or os.cpu_count() or 1):
            bar.update()
            result.notes = notes[result.folder]
            if result.episode is not None:
                writer.add_encoded(result.episode)
            results.append(result)
        bar.close()
    return results


def run(
    bags: tyro.conf.Positional[tuple[Path, ...]],
    out: Path,
    fps: int = round(POLICY_HZ),
    image_size: tuple[int, int] | None = None,
    camera: Literal["video", "image"] = "video",
    workers: int = 0,
    quiet: bool = False,
) -> int:
    """Export episodes from bags to a LeRobot v3.0 dataset; appends when it exists.

    Args:
        bags: bag directories, or folders that hold bags.
        out: the dataset's folder.
        fps: frames per second of the dataset; the policy's rate.
        image_size: height and width; pictures of another size are resized to it.
        camera: H.264 video, or the camera's own JPEGs in the data files.
        workers: processes; 0 is one per core.
        quiet: no progress bar.
    """
    try:
        results = export_bags(
            bags, out, fps=fps, image_size=image_size, camera=camera, workers=workers, progress=not quiet
        )
    except (BagError, layout.DatasetError, Busy, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for result in results:
        if result.notes:
            print(f"note: {result.notes}")
        if result.error:
            print(f"error: {result.folder}: {result.error}", file=sys.stderr)
        elif result.quality is not None:
            print(f"{result.episode.frames.episode_id}: {result.quality.line()}")
    failed = sum(bool(result.error) for result in results)
    done = [result for result in results if result.episode is not None]
    frames = sum(len(result.episode.frames) for result in done)
    print(f"{len(done)} episodes, {frames} frames -> {out}" + (f"; {failed} bags failed" if failed else ""))
    return 1 if failed else 0


def main() -> int:
    return tyro.cli(run, prog="export")


if __name__ == "__main__":
    sys.exit(main())
