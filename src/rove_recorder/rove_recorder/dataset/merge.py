# SPDX-License-Identifier: Apache-2.0
"""Put the shards of an export together.

    rove run rove_recorder export runs/bags --out runs/data --shard 1/8      (one job for each of 1/8 ... 8/8)
    rove run rove_recorder merge runs/data

The data are the very bytes that one export of all bags would have written. Videos are copied packet by packet, not
encoded again. The shards are removed when the dataset is complete; killed before, the same command goes on.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from tqdm import tqdm

from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset import quality, reader, remote, shards, video
from rove_recorder.dataset.encoding import EncodedEpisode, EpisodeFrames
from rove_recorder.dataset.flags import FLAGS, REWARD
from rove_recorder.dataset.lerobot import DatasetWriter
from rove_recorder.dataset.lerobot_format import ACTION, IMAGES, LABELS, STATE
from rove_recorder.dataset.reader import LeRobotReader
from rove_recorder.dataset.staging import Busy

COMPUTED = (
    *FLAGS,
    REWARD,
    "timestamp",
    "frame_index",
    "episode_index",
    "index",
    "task_index",
)  # by the writer, from the place in its dataset


@dataclass
class Merged:
    """episodes, frames: added. already: that the dataset had. errors: bag -> reason, of the jobs. notes: sentences."""

    episodes: int
    frames: int
    already: int
    errors: dict[str, str]
    notes: list[str]


def read_encoded(source: LeRobotReader, row: dict, folder: Path) -> EncodedEpisode:
    """An episode of the dataset `source` as it was before it was appended, ready to be appended elsewhere; its segments
    go into `folder`.
    """
    stored = source.cameras
    in_columns = [IMAGES + name for name, kind in stored.items() if kind == "image"]
    table = source.episode(row, [STATE, ACTION, *LABELS, *in_columns, *source.sensor_columns])
    columns = {key: source.vectors(table, key) for key in (STATE, ACTION)}
    labels = {key: source.labels(table, key) for key in LABELS}
    jpegs = {name: source.jpegs(table, name) for name, kind in stored.items() if kind == "image"}
    segments = {}
    for name in (name for name, kind in stored.items() if kind == "video"):
        place = source.video(row, name)
        folder.mkdir(parents=True, exist_ok=True)
        segments[name] = folder / f"{row['episode_index']}-{name}.mp4"
        video.cut(place.path, place.first, row["length"], segments[name])
    stats: dict[str, dict] = {}
    for name, value in row.items():
        if name.startswith("stats/") and value is not None:
            feature, stat = name[len("stats/") :].rsplit("/", 1)
            if feature not in COMPUTED:
                stats.setdefault(feature, {})[stat] = np.asarray(value)
    frames = EpisodeFrames(
        columns[STATE],
        columns[ACTION],
        None,
        **labels,
        task=row["tasks"][0],
        **{
            key: row[key]
            for key in ("outcome", "t_r", "takeover", "episode_id", "kind", "operator", "start_stage", "excluded")
        },
        milestone=row.get("milestone") or "",
        started_ns=row.get("started_ns") or 0,
        depth=source.depth(table),
        tactile=source.tactile(table),
    )
    return EncodedEpisode(frames, stats, segments, jpegs)


def merge(out: str | Path, keep: bool = False, progress: bool = True) -> Merged:
    """Append the shards below `out`/shards to `out`, in the order of the episodes' starts, all of them at once; then
    remove the shards.

    Raises ShardError when a shard is missing, DatasetError, RemoteError, Busy.
    """
    if not remote.is_remote(out):
        layout.inside(out, shards.FOLDER)
    with remote.fetched(remote.join(out, shards.FOLDER)) as folder:
        reports = shards.read_reports(folder)
        result = Merged(0, 0, 0, {}, [])
        seen = {report["bags"] for report in reports.values()}
        if len(seen) > 1:
            counts = f"{min(seen)} to {max(seen)} bags"
            result.notes.append(
                f"the jobs saw {counts}: some arrived in between; export once more for those that are missing"
            )
        for report in reports.values():
            result.errors |= report["errors"]
        roots = [folder / f"{shard.index}-of-{shard.count}" for shard in reports]
        roots = [root for root in roots if (root / layout.INFO).is_file()]  # a job without bags writes no dataset
        if roots:
            _append(roots, out, result, progress)
    if not keep:
        remote.remove_folder(remote.join(out, shards.FOLDER))
    return result


def _append(roots: list[Path], out: str | Path, result: Merged, progress: bool) -> None:
    info = reader.read_info(roots[0])
    sizes, kind = layout.stored_sizes(info["features"]), layout.storage(info["features"])
    shapes = layout.Shapes.stored(info["features"])
    found = sorted(
        (
            (row.get("started_ns") or 0, row["episode_id"], root, row)
            for root in roots
            for row in reader.read_episodes(root, stats=True)
        ),
        key=lambda entry: entry[:2],
    )
    reports = {root: quality.read(root) for root in roots}
    sources = {root: LeRobotReader(root) for root in roots}
    with (
        remote.dataset(out) as local,
        DatasetWriter(
            local, layout.robot_of(info), info["fps"], sizes, kind, grow=not remote.is_remote(out), shapes=shapes
        ) as writer,
    ):
        for _, name, root, row in tqdm(found, unit="episode", disable=not progress):
            if name in writer.episode_ids:
                result.already += 1
                continue
            episode = read_encoded(sources[root], row, writer.segments)
            episode.quality = reports[root].get(name)
            writer.add_encoded(episode)
            result.episodes += 1
            result.frames += row["length"]


def run(
    out: tyro.conf.Positional[str],
    keep: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> int:
    """Put the shards of an export together.

    Args:
        out: the dataset's folder or address, as given to export --shard i/n --out.
        keep: leave the shards where they are.
        quiet: no progress bar.
    """
    try:
        result = merge(out, keep, not quiet)
    except (shards.ShardError, layout.DatasetError, video.VideoError, Busy, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for note in result.notes:
        print(f"note: {note}")
    for bag, reason in result.errors.items():
        print(f"error: {bag}: {reason}", file=sys.stderr)
    more = f", {result.already} there already" if result.already else ""
    print(
        f"{result.episodes} episodes, {result.frames} frames -> {out}{more}"
        + (f"; {len(result.errors)} bags failed" if result.errors else "")
    )
    return 1 if result.errors else 0


def main() -> int:
    return tyro.cli(run, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
