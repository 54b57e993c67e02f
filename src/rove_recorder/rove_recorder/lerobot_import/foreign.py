# SPDX-License-Identifier: Apache-2.0
"""LeRobot datasets of others, v3.0 and v2.1: what stands where, and the frames and pictures of one episode.

v3.0 holds many episodes in a file and its tables in Parquet; v2.1 has one Parquet file and one video per episode and
camera, and its tables in JSON lines. Nothing here needs ROVE's columns.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from rove_contract import images
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset import reader, video
from rove_recorder.dataset.fit import Fit, fit_picture
from rove_recorder.dataset.lerobot_format import DatasetError, inside

OLD = ("v2.0", "v2.1")  # read alike: v2.1 only added statistics per episode
VERSIONS = (layout.VERSION, *OLD)
OLD_DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
OLD_VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
PLACEHOLDER = re.compile(r"\{(\w+)(?::0?(\d+)d)?\}")
LARGEST_LINES = 64 * 2**20  # bytes of a table in JSON lines


@dataclass(frozen=True)
class ForeignEpisode:
    """One episode. length: frames. task: its instruction, "" if none. data: its Parquet file. videos: camera ->
    (file, first frame). labels: further columns of v3.0's table of episodes, e.g. success.
    """

    index: int
    length: int
    task: str
    data: Path
    videos: dict[str, tuple[Path, int]] = field(default_factory=dict)
    labels: dict[str, object] = field(default_factory=dict)


def fill(pattern: object, values: dict[str, str | int], where: str) -> str:
    """A path pattern of info.json, "{video_key}/chunk-{chunk_index:03d}", with its values. Raises DatasetError."""
    if not isinstance(pattern, str):
        raise DatasetError(f"{where}: expected a path pattern, got {pattern!r}")

    def value(match: re.Match) -> str:
        if match[1] not in values:
            raise DatasetError(f"{where}: {pattern!r} names {match[1]!r}; known are {', '.join(values)}")
        return str(values[match[1]]).zfill(int(match[2] or 0))

    return PLACEHOLDER.sub(value, pattern)


class ForeignDataset:
    """A LeRobot dataset opened for reading. features, fps: of info.json. cameras: keys of the picture features.
    episodes: in order. Raises DatasetError.
    """

    def __init__(self, root: Path | str):
        self.root = Path(root)
        self.info = reader.read_info(self.root, VERSIONS)
        self.features: dict[str, dict] = self.info["features"]
        self.fps = float(self.info["fps"])
        self.cameras = tuple(key for key, value in self.features.items() if is_camera(value))
        self.episodes = self._old_episodes() if self.info["codebase_version"] in OLD else self._episodes()
        if not self.episodes:
            raise DatasetError(f"dataset {self.root} has no episodes")

    @property
    def name(self) -> str:
        return self.root.resolve().name

    def joints(self, key: str) -> tuple[str, ...]:
        """Names of the values of a vector feature; () where info.json does not tell them. Some write a list, some an
        object of lists ({"motors": [...]})."""
        names = self.features.get(key, {}).get("names")
        if isinstance(names, dict):
            names = [name for part in names.values() for name in (part if isinstance(part, list) else [part])]
        size = self.features.get(key, {}).get("shape")
        sound = isinstance(names, list) and all(isinstance(name, str) for name in names) and [len(names)] == size
        return tuple(names) if isinstance(names, list) and sound else ()

    def without_episodes(self) -> ForeignDataset:
        """The same dataset, small enough to go with every job to another process."""
        light = copy.copy(self)
        light.episodes = []
        return light

    def _episodes(self) -> list[ForeignEpisode]:
        found = []
        videos = [key for key in self.cameras if self.features[key]["dtype"] == "video"]
        for path in reader.tables(self.root, "meta/episodes"):
            table = reader.read_table(path)
            keep = [name for name in table.column_names if not name.startswith(("stats/", "meta/"))]
            for row in reader.rows_of(path, table.select(keep)):
                where = f"{path}, episode {row.get('episode_index')}"
                index, length = (whole(row.get(key), where, key) for key in ("episode_index", "length"))
                data = self._place(row, "data", "data_path", layout.DATA, where)
                places = {}
                for key in videos:
                    start = row.get(f"videos/{key}/from_timestamp")
                    if not isinstance(start, float) or not 0 <= start < math.inf:
                        raise DatasetError(f"{where}: videos/{key}/from_timestamp is {start!r}, expected seconds")
                    file = self._place(row, f"videos/{key}", "video_path", layout.VIDEO, where)
                    places[key] = file, round(start * self.fps)
                tasks = [task for task in row.get("tasks") or [] if isinstance(task, str)]
                labels = {key: value for key, value in row.items() if "/" not in key}
                found.append(ForeignEpisode(index, length, tasks[0] if tasks else "", data, places, labels))
        return sorted(found, key=lambda episode: episode.index)

    def _place(self, row: dict, prefix: str, key: str, default: str, where: str) -> Path:
        values: dict[str, str | int] = {
            name: whole(row.get(f"{prefix}/{name}"), where, f"{prefix}/{name}")
            for name in ("chunk_index", "file_index")
        }
        values["video_key"] = prefix.removeprefix("videos/")
        return self._file(key, default, values)

    def _file(self, key: str, default: str, values: dict[str, str | int]) -> Path:
        pattern = self.info.get(key) or default
        return inside(self.root, fill(pattern, values, f"{self.root / layout.INFO}, {key}"))

    def _old_episodes(self) -> list[ForeignEpisode]:
        size = self.info.get("chunks_size", layout.FILES_PER_CHUNK)
        videos = [key for key in self.cameras if self.features[key]["dtype"] == "video"]
        found = []
        for number, row in enumerate(read_lines(self.root, "meta/episodes.jsonl"), 1):
            where = f"{self.root / 'meta/episodes.jsonl'}, line {number}"
            index, length = (whole(row.get(key), where, key) for key in ("episode_index", "length"))
            values: dict[str, str | int] = {
                "episode_index": index,
                "episode_chunk": index // max(1, whole(size, str(self.root / layout.INFO), "chunks_size")),
            }

            tasks = row.get("tasks")
            task = tasks[0] if isinstance(tasks, list) and tasks and isinstance(tasks[0], str) else ""
            data = self._file("data_path", OLD_DATA, values)
            places = {key: (self._file("video_path", OLD_VIDEO, values | {"video_key": key}), 0) for key in videos}
            found.append(ForeignEpisode(index, length, task, data, places, dict(row)))
        return sorted(found, key=lambda episode: episode.index)

    def frames(self, episode: ForeignEpisode, columns: Sequence[str]) -> pa.Table:
        """The frames of an episode in order, the named columns that are there. Raises DatasetError."""
        wanted = [*columns, "frame_index", "episode_index"]
        table = reader.read_table(episode.data, wanted, [("episode_index", "=", episode.index)]).combine_chunks()
        if table.num_rows != episode.length or "frame_index" not in table.column_names:
            raise DatasetError(
                f"{episode.data} has {table.num_rows} frames of episode {episode.index}, expected {episode.length}"
            )
        return table.sort_by("frame_index")


def is_camera(feature: dict) -> bool:
    """Whether a feature of info.json holds color pictures; depth maps are none."""
    facts = (feature.get("info") or {}) | (feature.get("video_info") or {})
    is_depth = facts.get("is_depth_map") or facts.get("video.is_depth_map")  # the first since LeRobot 0.6
    return feature["dtype"] in ("video", "image") and not is_depth


def whole(value: object, where: str, key: str) -> int:
    """A number of frames, files or episodes. Raises DatasetError."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < reader.LARGEST_COUNT:
        raise DatasetError(f"{where}: {key} is {value!r}, expected a number")
    return value


def read_lines(root: Path, relative: str) -> list[dict]:
    """A table in JSON lines. Raises DatasetError naming file and line."""
    path, number, found = inside(root, relative), 0, []
    try:
        if path.stat().st_size > LARGEST_LINES:
            raise DatasetError(f"{path} has {path.stat().st_size} bytes, at most {LARGEST_LINES} are read")
        for line in path.read_text(encoding="utf-8").splitlines():
            number += 1
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"expected an object, got {line[:60]!r}")
                found.append(row)
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{path}, line {number} is no JSON object: {error}") from error
    return found


class ForeignPictures:
    """Pictures of an episode, (H, W, 3) uint8 RGB of `size`; iterating decodes, as often as wanted, one at a time.

    picks: (T,) frame of the episode for each picture, never decreasing. fit: what happens where the shapes differ.
    """

    def __init__(
        self,
        dataset: ForeignDataset,
        episode: ForeignEpisode,
        camera: str,
        picks: np.ndarray,
        size: tuple[int, int],
        fit: Fit,
    ):
        self.dataset, self.episode, self.camera = dataset, episode, camera
        self.picks, self.size, self.fit = picks, size, fit

    def __len__(self) -> int:
        return len(self.picks)

    def __iter__(self) -> Iterator[np.ndarray]:
        needed = iter(self.picks)
        pick = next(needed, None)
        where = f"dataset {self.dataset.root}, episode {self.episode.index}"
        number = -1
        for number, picture in enumerate(self._decode()):
            if pick == number:
                fitted = fit_picture(picture, self.size, self.fit)
                while pick == number:
                    yield fitted
                    pick = next(needed, None)
            if pick is None:
                return
        raise DatasetError(f"{where}: {self.camera} has {number + 1} pictures, expected {self.episode.length}")

    def _decode(self) -> Iterator[np.ndarray]:
        if self.camera in self.episode.videos:
            path, first = self.episode.videos[self.camera]
            yield from video.read_frames(path, first, self.episode.length)
            return
        table = self.dataset.frames(self.episode, [self.camera])
        for row in reader.rows_of(self.episode.data, table.select([self.camera])):
            value = row[self.camera]
            data = value.get("bytes") if isinstance(value, dict) else None
            if not isinstance(data, bytes):
                raise DatasetError(f"{self.episode.data}: {self.camera} of episode {self.episode.index} has no bytes")
            yield images.decode(data)
