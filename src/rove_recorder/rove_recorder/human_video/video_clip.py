# SPDX-License-Identifier: Apache-2.0
"""Anybody's video file at the dataset's rate and size: the last frame at or before each tick, upright, in the ego
camera's shape.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from rove_recorder.dataset.fit import Fit, fit_picture
from rove_recorder.dataset.video import VideoError

LOST_S = Fraction(
    1, 10
)  # cameras that were switched off leave a last frame or two that do not decode; more than that is damage


class VideoClip:
    """T pictures, each (H, W, 3) uint8 RGB; iterating decodes, as often as wanted, one picture in memory at a time.

    fps: frames per second of the result. size: (H, W). start_s, end_s: part of the video, in seconds of its own time;
    None: to its end. fit: "crop" fills the picture and cuts what stands over, in the middle; "pad" shows all with black
    edges; "stretch" distorts. frames: number of the file's own frames. started_ns: when it was filmed, ns since the
    epoch, 0 where the file does not say. Raises VideoError naming the file when it cannot be read, is cut short, or the
    part is outside of it.
    """

    def __init__(
        self,
        path: Path,
        fps: int,
        size: tuple[int, int],
        start_s: float = 0.0,
        end_s: float | None = None,
        fit: Fit = "crop",
    ):
        self.path, self.fps, self.size, self.fit = Path(path), fps, size, fit
        try:
            with av.open(str(self.path), metadata_errors="replace") as container:
                self._index(container)
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"{self.path} cannot be read as a video: {error}") from error
        if not 0 <= start_s < (self.length_s if end_s is None else end_s) <= self.length_s + 1 / fps:
            until = "its end" if end_s is None else f"{end_s:g} s"
            raise VideoError(
                f"{self.path} is {self.length_s:.2f} s long; from {start_s:g} s to {until} is no part of it"
            )
        self._begin = self._first + Fraction(start_s).limit_denominator(10**6)
        end = self._end if end_s is None else min(self._end, self._first + Fraction(end_s).limit_denominator(10**6))
        self._count = max(1, math.ceil((end - self._begin) * fps))

    def _index(self, container) -> None:
        if not container.streams.video:
            raise VideoError(f"{self.path} has no video stream")
        stream = container.streams.video[0]
        stamps, duration, keyframe = [], 0, False
        for packet in container.demux(stream):
            keyframe = keyframe or packet.is_keyframe
            if (
                packet.pts is None or packet.is_discard or not keyframe
            ):  # not shown; and nothing decodes before the first keyframe
                continue
            stamps.append(packet.pts)
            duration = packet.duration or duration
        if not stamps:
            raise VideoError(
                f"{self.path} has no frames with time stamps; convert it: ffmpeg -i {self.path.name} -c:v libx264 "
                f"new.mp4"
            )
        if stream.frames > len(stamps) + 1:
            raise VideoError(
                f"{self.path} is cut short: it announces {stream.frames} frames and holds {len(stamps)}; copy it again"
            )
        base = stream.time_base
        if not duration and len(stamps) > 1:
            duration = (max(stamps) - min(stamps)) / (len(stamps) - 1)
        self.frames = len(stamps)
        self._first, self._last = min(stamps) * base, max(stamps) * base
        self._end = self._last + Fraction(duration or 1).limit_denominator(10**6) * base
        # Containers round time stamps to their time base: a frame counts from half of it earlier, or every other tick
        # would miss its frame in a file that counts milliseconds.
        self._rounding = base / 2
        filmed = container.metadata.get("creation_time", "")
        try:
            self.started_ns = round(datetime.fromisoformat(filmed.replace("Z", "+00:00")).timestamp() * 1e9)
        except ValueError:
            self.started_ns = 0

    @property
    def length_s(self) -> float:
        """Length of the whole file."""
        return float(self._end - self._first)

    def __len__(self) -> int:
        return self._count

    def _tick(self, stamp: Fraction) -> int:
        """The first tick that may show a frame of this time stamp."""
        return max(0, math.ceil((stamp - self._rounding - self._begin) * self.fps))

    def __iter__(self) -> Iterator[np.ndarray]:
        given, held, stamp = 0, None, self._first

        def at(stamp) -> str:
            return f"{float(stamp - self._first):.2f} s"

        try:
            with av.open(str(self.path), metadata_errors="replace") as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                container.seek(math.floor(self._begin / stream.time_base), stream=stream, backward=True)
                for frame in container.decode(stream):
                    if frame.pts is None:
                        continue
                    stamp = frame.pts * stream.time_base
                    due = min(self._tick(stamp), self._count)
                    if given < due:
                        if held is None:
                            raise VideoError(
                                f"{self.path}: nothing can be decoded before {at(stamp)}; convert it first"
                            )
                        picture = self._picture(held)
                        for _ in range(due - given):
                            yield picture
                        given = due
                    if given == self._count:
                        return
                    held = frame
        except (av.FFmpegError, OSError) as error:
            raise VideoError(f"{self.path} is damaged after {at(stamp)} of {self.length_s:.2f} s: {error}") from error
        if held is None or self._last - stamp > LOST_S:
            raise VideoError(f"{self.path} cannot be decoded after {at(stamp)} of {self.length_s:.2f} s; copy it again")
        picture = self._picture(held)
        for _ in range(self._count - given):
            yield picture

    def _picture(self, frame: av.VideoFrame) -> np.ndarray:
        """Upright, at the wanted size."""
        turns = (
            round(frame.rotation / 90) % 4
        )  # counterclockwise, as np.rot90 counts; phones store portrait films lying
        upright = np.rot90(frame.to_ndarray(format="rgb24"), turns)
        return fit_picture(np.ascontiguousarray(upright), self.size, self.fit)
