# SPDX-License-Identifier: Apache-2.0
"""Pictures of a dataset decoded when they are asked for: no cache on the disk, for datasets too large for one.

A random picture costs its own GOP up to it, two frames as rove_recorder writes them. Packets are looked up in a table
made once and handed to the decoder directly: no seeking, no demuxing. Equal to picture_cache's pictures, bit for bit.
"""

from __future__ import annotations

import mmap
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from rove_contract import images
from rove_learning.data.dataset import Dataset, DatasetError
from rove_recorder.dataset import video
from rove_recorder.dataset.lerobot_format import EGO, IMAGES


class _Packets:
    """Where each frame of a video file lies in it, and the nearest keyframe before; decoders per thread."""

    def __init__(self, path, where: str):
        self.where = where
        try:
            with video.opened(path) as (container, stream):
                self.codec, self.extradata = stream.codec_context.name, bytes(stream.codec_context.extradata or b"")
                packets = [(p.pos, p.size, p.is_keyframe, p.pts) for p in container.demux(stream) if p.dts is not None]
            with path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (av.FFmpegError, OSError, ValueError, IndexError) as error:  # IndexError: no video stream
            raise DatasetError(f"{where} cannot be read: {error}") from error
        self.position, self.size = (np.array([packet[i] for packet in packets], dtype=np.int64) for i in (0, 1))
        if any(packet[3] is None for packet in packets):
            raise DatasetError(f"{where} has frames without time stamps")
        if any(a[3] >= b[3] for a, b in zip(packets, packets[1:])):
            raise DatasetError(f"{where} shows its frames in another order than it stores them; use the picture cache")
        numbers = np.arange(len(packets))
        self.keyframe = np.maximum.accumulate(np.where([packet[2] for packet in packets], numbers, 0))
        self._local = threading.local()

    def __len__(self) -> int:
        return len(self.position)

    def picture(self, number: int) -> np.ndarray:
        """Frame `number` of the file, (H, W, 3) uint8 RGB."""
        local = self._local
        if not hasattr(local, "decoder"):
            local.decoder = av.CodecContext.create(self.codec, "r")
            local.decoder.extradata = self.extradata
            local.decoder.thread_count = 1  # several would hold frames back
            local.convert = VideoReformatter()
        try:
            for i in range(self.keyframe[number], number + 1):
                frames = local.decoder.decode(av.Packet(self._data[self.position[i] : self.position[i] + self.size[i]]))
            if not frames:
                frames = local.decoder.decode(None)
                local.decoder.flush_buffers()
            return local.convert.reformat(frames[-1], format="rgb24").to_ndarray()
        except (av.FFmpegError, IndexError) as error:
            del local.decoder
            raise DatasetError(f"{self.where}: cannot decode frame {number} of the file: {error}") from error


class PictureStream:
    """Read like the array of `picture_cache.pictures`: stream[rows], rows (B,), is (B, size, size, 3) uint8; shape: (N,
    size, size, 3).

    threads: that decode, 0 = one per core. JPEGs of datasets without video stay in memory as they are. Raises
    DatasetError naming the dataset and the file, when it is opened or when a picture cannot be decoded.
    """

    def __init__(self, dataset: Dataset, size: int, threads: int = 0, camera: str = EGO):
        self.shape = (len(dataset), size, size, 3)
        self._size = size
        self._root = dataset.root
        self._jpegs = None
        if dataset.cameras[camera] == "video":
            self._open_videos(dataset, camera)
        else:
            frames = dataset.reader.frames([IMAGES + camera])
            dataset.reader.jpegs(frames.slice(0, 1), camera)  # refuses what is no column of pictures
            self._jpegs = [chunk.field("bytes") for chunk in frames[IMAGES + camera].chunks]
            self._starts = np.cumsum([0, *map(len, self._jpegs)])
        threads = threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(threads, "decode") if threads > 1 else None
        self._threads = threads

    def _open_videos(self, dataset: Dataset, camera: str) -> None:
        self._file, self._number = np.zeros(len(dataset), dtype=np.int32), np.zeros(len(dataset), dtype=np.int64)
        self._files: list[_Packets] = []
        known: dict[Path, int] = {}
        for episode in dataset.episodes:
            path, first = episode.videos[camera].path, episode.videos[camera].first
            if path not in known:
                known[path] = len(self._files)
                self._files.append(_Packets(path, f"dataset {dataset.root}, {path.relative_to(dataset.root)}"))
            rows = slice(episode.start, episode.end)
            self._file[rows] = known[path]
            self._number[rows] = first + np.arange(len(episode))
            if first + len(episode) > len(self._files[known[path]]):
                held = f"its video holds {len(self._files[known[path]])} frames"
                raise DatasetError(f"dataset {dataset.root}, episode {episode.index}: {held}, too few")

    def _picture(self, row: int) -> np.ndarray:
        if self._jpegs is None:
            image = self._files[self._file[row]].picture(self._number[row])
        else:
            part = int(np.searchsorted(self._starts, row, side="right")) - 1
            data = self._jpegs[part][row - self._starts[part]].as_py()
            if not data:
                raise DatasetError(f"dataset {self._root}, row {row}: the picture is missing")
            try:
                image = images.decode(data)
            except images.ImageError as error:
                raise DatasetError(f"dataset {self._root}, row {row}: {error}") from error
        return images.resize(image, (self._size, self._size))

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows)
        out = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)

        def fill(places: np.ndarray) -> None:
            for place in places.tolist():
                out[place] = self._picture(int(rows[place]))

        parts = np.array_split(
            np.argsort(rows, kind="stable"), self._threads
        )  # neighbours together: their bytes lie together
        for _ in self._pool.map(fill, parts) if self._pool else map(fill, parts):
            pass
        return out
