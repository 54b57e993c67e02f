# SPDX-License-Identifier: Apache-2.0
"""Reads a LeRobot v3.0 dataset with ROVE's columns whole into arrays; pictures are decoded once into a memory-mapped
cache.

What a person corrected in review counts as if it had been exported so. Everything is checked when it is opened, so that
training refuses before the first step; errors name dataset, episode and frame.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rove_contract.modes import Outcome, Stage
from rove_description import robot as robots
from rove_description.card import RobotCard
from rove_recorder.dataset import corrections
from rove_recorder.dataset.flags import FLAGS
from rove_recorder.dataset.lerobot_format import ACTION, CAMERA, EGO, HUMAN_VIDEO, IMAGES, STATE, DatasetError
from rove_recorder.dataset.reader import DEFAULTS, LeRobotReader, VideoPlace, read_tasks

KIND_STAGES = {
    "demonstration": (Stage.DEMONSTRATION,),
    "rollout": (Stage.ROLLOUT, Stage.ADAPTATION, Stage.RECOVERY),
    HUMAN_VIDEO: (Stage.HUMAN_VIDEO,),
}
LARGEST_ANGLE = 4.0 * np.pi  # rad; two turns: no joint of a humanoid gets there, and most postures in degrees do


@dataclass(frozen=True)
class Episode:
    """start, end: rows [start, end) of the dataset's arrays. t_r, takeover: frame within the episode, -1 = none.
    Rest: see the writer. adaptation_end: first frame behind the initial adaptation stage, see `find_adaptation_end`.
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
    videos: dict[str, VideoPlace]  # of each camera whose pictures are in video files
    adaptation_end: int

    def __len__(self) -> int:
        return self.end - self.start

    @property
    def video(self) -> VideoPlace | None:
        """Of the main camera."""
        return self.videos.get(EGO)

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


def find_adaptation_end(stage: np.ndarray) -> int:
    """First frame behind the initial adaptation stage of one episode; stage: (T,).

    That is t_r where the recovery follows (paper, sec. 3.1), the hand-back where the operator lets the policy go on
    without having reached it, and T where the adaptation lasts to the end. -1 without an intervention.
    """
    adaptation, recovery = (np.flatnonzero(stage == s) for s in (Stage.ADAPTATION, Stage.RECOVERY))
    if not len(adaptation) or (len(recovery) and recovery[0] < adaptation[0]):
        return int(recovery[0]) if len(recovery) else -1
    behind = np.flatnonzero(stage[adaptation[0] :] != Stage.ADAPTATION)
    return int(adaptation[0] + behind[0]) if len(behind) else len(stage)


@functools.cache
def _card_of(name: str) -> RobotCard:
    return robots.load(name).card


class Dataset:
    """root: the dataset's folder.

    robot: whose episodes they are. names: (J,) its joints. episodes: list of `Episode`. state, action: (N, J) float32
    rad. stage, source, mode: (N,) int64. fps: frames per second. Raises DatasetError.
    """

    def __init__(self, root):
        self.reader = LeRobotReader(root)
        self.root, self.info = self.reader.root, self.reader.info
        self.names, self.fps, self.camera = self.reader.names, self.reader.fps, self.reader.camera
        self.cameras = self.reader.cameras
        self._check_info(self.reader.features)
        self.robot = self._read_robot()
        self._read_frames()
        self._read_episodes()
        self._check()

    def __len__(self) -> int:
        return len(self.state)

    def _check_info(self, features: dict) -> None:
        for key in (STATE, ACTION, CAMERA, "stage"):
            if key not in features:
                raise DatasetError(
                    f"dataset {self.root} has no feature {key!r}; it has {', '.join(features) or 'none'}"
                )
        if features[STATE]["shape"] != features[ACTION]["shape"]:
            raise DatasetError(
                f"dataset {self.root}: state {features[STATE]['shape']} and action {features[ACTION]['shape']} differ"
            )
        names = [features[key].get("names") or [] for key in (STATE, ACTION)]
        if not names[0] or names[0] != names[1] or [len(names[0])] != features[STATE]["shape"]:
            raise DatasetError(
                f"dataset {self.root}: {STATE} and {ACTION} need the names of the same joints in the same order in "
                f"meta/info.json, got {names[0]} and {names[1]}"
            )
        for name, kind in self.cameras.items():
            if kind not in ("video", "image"):
                raise DatasetError(
                    f"dataset {self.root}: {IMAGES}{name} has dtype {kind!r}, expected 'video' or 'image'"
                )

    def check_cameras(self, names: Sequence[str]) -> None:
        """Raise DatasetError where it lacks one of these cameras."""
        if missing := [name for name in names if name not in self.cameras]:
            raise DatasetError(
                f"dataset {self.root} has no pictures of {', '.join(missing)}; it has {', '.join(self.cameras)}"
            )

    def _read_robot(self) -> RobotCard:
        """The robot, blocks included: where another tool dropped them, those of ROVE's own robot of that name."""
        card = self.reader.robot
        own = _card_of(card.name) if card.name in robots.shipped() else None
        if own is not None and (refusal := card.refusal(own, f"dataset {self.root}")):
            raise DatasetError(refusal)
        if not card.blocks and own is None:
            raise DatasetError(
                f"dataset {self.root}: meta/info.json does not say the block (head, arm, ...) of each joint of the "
                f"robot {card.name or 'without a name'}; export it again"
            )
        return card if card.blocks or own is None else own

    def _read_frames(self) -> None:
        labels = ("stage", "source", "mode", "episode_index", "frame_index", "task_index")
        table = self.reader.frames([STATE, ACTION, "timestamp", *labels, *FLAGS])
        if table.num_rows == 0:
            raise DatasetError(f"dataset {self.root} has no frames")
        self.stage, self.source, self.mode, self._episode_index, self._frame_index, self._task_index = (
            self.reader.labels(table, key) for key in labels
        )
        self.state, self.action = self.reader.vectors(table, STATE), self.reader.vectors(table, ACTION)
        self._timestamp = self.reader.numbers(table, "timestamp")
        self._rows = self.reader.episodes(table, fill=False)

    def _read_episodes(self) -> None:
        tasks, rows = read_tasks(self.root), self._rows
        try:
            fixes = corrections.fixes(self.root, rows)
            corrections.require_baked(self.root, fixes)
        except corrections.CorrectionError as error:
            raise DatasetError(f"dataset {self.root}: {error}") from error
        self.stage = self.stage.copy()  # a corrected t_r moves the stages with it
        self.episodes: list[Episode] = []
        for row in rows:
            name = f"dataset {self.root}, episode {row['episode_index']}"
            if missing := [key for key in ("outcome", "t_r", "kind") if key not in row]:
                raise DatasetError(
                    f"{name} has no {', '.join(missing)}; export it with rove_recorder, which writes them"
                )
            row = DEFAULTS | row | fixes[row["episode_index"]]
            if row["outcome"] not in set(Outcome):
                raise DatasetError(
                    f"{name} has outcome {row['outcome']!r}, known are "
                    f"{', '.join(f'{o} {o.name}' for o in map(Outcome, Outcome))}"
                )
            videos = {view: self.reader.video(row, view) for view, kind in self.cameras.items() if kind == "video"}
            start, end = row["dataset_from_index"], row["dataset_to_index"]
            if end > len(self.state):
                raise DatasetError(f"{name}: its rows {start} to {end} are beyond the {len(self.state)} frames")
            if "t_r" in fixes[row["episode_index"]]:
                self.stage[start:end] = corrections.restage(self.stage[start:end], row["t_r"])
            task = int(self._task_index[start])
            if not 0 <= task < len(tasks) or not tasks[task]:
                raise DatasetError(f"{name} has task_index {task}, which meta/tasks.parquet does not name")
            fix = fixes[row["episode_index"]]
            columns = ("outcome", "t_r", "takeover", "episode_id", "kind", "operator")
            self.episodes.append(
                Episode(
                    row["episode_index"],
                    start,
                    end,
                    str(fix.get("task", tasks[task])),
                    *(row[key] for key in columns),
                    row["start_stage"] or "start",
                    row["excluded"] or bool(fix.get("deleted")),
                    videos,
                    find_adaptation_end(self.stage[start:end]),
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
        placed = sorted(
            ((place.path, place.first, e) for e in self.episodes for place in e.videos.values()),
            key=lambda row: row[:2],
        )
        for (path, first, one), (path_after, first_after, after) in zip(placed, placed[1:]):
            if path == path_after and first + len(one) > first_after:
                raise DatasetError(
                    f"dataset {self.root}, episode {after.index}: its pictures begin at frame {first_after} of "
                    f"their file, within those of episode {one.index}"
                )
