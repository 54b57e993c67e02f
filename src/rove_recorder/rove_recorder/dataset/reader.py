# SPDX-License-Identifier: Apache-2.0
"""The only reader of LeRobot v3.0 datasets: export, merge, review, corrections and training open them here.

Everything that a file says is checked before it is used, because a dataset may come from anybody: whatever is wrong is
a DatasetError that names the file. No path of a dataset leads out of its folder.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rove_contract import files
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset.flags import FLAGS, episode_labels
from rove_recorder.dataset.lerobot_format import ACTION, CAMERA, EGO, IMAGES, STATE, DatasetError, inside

UNREADABLE = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError)
LARGEST_JSON = 64 * 2**20  # bytes of info.json and stats.json
LARGEST_TABLE = 2**30  # bytes that a file of meta/ or data/ may declare uncompressed; ours are split at 100 MB
LARGEST_COUNT = 2**40  # of frames and files; beyond it a number is damage
PLACEHOLDER = re.compile(r"\{(video_key|chunk_index|file_index)(?::0?(\d)d)?\}")
PLACE = ("episode_index", "length", "dataset_from_index", "dataset_to_index")  # needed of every episode
DEFAULTS = {
    "outcome": 0,
    "t_r": -1,
    "takeover": -1,
    "excluded": False,
    "kind": "",
    "episode_id": "",
    "operator": "",
    "start_stage": "",
    "milestone": "",
    "started_ns": 0,
}  # of ROVE's own columns of meta/episodes, which other tools may drop


def read_json(root: Path | str, relative: str) -> dict:
    """A JSON object of the dataset `root`. Raises DatasetError when it is missing, unreadable, too large or another
    value.
    """
    root = Path(root)
    path = inside(root, relative)
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise DatasetError(f"{path} has {path.stat().st_size} bytes, at most {LARGEST_JSON} are read")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"no dataset at {root}: cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested thousands deep
        raise DatasetError(f"{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise DatasetError(f"{path} holds a {type(data).__name__}, expected a JSON object")
    return data


def read_info(root: Path | str, versions: tuple[str, ...] = (layout.VERSION,)) -> dict:
    """meta/info.json of a dataset in one of `versions`. Raises DatasetError when it is missing, unreadable, of another
    version, or lacks rate or features.
    """
    info = read_json(root, layout.INFO)
    path = Path(root) / layout.INFO
    if info.get("codebase_version") not in versions:
        known = " or ".join(map(repr, versions))
        advice = "; rove_recorder import_lerobot takes older ones" if versions == (layout.VERSION,) else ""
        raise DatasetError(
            f"dataset {root} has format {info.get('codebase_version')!r}, expected LeRobot {known}{advice}"
        )
    features, fps = info.get("features"), info.get("fps")
    if not isinstance(features, dict) or not all(isinstance(feature, dict) for feature in features.values()):
        raise DatasetError(f"{path}: features is {features!r}, expected an object of objects"[:300])
    for name, feature in features.items():
        shape, names = feature.get("shape"), feature.get("names")
        sound = isinstance(shape, list) and all(type(n) is int and 0 < n < LARGEST_COUNT for n in shape)
        if not sound or not isinstance(feature.get("dtype"), str):
            raise DatasetError(
                f"{path}: the feature {name!r} has no dtype and shape, as in {{'dtype': ..., 'shape': ...}}"
            )
        if isinstance(names, list) and not all(isinstance(entry, str) for entry in names):
            raise DatasetError(f"{path}: the feature {name!r} has names that are no text")
    if type(fps) not in (int, float) or not 0 < fps < 1e6:
        raise DatasetError(f"dataset {root} has fps {fps!r} in {layout.INFO}, expected frames per second")
    for key in ("total_episodes", "total_frames"):
        if type(info.get(key)) is not int or not 0 <= info[key] < LARGEST_COUNT:
            raise DatasetError(f"{path}: {key} is {info.get(key)!r}, expected a number")
    return info


def read_stats(root: Path | str) -> dict[str, dict[str, np.ndarray]]:
    """meta/stats.json: statistics of each feature as float64 arrays, "count" as int64. Raises DatasetError."""
    path, result = Path(root) / layout.STATS, {}
    for name, stats in read_json(root, layout.STATS).items():
        try:
            result[name] = {
                stat: np.asarray(value, dtype=np.int64 if stat == "count" else np.float64)
                for stat, value in stats.items()
            }
            if result[name]["count"].shape != (1,):
                raise ValueError("count is no list of one number")
        except (*UNREADABLE, AttributeError) as error:
            raise DatasetError(f"{path}: the statistics of {name!r} cannot be read: {str(error)[:200]}") from error
    return result


def read_table(path: Path, columns: list[str] | None = None, filters=None) -> pa.Table:
    """One Parquet file, or the columns of it that are there. Raises DatasetError naming the file."""
    try:
        with pq.ParquetFile(path) as file:
            meta = file.metadata
            declared = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
            if not 0 <= declared <= LARGEST_TABLE or not 0 <= meta.num_rows < LARGEST_COUNT:
                raise DatasetError(
                    f"{path} declares {meta.num_rows} rows and {declared} bytes, at most {LARGEST_TABLE} bytes are read"
                )
            known = set(file.schema_arrow.names)
        wanted = None if columns is None else [name for name in columns if name in known]
        return pq.read_table(path, columns=wanted, filters=filters, partitioning=None)
    except DatasetError:
        raise
    except UNREADABLE as error:
        raise DatasetError(f"cannot read {path}: {str(error)[:300]}") from error


def rows_of(path: Path, table: pa.Table) -> list[dict]:
    """The rows of a table that was read from `path`. Raises DatasetError."""
    try:
        return table.to_pylist()
    except UNREADABLE as error:
        raise DatasetError(f"cannot read {path}: {str(error)[:300]}") from error


def tables(root: Path | str, folder: str) -> list[Path]:
    """The Parquet files of `folder` ("data", "meta/episodes") in order. Raises DatasetError for a link among them."""
    root = Path(root)
    return [inside(root, path.relative_to(root).as_posix()) for path in sorted((root / folder).glob("*/*.parquet"))]


def read_tasks(root: Path | str) -> list[str]:
    """Task texts in the order of task_index. Raises DatasetError."""
    path = inside(Path(root), layout.TASKS)
    rows = rows_of(path, read_table(path))
    texts = {row.get("task_index"): row.get("task", row.get("__index_level_0__")) for row in rows}
    if sorted(map(str, texts)) != sorted(map(str, range(len(rows)))) or not all(
        isinstance(t, str) for t in texts.values()
    ):
        raise DatasetError(f"{path} does not name a task for each of 0 to {len(rows) - 1}")
    return [texts[i] for i in range(len(rows))]


def read_episodes(root: Path | str, *, stats: bool = False, fill: bool = True) -> list[dict]:
    """Rows of meta/episodes in the order of episode_index; [] where there is none. stats: with the statistics.

    fill: with DEFAULTS where another tool dropped ROVE's columns. Raises DatasetError, also for a row that does not say
    where its frames are.
    """
    found = []
    for path in tables(root, "meta/episodes"):
        table = read_table(path)
        keep = [name for name in table.column_names if stats or not name.startswith("stats/")]
        for row in rows_of(path, table.select(keep)):
            known = {key: value for key, value in row.items() if value is not None}
            found.append(DEFAULTS | known if fill else known)
            _check_row(path, found[-1])
    return sorted(found, key=lambda row: row["episode_index"])


def _check_row(path: Path, row: dict) -> None:
    where = f"{path}, episode {row.get('episode_index')}"
    for key in (*PLACE, *(key for key in row if key.endswith(("chunk_index", "file_index")))):
        if type(row.get(key)) is not int or not 0 <= row[key] < LARGEST_COUNT:
            raise DatasetError(f"{where}: {key} is {row.get(key)!r}, expected a number")
    if not 0 < row["length"] == row["dataset_to_index"] - row["dataset_from_index"]:
        raise DatasetError(
            f"{where}: rows {row['dataset_from_index']} to {row['dataset_to_index']} do not fit its length "
            f"{row['length']}"
        )
    for key, value in DEFAULTS.items():
        if key in row and type(row[key]) is not type(value):
            raise DatasetError(f"{where}: {key} is {row[key]!r}, expected a {type(value).__name__}"[:300])
    tasks = row.get("tasks", [])
    if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
        raise DatasetError(f"{where}: tasks is {tasks!r}, expected texts"[:300])


REBUILT = ("outcome", "t_r", "takeover", "kind", "excluded")  # what the frames tell, too


@dataclass(frozen=True)
class VideoPlace:
    """Where an episode's pictures are: `path` from frame number `first` of it on."""

    path: Path
    first: int


class LeRobotReader:
    """A dataset opened for reading. info: meta/info.json. fps: frames per second. robot: whose; names: (J,) joints of
    the state.

    cameras: camera -> "video" or "image" (JPEGs in the data files), the main one first; camera: of the main one, None
    where there is none. shapes: of depth cameras and tactile arrays. Raises DatasetError.
    """

    def __init__(self, root: Path | str):
        self.root = Path(root)
        self.info = read_info(self.root)
        self.features: dict[str, dict] = self.info["features"]
        self.fps = float(self.info["fps"])
        self.robot = layout.robot_of(self.info)
        self.names = self.robot.joints
        self.cameras: dict[str, str] = {name: feat["dtype"] for name, feat in layout.cameras(self.features).items()}
        self.camera: str | None = self.cameras.get(EGO)
        self.shapes = layout.Shapes.stored(self.features)
        try:
            for name in (*self.cameras, *self.shapes.names):
                files.name(name, "camera")
        except files.UnsafePath as error:
            raise DatasetError(f"{self.root / layout.INFO}: {error}") from error

    def frames(self, columns: list[str]) -> pa.Table:
        """All frames in the order of "index", the named columns that are there. Raises DatasetError, also when frames
        are missing or doubled.
        """
        files = tables(self.root, "data")
        if not files:
            raise DatasetError(f"dataset {self.root}: no file data/*/*.parquet")
        try:
            parts = [read_table(file, ["index", *columns]) for file in files]
            table = pa.concat_tables(parts, promote_options="default").combine_chunks()
            if "index" not in table.column_names or table["index"].null_count:
                raise DatasetError(f"dataset {self.root}: the frames have no index")
            table = table.sort_by("index")
            index = table["index"].to_numpy()
            gap = np.flatnonzero(index != np.arange(len(index)))
        except DatasetError:
            raise
        except UNREADABLE as error:
            raise DatasetError(f"dataset {self.root}: cannot read data/*/*.parquet: {str(error)[:300]}") from error
        if len(gap):
            raise DatasetError(
                f"dataset {self.root}: frame {gap[0]} of the table has index {index[gap[0]]}: frames are missing or "
                f"doubled"
            )
        return table

    def where(self, table: pa.Table, row: int) -> str:
        """Dataset, episode and frame of a row of `frames`, for messages."""
        names = {"episode_index": "episode", "frame_index": "frame"}
        marks = [f", {word} {table[key][int(row)]}" for key, word in names.items() if key in table.column_names]
        return f"dataset {self.root}" + "".join(marks or [f", row {row}"])

    def episodes(self, table: pa.Table | None = None, *, stats: bool = False, fill: bool = True) -> list[dict]:
        """Rows of meta/episodes as `read_episodes` gives them. Labels that another tool dropped are rebuilt from the
        frames, which tell them too: `table` of `frames` with "stage" and FLAGS, read where it is needed and None.
        """
        rows = read_episodes(self.root, stats=stats, fill=False)
        lacking = [row for row in rows if any(key not in row for key in REBUILT)]
        if lacking and {"stage", *FLAGS} <= self.features.keys():
            table = self.frames(["stage", *FLAGS]) if table is None else table
            stage = self.labels(table, "stage")
            flags = {key: self.truths(table, key) for key in FLAGS}
            for row in lacking:
                part = slice(row["dataset_from_index"], row["dataset_to_index"])
                if row["dataset_to_index"] <= len(stage):
                    found = episode_labels(stage[part], {key: flags[key][part] for key in FLAGS})
                    row |= {key: value for key, value in found.items() if key not in row}
        return [DEFAULTS | row for row in rows] if fill else rows

    def truths(self, table: pa.Table, key: str) -> np.ndarray:
        """(N,) bool: a column of truth values of `frames`. Raises DatasetError naming a frame without one."""
        if key not in table.column_names:
            raise DatasetError(f"dataset {self.root} has no column {key!r}; it has {', '.join(table.column_names)}")
        column = table[key].combine_chunks()
        if not pa.types.is_boolean(column.type):
            raise DatasetError(f"dataset {self.root}: {key} is of type {column.type}, expected truth values")
        if column.null_count:
            raise DatasetError(f"{self.where(table, np.flatnonzero(column.is_null())[0])}: {key} is missing")
        return column.to_numpy(zero_copy_only=False)

    def labels(self, table: pa.Table, key: str) -> np.ndarray:
        """(N,) int64: a column of whole numbers of `frames`. Raises DatasetError naming a frame without one."""
        if key not in table.column_names:
            raise DatasetError(f"dataset {self.root} has no column {key!r}; it has {', '.join(table.column_names)}")
        column = table[key].combine_chunks()
        if not pa.types.is_integer(column.type):
            raise DatasetError(f"dataset {self.root}: {key} is of type {column.type}, expected whole numbers")
        if column.null_count:
            raise DatasetError(f"{self.where(table, np.flatnonzero(column.is_null())[0])}: {key} is missing")
        return column.to_numpy()

    def numbers(self, table: pa.Table, key: str) -> np.ndarray:
        """(N,) float64: a column of numbers of `frames`. Raises DatasetError naming a frame without one."""
        if key not in table.column_names:
            raise DatasetError(f"dataset {self.root} has no column {key!r}; it has {', '.join(table.column_names)}")
        column = table[key].combine_chunks()
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            raise DatasetError(f"dataset {self.root}: {key} is of type {column.type}, expected numbers")
        if column.null_count:
            raise DatasetError(f"{self.where(table, np.flatnonzero(column.is_null())[0])}: {key} is missing")
        return column.to_numpy(zero_copy_only=False).astype(np.float64)

    def vectors(self, table: pa.Table, key: str) -> np.ndarray:
        """(N, D) float32: a column of lists of `frames`, D as meta/info.json says. Raises DatasetError."""
        width = self.features[key]["shape"][0]
        if key not in table.column_names:
            raise DatasetError(f"dataset {self.root} has no column {key!r}; it has {', '.join(table.column_names)}")
        column = table[key].combine_chunks()
        if not (pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)):
            raise DatasetError(
                f"dataset {self.root}: {key} is of type {column.type}, expected lists of {width} numbers"
            )
        if column.null_count:
            raise DatasetError(f"{self.where(table, np.flatnonzero(column.is_null())[0])}: {key} is missing")
        try:
            flat = column.flatten().to_numpy(zero_copy_only=False)
            if len(flat) != table.num_rows * width:
                raise DatasetError(f"dataset {self.root}: {key} does not have {width} values in every frame")
            return np.ascontiguousarray(flat.reshape(-1, width), dtype=np.float32)
        except DatasetError:
            raise
        except UNREADABLE as error:
            raise DatasetError(f"dataset {self.root}: {key} does not hold numbers: {error}") from error

    def episode(self, row: dict, columns: list[str]) -> pa.Table:
        """The frames of one episode (a row of `read_episodes`) in order. Raises DatasetError."""
        if "data/chunk_index" not in row or "data/file_index" not in row:
            raise DatasetError(
                f"dataset {self.root}, episode {row['episode_index']} has no data/chunk_index, data/file_index"
            )
        slot = layout.Slot(row["data/chunk_index"], row["data/file_index"])
        path = inside(self.root, slot.path(layout.DATA))
        try:
            table = read_table(
                path, [*columns, "frame_index"], filters=[("episode_index", "=", row["episode_index"])]
            ).combine_chunks()
        except DatasetError as error:
            raise DatasetError(f"cannot read episode {row['episode_index']}: {error}") from error
        if table.num_rows != row["length"] or "frame_index" not in table.column_names:
            raise DatasetError(
                f"{path} has {table.num_rows} frames of episode {row['episode_index']}, expected {row['length']}"
            )
        return table.sort_by("frame_index")

    def jpegs(self, table: pa.Table, camera: str = EGO) -> list[bytes]:
        """The pictures of a table with the camera's column. Raises DatasetError."""
        return self._pictures(table, IMAGES + camera)

    def depth(self, table: pa.Table) -> dict[str, list[bytes]]:
        """Depth camera -> the PNGs of a table with the columns of all. Raises DatasetError."""
        return {name: self._pictures(table, layout.DEPTH + name) for name in self.shapes.depth}

    def tactile(self, table: pa.Table) -> dict[str, np.ndarray]:
        """Tactile array -> (N, n) float32 of a table with the columns of all. Raises DatasetError."""
        return {
            name: self.vectors(table, layout.TACTILE + name)
            if size > 1
            else self.numbers(table, layout.TACTILE + name).astype(np.float32)[:, None]
            for name, size in self.shapes.tactile.items()
        }

    @property
    def sensor_columns(self) -> list[str]:
        """The columns that `depth` and `tactile` need."""
        return [
            *(layout.DEPTH + name for name in self.shapes.depth),
            *(layout.TACTILE + name for name in self.shapes.tactile),
        ]

    def _pictures(self, table: pa.Table, key: str) -> list[bytes]:
        kind = table.schema.field(key).type if key in table.column_names else None
        if kind is None or not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
            raise DatasetError(f"dataset {self.root}: {key} is of type {kind}, expected {{bytes, path}}"[:300])
        found = rows_of(self.root, table.select([key]))
        result = []
        for number, row in enumerate(found):
            data = row[key].get("bytes") if isinstance(row.get(key), dict) else None
            if not isinstance(data, bytes) or not data:
                raise DatasetError(f"{self.where(table, number)}: the picture is missing")
            result.append(data)
        return result

    def video_path(self, chunk: int, file: int, camera: str = EGO) -> Path:
        """The video file that meta/info.json's video_path names. Raises DatasetError where it leads elsewhere."""
        pattern = self.info.get("video_path")
        if not isinstance(pattern, str):
            raise DatasetError(f"dataset {self.root} has no video_path in {layout.INFO}")
        values = {"video_key": IMAGES + camera, "chunk_index": chunk, "file_index": file}

        def fill(match: re.Match) -> str:
            name, width = match[1], int(match[2] or 0)
            return str(values[name]).zfill(width)

        relative = PLACEHOLDER.sub(fill, pattern)
        if "{" in relative or "}" in relative:
            raise DatasetError(f"dataset {self.root}: video_path {pattern!r}: expected a pattern like {layout.VIDEO!r}")
        return inside(self.root, relative)

    def video(self, row: dict, camera: str = EGO) -> VideoPlace:
        """Where the pictures of an episode (a row of `read_episodes`) are. Raises DatasetError."""
        key = f"videos/{IMAGES}{camera}"
        start = row.get(f"{key}/from_timestamp")
        missing = [end for end in ("chunk_index", "file_index", "from_timestamp") if f"{key}/{end}" not in row]
        if missing or type(start) not in (int, float) or not math.isfinite(start) or start < 0:
            raise DatasetError(
                f"dataset {self.root}, episode {row['episode_index']} has no "
                f"{', '.join(missing) or 'sound from_timestamp'} of its video"
            )
        place = self.video_path(row[f"{key}/chunk_index"], row[f"{key}/file_index"], camera)
        return VideoPlace(place, round(start * self.fps))


__all__ = ["ACTION", "CAMERA", "STATE", "DatasetError", "LeRobotReader", "VideoPlace"]
