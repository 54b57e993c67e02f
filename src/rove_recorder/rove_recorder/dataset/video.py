# SPDX-License-Identifier: Apache-2.0
"""Camera frames as H.264 or AV1: one segment per episode, segments joined packet by packet into the dataset's video
files.

Encoding and joining are apart so that episodes can be encoded by several processes and still end in the same bytes.
Every frame's neighbour at most is its reference (GOP 2), so that a random training sample costs two decoded frames, not
a whole GOP.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np

from rove_contract.images import LARGEST_PIXELS

GOP = 2  # frames; LeRobot's own choice, for random access
# size and PSNR of CRF 19 with x264's macroblock tree: visually lossless; the camera's JPEG already cost more than this
CRF = 23
# One thread: the encoder's output then does not depend on the machine. No B-frames: decoding order is display order,
# which is what lets segments be joined by counting. No macroblock tree: it looks ahead further than a GOP of two, and
# its floating-point code gave other bytes in 1 of 100 runs on a busy machine (13 of 1385; none of 1385 without it).
H264 = {"preset": "veryfast", "crf": str(CRF), "g": str(GOP), "bf": "0", "threads": "1", "x264-params": "mbtree=0"}
# LeRobot's own codec and quality. Low delay (pred-struct 1) keeps the order of display here, too.
AV1 = {"preset": "8", "crf": "30", "g": str(GOP), "svtav1-params": "lp=1:pred-struct=1"}
CODECS = {"h264": ("libx264", H264), "av1": ("libsvtav1", AV1)}  # name as in info.json -> encoder, options


@contextlib.contextmanager
def own_priority():
    """What a library does inside to the scheduling of threads is undone: SVT-AV1, run by root, makes the thread that
    opens it and all of its own SCHED_FIFO 99 and leaves them so. An export would then starve the robot's command
    filter, on real time 20."""
    wanted = os.sched_getscheduler(0), os.sched_getparam(0)
    yield
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            if (
                os.sched_getscheduler(int(thread)) == os.SCHED_FIFO
                and os.sched_getparam(int(thread)).sched_priority == 99
            ):
                os.sched_setscheduler(int(thread), *wanted)


class VideoError(ValueError):
    """A video cannot be written or read; the message says what was expected and what came."""


@contextlib.contextmanager
def opened(path: Path):
    """(container, its video stream) while the block lasts. Raises VideoError for a file without one, and for damage met
    meanwhile.
    """
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise VideoError(f"{path} holds no video")
            stream = container.streams.video[0]
            if not getattr(stream, "codec_context", None):
                raise VideoError(f"{path} holds a video of an unknown kind")
            if stream.width * stream.height > LARGEST_PIXELS:
                raise VideoError(
                    f"{path} declares pictures of {stream.width} x {stream.height} px; at most {LARGEST_PIXELS} px are "
                    f"read"
                )
            if not stream.average_rate or not stream.time_base:
                raise VideoError(f"{path} does not say how many frames it has per second")
            yield container, stream
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"cannot read {path}: {error}") from error


def encode(path: Path, frames: Iterable[np.ndarray], fps: int, size: tuple[int, int], codec: str = "h264") -> int:
    """Write frames, each (H, W, 3) uint8 RGB with size = (H, W), as yuv420p into a new MP4. Returns the number of
    frames.

    Raises VideoError for a frame of another shape, and for odd H or W, which 4:2:0 cannot hold.
    """
    height, width = size
    if height % 2 or width % 2:
        raise VideoError(
            f"the camera's picture is {height} x {width}; yuv420p needs even numbers, so resize it or store images "
            f"instead"
        )
    count = 0
    os.environ.setdefault("SVT_LOG", "1")  # errors only: it greets every episode with 20 lines
    with av.open(str(path), "w", format="mp4") as container:
        encoder, options = CODECS[codec]
        stream = container.add_stream(encoder, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = dict(options)
        with own_priority():
            stream.codec_context.open()
        for count, image in enumerate(frames, 1):
            if image.shape != (height, width, 3) or image.dtype != np.uint8:
                raise VideoError(
                    f"frame {count - 1} is {image.shape} {image.dtype}, expected ({height}, {width}, 3) uint8"
                )
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = count - 1
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return count


def settings(path: Path) -> bytes:
    """What a decoder must know before the first frame; only videos of equal settings can share a file."""
    with opened(path) as (_, stream):
        return _settings(stream)


def _settings(stream) -> bytes:
    context = stream.codec_context
    header = bytes(context.extradata or b"")
    if context.codec.canonical_name != "av1":
        return header
    # Every keyframe of AV1 carries its sequence header; only profile, level and size must agree.
    return b"av1" + header[:4] + context.width.to_bytes(4, "big") + context.height.to_bytes(4, "big")


def _copy_of(container, stream, fps):
    """A stream in `container` for the packets of `stream`."""
    if (
        stream.codec_context.codec.canonical_name == "av1"
    ):  # PyAV looks for an encoder named like the decoder, and there is none
        size = {"width": stream.width, "height": stream.height}
        return container.add_mux_stream("av1", rate=fps, time_base=stream.time_base, **size)
    return container.add_stream_from_template(stream)


class VideoFile:
    """One growing MP4 made of segments that `encode` wrote. fps: frames per second of all of them."""

    def __init__(self, path: Path, fps: int):
        self.path = Path(path)
        self.fps = fps
        self.frames = 0
        self.bytes = 0
        self._container: av.container.OutputContainer | None = None
        self._stream: av.video.stream.VideoStream | None = None
        self._settings = b""

    def takes(self, segment: Path) -> bool:
        """Whether `segment` was encoded like what is there."""
        return self._container is None or settings(segment) == self._settings

    def append(self, segment: Path) -> int:
        """Copy the packets of `segment` behind what is there; returns the number of its frames.

        Raises VideoError when the segment's encoder settings (size, profile) differ from the file's: decoders would
        show garbage.
        """
        before = self.frames
        with opened(segment) as (source, stream):
            found = _settings(stream)
            if self._container is None:
                # Without the bit rate, which the first segment would decide: the same packets give the same file,
                # however they came here.
                self._container = av.open(str(self.path), "w", format="mp4", options={"write_btrt": "0"})
                self._stream = _copy_of(self._container, stream, self.fps)
                self._settings = found
            elif found != self._settings:
                raise VideoError(f"{segment} has other encoder settings than {self.path}; write it into a new file")
            for packet in source.demux(stream):
                if packet.dts is None:  # the demuxer's flush packet
                    continue
                # Counted, not scaled: no rounding can ever add up, and time stamps stay strictly increasing.
                step = round(1 / (self.fps * packet.time_base))
                packet.pts = packet.dts = self.frames * step
                packet.duration = step
                packet.stream = self._stream
                self.frames += 1
                self.bytes += packet.size
                self._container.mux(packet)
        return self.frames - before

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None


def cut(source: Path, start: int, count: int, target: Path) -> None:
    """Copy `count` frames from frame number `start` on into a new file, packet by packet. `start` must be a segment's
    first frame.

    Raises VideoError when the file has no such frames or the first one is no keyframe.
    """
    copied = 0
    with opened(source) as (container, stream), av.open(str(target), "w", format="mp4") as out:
        copy = _copy_of(out, stream, stream.average_rate)
        step = round(1 / (stream.average_rate * stream.time_base))
        container.seek(start * step, stream=stream, backward=True)
        for packet in container.demux(stream):
            if packet.dts is None or packet.pts < start * step:
                continue
            if copied == count:
                break
            if copied == 0 and not (packet.is_keyframe and packet.pts == start * step):
                raise VideoError(f"{source}: no segment begins at frame {start}")
            packet.pts = packet.dts = copied * step
            packet.stream = copy
            copied += 1
            out.mux(packet)
    if copied != count:
        raise VideoError(f"{source} has {copied} frames from frame {start} on, expected {count}")


def read_frames(path: Path, start: int = 0, count: int | None = None) -> Iterator[np.ndarray]:
    """Decode `count` frames from frame number `start` on, each (H, W, 3) uint8 RGB. Raises VideoError."""
    with opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        step = round(1 / (stream.average_rate * stream.time_base))
        container.seek(start * step, stream=stream, backward=True)
        given = 0
        for frame in container.decode(stream):
            if count is not None and given >= count:
                return
            if frame.pts is None or frame.pts < start * step:
                continue
            given += 1
            yield frame.to_ndarray(format="rgb24")
