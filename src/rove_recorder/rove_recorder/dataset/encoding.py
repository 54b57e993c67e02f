# SPDX-License-Identifier: Apache-2.0
"""One episode at the dataset's rate, and the costly part of writing it: checks, video segment or JPEGs, statistics."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rove_contract import depth as depths
from rove_contract import images
from rove_contract.modes import Outcome
from rove_recorder.dataset import video
from rove_recorder.dataset.lerobot_format import (
    ACTION,
    CODEC_OF,
    DEPTH,
    EGO,
    HUMAN_VIDEO,
    IMAGES,
    LABELS,
    STATE,
    TACTILE,
    DatasetError,
    Shapes,
    Sizes,
    sizes_of,
)
from rove_recorder.dataset.quality import Quality
from rove_recorder.dataset.stats import ImageStats, Stats, column_stats, depth_stats, sampled

LARGEST_COLUMN = 2**31 - 1  # bytes of one column of an episode: Arrow's offsets have 32 bits


@dataclass
class EpisodeFrames:
    """One episode at the dataset's rate, T frames.

    state, action: (T, J) rad, contract order; action is the joint command at that tick. Both None for a human video and
    only for one: kind "human_video" marks an episode without robot, whose state and action are stored as NaN and have
    no statistics. images: (T, H, W, 3) uint8 RGB, or T such pictures or JPEGs as bytes (anything with a length that can
    be iterated), of the main camera, or camera -> such pictures; None for a dataset without camera. depth: depth camera
    -> T PNGs of 16 bits. tactile: array -> (T, n). stage, source, mode: (T,) ids of rove_contract.modes. t_r, takeover:
    frame index of the first RECOVERY / ADAPTATION frame, -1 if none. kind: "demonstration" | "rollout" | "human_video".
    milestone: farthest that was reached, in the task's words, "" = unknown. excluded: kept, not trained on. started_ns:
    when it was recorded, ns since the epoch, 0 = unknown; shards are merged in this order.
    """

    state: np.ndarray | None
    action: np.ndarray | None
    images: np.ndarray | Sequence[bytes] | Mapping[str, np.ndarray | Sequence[bytes]] | None
    stage: np.ndarray
    source: np.ndarray
    mode: np.ndarray
    task: str
    outcome: int = Outcome.NONE
    t_r: int = -1
    takeover: int = -1
    episode_id: str = ""
    kind: str = "rollout"
    operator: str = ""
    start_stage: str = "start"
    milestone: str = ""
    excluded: bool | None = None  # None: aborted episodes are excluded
    started_ns: int = 0
    depth: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    tactile: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.stage if self.state is None else self.state)

    @property
    def pictures(self) -> dict[str, np.ndarray | Sequence[bytes]]:
        """Pictures of each camera."""
        if self.images is None:
            return {}
        return dict(self.images) if isinstance(self.images, Mapping) else {EGO: self.images}


@dataclass
class EncodedEpisode:
    """An episode ready to append: plain columns, per camera the video segment or the JPEGs, and statistics of every
    column but the indices.
    """

    frames: EpisodeFrames  # with images=None; depth as lists
    stats: dict[str, Stats]
    segments: dict[str, Path] = field(default_factory=dict)
    jpegs: dict[str, list[bytes]] = field(default_factory=dict)
    quality: Quality | None = None  # of an episode from a bag


def encode_episode(
    frames: EpisodeFrames,
    folder: Path,
    *,
    fps: int,
    image_size: tuple[int, int] | Sizes | None,
    joints: int,
    camera: str = "video",
    shapes: Shapes | None = None,
) -> EncodedEpisode:
    """Check an episode and encode its pictures into `folder`. image_size: (H, W) of each camera, see
    `lerobot_format.sizes_of`. shapes: of depth cameras and tactile arrays. Raises DatasetError or video.VideoError
    saying what is wrong.
    """
    name = frames.episode_id or "the episode"
    length = len(frames)
    if length == 0:
        raise DatasetError(f"{name} has no frames")
    columns, robotless = {}, frames.kind == HUMAN_VIDEO
    for key, array in ((STATE, frames.state), (ACTION, frames.action)):
        if (array is None) != robotless:
            has = "no" if array is None else "a"
            raise DatasetError(
                f"{name} of kind {frames.kind!r} has {has} {key}; a {HUMAN_VIDEO} has none, every other episode has one"
            )
        if array is None:
            columns[key] = np.full((length, joints), np.nan, dtype=np.float32)
            continue
        columns[key] = np.ascontiguousarray(array, dtype=np.float32)
        if columns[key].shape != (length, joints):
            raise DatasetError(f"{name}: {key} is {columns[key].shape}, expected ({length}, {joints})")
        if not np.isfinite(columns[key]).all():
            row, joint = np.argwhere(~np.isfinite(columns[key]))[0]
            raise DatasetError(f"{name}: {key} is not finite at frame {row}, joint {joint}")
    for key in LABELS:
        columns[key] = np.asarray(getattr(frames, key), dtype=np.int64)
        if columns[key].shape != (length,):
            raise DatasetError(f"{name}: {key} is {columns[key].shape}, expected ({length},)")
    if not frames.task:
        raise DatasetError(f"{name} has no task text")
    given, sizes = frames.pictures, sizes_of(image_size)
    if given.keys() != sizes.keys():
        has, wants = (", ".join(each) or "none" for each in (given, sizes))
        raise DatasetError(f"{name} has pictures of the cameras {has}, the dataset wants {wants}")
    stats = {key: column_stats(value) for key, value in columns.items() if not (robotless and key in (STATE, ACTION))}
    segments: dict[str, Path] = {}
    jpegs: dict[str, list[bytes]] = {}
    for view, pictures in given.items():
        size = sizes[view]
        if len(pictures) != length:
            raise DatasetError(f"{name}: {len(pictures)} images of the camera {view} for {length} frames")
        image_stats = ImageStats(length)
        if camera in CODEC_OF:
            folder.mkdir(parents=True, exist_ok=True)
            segments[view] = folder / f"{uuid.uuid4().hex}.mp4"
            video.encode(segments[view], image_stats.watch(map(_picture, pictures)), fps, size, CODEC_OF[camera])
        else:
            jpegs[view] = [image if isinstance(image, bytes) else images.encode_jpeg(image, 95) for image in pictures]
            for image in image_stats.watch(map(_picture, pictures)):
                if image.shape != (*size, 3):
                    raise DatasetError(f"{name}: an image of {view} is {image.shape}, expected {(*size, 3)}")
        stats[IMAGES + view] = image_stats.result()
    depth, tactile = _sensors(frames, shapes or Shapes(), stats)
    excluded = frames.outcome == Outcome.ABORTED if frames.excluded is None else frames.excluded
    plain = EpisodeFrames(
        columns[STATE],
        columns[ACTION],
        None,
        *(columns[key] for key in LABELS),
        task=frames.task,
        outcome=int(frames.outcome),
        t_r=int(frames.t_r),
        takeover=int(frames.takeover),
        episode_id=frames.episode_id,
        kind=frames.kind,
        operator=frames.operator,
        start_stage=frames.start_stage,
        milestone=frames.milestone,
        excluded=bool(excluded),
        started_ns=int(frames.started_ns),
        depth=depth,
        tactile=tactile,
    )
    return EncodedEpisode(plain, stats, segments, jpegs)


def _sensors(
    frames: EpisodeFrames, shapes: Shapes, stats: dict[str, Stats]
) -> tuple[dict[str, list[bytes]], dict[str, np.ndarray]]:
    """Depth pictures and tactile values (T, n) float32 of an episode, checked; their statistics go into `stats`."""
    episode = frames.episode_id or "the episode"
    for word, given, wanted in (
        ("depth cameras", frames.depth, shapes.depth),
        ("tactile arrays", frames.tactile, shapes.tactile),
    ):
        if given.keys() != wanted.keys():
            has, wants = (", ".join(names) or "none" for names in (given, wanted))
            raise DatasetError(f"{episode} has the {word} {has}, the dataset wants {wants}")
    depth, tactile = {}, {}
    for name, size in shapes.depth.items():
        pngs = list(frames.depth[name])
        if len(pngs) != len(frames):
            raise DatasetError(f"{episode}: {len(pngs)} depth pictures of {name} for {len(frames)} frames")
        if sum(map(len, pngs)) > LARGEST_COLUMN:
            raise DatasetError(
                f"{episode}: its depth pictures of {name} have {sum(map(len, pngs)) / 2**30:.1f} GB, at most 2 GB of "
                f"one episode can be stored; leave the camera out, or record fewer pixels"
            )
        for png in dict.fromkeys(pngs):
            if (got := depths.check(png)) != tuple(size):
                raise DatasetError(f"{episode}: a depth picture of {name} is {got}, expected {tuple(size)}")
        depth[name] = pngs
        stats[DEPTH + name] = depth_stats([depths.decode(pngs[i]) for i in sampled(len(pngs))])
    for name, width in shapes.tactile.items():
        values = np.ascontiguousarray(frames.tactile[name], dtype=np.float32)
        if values.shape != (len(frames), width):
            raise DatasetError(f"{episode}: tactile {name} is {values.shape}, expected ({len(frames)}, {width})")
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise DatasetError(f"{episode}: tactile {name} is not finite at frame {row}, value {column}")
        tactile[name] = values
        stats[TACTILE + name] = column_stats(values)
    return depth, tactile


def _picture(image) -> np.ndarray:
    if isinstance(image, bytes):
        return images.decode(image)
    return image
