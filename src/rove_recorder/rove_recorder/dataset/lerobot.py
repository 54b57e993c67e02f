# SPDX-License-Identifier: Apache-2.0
"""Writes LeRobot v3.0 datasets: append, flat memory, and all-or-nothing on disk.

    with DatasetWriter("runs/data", robot.load().card, image_size=(192, 192)) as writer:
        writer.add_episode(EpisodeFrames(state, action, images, stage, source, mode, task="erase the whiteboard", ...))

`EpisodeFrames` are turned into an `EncodedEpisode` (video segment and statistics; the costly part, which `export` runs
in parallel), which the writer only appends. Nothing is visible in `root` before `commit` or `close`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rove_contract.timing import POLICY_HZ
from rove_description.card import RobotCard
from rove_recorder.dataset import correction_mark, quality, reader, video
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset.encoding import EncodedEpisode, EpisodeFrames, encode_episode
from rove_recorder.dataset.flags import FLAGS, REWARD, frame_flags, frame_reward
from rove_recorder.dataset.lerobot_format import ACTION, LABELS, STATE, DatasetError, Slot
from rove_recorder.dataset.staging import Staging
from rove_recorder.dataset.stats import Stats, column_stats, joined

__all__ = ["DatasetError", "DatasetWriter", "EncodedEpisode", "EpisodeFrames", "encode_episode"]


class DatasetWriter:
    """Creates `root`, or appends to it when it holds a dataset of the same robot, rate, picture size and sensors.

    robot: whose episodes they are. image_size: (H, W) of the main camera, or camera -> (H, W); None for no camera.
    camera: "video" (H.264) | "av1" | "image" (JPEG in the data files). grow: append to the last data, video and episode
    files; False: leave existing ones as they are and begin new ones (see remote.py). shapes: of depth cameras and
    tactile arrays. Raises DatasetError when the existing dataset differs, staging.Busy when another process writes to
    it. Leaving a `with` block normally commits; an exception drops everything since the last commit.
    """

    def __init__(
        self,
        root,
        robot: RobotCard,
        fps: int = round(POLICY_HZ),
        image_size=None,
        camera: str = "video",
        grow=True,
        shapes: layout.Shapes | None = None,
    ):
        self.root = Path(root)
        self.fps = fps
        self.sizes = layout.sizes_of(image_size)
        self.camera = camera
        self.grow = grow
        self.robot = robot
        self.shapes = shapes or layout.Shapes()
        self.features = layout.features(robot, fps, self.sizes, camera, self.shapes)
        self.joints = len(robot.joints)
        if not self.joints:
            raise DatasetError("DatasetWriter needs a robot with joints, e.g. rove_description.robot.load().card")
        self._staging = Staging(self.root)
        try:
            self._load()
        except BaseException:
            self._staging.close()
            raise

    # State of the dataset as committed so far.
    def _load(self) -> None:
        self._data_schema, self._episode_schema = (
            layout.frame_schema(self.features),
            layout.episode_schema(self.features),
        )
        self._rows: list[dict] = []  # of the episodes file that is growing
        self._new = 0
        self._stats: dict[str, Stats] = {}
        self.tasks: list[str] = []
        self.episodes = self.frames = 0
        self.episode_ids: set[str] = set()
        self._data_slot = self._meta_slot = Slot()
        self._video_slot = dict.fromkeys(layout.video_keys(self.features), Slot())
        self._data: pq.ParquetWriter | None = None
        self._video: dict[str, video.VideoFile] = {}
        self._data_bytes = 0
        self._files: list[str] = []  # prepared data and video files,
        self._quality: list[str] = []  # lines of the report, of new episodes
        self._tables: list[str] = []  # and episode tables, which become visible after the files they point to
        if (self.root / layout.INFO).is_file():
            self._load_existing()

    def _load_existing(self) -> None:
        info = reader.read_info(self.root)
        if info["fps"] != self.fps:
            raise DatasetError(f"{self.root} has {info['fps']} fps, expected {self.fps}")
        if refusal := self.robot.refusal(layout.robot_of(info), "the new episode"):
            raise DatasetError(f"cannot append to {self.root}: {refusal}")
        if REWARD not in info["features"]:  # of before there was one: it grows as it is
            self.features.pop(REWARD, None)
            self._data_schema, self._episode_schema = (
                layout.frame_schema(self.features),
                layout.episode_schema(self.features),
            )
        for name in sorted(set(info["features"]) | set(self.features)):
            old, new = info["features"].get(name), self.features.get(name)
            if old is None or new is None or any(old.get(key) != new[key] for key in ("dtype", "shape", "names")):
                raise DatasetError(
                    f"cannot append to {self.root}: its {name!r} is {_brief(old)}, the new episodes' is {_brief(new)}"
                )
        delays = [
            (feats[ACTION].get("info") or {}).get("commanded_after_s") for feats in (info["features"], self.features)
        ]
        if delays[0] != delays[1]:
            raise DatasetError(
                f"cannot append to {self.root}: its actions were commanded {delays[0] or 0:g} s after their "
                f"observation, the new episodes' {delays[1]:g} s; export all bags again into a new folder"
            )
        for name, feature in layout.cameras(info["features"]).items():
            if (kept := layout.camera_of(feature)) != self.camera:
                raise DatasetError(
                    f"cannot append to {self.root}: its camera {name} is stored as {kept!r}, the new episodes' as "
                    f"{self.camera!r}"
                )
        self.tasks = reader.read_tasks(self.root)
        self.episodes, self.frames = info["total_episodes"], info["total_frames"]
        self._stats = reader.read_stats(self.root)
        last = {}
        for row in reader.read_episodes(self.root, stats=True):
            self.episode_ids.add(row["episode_id"])
            place = row.get("meta/episodes/chunk_index", 0), row.get("meta/episodes/file_index", 0)
            if last and place != (last["meta/episodes/chunk_index"], last["meta/episodes/file_index"]):
                self._rows = []
            last = row
            self._rows.append(row)
        if not last:
            raise DatasetError(f"{self.root} has {layout.INFO} but no episodes; remove it, or choose another folder")
        self._meta_slot = Slot(last["meta/episodes/chunk_index"], last["meta/episodes/file_index"])
        self._data_slot = Slot(last["data/chunk_index"], last["data/file_index"])
        for key in self._video_slot:
            self._video_slot[key] = Slot(last[f"videos/{key}/chunk_index"], last[f"videos/{key}/file_index"])
        if not self.grow:
            self._rows = []
            self._data_slot, self._meta_slot = self._data_slot.next(), self._meta_slot.next()
            self._video_slot = {key: slot.next() for key, slot in self._video_slot.items()}

    @property
    def segments(self) -> Path:
        """Folder for encoded episodes on their way into the dataset; it goes with the writer."""
        return self._staging.folder / "segments"

    def add_episode(self, frames: EpisodeFrames) -> int:
        """Encode and append one episode; returns its episode_index. Raises DatasetError when it does not fit."""
        return self.add_encoded(
            encode_episode(
                frames,
                self.segments,
                fps=self.fps,
                image_size=self.sizes,
                joints=self.joints,
                camera=self.camera,
                shapes=self.shapes,
            )
        )

    def add_encoded(self, episode: EncodedEpisode) -> int:
        """Append an encoded episode; its segment files are removed. Returns its episode_index."""
        frames, length = episode.frames, len(episode.frames)
        if frames.episode_id and frames.episode_id in self.episode_ids:
            raise DatasetError(f"episode {frames.episode_id} is in {self.root} already")
        if frames.task not in self.tasks:
            self.tasks.append(frames.task)
        index = np.arange(length)
        columns = {
            STATE: frames.state,
            ACTION: frames.action,
            **{layout.TACTILE + name: values for name, values in frames.tactile.items()},
            **{key: getattr(frames, key) for key in LABELS},
            **frame_flags(frames.stage, frames.outcome, bool(frames.excluded)),
            REWARD: frame_reward(length, frames.outcome),
            "timestamp": (index / self.fps).astype(np.float32),
            "frame_index": index,
            "episode_index": np.full(length, self.episodes),
            "index": self.frames + index,
            "task_index": np.full(length, self.tasks.index(frames.task)),
        }
        stats = dict(episode.stats)
        rewards = [REWARD] if REWARD in self.features else []
        for key in (*FLAGS, *rewards, "timestamp", "frame_index", "episode_index", "index", "task_index"):
            stats[key] = column_stats(columns[key])
        row = {
            "episode_index": self.episodes,
            "tasks": [frames.task],
            "length": length,
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + length,
            **{key: getattr(frames, key) for key in ("outcome", "t_r", "takeover")},
            **{
                key: getattr(frames, key)
                for key in ("episode_id", "kind", "operator", "start_stage", "milestone", "excluded", "started_ns")
            },
        }
        pictures = {layout.IMAGES + name: held for name, held in episode.jpegs.items()}
        row |= self._append_data(columns, pictures | {layout.DEPTH + name: held for name, held in frames.depth.items()})
        for view, segment in episode.segments.items():
            row |= self._append_video(layout.IMAGES + view, segment, length)
        for name, values in stats.items():
            row |= {f"stats/{name}/{stat}": np.asarray(value).tolist() for stat, value in values.items()}
            self._stats[name] = joined([self._stats[name], values]) if name in self._stats else values
        if len(self._rows) >= layout.EPISODES_PER_FILE:
            self._write_rows()
            self._rows, self._meta_slot = [], self._meta_slot.next()
        row |= {"meta/episodes/chunk_index": self._meta_slot.chunk, "meta/episodes/file_index": self._meta_slot.file}
        self._rows.append(row)
        if episode.quality is not None:
            self._quality.append(quality.to_line(self.episodes, frames.episode_id, episode.quality))
        self._new += 1
        self.episodes += 1
        self.frames += length
        if frames.episode_id:
            self.episode_ids.add(frames.episode_id)
        return self.episodes - 1

    def _grows(self, pattern: str, slot: Slot, key: str = layout.CAMERA) -> bool:
        """Whether the file at `slot` holds committed episodes that a new version of it must keep."""
        relative = slot.path(pattern, key)
        return self.episodes > self._new and relative not in self._files and (self.root / relative).is_file()

    def _write_rows(self) -> None:
        relative = self._meta_slot.path(layout.EPISODES)
        pq.write_table(pa.Table.from_pylist(self._rows, schema=self._episode_schema), self._staging.path(relative))
        self._tables.append(relative)

    def _append_data(self, columns: dict[str, np.ndarray], pictures: dict[str, list[bytes]]) -> dict:
        """columns, pictures (JPEGs, PNGs): by their features."""
        arrays = []
        for field in self._data_schema:
            if field.name in pictures:
                of_camera = pictures[field.name]
                arrays.append(pa.array([{"bytes": picture, "path": None} for picture in of_camera], field.type))
            elif pa.types.is_fixed_size_list(field.type):
                flat = pa.array(np.ascontiguousarray(columns[field.name]).reshape(-1), field.type.value_type)
                arrays.append(pa.FixedSizeListArray.from_arrays(flat, type=field.type))
            else:
                arrays.append(pa.array(columns[field.name].reshape(-1), field.type))
        table = pa.Table.from_arrays(arrays, schema=self._data_schema)
        if self._data is not None and self._data_bytes + table.nbytes > layout.DATA_FILE_MB * 2**20:
            self._data.close()
            self._data = None
            self._data_slot, self._data_bytes = self._data_slot.next(), 0
        if self._data is None:
            self._open_data(table.nbytes)
        self._data.write_table(table, row_group_size=table.num_rows)  # one row group per episode: one read fetches it
        self._data_bytes += table.nbytes
        return {"data/chunk_index": self._data_slot.chunk, "data/file_index": self._data_slot.file}

    def _open_data(self, needed: int) -> None:
        groups = (
            pq.ParquetFile(self.root / self._data_slot.path(layout.DATA))
            if self._grows(layout.DATA, self._data_slot)
            else None
        )
        if groups is not None:
            self._data_bytes = sum(groups.metadata.row_group(i).total_byte_size for i in range(groups.num_row_groups))
            if self._data_bytes + needed > layout.DATA_FILE_MB * 2**20:
                groups, self._data_slot, self._data_bytes = None, self._data_slot.next(), 0
        relative = self._data_slot.path(layout.DATA)
        self._files.append(relative)
        self._data = pq.ParquetWriter(self._staging.path(relative), self._data_schema, compression="snappy")
        for i in range(groups.num_row_groups if groups is not None else 0):
            self._data.write_table(groups.read_row_group(i))

    def _append_video(self, key: str, segment: Path, length: int) -> dict:
        """One camera's pictures of an episode; key: its feature."""
        size, file = segment.stat().st_size, self._video.get(key)
        if file is not None and (file.bytes + size > layout.VIDEO_FILE_MB * 2**20 or not file.takes(segment)):
            file.close()
            file, self._video_slot[key] = None, self._video_slot[key].next()
        if file is None:
            file = self._video[key] = self._open_video(key, segment, size)
        start = file.frames
        count = file.append(segment)
        if count != length:
            raise DatasetError(f"the video segment {segment.name} has {count} frames, expected {length}")
        segment.unlink()
        slot = self._video_slot[key]
        return {
            f"videos/{key}/chunk_index": slot.chunk,
            f"videos/{key}/file_index": slot.file,
            f"videos/{key}/from_timestamp": start / self.fps,
            f"videos/{key}/to_timestamp": (start + length) / self.fps,
        }

    def _open_video(self, key: str, segment: Path, size: int) -> video.VideoFile:
        slot = self._video_slot[key]
        old, grow = self.root / slot.path(layout.VIDEO, key), self._grows(layout.VIDEO, slot, key)
        full = grow and old.stat().st_size + size > layout.VIDEO_FILE_MB * 2**20
        if grow and (full or video.settings(old) != video.settings(segment)):  # e.g. encoded by an earlier version
            grow, self._video_slot[key] = False, slot.next()
        relative = self._video_slot[key].path(layout.VIDEO, key)
        self._files.append(relative)
        file = video.VideoFile(self._staging.path(relative), self.fps)
        if grow:
            file.append(old)
        return file

    def _close_videos(self) -> None:
        for file in self._video.values():
            file.close()
        self._video = {}

    def commit(self) -> None:
        """Make everything added so far part of the dataset, at once. Without new episodes it does nothing."""
        if not self._new:
            return
        if self._data is not None:
            self._data.close()
        self._close_videos()
        self._write_rows()
        layout.write_tasks(self._staging.path(layout.TASKS), self.tasks)
        layout.write_json(
            self._staging.path(layout.STATS), {name: self._stats[name] for name in self.features if name in self._stats}
        )
        features = self.features
        if (self.root / correction_mark.FILE).is_file():
            features = correction_mark.with_mark(features)
        info = layout.info_dict(features, self.robot, self.fps, self.episodes, self.frames, len(self.tasks))
        layout.write_json(self._staging.path(layout.INFO), info)
        if self._quality:
            report = self.root / layout.QUALITY
            known = report.read_text(encoding="utf-8") if report.is_file() else ""
            self._staging.path(layout.QUALITY).write_text(
                known + "".join(line + "\n" for line in self._quality), encoding="utf-8"
            )
            self._tables.append(layout.QUALITY)
        self._staging.commit([*self._files, *self._tables, layout.TASKS, layout.STATS, layout.INFO])
        self._load()

    def close(self) -> None:
        """Commit and let others write."""
        try:
            self.commit()
        finally:
            self.discard()

    def discard(self) -> None:
        """Drop what was not committed and let others write. Harmless when closed already."""
        if self._data is not None:
            self._data.close()
            self._data = None
        self._close_videos()
        self._staging.close()

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, kind, value, trace) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def _brief(feature: dict | None) -> str:
    return "missing" if feature is None else f"{feature['dtype']} {feature['shape']}"
