# SPDX-License-Identifier: Apache-2.0
"""Episodes of a LeRobot dataset -> episodes of ours: resampled, in radians, with stages and an outcome.

A frame of the result holds the last state and picture at or before its tick, and the target in force one period later,
as an export of bags does. Targets are absolute joint positions. Killed, the same call goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from rove_contract.modes import Outcome
from rove_contract.timing import POLICY_HZ
from rove_description.card import RobotCard
from rove_recorder.dataset import engine as engines
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset import reader
from rove_recorder.dataset.encoding import EncodedEpisode, EpisodeFrames, encode_episode
from rove_recorder.dataset.fit import Fit
from rove_recorder.dataset.lerobot import DatasetWriter
from rove_recorder.dataset.lerobot_format import ACTION, STATE, DatasetError
from rove_recorder.lerobot_import.foreign import ForeignDataset, ForeignEpisode, ForeignPictures
from rove_recorder.lerobot_import.labels import (
    INTERVENTIONS,
    REWARD,
    SUCCESSES,
    Labels,
    find_outcome,
    keep_stages,
    label_stages,
)
from rove_recorder.lerobot_import.mapping import JointMap, check_radians

EGO_SIZE = (192, 192)  # (H, W) px of the ego camera as a session records it
COMMIT_EVERY = 16  # episodes; what a kill can cost
SLACK = 1e-6  # s; rates are whole numbers, but k / rate is not


@dataclass(frozen=True)
class Choices:
    """What the dataset does not tell.

    cameras: camera of the new dataset -> key. outcome: of all episodes, None = as the columns say. failures: episodes
    that failed, whatever else is said. adaptation_s: s of an intervention before t_r. task: "" = the data's.
    """

    cameras: dict[str, str]
    outcome: Outcome | None = None
    failures: tuple[int, ...] = ()
    adaptation_s: float = 1.0
    intervention: str = ""
    task: str = ""
    operator: str = ""
    fit: Fit = "crop"


@dataclass(frozen=True)
class Job:
    dataset: ForeignDataset
    episode: ForeignEpisode
    joint_map: JointMap
    choices: Choices
    segments: Path
    fps: int
    sizes: layout.Sizes
    storage: str


@dataclass
class Result:
    """Of one episode: encoded, or the reason why not. already: the dataset had it."""

    index: int
    episode: EncodedEpisode | None = None
    error: str = ""
    already: bool = False


def pick_frames(length: int, source_fps: float, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """(frame of the state and picture, frame of the action) for each tick k / fps within `length` frames; (T,) int.

    The action of a frame is in force from its time on, so one period after the tick the last one that began before.
    """
    ticks = np.arange(max(1, int(np.floor((length - 1) / source_fps * fps + SLACK)) + 1))
    states = np.floor(ticks / fps * source_fps + SLACK * source_fps).astype(np.intp)
    actions = np.ceil((ticks + 1) / fps * source_fps - SLACK * source_fps).astype(np.intp) - 1
    return np.minimum(states, length - 1), np.clip(actions, states, length - 1)


def column(table: pa.Table, key: str) -> np.ndarray:
    """(T,) float64 of a column of numbers, of truth values, or of lists of one of these. Raises DatasetError."""
    values = table[key].combine_chunks()
    while pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type):
        values = values.flatten()
    if len(values) != table.num_rows or values.null_count:
        raise DatasetError(f"{key} does not have one value in every frame")
    try:
        return values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise DatasetError(f"{key} is of type {values.type}, expected numbers") from error


def vectors(table: pa.Table, key: str, width: int) -> np.ndarray:
    """(T, width) float64. Raises DatasetError."""
    if key not in table.column_names:
        raise DatasetError(f"there is no column {key}")
    values = table[key].combine_chunks()
    if not (pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type)):
        raise DatasetError(f"{key} is of type {values.type}, expected lists of {width} numbers")
    try:
        flat = values.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise DatasetError(f"{key} is of type {values.type}, expected lists of {width} numbers") from error
    if len(flat) != table.num_rows * width:
        raise DatasetError(f"{key} does not have {width} values in every frame")
    return flat.reshape(-1, width)


def read_labels(table: pa.Table, choices: Choices, picks: np.ndarray, fps: float) -> Labels:
    """Stages of the picked frames. Raises DatasetError."""
    if "stage" in table.column_names:
        return keep_stages(column(table, "stage")[picks].astype(np.int64))
    keys = (choices.intervention,) if choices.intervention else INTERVENTIONS
    key = next((key for key in keys if key in table.column_names), None)
    if choices.intervention and key is None:
        raise DatasetError(f"there is no column {choices.intervention}")
    driven = None if key is None else column(table, key)[picks] > 0.5
    return label_stages(len(picks), driven, round(choices.adaptation_s * fps))


def read_outcome(table: pa.Table, episode: ForeignEpisode, choices: Choices) -> Outcome:
    """The outcome of an episode. Raises DatasetError where nothing tells it."""
    if episode.index in choices.failures:
        return Outcome.FAILURE
    if choices.outcome is not None:
        return choices.outcome
    told = {key: column(table, key) for key in (*SUCCESSES, REWARD) if key in table.column_names}
    found = find_outcome(told, episode.labels)
    if found is None:
        raise DatasetError(
            "no column tells whether it succeeded; give --outcome success (and --failures for those that did not), or "
            "--outcome unknown to decide in review"
        )
    return found


def read_frames(job: Job) -> EpisodeFrames:
    """One episode at the new rate, with pictures that are decoded when they are iterated. Raises DatasetError."""
    dataset, episode, choices = job.dataset, job.episode, job.choices
    extra = (choices.intervention,) if choices.intervention else INTERVENTIONS
    table = dataset.frames(episode, [STATE, ACTION, "stage", *extra, *SUCCESSES, REWARD])
    states, actions = pick_frames(episode.length, dataset.fps, job.fps)
    values = {}
    for key, picks in ((STATE, states), (ACTION, actions)):
        raw = vectors(table, key, dataset.features[key]["shape"][0])[picks]
        values[key] = job.joint_map.apply(raw, key)
        check_radians(job.joint_map, values[key], key)
    labels = read_labels(table, choices, states, job.fps)
    task = choices.task or episode.task
    if not task:
        raise DatasetError("it has no task text; give --task")
    outcome = read_outcome(table, episode, choices)
    pictures = {
        name: ForeignPictures(dataset, episode, key, states, job.sizes[name], choices.fit)
        for name, key in choices.cameras.items()
    }
    return EpisodeFrames(
        values[STATE],
        values[ACTION],
        pictures,  # type: ignore[arg-type]
        labels.stage,
        labels.source,
        labels.mode,
        task=task,
        outcome=outcome,
        t_r=labels.t_r,
        takeover=labels.takeover,
        episode_id=name_episode(dataset, episode),
        kind=labels.kind,
        operator=choices.operator,
        excluded=outcome in (Outcome.ABORTED, Outcome.NONE),
    )


def name_episode(dataset: ForeignDataset, episode: ForeignEpisode) -> str:
    return f"{dataset.name}-{episode.index:06d}"


def convert(job: Job) -> Result:
    """Read and encode one episode; errors that belong to it end up in the result."""
    try:
        frames = read_frames(job)
        encoded = encode_episode(
            frames,
            job.segments,
            fps=job.fps,
            image_size=job.sizes,
            joints=len(job.joint_map.names),
            camera=job.storage,
        )
        return Result(job.episode.index, encoded)
    except (ValueError, OSError) as error:
        return Result(job.episode.index, error=str(error))


def import_dataset(
    source: ForeignDataset,
    out: Path,
    joint_map: JointMap,
    robot: RobotCard,
    choices: Choices,
    *,
    episodes: Sequence[int] = (),
    fps: int | None = None,
    image_size: tuple[int, int] | None = None,
    storage: str | None = None,
    workers: int = 0,
    progress: bool = True,
) -> list[Result]:
    """Append episodes of `source` (all, or those with these numbers) to the dataset `out`, new or existing.

    robot: whose joints those of `joint_map` are. fps, image_size (H, W), storage ("video" | "image"): None = those of
    `out`; for a new one the policy's rate, the ego camera's size and "video". Raises DatasetError, staging.Busy.
    """
    sizes = dict.fromkeys(choices.cameras, image_size or EGO_SIZE)
    if (Path(out) / layout.INFO).is_file():
        info = reader.read_info(out)
        fps, storage = fps or info["fps"], storage or layout.storage(info["features"])
        if image_size is None:
            sizes |= layout.stored_sizes(info["features"])
    fps, storage = fps or round(POLICY_HZ), storage or "video"
    unknown = sorted(set((*episodes, *choices.failures)) - {episode.index for episode in source.episodes})
    if unknown:
        raise DatasetError(f"dataset {source.root} has no episode {', '.join(map(str, unknown[:8]))}")
    chosen = [episode for episode in source.episodes if not episodes or episode.index in set(episodes)]
    results: list[Result] = []
    with DatasetWriter(out, robot, fps, sizes, storage) as writer:
        jobs, described = [], source.without_episodes()
        for episode in chosen:
            if name_episode(source, episode) in writer.episode_ids:
                results.append(Result(episode.index, already=True))
            else:
                jobs.append(Job(described, episode, joint_map, choices, writer.segments, fps, sizes, storage))
        bar = tqdm(total=len(jobs), unit="episode", disable=not (progress and jobs))
        with engines.pool("process", workers if len(jobs) > 1 else 1) as run, bar:
            for first in range(0, len(jobs), COMMIT_EVERY):
                for result in run(convert, jobs[first : first + COMMIT_EVERY]):
                    if result.episode is not None:
                        writer.add_encoded(result.episode)
                    results.append(result)
                    bar.update()
                writer.commit()
    return results
