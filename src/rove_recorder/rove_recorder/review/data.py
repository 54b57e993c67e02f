# SPDX-License-Identifier: Apache-2.0
"""What the review page shows of a dataset: episodes with corrections applied, frames, joints and pictures. No web here.

Only labels are read whole (a few bytes per frame); joints and pictures are read per episode when they are looked at.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from datetime import datetime
from enum import IntEnum
from itertools import zip_longest
from pathlib import Path

import numpy as np

from rove_contract import images
from rove_contract.modes import Outcome, Source, Stage
from rove_description.card import RobotCard
from rove_description.joints import METRE
from rove_recorder.dataset import correction_fields, corrections, reader, video
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset.correction_fields import EDITS
from rove_recorder.dataset.flags import FLAGS
from rove_recorder.dataset.lerobot_format import ACTION, IMAGES, STATE, DatasetError
from rove_recorder.dataset.quality import Quality
from rove_recorder.dataset.quality import read as read_quality
from rove_recorder.dataset.reader import LeRobotReader
from rove_recorder.dataset.scores import Scores, read_scores, score_names

WIDEST = 960  # px; larger pictures are shrunk on their way to the page, which shows none larger
JPEG_QUALITY = 88
LABELS = ("outcome", "t_r", "takeover", "excluded", "kind", "episode_id", "operator", "start_stage", "milestone")
SHORT_S = 1.0  # a shorter episode holds hardly one action chunk
FINISHED = (int(Outcome.SUCCESS), int(Outcome.FAILURE))


class ReviewData:
    """root: the dataset's folder. episodes: number -> exported row of meta/episodes. Raises DatasetError. Safe to use
    from threads.
    """

    def __init__(self, root: Path | str):
        self.root = Path(root)
        self._lock = threading.RLock()
        self._scores: dict[str, tuple[int, Scores]] = {}
        self._version: list[tuple[str, int]] | None = None
        self._reports: tuple[int, dict[str, Quality]] = (-1, {})
        self.refresh()

    def refresh(self) -> None:
        """Read again what was appended or made anew since; cheap when nothing was."""
        with self._lock:
            files = [self.root / layout.INFO, *sorted((self.root / "meta/episodes").glob("*/*.parquet"))]
            version = [(str(file), file.stat().st_mtime_ns) for file in files if file.is_file()]
            if version and version == self._version:
                return
            source = LeRobotReader(self.root)
            frames = source.frames(["stage", "source", "task_index", *FLAGS])
            tasks, rows = reader.read_tasks(self.root), source.episodes(frames)
            count = frames.num_rows
            self.stage, self.source, self.task_index = (
                source.labels(frames, name) if name in frames.column_names else np.full(count, -1)
                for name in ("stage", "source", "task_index")
            )
            for row in rows:
                if row["dataset_to_index"] > count:
                    raise DatasetError(
                        f"{self.root}: the frames of episode {row['episode_index']} are missing, the data has {count}"
                    )
                if row["outcome"] not in set(Outcome):
                    raise DatasetError(f"{self.root}: episode {row['episode_index']} has outcome {row['outcome']}")
            self.reader, self.tasks, self.fps, self.names = source, tasks, source.fps, source.names
            self.robot = source.robot
            self.cameras = source.cameras
            self.episodes = {row["episode_index"]: row for row in rows}
            self._version = version

    def row(self, index: int) -> dict:
        """Exported row. Raises DatasetError naming the episodes there are."""
        try:
            return self.episodes[index]
        except KeyError:
            raise DatasetError(f"{self.root} has no episode {index}; it has {len(self.episodes)}, from 0 on") from None

    def _exported(self, index: int) -> dict:
        """Exported row with the values that edits had before any; the task is that of its frames."""
        row = self.row(index)
        task = int(self.task_index[row["dataset_from_index"]])
        return correction_fields.exported(row) | {"task": self.tasks[task] if 0 <= task < len(self.tasks) else ""}

    def _exported_stage(self, row: dict) -> np.ndarray:
        return self.stage[row["dataset_from_index"] : row["dataset_to_index"]]

    def listing(self) -> dict:
        """The dataset and all its episodes, for the page."""
        with self._lock:
            self.refresh()
            lines = corrections.read(self.root)
            fixes = corrections.fixes(self.root, list(self.episodes.values()))
            quality = self._quality()
            counts = Counter(line.episode_index for line in lines)
            return {
                "name": self.root.resolve().name,
                "root": str(self.root),
                "fps": self.fps,
                "cameras": list(self.cameras),
                "joints": [
                    f"{name} (m)" if unit == METRE else name
                    for name, unit in zip_longest(self.names, self.robot.units[: len(self.names)])
                ],
                "groups": groups(self.robot),
                "scores": score_names(self.root),
                "episodes": [self._brief(i, fixes[i], quality, counts[i]) for i in sorted(self.episodes)],
            }

    def _brief(self, index: int, fix: dict, quality: dict[str, Quality], lines: int) -> dict:
        exported = self._exported(index)
        row = exported | fix
        stage = self._exported_stage(exported)
        stage = corrections.restage(stage, row["t_r"]) if "t_r" in fix else stage
        length = len(stage)
        brief = {
            **{key: row[key] for key in (*LABELS, *EDITS)},
            "outcome": Outcome(row["outcome"]).name.lower(),
            "index": index,
            "length": length,
            "seconds": round(length / self.fps, 3),
            "exported": {
                **{key: exported[key] for key in ("t_r", "excluded", *EDITS)},
                "outcome": Outcome(exported["outcome"]).name.lower(),
            },
            "corrected": sorted(fix),
            "lines": lines,
            "stages": runs(stage),
            "trained": not row["excluded"] and not row["deleted"] and row["outcome"] in FINISHED,
        }
        found = quality.get(row["episode_id"])
        reported = found.flags if found else []
        return brief | {
            "flags": reported + label_flags(brief, reported),
            "quality": found.line().splitlines()[0] if found else "",
        }

    def _quality(self) -> dict[str, Quality]:
        """episode_id -> the export's report, for the episodes that have one. Raises DatasetError."""
        file = self.root / layout.QUALITY
        version = file.stat().st_mtime_ns if file.is_file() else -1
        if self._reports[0] != version:
            self._reports = (version, read_quality(self.root))
        return self._reports[1]

    def brief(self, index: int) -> dict:
        """One episode as in `listing`, and the history of its corrections."""
        with self._lock:
            row = self.row(index)
            lines = corrections.read(self.root)
            fix = corrections.corrected(lines, index, row["episode_id"])
            undone = {line.undoes for line in lines}
            history = [
                json.loads(line.line()) | {"undo": line.undoes is not None, "undone": number in undone}
                for number, line in enumerate(lines)
                if line.episode_index == index
            ]
            brief = self._brief(index, fix, self._quality(), len(history))
            return brief | {"history": history, "undoable": corrections.undoable(lines, index) is not None}

    def episode(self, index: int, scores: str = "") -> dict:
        """One episode for the page: `brief`, who drove, and the critic's scores, NaN as None."""
        brief = self.brief(index)
        row = self.episodes[index]
        sources = self.source[row["dataset_from_index"] : row["dataset_to_index"]]
        found: dict = {"scores": None, "scores_error": ""}
        try:
            found["scores"] = self._scored(index, len(sources), scores) if scores else None
        except DatasetError as error:
            found["scores_error"] = str(error)
        return brief | {"sources": _named(Source, sources), **found}

    def _scored(self, index: int, length: int, name: str) -> dict | None:
        stamp = self.root / "meta/scores" / f"{name}.parquet"
        version = stamp.stat().st_mtime_ns if stamp.is_file() else -1
        with self._lock:
            if self._scores.get(name, (None,))[0] != version:
                self._scores[name] = (version, read_scores(self.root, name))
            scores = self._scores[name][1]
        columns = scores.of(index, length)
        if columns is None:
            return None
        corrected = max((line.at for line in corrections.read(self.root) if line.episode_index == index), default="")
        outdated = (
            bool(corrected) and datetime.fromisoformat(corrected.replace("Z", "+00:00")).timestamp() > version / 1e9
        )
        return {
            "name": name,
            "outdated": outdated,
            "value": _plain(columns["value"]),
            "advantage": _plain(columns["advantage"]),
            "positive": columns["positive"].tolist(),
            "threshold": _plain([scores.threshold])[0],
            "scale": _plain([scores.scale])[0],
        }

    def joints(self, index: int) -> bytes:
        """float32, little-endian: state (T, J) then action (T, J), rad; NaN where there is no robot."""
        row, source = self.row(index), self.reader
        wanted = [key for key in (STATE, ACTION) if key in source.features]
        table = source.episode(row, wanted)
        out = np.full((2, row["length"], len(self.names)), np.nan, dtype="<f4")
        for number, key in enumerate((STATE, ACTION)):
            if key in wanted and source.features[key]["shape"] == [len(self.names)]:
                out[number] = source.vectors(table, key)
        return out.tobytes()

    def pictures(self, index: int, start: int, count: int, camera: str = "") -> list[bytes]:
        """JPEGs of frames [start, start + count) of an episode, cut at its end. Exact to the frame, whatever the
        video's codec. camera: its name, the main one if left out. Raises DatasetError.
        """
        row = self.row(index)
        count = min(count, row["length"] - start)
        if start < 0 or count <= 0:
            raise DatasetError(f"episode {index} has frames 0 to {row['length'] - 1}, not {start}")
        if not self.cameras:
            raise DatasetError(f"{self.root} has no camera")
        camera = camera or next(iter(self.cameras))
        if camera not in self.cameras:
            raise DatasetError(f"{self.root} has no camera {camera[:80]!r}; it has {', '.join(self.cameras)}")
        if self.cameras[camera] == "image":
            return self.reader.jpegs(self.reader.episode(row, [IMAGES + camera]).slice(start, count), camera)
        place = self.reader.video(row, camera)
        file, first = place.path, place.first + start
        try:
            found = [
                images.encode_jpeg(_shrunk(frame), JPEG_QUALITY) for frame in video.read_frames(file, first, count)
            ]
        except video.VideoError as error:
            raise DatasetError(f"cannot decode frames {first} to {first + count - 1} of {file}: {error}") from error
        if len(found) != count:
            raise DatasetError(
                f"{file} ends at frame {first + len(found)}, but episode {index} reaches to frame {first + count - 1}"
            )
        return found

    def correct(self, index: int, field: str, new, by: str, expected=None) -> dict:
        """Store a correction; returns the episode's `brief`. Raises CorrectionError, DatasetError."""
        with self._lock:
            row = self.row(index)
            if expected is not None:
                expected = correction_fields.typed(field, expected)
            corrections.correct(self.root, row, self._exported_stage(row), field, new, by, expected)
            return self.brief(index)

    def undo(self, index: int, by: str) -> dict:
        """Take back the episode's last correction; returns its `brief`. Raises CorrectionError, DatasetError."""
        with self._lock:
            self.row(index)
            corrections.undo(self.root, index, by)
            return self.brief(index)


def _runs(values: np.ndarray) -> list[tuple[int, int, int]]:
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return [(int(values[a]), a, b) for a, b in zip(edges, edges[1:])]


def runs(stage: np.ndarray) -> list[list]:
    """stage (T,) -> [[name, first frame, frame after the last], ...]."""
    return _named(Stage, stage)


def _named(kinds: type[IntEnum], values: np.ndarray) -> list[list]:
    """Runs of equal ids with their names; NONE for an id that is none of `kinds`."""
    known = set(map(int, kinds))
    return [[kinds(kind).name if kind in known else "NONE", a, b] for kind, a, b in _runs(values)]


def groups(robot: RobotCard) -> list[dict]:
    """The joints by block and side, as the page shows them: name and joint numbers. Joints without a known block are
    one group.
    """
    titles: dict[str, list[int]] = {}
    for number in range(len(robot.joints)):
        if not robot.blocks:
            titles.setdefault("Joints", []).append(number)
            continue
        block, side = robot.blocks[number], robot.sides[number] if robot.sides else ""
        title = (
            f"{side} {block}".strip().replace("_", " ").capitalize()
            if block not in ("head", "waist")
            else "Head and waist"
        )
        titles.setdefault(title, []).append(number)
    return [{"title": title, "joints": numbers} for title, numbers in titles.items()]


def label_flags(brief: dict, reported: list[str]) -> list[str]:
    """What the labels themselves make suspicious, as corrected; sentences. reported: what the export's report says
    already.
    """
    flags = []
    last, t_r = brief["length"] - 1, brief["t_r"]
    if brief["takeover"] >= 0 and t_r < 0:
        flags.append("an intervention whose end of adaptation (t_r) is not marked")
    if t_r >= last:
        flags.append("t_r is the last frame, whose reward is the outcome's: the penalty is lost")
    if brief["outcome"] == "none" and not any("outcome unknown" in flag for flag in reported):
        flags.append("the outcome is unknown")
    if brief["seconds"] < SHORT_S and not any(flag.startswith("only ") for flag in reported):
        flags.append(f"only {brief['seconds']:g} s long")
    return flags


def _plain(values) -> list[float | None]:
    return [round(float(value), 6) if np.isfinite(value) else None for value in values]


def _shrunk(rgb: np.ndarray) -> np.ndarray:
    if rgb.shape[1] <= WIDEST:
        return rgb
    height = round(rgb.shape[0] * WIDEST / rgb.shape[1])
    return images.resize(rgb, (height, WIDEST))


def packed(jpegs: list[bytes]) -> bytes:
    """JPEGs in one answer: their number and lengths as uint32, little-endian, then the JPEGs."""
    lengths = np.array([len(jpegs), *map(len, jpegs)], dtype="<u4")
    return b"".join([lengths.tobytes(), *jpegs])
