# SPDX-License-Identifier: Apache-2.0
"""Human experience videos -> episodes without robot, for the critic only (paper, App. G): pictures, task and outcome.

`import_clips` commits every few episodes; killed, the same call goes on where it was.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from tqdm import tqdm

from rove_contract.modes import Mode, Outcome, Source, Stage
from rove_contract.timing import POLICY_HZ
from rove_description import robot as robots
from rove_recorder.dataset import engine as engines
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset import reader
from rove_recorder.dataset.encoding import EncodedEpisode, EpisodeFrames, encode_episode
from rove_recorder.dataset.lerobot import DatasetWriter
from rove_recorder.human_video.video_clip import Fit, VideoClip

EGO_SIZE = (192, 192)  # (H, W) px of the ego camera as the session records it
COMMIT_EVERY = 32  # episodes; what a kill can cost. A commit copies the growing data and video files, at most 300 MB
SAMPLE_BYTES = 1 << 16  # of each end: EgoDex's 300,000 files are looked at in minutes


@dataclass(frozen=True)
class Clip:
    """A video to import. outcome: SUCCESS or FAILURE. start_s, end_s: its part, seconds. origin: where it is named, for
    messages.

    frames: how many frames the video must have, where another file says so. prefix: of the episode id.
    """

    path: Path
    task: str
    outcome: Outcome
    start_s: float = 0.0
    end_s: float | None = None
    operator: str = ""
    origin: str = ""
    prefix: str = ""
    frames: int | None = None
    note: str = ""

    @property
    def episode_id(self) -> str:
        """Name and content of the part, so that the same one is never imported twice: size and both ends of the file
        identify it.
        """
        digest = hashlib.blake2b(digest_size=5)
        size = os.path.getsize(self.path)
        digest.update(f"{size} {self.start_s} {self.end_s}".encode())
        with self.path.open("rb") as file:
            digest.update(file.read(SAMPLE_BYTES))
            file.seek(max(0, size - SAMPLE_BYTES))
            digest.update(file.read(SAMPLE_BYTES))
        return f"{self.prefix}{self.path.stem}-{digest.hexdigest()}"


@dataclass(frozen=True)
class Job:
    clip: Clip
    episode_id: str
    segments: Path
    fps: int
    image_size: tuple[int, int]
    camera: str
    fit: Fit
    joints: int


@dataclass
class Result:
    """Of one clip: an episode, or a reason why there is none. note: what a person should know. already: the dataset had
    it.
    """

    clip: Clip
    episode: EncodedEpisode | None = None
    error: str = ""
    note: str = ""
    already: bool = False


def convert(job: Job) -> Result:
    """Decode, resample and encode one clip; errors that belong to it end up in the result."""
    clip = job.clip
    try:
        images = VideoClip(clip.path, job.fps, job.image_size, clip.start_s, clip.end_s, job.fit)
        if clip.frames is not None and abs(images.frames - clip.frames) > 1:
            counts = f"{clip.path} has {images.frames} frames, its annotation {clip.frames}"
            raise ValueError(f"{counts}: one of them is cut short; copy both again")
        length = len(images)
        frames = EpisodeFrames(
            None,
            None,
            images,  # type: ignore[arg-type]
            np.full(length, Stage.HUMAN_VIDEO),
            np.full(length, Source.NONE),
            np.full(length, Mode.IDLE),
            task=clip.task,
            outcome=clip.outcome,
            episode_id=job.episode_id,
            kind=layout.HUMAN_VIDEO,
            operator=clip.operator,
            started_ns=images.started_ns,
        )
        episode = encode_episode(
            frames, job.segments, fps=job.fps, image_size=job.image_size, joints=job.joints, camera=job.camera
        )
        return Result(clip, episode, note=clip.note)
    except (ValueError, OSError, av.FFmpegError) as error:
        return Result(clip, error=str(error))


def import_clips(
    clips: Sequence[Clip],
    out: Path,
    *,
    fps: int | None = None,
    image_size: tuple[int, int] | None = None,
    camera: str | None = None,
    robot: str | None = None,
    fit: Fit = "crop",
    workers: int = 0,
    engine: engines.Engine = "process",
    progress: bool = True,
    commit_every: int = COMMIT_EVERY,
) -> list[Result]:
    """Append clips to the dataset `out`, new or existing, in the order given; those that it has already are left out.

    fps, image_size (H, W), camera ("video" | "image"), robot (name or folder): None = the dataset's own; for a new one
    the policy's rate, the ego camera's size, "video" and the default robot. Raises RobotError, DatasetError,
    staging.Busy, EngineError for what concerns all.
    """
    results: list[Result] = []
    named: dict[str, Clip] = {}
    for clip in clips:
        try:
            name = clip.episode_id
        except OSError as error:
            results.append(Result(clip, error=f"cannot read {clip.path}: {error.strerror}"))
            continue
        if name in named:
            results.append(
                Result(
                    clip, note=f"{clip.path} is the same part of the same video as {named[name].path}: imported once"
                )
            )
            continue
        named[name] = clip
    if not named:
        return results
    if (Path(out) / layout.INFO).is_file():
        info = reader.read_info(out)
        if layout.CAMERA not in info["features"]:
            raise layout.DatasetError(
                f"{out} has no camera; import videos into a dataset of their own and train on both"
            )
        fps, card = fps or info["fps"], layout.robot_of(info) if robot is None else robots.load(robot).card
        image_size = image_size or tuple(info["features"][layout.CAMERA]["shape"][:2])
        camera = camera or layout.camera_of(info["features"][layout.CAMERA])
    else:
        card = robots.load(robot or robots.DEFAULT).card
    fps, image_size, camera = fps or round(POLICY_HZ), image_size or EGO_SIZE, camera or "video"
    with DatasetWriter(out, card, fps, image_size, camera) as writer:
        jobs, outcomes = [], {row["episode_id"]: row["outcome"] for row in reader.read_episodes(out)}
        for name, clip in named.items():
            if name in writer.episode_ids:
                was = Outcome(outcomes[name])
                other = (
                    f"{clip.path} is in {out} already, with the outcome {was.name.lower()}; change it with "
                    f"rove_recorder review"
                )
                results.append(Result(clip, note="" if was == clip.outcome else other, already=True))
            else:
                jobs.append(Job(clip, name, writer.segments, fps, image_size, camera, fit, len(card.joints)))
        with engines.pool(engine, workers if len(jobs) > 1 else 1) as run, _bar(len(jobs), progress) as bar:
            for first in range(0, len(jobs), commit_every):
                for result in run(convert, jobs[first : first + commit_every]):
                    if result.episode is not None:
                        writer.add_encoded(result.episode)
                    results.append(result)
                    bar.update()
                writer.commit()  # between batches, when no process has a segment in the writer's folder
    return results


def _bar(total: int, progress: bool) -> tqdm:
    return tqdm(total=total, unit="video", disable=not (progress and total))
