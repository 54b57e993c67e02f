# SPDX-License-Identifier: Apache-2.0
"""Bags -> LeRobot v3.0 dataset.

    rove run rove_recorder export BAGS... --out DATASET [--shard i/n] [--engine ray]

Episodes are read, resampled and encoded by several processes and appended in the order of their start, so the result
does not depend on the number of processes. Bags that were not closed are recovered first. One bad bag does not stop the
others. Bags and dataset may be in an object store (s3://...); a shard is put together with the others by `merge`.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from tqdm import tqdm

from rove_contract import files
from rove_contract.timing import POLICY_HZ
from rove_description import robot as robots
from rove_description.card import RobotCard
from rove_description.description_file import RobotError
from rove_description.joints import JointTable
from rove_description.robot import Camera, Robot
from rove_description.sensors import Sensors
from rove_recorder.bag.bag import BagError
from rove_recorder.bag.mcap_stream import LATEST_NS
from rove_recorder.bag.recover import Unrepaired, find_bags, needs_recovery, read_metadata, recover
from rove_recorder.dataset import engine as engines
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset import reader, remote
from rove_recorder.dataset.lerobot import DatasetWriter, EncodedEpisode, encode_episode
from rove_recorder.dataset.quality import Quality
from rove_recorder.dataset.shards import Shard, ShardError
from rove_recorder.dataset.staging import Busy
from rove_recorder.export.episode_bag import EpisodeBag, picture_size


@dataclass(frozen=True)
class Job:
    """What a worker needs to make one episode."""

    folders: tuple[str | Path, ...]  # the episode's bag, or its parts; local or remote
    table: JointTable
    robot: RobotCard
    cameras: Mapping[str, Camera]
    segments: Path
    fps: int
    image_size: layout.Sizes
    camera: str
    resize: bool
    sensors: Sensors = Sensors()


@dataclass
class Result:
    """Of one bag: an episode, or a reason why there is none. notes: what was recovered."""

    folder: str | Path
    episode: EncodedEpisode | None = None
    quality: Quality | None = None
    error: str = ""
    notes: str = ""


def convert(job: Job) -> Result:
    """Read, resample and encode one bag; errors that belong to the bag end up in the result."""
    try:
        table = job.table
        with contextlib.ExitStack() as stack:
            folders = [stack.enter_context(remote.fetched(folder)) for folder in job.folders]
            for address, folder in zip(job.folders, folders):
                if remote.is_remote(address) and needs_recovery(folder):
                    recover(folder)  # the copy here
            bag = EpisodeBag(*folders, cameras=job.cameras, sensors=job.sensors)
            if refusal := bag.robot.refusal(job.robot, "the bag"):
                raise BagError(f"{refusal}; export it with --robot {bag.robot.name}, or its folder")
            frames, quality = bag.frames(table, job.fps, job.image_size if job.resize else None)
            episode = encode_episode(
                frames,
                job.segments,
                fps=job.fps,
                image_size=job.image_size,
                joints=len(table),
                camera=job.camera,
                shapes=layout.Shapes.of(job.sensors),
            )
        episode.quality = quality
        return Result(job.folders[0], episode, quality)
    except Exception as error:
        return Result(job.folders[0], error=_sentence(error))


def _sentence(error: Exception) -> str:
    """What is wrong with one bag. Parsers raise whatever its damage leads to; the other bags must not suffer for it."""
    if isinstance(error, (ValueError, BagError, OSError)) and str(error):
        return str(error)
    return f"it cannot be read: {type(error).__name__}: {error}"


def _find(paths: Iterable[str | Path]) -> list[str | Path]:
    """Bags at or below folders and addresses, each once."""
    found: dict[str | Path, None] = {}
    for path in paths:
        found |= dict.fromkeys(remote.find_bags(path) if remote.is_remote(path) else find_bags([Path(path)]))
    return list(found) or [*find_bags([])]


def _name(bag: str | Path) -> str:
    return str(bag).rstrip("/").rsplit("/", 1)[-1]


def _stem(bag: str | Path) -> str:
    """Name of a bag without the number of its part: a recorder that died goes on in NAME.2."""
    return re.sub(r"\.\d+$", "", _name(bag))


def _part(bag: str | Path) -> int:
    number = _name(bag)[len(_stem(bag)) + 1 :]
    return int(number) if number else 1


def _prepared(bags: Iterable[str | Path], results: list[Result]) -> list[tuple[int, str, tuple[str | Path, ...], str]]:
    """(start, id, bag and its later parts, note) of the usable episodes in the order of their start; the others'
    reasons go to `results`.
    """
    episodes: dict[tuple[str, str], list[tuple[int, int, str | Path, str]]] = {}  # by id and place
    for bag in bags:
        try:
            start_ns, name, note = _provenance(bag)
            place = str(bag).rstrip("/").removesuffix(_name(bag)) + _stem(bag)
            episodes.setdefault((name, place), []).append((_part(bag), start_ns, bag, note))
        except Exception as error:
            results.append(Result(bag, error=_sentence(error)))
    usable = []
    for (name, _), parts in episodes.items():
        parts.sort(key=lambda part: part[0])
        notes = "; ".join(note for *_, note in parts if note)
        usable.append((min(start for _, start, *_ in parts), name, tuple(bag for _, _, bag, _ in parts), notes))
    return sorted(usable, key=lambda entry: (*entry[:2], str(entry[2][0])))


def _start(custom: dict[str, str]) -> int:
    start_ns = int(custom["started_ns"])
    if not 0 <= start_ns < LATEST_NS:
        raise BagError(f"its custom_data say that it was started at {start_ns} ns since the epoch")
    return start_ns


def _provenance(bag: str | Path) -> tuple[int, str, str]:
    """(start, id, note) of a bag, recovered where needed. Of a closed remote bag only its metadata.yaml is fetched."""
    if remote.is_remote(bag):
        with remote.fetched(bag, "metadata.yaml") as folder:
            custom = (read_metadata(folder)["custom_data"] or {}) if (folder / "metadata.yaml").is_file() else {}
        if {"id", "started_ns"} <= custom.keys():
            return _start(custom), custom["id"], ""
    with remote.fetched(bag) as folder:
        note, custom = "", {}
        try:
            note = recover(folder).sentence() if needs_recovery(folder) else ""
            custom = read_metadata(folder)["custom_data"] or {}
        except (OSError, Unrepaired) as error:  # a full or read-only disk
            note = f"{error}; read as it is"
        if {"id", "started_ns"} <= custom.keys():
            return _start(custom), custom["id"], note
        episode = EpisodeBag(folder).episode  # another recorder's bag of a session
        return episode.started_ns, episode.id, note


def export_bags(
    bags: Iterable[str | Path],
    out: str | Path,
    *,
    fps: int = round(POLICY_HZ),
    image_size: tuple[int, int] | None = None,
    camera: str | None = None,
    robot: str | Path | None = None,
    cameras: Sequence[str] | None = None,
    sensors: Sequence[str] | None = None,
    workers: int = 0,
    engine: engines.Engine = "process",
    shard: Shard | None = None,
    progress: bool = True,
) -> list[Result]:
    """Export bags (directories, or folders of them, or their addresses) into the dataset `out`, new or existing, in one
    step: all of them or, killed, none.

    image_size: (H, W), other pictures are resized; None: that of the dataset, or of the first bag, and others are
    refused. camera: one of lerobot_format.CAMERAS; None: the dataset's, "video" for a new one. workers: 0 = one per
    core. robot: name or folder; None: what the bags name. cameras: those to export; None: the dataset's, all of the
    robot's for a new one. sensors: likewise, depth cameras and tactile arrays. shard: only the bags that fall to it,
    into `out`/shards/i-of-n. Episodes that the dataset has already are left out with a note. Raises BagError,
    RobotError, DatasetError, Busy, EngineError, RemoteError for what concerns all.
    """
    found = _find(bags)
    chosen = found if shard is None else [bag for bag in found if shard.takes(_stem(bag))]
    target = out if shard is None else shard.folder(out)
    results: list[Result] = []
    usable = _prepared(chosen, results)
    if usable:
        with remote.dataset(target) as local:
            _export(
                usable,
                local,
                results,
                robot,
                cameras,
                sensors,
                fps,
                image_size,
                camera,
                workers,
                engine,
                not remote.is_remote(target),
                progress,
            )
    if shard is not None:
        errors = {str(result.folder): result.error for result in results if result.error}
        episodes = sum(result.episode is not None for result in results)
        shard.write_report(out, len(found), len(chosen), episodes, errors)
    return results


def _first_sizes(usable: list, results: list[Result], cameras: Mapping[str, Camera]) -> layout.Sizes | None:
    """(H, W) of each camera in the first bag that has pictures of all; those before it leave `usable`, with the reason
    in `results`.
    """
    while usable:
        try:
            with remote.fetched(usable[0][2][0]) as folder:
                EpisodeBag(folder, cameras=cameras)  # a better reason than the lack of pictures, where there is one
                return {name: picture_size(folder, camera.topic) for name, camera in cameras.items()}
        except Exception as error:
            results.append(Result(usable.pop(0)[2][0], error=_sentence(error)))
    return None


def _robot_name(usable: list) -> str:
    """The robot that the bags name. Raises BagError for one that is none of ROVE's own."""
    for _, _, parts, _ in usable:
        with remote.fetched(parts[0], "metadata.yaml") as folder:
            try:
                custom = read_metadata(folder)["custom_data"] or {}
            except BagError:
                continue
        name = custom.get("robot", "")
        if name and files.name(name, "robot") not in robots.shipped():
            raise BagError(f"{parts[0]} belongs to the robot {name}; give its folder: --robot FOLDER")
        if name:
            return robots.variant(name, custom.get("robot_hash", ""))
    return robots.DEFAULT


def _cameras(robot: Robot, names: Sequence[str] | None) -> dict[str, Camera]:
    """The cameras to export. Raises DatasetError for a name that the robot does not have."""
    names = list(robot.cameras) if names is None else names
    if unknown := [name for name in names if name not in robot.cameras]:
        raise layout.DatasetError(
            f"the robot {robot.name} has no camera {', '.join(unknown)}; it has {', '.join(robot.cameras) or 'none'}"
        )
    if layout.EGO not in names:
        raise layout.DatasetError(f"a dataset needs the main camera {layout.EGO}, got {', '.join(names) or 'none'}")
    return {name: robot.cameras[name] for name in names}


def _sensors(robot: Robot, names: Sequence[str] | None) -> Sensors:
    """The depth cameras and tactile arrays to export. Raises DatasetError for a name that the robot does not have."""
    known = robot.sensors.by_name
    if unknown := [name for name in names or () if name not in known]:
        raise layout.DatasetError(
            f"the robot {robot.name} has no sensor {', '.join(unknown)}; it has {', '.join(known) or 'none'}"
        )
    return robot.sensors if names is None else robot.sensors.only(names)


def _export(
    usable,
    out: Path,
    results: list[Result],
    robot,
    cameras,
    sensors,
    fps,
    image_size,
    camera,
    workers,
    engine,
    grow,
    progress,
) -> None:
    """`usable`: of `_prepared`. The rest: see `export_bags`."""
    described, sizes = robots.load(robot or _robot_name(usable)), None
    if (out / layout.INFO).is_file():
        feats = reader.read_info(out)["features"]
        stored = layout.stored_sizes(feats)
        if layout.EGO not in stored:
            raise layout.DatasetError(f"{out} has no camera {layout.EGO}; export into a dataset of its own")
        cameras = list(stored) if cameras is None else cameras
        sensors = layout.Shapes.stored(feats).names if sensors is None else sensors
        sizes, camera = stored, camera or layout.storage(feats)
    chosen, camera = _cameras(described, cameras), camera or "video"
    if image_size is not None:
        sizes = dict.fromkeys(chosen, image_size)
    if sizes is None:
        sizes = _first_sizes(usable, results, chosen)
        if sizes is None:
            return
    recorded = _sensors(described, sensors)
    shapes = layout.Shapes.of(recorded)
    with DatasetWriter(out, described.card, fps, sizes, camera, grow=grow, shapes=shapes) as writer:
        jobs, notes = [], {}
        seen = set(writer.episode_ids)
        for _, name, parts, note in usable:
            notes[parts[0]] = note
            if name in seen:
                results.append(Result(parts[0], notes=f"episode {name} is in the dataset already"))
                continue
            seen.add(name)
            of_robot = described.table, described.card, chosen
            jobs.append(Job(parts, *of_robot, writer.segments, fps, sizes, camera, image_size is not None, recorded))
        with (
            engines.pool(engine, workers if len(jobs) > 1 else 1) as run,
            tqdm(total=len(jobs), unit="episode", disable=not (progress and jobs)) as bar,
        ):
            for result in run(convert, jobs):
                bar.update()
                result.notes = notes[result.folder]
                if result.episode is not None:
                    writer.add_encoded(result.episode)
                results.append(result)


def run(
    bags: tyro.conf.Positional[tuple[str, ...]],
    out: str,
    fps: int = round(POLICY_HZ),
    image_size: tuple[int, int] | None = None,
    camera: Literal["video", "av1", "image"] | None = None,
    robot: str | None = None,
    cameras: tuple[str, ...] | None = None,
    sensors: tuple[str, ...] | None = None,
    workers: int = 0,
    shard: str | None = None,
    engine: engines.Engine = "process",
    quiet: bool = False,
) -> int:
    """Export episodes from bags to a LeRobot v3.0 dataset; appends when it exists.

    Args:
        bags: bag directories, or folders that hold bags; also addresses such as s3://bucket/bags.
        out: the dataset's folder or address.
        fps: frames per second of the dataset; the policy's rate.
        image_size: height and width; pictures of another size are resized to it.
        camera: H.264 video, AV1 video (LeRobot's default; slower), or the camera's own JPEGs in the data files. The
          dataset's own, for a
            new one video.
        robot: name or folder of the robot; what the bags name, which must be one of ROVE's own.
        cameras: names of the cameras to export; the dataset's, for a new one all of the robot's.
        sensors: names of the depth cameras and tactile arrays to export, likewise; without a name, none.
        workers: processes; 0 is one per core.
        shard: i/n, e.g. 3/8: only the third of eight parts of the bags, into OUT/shards; `merge OUT` puts them
          together.
        engine: process, or ray: on the cluster of RAY_ADDRESS, whose nodes must all reach the bags, else on this
          machine.
        quiet: no progress bar.
    """
    try:
        part = None if shard is None else Shard.parse(shard)
        results = export_bags(
            bags,
            out,
            fps=fps,
            image_size=image_size,
            camera=camera,
            robot=robot,
            cameras=cameras,
            sensors=sensors,
            workers=workers,
            engine=engine,
            shard=part,
            progress=not quiet,
        )
    except (BagError, RobotError, layout.DatasetError, Busy, OSError, ShardError, engines.EngineError) as error:
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
    suspicious = sum(bool(result.quality.flags) for result in done)
    words = f", {suspicious} suspicious (see {layout.QUALITY})" if suspicious else ""
    words += f"; {failed} bags failed" if failed else ""
    print(f"{len(done)} episodes, {frames} frames -> {part.folder(out) if part else out}{words}")
    if part is not None:
        print(f"when all {part.count} shards are there: rove run rove_recorder merge {out}")
    return 1 if failed else 0


def main() -> int:
    return tyro.cli(run)


if __name__ == "__main__":
    sys.exit(main())
