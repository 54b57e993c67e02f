# SPDX-License-Identifier: Apache-2.0
"""Layout, columns and metadata files of a LeRobot v3.0 dataset, with ROVE's columns; reading is in reader.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rove_contract import files
from rove_description.card import RobotCard
from rove_description.sensors import Sensors
from rove_recorder.dataset.flags import FLAGS, REWARD

VERSION = "v3.0"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
FILES_PER_CHUNK = 1000
EPISODES_PER_FILE = 1000  # rows of meta/episodes, about 12 kB each
DATA_FILE_MB, VIDEO_FILE_MB = 100, 200
STATE, ACTION = "observation.state", "action"
IMAGES = "observation.images."  # and a camera's name
DEPTH = "observation.depth."  # and a depth camera's name: PNGs of 16 bits, mm, in the data files
TACTILE = "observation.tactile."  # and a tactile array's name: float32
EGO = "ego"  # the main camera, the one that is always there
CAMERA = IMAGES + EGO
QUALITY = "meta/quality.jsonl"  # see quality.py
BESIDE = (
    "meta/scores/",
    "meta/corrections.jsonl",
    "meta/quality",
    "meta/advantages_",
    "meta/mixture_config.yaml",
)  # beginnings of files that people and critics add to a dataset
CAMERAS = ("video", "av1", "image")  # H.264 video, AV1 video, JPEGs in the data files
CODEC_OF = {"video": "h264", "av1": "av1"}  # as in info.json
TOLD = ("hash", "blocks", "sides", "units")  # what the state's "info" says of the robot
LABELS = ("stage", "source", "mode")  # int64 per frame: rove_contract.modes.Stage, Source, Mode
ARROW = {"float32": pa.float32(), "int64": pa.int64(), "bool": pa.bool_()}
HUMAN_VIDEO = "human_video"  # the kind of an episode of a person: pictures only, state and action are NaN


class DatasetError(ValueError):
    """A dataset or an episode does not fit; the message says what was expected and what came."""


def inside(root: Path | str, relative: str) -> Path:
    """root / relative. Raises DatasetError when that leads out of the dataset, as `rove_contract.files.inside` says."""
    try:
        return files.inside(root, relative)
    except files.UnsafePath as error:
        raise DatasetError(f"dataset {root}: {error}") from error


@dataclass(frozen=True)
class Slot:
    """Place of a file: chunk-XXX/file-XXX."""

    chunk: int = 0
    file: int = 0

    def next(self) -> Slot:
        return Slot(self.chunk + 1, 0) if self.file + 1 == FILES_PER_CHUNK else Slot(self.chunk, self.file + 1)

    def path(self, pattern: str, key: str = CAMERA) -> str:
        """key: feature of the video."""
        return pattern.format(chunk_index=self.chunk, file_index=self.file, video_key=key)


Sizes = Mapping[str, tuple[int, int]]  # camera -> (H, W)


@dataclass(frozen=True)
class Shapes:
    """What a dataset has beside joints and cameras. depth: depth camera -> (H, W). tactile: array -> its size."""

    depth: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    tactile: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, sensors: Sensors) -> Shapes:
        """Of a robot's sensors."""
        return cls(
            {name: (sensor.height, sensor.width) for name, sensor in sensors.depth.items()},
            {name: sensor.size for name, sensor in sensors.tactile.items()},
        )

    @classmethod
    def stored(cls, feats: Mapping[str, dict]) -> Shapes:
        """Of a dataset; feats: of its info.json, which somebody else may have written: what has one of these names but
        is stored in another way is not meant.
        """
        depth, tactile = {}, {}
        for name, feature in feats.items():
            shape, told = feature["shape"], feature.get("info")
            is_depth = isinstance(told, dict) and told.get("is_depth_map") is True
            if name.startswith(DEPTH) and feature["dtype"] == "image" and is_depth and len(shape) == 3:
                depth[name.removeprefix(DEPTH)] = shape[0], shape[1]
            elif name.startswith(TACTILE) and feature["dtype"] == "float32" and len(shape) == 1:
                tactile[name.removeprefix(TACTILE)] = shape[0]
        return cls(depth, tactile)

    @property
    def names(self) -> list[str]:
        return [*self.depth, *self.tactile]


def sizes_of(image_size: tuple[int, int] | Sizes | None) -> dict[str, tuple[int, int]]:
    """(H, W) of each camera; (H, W) alone are those of the main one."""
    if image_size is None:
        return {}
    given = image_size if isinstance(image_size, Mapping) else {EGO: image_size}
    return {name: (int(size[0]), int(size[1])) for name, size in given.items()}


def cameras(feats: Mapping[str, dict]) -> dict[str, dict]:
    """Camera -> its feature, the main one first; feats: of an info.json."""
    names = sorted((name.removeprefix(IMAGES) for name in feats if name.startswith(IMAGES)), key=lambda n: n != EGO)
    return {name: feats[IMAGES + name] for name in names}


def stored_sizes(feats: Mapping[str, dict]) -> dict[str, tuple[int, int]]:
    """(H, W) of each camera of a dataset."""
    return {name: tuple(feature["shape"][:2]) for name, feature in cameras(feats).items()}


def features(robot: RobotCard, fps: int, sizes: Sizes, camera: str, shapes: Shapes | None = None) -> dict:
    """The `features` of info.json. `action` of a frame is the command in force one period after its observation; the
    state says the robot's hash, and block and side of each joint, and its unit where some slide.

    robot: whose joints. sizes: (H, W) of each camera. camera: one of CAMERAS. shapes: of depth cameras and tactile
    arrays."""
    scalar = {"shape": [1], "names": None}
    joints = {"dtype": "float32", "shape": [len(robot.joints)], "names": list(robot.joints)}
    told = {key: value for key, value in robot.to_dict().items() if key in TOLD and value}
    result: dict[str, dict] = {
        STATE: {**joints, **({"info": told} if told else {})},
        ACTION: {**joints, "info": {"commanded_after_s": 1.0 / fps}},
    }
    for name, (height, width) in sizes.items():
        result[IMAGES + name] = {
            "dtype": "image" if camera == "image" else "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
        }
        if camera in CODEC_OF:
            result[IMAGES + name]["info"] = {
                "video.height": height,
                "video.width": width,
                "video.codec": CODEC_OF[camera],
                "video.pix_fmt": "yuv420p",
                "video.is_depth_map": False,
                "video.fps": fps,
                "video.channels": 3,
                "has_audio": False,
            }
    shapes = shapes or Shapes()
    for name, (height, width) in shapes.depth.items():
        result[DEPTH + name] = {
            "dtype": "image",
            "shape": [height, width, 1],
            "names": ["height", "width", "channels"],
            "info": {"is_depth_map": True, "depth_unit": "mm"},  # where LeRobot looks for it
        }
    for name, size in shapes.tactile.items():
        result[TACTILE + name] = {"dtype": "float32", "shape": [size], "names": None}
    result |= {name: {"dtype": "int64", **scalar} for name in LABELS}
    result |= {name: {"dtype": "bool", **scalar} for name in FLAGS}
    result[REWARD] = {"dtype": "float32", **scalar}
    result["timestamp"] = {"dtype": "float32", **scalar}
    return result | {
        name: {"dtype": "int64", **scalar} for name in ("frame_index", "episode_index", "index", "task_index")
    }


def robot_of(info: dict) -> RobotCard:
    """The robot of a dataset, from its info.json; other tools may have dropped all but its name. Raises
    DatasetError.
    """
    state = info["features"].get(STATE, {})
    told = state.get("info") if isinstance(state.get("info"), dict) else {}
    values = {key: told[key] for key in TOLD if key in told}
    names = state.get("names")
    try:
        return RobotCard.from_dict(
            {**values, "name": info.get("robot_type") or "", "joints": names if isinstance(names, list) else []}
        )
    except ValueError as error:
        raise DatasetError(f"{INFO}: {error}") from error


def video_keys(feats: Mapping[str, dict]) -> list[str]:
    """Features whose pictures are in video files."""
    return [IMAGES + name for name, feature in cameras(feats).items() if feature["dtype"] == "video"]


def storage(feats: Mapping[str, dict]) -> str:
    """The one of CAMERAS that a dataset's cameras have; "video" where there is none."""
    return next((camera_of(feature) for feature in cameras(feats).values()), "video")


def camera_of(feature: dict) -> str:
    """The one of CAMERAS that a dataset's camera feature has."""
    if feature["dtype"] == "image":
        return "image"
    codec = feature.get("info", {}).get("video.codec", "h264")
    return next((camera for camera, name in CODEC_OF.items() if name == codec), codec)


def frame_schema(feats: dict) -> pa.Schema:
    """Arrow schema of the data files for `features`; the video has no column, pictures are {bytes, path} as in Hugging
    Face datasets.
    """
    fields, hints = [], {}
    for name, feature in feats.items():
        if feature["dtype"] == "video":
            continue
        if feature["dtype"] == "image":
            fields.append((name, pa.struct([("bytes", pa.binary()), ("path", pa.string())])))
            hints[name] = {"_type": "Image"}
            continue
        value, length = ARROW[feature["dtype"]], feature["shape"][0]
        fields.append((name, pa.list_(value, length) if length > 1 else value))
        hint = {"dtype": feature["dtype"], "_type": "Value"}
        hints[name] = {"feature": hint, "length": length, "_type": "Sequence"} if length > 1 else hint
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": hints}})})


def episode_schema(feats: dict) -> pa.Schema:
    """Arrow schema of meta/episodes: LeRobot's columns, ROVE's labels, and per-feature statistics."""
    from rove_recorder.dataset.stats import QUANTILES

    integer, text, number = pa.int64(), pa.string(), pa.float64()
    fields = [("episode_index", integer), ("tasks", pa.list_(text)), ("length", integer)]
    fields += [
        (name, integer) for name in ("dataset_from_index", "dataset_to_index", "data/chunk_index", "data/file_index")
    ]
    for key in video_keys(feats):
        fields += [(f"videos/{key}/{name}", integer) for name in ("chunk_index", "file_index")]
        fields += [(f"videos/{key}/{name}", number) for name in ("from_timestamp", "to_timestamp")]
    fields += [(f"meta/episodes/{name}", integer) for name in ("chunk_index", "file_index")]
    # ROVE's labels; LeRobot's loader carries unknown columns along.
    fields += [(name, integer) for name in ("outcome", "t_r", "takeover")]
    fields += [(name, text) for name in ("episode_id", "kind", "operator", "start_stage", "milestone")]
    fields += [("excluded", pa.bool_()), ("started_ns", integer)]
    for name in feats:
        image = name.startswith((IMAGES, DEPTH))
        kind = pa.list_(pa.list_(pa.list_(number))) if image else pa.list_(number)
        fields += [(f"stats/{name}/{stat}", kind) for stat in ("min", "max", "mean", "std", *QUANTILES)]
        fields.append((f"stats/{name}/count", pa.list_(integer)))
    return pa.schema(fields)


def write_json(path: Path, data: dict) -> None:
    path.write_text(to_text(data), encoding="utf-8")


def to_text(data: dict) -> str:
    """JSON as it stands in the metadata files."""
    return json.dumps(data, indent=4, ensure_ascii=False, default=_plain) + "\n"


def _plain(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")


def info_dict(feats: dict, robot: RobotCard, fps: int, episodes: int, frames: int, tasks: int) -> dict:
    """Content of info.json."""
    return {
        "codebase_version": VERSION,
        "robot_type": robot.name,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": DATA_FILE_MB,
        "video_files_size_in_mb": VIDEO_FILE_MB,
        "fps": fps,
        "splits": {"train": f"0:{episodes}"},
        "data_path": DATA,
        "video_path": VIDEO if video_keys(feats) else None,
        "features": feats,
    }


def write_tasks(path: Path, tasks: list[str]) -> None:
    """meta/tasks.parquet as pandas writes a frame with the column task_index and the index "task": LeRobot reads it
    with pandas.
    """

    def column(name, kind, numpy):
        return {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}

    header = {
        "name": None,
        "field_name": None,
        "pandas_type": "unicode",
        "numpy_type": "object",
        "metadata": {"encoding": "UTF-8"},
    }
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [header],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())})
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), path)
