# SPDX-License-Identifier: Apache-2.0
"""LeRobot datasets as others record them, v3.0 and v2.1, written after docs/reference/data.md; for tests.

The picture of frame i has the grey level `shade(i)`, joint j stands at `posture(i, j)` and is sent to
`posture(i + 1, j)`, so that every value tells its frame.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rove_contract import images

ARM = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")


def shade(i):
    """Grey level of frame i, 5 levels apart."""
    return 20 + 5 * (np.asarray(i) % 40)


def posture(i, joints):
    """(J,) of frame i."""
    return 0.01 * np.asarray(i) + 0.1 * np.arange(joints)


def film(path: Path, levels: Sequence[int], size: tuple[int, int], fps: int) -> None:
    """A video whose frames have these grey levels, with B-frames and groups of 12, as cameras' programs write them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.options = {"crf": "1", "preset": "ultrafast", "g": "12", "bf": "2"}
        for level in levels:
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), level, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _info(version, joints, cameras, fps, lengths, names, image, extra):
    vector = {"dtype": "float32", "shape": [len(joints)]}
    old = version != "v3.0"
    features = {
        "observation.state": {**vector, "names": {"motors": list(joints)} if old else names},
        "action": {**vector, "names": {"motors": list(joints)} if old else names},
    }
    for camera, size in cameras.items():
        features[f"observation.images.{camera}"] = {
            "dtype": "image" if image else "video",
            "shape": [*size, 3],
            "names": ["height", "width", "channels"],
        }
    scalars = {"timestamp": "float32"} | dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")
    scalars |= {key: str(values[0].dtype) for key, values in extra.items()}
    features |= {key: {"dtype": kind, "shape": [1], "names": None} for key, kind in scalars.items()}
    paths = {
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    if old:
        paths = {
            "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
            "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        }
    return {
        "codebase_version": version,
        "robot_type": "arm",
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "total_tasks": 1,
        "chunks_size": 1000,
        "fps": fps,
        "splits": {"train": f"0:{len(lengths)}"},
        **paths,
        "features": features,
    }


def _frames(number, length, first, joints, fps, cameras, image, extra):
    index = np.arange(length)
    columns = {
        "observation.state": pa.array(np.stack([posture(i, joints) for i in index]).astype(np.float32).tolist()),
        "action": pa.array(np.stack([posture(i + 1, joints) for i in index]).astype(np.float32).tolist()),
        "timestamp": pa.array((index / fps).astype(np.float32)),
        "frame_index": pa.array(index),
        "episode_index": pa.array(np.full(length, number)),
        "index": pa.array(first + index),
        "task_index": pa.array(np.zeros(length, np.int64)),
    }
    columns |= {key: pa.array(values[number]) for key, values in extra.items()}
    if image:
        for camera, size in cameras.items():
            pictures = [np.full((*size, 3), shade(i), np.uint8) for i in index]
            columns[f"observation.images.{camera}"] = pa.array(
                [{"bytes": images.encode_png(picture), "path": None} for picture in pictures]
            )
    return pa.table(columns)


def write_set(
    root: Path,
    version: str = "v3.0",
    *,
    joints: Sequence[str] = ARM,
    cameras=(("front", (48, 64)), ("wrist", (32, 32))),
    fps: int = 30,
    lengths: Sequence[int] = (30, 24),
    task: str = "pick the cube",
    names=None,
    image: bool = False,
    extra=None,
    labels=None,
) -> Path:
    """A dataset of `version`. extra: column -> (T,) array per episode. labels: v3.0's column of episodes -> values.

    names: of state and action in info.json instead of `joints`. image: pictures in the data files, no videos.
    """
    root, cameras, extra = Path(root), dict(cameras), extra or {}
    names = list(joints) if names is None else names
    (root / "meta").mkdir(parents=True)
    info = _info(version, joints, cameras, fps, lengths, names, image, extra)
    (root / "meta/info.json").write_text(json.dumps(info))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    tables = [
        _frames(number, length, int(starts[number]), len(joints), fps, cameras, image, extra)
        for number, length in enumerate(lengths)
    ]
    if version == "v3.0":
        _write_new(root, tables, starts, cameras, fps, task, image, labels or {})
    else:
        _write_old(root, tables, cameras, fps, task, image)
    return root


def _write_new(root, tables, starts, cameras, fps, task, image, labels):
    for folder in ("data/chunk-000", "meta/episodes/chunk-000"):
        (root / folder).mkdir(parents=True)
    pq.write_table(pa.concat_tables(tables), root / "data/chunk-000/file-000.parquet")
    pq.write_table(pa.table({"task_index": [0], "task": [task]}), root / "meta/tasks.parquet")
    rows = []
    for number, (begin, end) in enumerate(zip(starts, starts[1:])):
        row = {"episode_index": number, "tasks": [task], "length": int(end - begin)}
        row |= {"dataset_from_index": int(begin), "dataset_to_index": int(end)}
        row |= {"data/chunk_index": 0, "data/file_index": 0}
        for camera in () if image else cameras:
            key = f"videos/observation.images.{camera}"
            row |= {f"{key}/chunk_index": 0, f"{key}/file_index": 0}
            row |= {f"{key}/from_timestamp": begin / fps, f"{key}/to_timestamp": end / fps}
        rows.append(row | {key: values[number] for key, values in labels.items()})
    pq.write_table(pa.Table.from_pylist(rows), root / "meta/episodes/chunk-000/file-000.parquet")
    levels = [int(shade(i)) for table in tables for i in range(table.num_rows)]
    for camera, size in () if image else cameras.items():
        film(root / f"videos/observation.images.{camera}/chunk-000/file-000.mp4", levels, size, fps)


def _write_old(root, tables, cameras, fps, task, image):
    (root / "data/chunk-000").mkdir(parents=True)
    lines = []
    for number, table in enumerate(tables):
        pq.write_table(table, root / f"data/chunk-000/episode_{number:06d}.parquet")
        lines.append(json.dumps({"episode_index": number, "tasks": [task], "length": table.num_rows}))
        for camera, size in () if image else cameras.items():
            path = root / f"videos/chunk-000/observation.images.{camera}/episode_{number:06d}.mp4"
            film(path, [int(shade(i)) for i in range(table.num_rows)], size, fps)
    (root / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    (root / "meta/tasks.jsonl").write_text(json.dumps({"task_index": 0, "task": task}) + "\n")
