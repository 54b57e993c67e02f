# SPDX-License-Identifier: Apache-2.0
"""Write corrections into the columns: a new dataset that needs no meta/corrections.jsonl.

    rove run rove_recorder bake runs/data --out runs/data-corrected

Episodes that were cut (trimmed, split) or deleted are so in the new dataset; training on the old one is refused until
then. And before a dataset is given away or edited with other tools, which do not know the corrections file and would
lose it. Videos are copied packet by packet, those of an episode that was cut encoded once more. The dataset itself does
not change.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from tqdm import tqdm

from rove_contract.modes import Outcome, Stage
from rove_recorder.dataset import corrections, quality, video
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset.correction_fields import CorrectionError, exported, parts
from rove_recorder.dataset.encoding import EpisodeFrames
from rove_recorder.dataset.flags import first_frame
from rove_recorder.dataset.lerobot import DatasetWriter
from rove_recorder.dataset.lerobot_format import ACTION, HUMAN_VIDEO, IMAGES, LABELS, STATE, DatasetError
from rove_recorder.dataset.merge import read_encoded
from rove_recorder.dataset.reader import LeRobotReader, VideoPlace
from rove_recorder.dataset.staging import Busy
from rove_recorder.dataset.stats import column_stats
from rove_recorder.dataset.video import VideoError


def bake(root: Path | str, out: Path | str, progress: bool = True) -> tuple[int, int]:
    """Write the dataset `root` with its corrections applied to the new folder `out`.

    Returns (episodes there, corrected ones here). Raises DatasetError when `out` holds a dataset already or something
    cannot be read, CorrectionError, Busy.
    """
    root, out = Path(root), Path(out)
    if (out / layout.INFO).exists():
        raise DatasetError(f"{out} holds a dataset already; give a new folder as --out")
    source = LeRobotReader(root)
    rows = source.episodes(stats=True)
    fixes, reports = corrections.fixes(root, rows), quality.read(root)
    sizes, kind = layout.stored_sizes(source.features), layout.storage(source.features)
    written = 0
    with DatasetWriter(out, source.robot, round(source.fps), sizes, kind, shapes=source.shapes) as writer:
        for row in tqdm(rows, unit="episode", disable=not progress):
            fix = fixes[row["episode_index"]]
            now = exported(row) | fix
            kept = parts(now)
            if kept == [(0, row["length"])]:
                episode = read_encoded(source, now | {"tasks": [now["task"]]}, writer.segments)
                if "t_r" in fix:
                    episode.frames.stage = corrections.restage(episode.frames.stage, int(fix["t_r"]))
                    episode.stats["stage"] = column_stats(episode.frames.stage)
                episode.quality = reports.get(row["episode_id"])
                writer.add_encoded(episode)
            else:
                for frames in read_parts(source, now, kept, "t_r" in fix):
                    writer.add_episode(frames)
            written += len(kept)
    return written, sum(map(bool, fixes.values()))


@dataclass(frozen=True)
class _Pictures:
    """Frames of a video, decoded as they are needed. place: where the episode's begin."""

    place: VideoPlace
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[np.ndarray]:
        return video.read_frames(self.place.path, self.place.first + self.start, len(self))


def read_parts(source: LeRobotReader, row: dict, kept: list[tuple[int, int]], moved: bool) -> Iterator[EpisodeFrames]:
    """The episodes that one becomes by its edits. row: corrected. moved: its t_r was corrected.

    Takeover and t_r of a part are its first frames of these stages. The last part has the outcome, since it is how the
    episode ended; that of the part before it is unknown until somebody says it in review.
    """
    in_columns = [IMAGES + name for name, kind in source.cameras.items() if kind == "image"]
    robot = [key for key in (STATE, ACTION) if row["kind"] != HUMAN_VIDEO]
    table = source.episode(row, [*robot, *LABELS, *in_columns, *source.sensor_columns])
    depth, tactile = source.depth(table), source.tactile(table)
    arrays = {key: source.vectors(table, key) for key in robot}
    labels = {key: source.labels(table, key) for key in LABELS}
    if moved:
        labels["stage"] = corrections.restage(labels["stage"], row["t_r"])
    jpegs = {name: source.jpegs(table, name) for name, kind in source.cameras.items() if kind == "image"}
    for number, (start, stop) in enumerate(kept, start=1):
        pictures: dict[str, Any] = {
            name: jpegs[name][start:stop] if kind == "image" else _Pictures(source.video(row, name), start, stop)
            for name, kind in source.cameras.items()
        }
        of_part = {key: value[start:stop] for key, value in labels.items()}
        marks = {
            name: first_frame(of_part["stage"], stage)
            for name, stage in (("t_r", Stage.RECOVERY), ("takeover", Stage.ADAPTATION))
        }
        last = number == len(kept)
        yield EpisodeFrames(
            arrays[STATE][start:stop] if robot else None,
            arrays[ACTION][start:stop] if robot else None,
            pictures or None,
            **of_part,
            task=row["task"],
            outcome=row["outcome"] if last else Outcome.NONE,
            **marks,
            episode_id=row["episode_id"] + (f".part{number}" if len(kept) > 1 and row["episode_id"] else ""),
            kind=row["kind"],
            operator=row["operator"],
            start_stage=row["start_stage"],
            milestone=(row.get("milestone") or "") if last else "",
            excluded=row["excluded"],
            started_ns=(row.get("started_ns") or 0) and row["started_ns"] + round(start / source.fps * 1e9),
            depth={name: held[start:stop] for name, held in depth.items()},
            tactile={name: held[start:stop] for name, held in tactile.items()},
        )


def run(
    dataset: tyro.conf.Positional[Path],
    out: Path,
    quiet: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> int:
    """Write corrections into the columns of a new dataset.

    Args:
        dataset: the corrected dataset's folder; it does not change.
        out: a new folder.
        quiet: no progress bar.
    """
    try:
        episodes, corrected = bake(dataset, out, not quiet)
    except (DatasetError, CorrectionError, VideoError, Busy, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{episodes} episodes, {corrected} corrected -> {out}")
    return 0


def main() -> int:
    return tyro.cli(run, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
