# SPDX-License-Identifier: Apache-2.0
"""Reads a LeRobot v3.0 dataset with ROVE's columns whole into arrays; pictures are decoded once into a memory-mapped
cache.

What a person corrected in review counts as if it had been exported so. Everything is checked when it is opened, so that
training refuses before the first step; errors name dataset, episode and frame.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rove_contract.modes import Outcome, Stage
from rove_recorder.dataset import corrections

STATE, ACTION, CAMERA = "observation.state", "action", "observation.images.ego"
HUMAN_VIDEO = "human_video"
KIND_STAGES = {
    "demonstration": (Stage.DEMONSTRATION,),
    "rollout": (Stage.ROLLOUT, Stage.ADAPTATION, Stage.RECOVERY),
    HUMAN_VIDEO: (Stage.HUMAN_VIDEO,),
}
LARGEST_ANGLE = 4.0 * np.pi  # rad; two turns: no joint of a humanoid gets there, and most postures in degrees do


class DatasetError(ValueError):
    """A dataset cannot be trained on; the message names it and, where it applies, the episode and the frame."""


@dataclass(frozen=True)
class Episode:
    """start, end: rows [start, end) of the dataset's arrays. t_r, takeover: frame within the episode, -1 = none. Rest:
    see the writer.
    """

    index: int
    start: int
    end: int
    task: str
    outcome: int
    t_r: int
    takeover: int
    episode_id: str
    kind: str
    operator: str
    start_stage: str
    excluded: bool
    video: tuple[int, int, int] | None  # chunk, file, first frame in the file

    def __len__(self) -> int:
        return self.end - self.start

    @property
    def has_robot(self) -> bool:
        """False for a human video: pictures only, its state and action are NaN; it belongs to D^critic, never to
        D^actor (App. G).
        """
        return self.kind != HUMAN_VIDEO

    @property
    def trainable(self) -> bool:
        """Neither excluded by a person nor without a usable outcome (aborted)."""
        return not self.excluded and self.outcome in (Outcome.SUCCESS, Outcome.FAILURE)


def _read_tables(root: Path, pattern: str, columns=None) -> pa.Table:
    files = sorted(root.glob(pattern))
    if not files:
        raise DatasetError(f"dataset {root}: no file {pattern}")
    try:
        return pa.concat_tables([pq.read_table(file, columns=columns) for file in files], promote_options="default")
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DatasetError(f"dataset {root}: cannot read {pattern}: {error}") from error


class Dataset:
    """root: the dataset's folder.

    names: (J,) joints. episodes: list of `Episode`. state, action: (N, J) float32 rad. stage, source, mode: (N,) int64.
    fps: frames per second. Raises DatasetError.
    """

    def __init__(self, root):
        self.root = Path(root)
        info_path = self.root / "meta" / "info.json"
        try:
            info = json.loads(info_path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DatasetError(f"no dataset at {self.root}: cannot read {info_path}: {error.strerror}") from error
        except ValueError as error:  # JSONDecodeError or UnicodeDecodeError
            raise DatasetError(f"dataset {self.root}: {info_path} is not JSON: {error}") from error
        self._read_info(info)
        self._read_frames()
        self._read_episodes()
        self._check()

    def __len__(self) -> int:
        return len(self.state)

    def _read_info(self, info: dict) -> None:
        version = info.get("codebase_version") if isinstance(info, dict) else None
        if version != "v3.0":
            raise DatasetError(f"dataset {self.root} has format {version!r}, expected LeRobot 'v3.0'")
        features, self.info = info.get("features") or {}, info
        for key in (STATE, ACTION, CAMERA, "stage"):
            if key not in features:
                raise DatasetError(
                    f"dataset {self.root} has no feature {key!r}; it has {', '.join(features) or 'none'}"
                )
        if features[STATE]["shape"] != features[ACTION]["shape"]:
            raise DatasetError(
                f"dataset {self.root}: state {features[STATE]['shape']} and action {features[ACTION]['shape']} differ"
            )
        names = [features[key].get("names") or () for key in (STATE, ACTION)]
        self.names = tuple(names[0])
        if not self.names or list(names[0]) != list(names[1]):
            raise DatasetError(
                f"dataset {self.root}: {STATE} and {ACTION} need the names of the same joints in the same order in "
                f"meta/info.json, got {names[0]} and {names[1]}"
            )
        fps = info.get("fps")
        if not isinstance(fps, (int, float)) or not fps > 0:
            raise DatasetError(f"dataset {self.root} has fps {fps!r} in meta/info.json, expected frames per second")
        self.fps = float(fps)
        self.camera = features[CAMERA].get("dtype")
        if self.camera not in ("video", "image"):
            raise DatasetError(f"dataset {self.root}: {CAMERA} has dtype {self.camera!r}, expected 'video' or 'image'")
        if self.camera == "video" and not isinstance(info.get("video_path"), str):
            raise DatasetError(f"dataset {self.root} has no video_path in meta/info.json")

    def _read_frames(self) -> None:
        joints = len(self.names)
        wanted = [
            STATE,
            ACTION,
            "stage",
            "source",
            "mode",
            "episode_index",
            "frame_index",
            "index",
            "task_index",
            "timestamp",
        ]
        table = _read_tables(self.root, "data/*/*.parquet", wanted).combine_chunks().sort_by("index")
        if table.num_rows == 0:
            raise DatasetError(f"dataset {self.root} has no frames")
        self._episode_index = table["episode_index"].to_numpy()
        self._frame_index = table["frame_index"].to_numpy()
        self._task_index = table["task_index"].to_numpy()
        for key in (STATE, ACTION):
            column = table[key].combine_chunks()
            if not (pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)):
                raise DatasetError(
                    f"dataset {self.root}: {key} is of type {column.type}, expected lists of {joints} numbers"
                )
            if column.null_count:
                raise DatasetError(f"{self._where(int(np.flatnonzero(column.is_null())[0]))}: {key} is missing")
            flat = column.flatten().to_numpy(zero_copy_only=False)
            if len(flat) != table.num_rows * joints:
                raise DatasetError(f"dataset {self.root}: {key} does not have {joints} values in every frame")
            setattr(
                self,
                "state" if key == STATE else "action",
                np.ascontiguousarray(flat.reshape(-1, joints), dtype=np.float32),
            )
        self.stage, self.source, self.mode = (self._whole_numbers(table, key) for key in ("stage", "source", "mode"))
        index = table["index"].to_numpy()
        self._timestamp = table["timestamp"].to_numpy()
        gap = np.flatnonzero(index != np.arange(len(index)))
        if len(gap):
            raise DatasetError(
                f"dataset {self.root}: frame {gap[0]} of the table has index {index[gap[0]]}: frames are missing or "
                f"doubled"
            )

    def _whole_numbers(self, table: pa.Table, key: str) -> np.ndarray:
        column = table[key]
        if not pa.types.is_integer(column.type):
            raise DatasetError(f"dataset {self.root}: {key} is of type {column.type}, expected whole numbers")
        if column.null_count:
            raise DatasetError(
                f"{self._where(int(np.flatnonzero(column.combine_chunks().is_null())[0]))}: {key} is missing"
            )
        return column.to_numpy()

    def _where(self, row: int) -> str:
        return f"dataset {self.root}, episode {self._episode_index[row]}, frame {self._frame_index[row]}"

    def _read_episodes(self) -> None:
        tasks = {
            row["task_index"]: row.get("task", row.get("__index_level_0__"))
            for row in _read_tables(self.root, "meta/tasks.parquet").to_pylist()
        }
        rows = _read_tables(self.root, "meta/episodes/*/*.parquet").to_pylist()
        try:
            fixes = corrections.fixes(self.root, rows)
        except corrections.CorrectionError as error:
            raise DatasetError(f"dataset {self.root}: {error}") from error
        self.stage = self.stage.copy()  # a corrected t_r moves the stages with it
        self.episodes: list[Episode] = []
        for row in sorted(rows, key=lambda row: row["episode_index"]):
            name = f"dataset {self.root}, episode {row['episode_index']}"
            row |= fixes[row["episode_index"]]
            row.setdefault("takeover", -1)
            key = f"videos/{CAMERA}"
            placed = (
                [f"{key}/{end}" for end in ("from_timestamp", "chunk_index", "file_index")]
                if self.camera == "video"
                else []
            )
            missing = [k for k in ("outcome", "t_r", "takeover", "kind", *placed) if row.get(k) is None]
            if missing:
                raise DatasetError(
                    f"{name} has no {', '.join(missing)}; export it with rove_recorder, which writes them"
                )
            for mark in ("t_r", "takeover"):
                if not isinstance(row[mark], int):
                    raise DatasetError(
                        f"{name}: {mark} = {row[mark]!r}, expected the number of a frame, or -1 for none"
                    )
            if row["outcome"] not in set(Outcome):
                raise DatasetError(
                    f"{name} has outcome {row['outcome']!r}, known are "
                    f"{', '.join(f'{o} {o.name}' for o in map(Outcome, Outcome))}"
                )
            video = None
            if self.camera == "video":
                first = round(row[f"{key}/from_timestamp"] * self.fps)
                video = (row[f"{key}/chunk_index"], row[f"{key}/file_index"], first)
            start, end = row["dataset_from_index"], row["dataset_to_index"]
            if not (0 <= start < end <= len(self.state)) or end - start != row["length"]:
                raise DatasetError(
                    f"{name}: rows {start} to {end} do not fit its length {row['length']} and {len(self.state)} frames"
                )
            if "t_r" in fixes[row["episode_index"]]:
                self.stage[start:end] = corrections.restage(self.stage[start:end], row["t_r"])
            task = tasks.get(int(self._task_index[start]))
            if not task:
                raise DatasetError(
                    f"{name} has task_index {self._task_index[start]}, which meta/tasks.parquet does not name"
                )
            self.episodes.append(
                Episode(
                    row["episode_index"],
                    start,
                    end,
                    task,
                    row["outcome"],
                    row["t_r"],
                    row["takeover"],
                    row.get("episode_id") or "",
                    row["kind"],
                    row.get("operator") or "",
                    row.get("start_stage") or "start",
                    bool(row.get("excluded")),
                    video,
                )
            )

    def _check(self) -> None:
        position = 0
        for episode in self.episodes:
            name = f"dataset {self.root}, episode {episode.index}"
            rows = slice(episode.start, episode.end)
            if episode.start != position:
                raise DatasetError(
                    f"{name} begins at row {episode.start}, expected {position}: rows without an episode, or shared "
                    f"ones"
                )
            position = episode.end
            if np.any(self._episode_index[rows] != episode.index) or np.any(
                self._frame_index[rows] != np.arange(len(episode))
            ):
                raise DatasetError(f"{name}: episode_index or frame_index of its rows does not match meta/episodes")
            late = np.flatnonzero(
                ~(np.abs(self._timestamp[rows] * self.fps - np.arange(len(episode))) < 0.5)
            )  # half a frame
            if len(late):
                raise DatasetError(
                    f"{name}, frame {late[0]}: timestamp {self._timestamp[rows][late[0]]:g} s, expected "
                    f"{late[0] / self.fps:g} s at {self.fps:g} frames per second"
                )
            self._check_stages(name, episode, self.stage[rows])
            if episode.has_robot:
                self._check_joints(name, rows)
        if position != len(self.state):
            raise DatasetError(
                f"dataset {self.root}: {len(self.state) - position} rows after the last episode belong to none"
            )
        self._check_shared()

    def _check_stages(self, name: str, episode: Episode, stage: np.ndarray) -> None:
        if episode.kind not in KIND_STAGES:
            raise DatasetError(f"{name} has kind {episode.kind!r}, expected one of {', '.join(KIND_STAGES)}")
        wrong = np.flatnonzero(~np.isin(stage, KIND_STAGES[episode.kind]))
        if len(wrong):
            expected = ", ".join(f"{int(s)} {s.name}" for s in KIND_STAGES[episode.kind])
            raise DatasetError(
                f"{name}, frame {wrong[0]}: stage {stage[wrong[0]]} in an episode of kind {episode.kind!r}, "
                f"expected {expected}"
            )
        for mark in ("t_r", "takeover"):
            if not -1 <= getattr(episode, mark) < len(episode):
                raise DatasetError(f"{name}: {mark} = {getattr(episode, mark)} is outside its {len(episode)} frames")
        if not episode.trainable:
            return
        for mark, begun in (("t_r", Stage.RECOVERY), ("takeover", Stage.ADAPTATION)):
            frames = np.flatnonzero(stage == begun)
            first = int(frames[0]) if len(frames) else -1
            if getattr(episode, mark) != first:
                raise DatasetError(
                    f"{name}: {mark} = {getattr(episode, mark)}, but its first frame of stage {begun.name} is {first} "
                    "(-1: none); export it again, or exclude it in review"
                )
        if 0 <= episode.t_r < episode.takeover:
            raise DatasetError(
                f"{name}: its recovery begins at frame {episode.t_r}, before its adaptation at frame "
                f"{episode.takeover}; "
                "export it again, or exclude it in review"
            )

    def _check_joints(self, name: str, rows: slice) -> None:
        for key, values in ((STATE, self.state), (ACTION, self.action)):
            bad = np.argwhere(~(np.abs(values[rows]) <= LARGEST_ANGLE))  # NaN too
            if len(bad):
                frame, joint = bad[0]
                raise DatasetError(
                    f"{name}, frame {frame}: {key} of joint {self.names[joint]} is {values[rows][frame, joint]}, "
                    f"expected radians within {LARGEST_ANGLE:.1f}"
                )

    def _check_shared(self) -> None:
        """No episode is there twice, and no picture belongs to two."""
        known: dict[str, int] = {}
        for episode in self.episodes:
            if episode.episode_id and known.setdefault(episode.episode_id, episode.index) != episode.index:
                raise DatasetError(
                    f"dataset {self.root}: episodes {known[episode.episode_id]} and {episode.index} have the same "
                    f"episode_id {episode.episode_id!r}; remove one"
                )
        placed = sorted((e for e in self.episodes if e.video), key=lambda e: e.video)
        for one, other in zip(placed, placed[1:]):
            if one.video[:2] == other.video[:2] and one.video[2] + len(one) > other.video[2]:
                raise DatasetError(
                    f"dataset {self.root}, episode {other.index}: its pictures begin at frame {other.video[2]} of "
                    f"their "
                    f"file, within those of episode {one.index}"
                )
