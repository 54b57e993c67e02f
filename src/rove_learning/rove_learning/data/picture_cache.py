# SPDX-License-Identifier: Apache-2.0
"""All pictures of a dataset, decoded once at the model's size into one memory-mapped file: random access then costs a
copy.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rove_contract import images
from rove_contract.files import replaced
from rove_learning.data.dataset import Dataset, DatasetError
from rove_recorder.dataset import correction_mark, video
from rove_recorder.dataset.lerobot_format import BESIDE, EGO, IMAGES, INFO, inside
from rove_recorder.dataset.reader import read_table, tables


def content_hash(root: Path) -> str:
    """16 hex digits over everything exported into data, meta and videos: another content is another cache."""
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(
        path for folder in ("data", "meta", "videos") for path in (root / folder).rglob("*") if path.is_file()
    ):
        name = file.relative_to(root).as_posix()
        if name.startswith(BESIDE):
            continue  # scores, corrections and reports change no picture
        digest.update(name.encode())
        if name == INFO:
            digest.update(correction_mark.without_mark(file.read_bytes()))
            continue
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def cache_folder(root: Path) -> Path:
    """`<root>/.cache`, where everything computed from a dataset is kept; it exists. Raises DatasetError when a link
    stands in its place.
    """
    folder = inside(root, ".cache")
    folder.mkdir(exist_ok=True)
    return folder


def pictures(dataset: Dataset, size: int, progress: bool = True, camera: str = EGO) -> np.ndarray:
    """(N, size, size, 3) uint8 of one camera, read-only memory map in `<root>/.cache`. Raises DatasetError naming
    episode and frame.
    """
    folder = cache_folder(dataset.root)
    file = folder / f"pictures-{camera}-{size}-{images.RESIZING}-{content_hash(dataset.root)}.u8"
    shape = (len(dataset), size, size, 3)
    if not file.is_file():
        bar = tqdm(total=len(dataset), desc=f"decoding {dataset.root.name}", unit="frame", disable=not progress)
        with bar, replaced(file) as part:
            out = np.memmap(part, dtype=np.uint8, mode="w+", shape=shape)
            decode = _decode_videos if dataset.cameras[camera] == "video" else _decode_images
            decode(dataset, camera, out, bar)
            out.flush()
        for old in folder.glob(f"pictures-{camera}-{size}-*.u8"):
            if old != file:
                old.unlink(missing_ok=True)  # of an earlier content
    return np.memmap(file, dtype=np.uint8, mode="r", shape=shape)


def _decode_videos(dataset: Dataset, camera: str, out: np.ndarray, bar) -> None:
    files: dict[Path, list] = {}
    for episode in dataset.episodes:
        files.setdefault(episode.videos[camera].path, []).append(episode)
    for path, episodes in files.items():
        relative = path.relative_to(dataset.root)
        rows = {e.videos[camera].first + i: e.start + i for e in episodes for i in range(len(e))}
        seen = 0
        try:
            with video.opened(path) as (container, stream):
                stream.thread_type = "AUTO"
                for i, frame in enumerate(container.decode(video=0)):
                    row = rows.get(i)
                    if row is None:
                        continue
                    picture = frame.to_ndarray(format="rgb24")
                    if wrong := other_size(dataset, picture, camera):
                        raise DatasetError(
                            f"dataset {dataset.root}, {_next(episodes, seen, camera)}, {relative}: {wrong}"
                        )
                    out[row] = images.resize(picture, out.shape[1:3])
                    seen += 1
                    bar.update()
        except video.VideoError as error:
            raise DatasetError(
                f"dataset {dataset.root}, {_next(episodes, seen, camera)}: cannot decode {relative}: {error}"
            ) from error
        if seen != len(rows):
            where = f"dataset {dataset.root}, {_next(episodes, seen, camera)}"
            raise DatasetError(f"{where}: {relative} ends too early, with {seen} of {len(rows)} pictures")


def other_size(dataset: Dataset, picture: np.ndarray, camera: str) -> str:
    """What is wrong with a picture (H, W, 3) whose size is not meta/info.json's, there (H, W, 3) or (3, H, W); empty:
    nothing.
    """
    height, width, channels = picture.shape
    declared = tuple(dataset.info["features"][IMAGES + camera].get("shape") or picture.shape)
    if declared in ((height, width, channels), (channels, height, width)):
        return ""
    return f"the picture is {height} x {width}, but meta/info.json says {declared}"


def _next(episodes, seen: int, camera: str) -> str:
    """Episode and frame of the first picture that was not decoded."""
    for episode in sorted(episodes, key=lambda episode: episode.videos[camera].first):
        if seen < len(episode):
            return f"episode {episode.index}, frame {seen}"
        seen -= len(episode)
    return f"episode {episodes[-1].index}, end"


def _decode_images(dataset: Dataset, camera: str, out: np.ndarray, bar) -> None:
    for file in tables(dataset.root, "data"):
        table = read_table(file, ["index", "episode_index", "frame_index", IMAGES + camera])
        for begin in range(0, table.num_rows, 256):
            batch = table.slice(begin, 256)
            for row, data in zip(
                batch.drop_columns([IMAGES + camera]).to_pylist(), dataset.reader.jpegs(batch, camera)
            ):
                where = f"dataset {dataset.root}, episode {row['episode_index']}, frame {row['frame_index']}"
                try:
                    picture = images.decode(data)
                except images.ImageError as error:
                    raise DatasetError(f"{where}: {error}") from error
                if wrong := other_size(dataset, picture, camera):
                    raise DatasetError(f"{where}: {wrong}")
                out[row["index"]] = images.resize(picture, out.shape[1:3])
                bar.update()
