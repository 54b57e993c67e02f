# SPDX-License-Identifier: Apache-2.0
"""Bags and datasets in object stores, as fsspec URLs (s3://bucket/folder, gs://..., memory://...).

A remote bag is fetched for as long as it is read. A remote dataset is written in a scratch folder and uploaded: objects
that exist are never changed but for the tables in `meta`, and `meta/info.json`, which says how many episodes there are,
comes last. So a killed upload leaves the old dataset, and the next writer removes what it had brought. One writer at a
time: stores have no locks.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec

from rove_contract import files
from rove_recorder.bag.bag import BagError
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset import reader

INSTALL = "pip install -r requirements/scale.txt (S3), or fsspec's package for this kind of store"


class RemoteError(OSError):
    """A store cannot be reached or used; the message names the address and what to do."""


def is_remote(path) -> bool:
    return "://" in str(path)


def join(path: str | Path, *parts: str):
    """path / parts, for folders and addresses."""
    return "/".join((str(path).rstrip("/"), *parts)) if is_remote(path) else Path(path, *parts)


@contextmanager
def _access(url: str):
    """Whatever a store's own library raises becomes a RemoteError that names the address."""
    try:
        yield
    except (RemoteError, BagError, layout.DatasetError):
        raise
    except ImportError as error:
        raise RemoteError(f"{url} needs a package that is not installed ({error}): {INSTALL}") from error
    except Exception as error:  # botocore, gcsfs and others have exception trees of their own
        raise RemoteError(f"cannot access {url}: {type(error).__name__}: {error}") from error


def filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """(file system, path in it). Raises RemoteError."""
    with _access(url):
        fs, path = fsspec.core.url_to_fs(url)
        fs.invalidate_cache()
        return fs, path.rstrip("/")


def find_bags(url: str) -> list[str]:
    """Addresses of the bags at or below `url`, sorted. Raises BagError where there is none."""
    fs, path = filesystem(url)
    with _access(url):
        files = [path] if path.endswith(".mcap") else fs.find(path)
        folders = sorted({file.rsplit("/", 1)[0] for file in files if file.endswith(".mcap")})
        if not folders:
            raise BagError(f"{url} holds no bag (a folder with .mcap files)")
        return [fs.unstrip_protocol(folder) for folder in folders]


@contextmanager
def fetched(path: str | Path, only: str = "") -> Iterator[Path]:
    """A local folder with the files of the remote folder `path` (those whose names end in `only`) while the block
    lasts; a local folder is given as it is. Raises RemoteError."""
    if not is_remote(path):
        yield Path(path)
        return
    fs, base = filesystem(str(path))
    with tempfile.TemporaryDirectory(prefix="rove_remote_") as scratch:
        folder = Path(scratch) / base.rsplit("/", 1)[-1]
        folder.mkdir()
        with _access(str(path)):
            for file in fs.find(base):
                if file.endswith(only):
                    _get(fs, file, layout.inside(folder, file[len(base) + 1 :]))
        yield folder


def _get(fs, source: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    fs.get_file(source, str(target))


@contextmanager
def dataset(out: str | Path) -> Iterator[Path]:
    """The folder to write the dataset `out` in: itself when local; otherwise one with its `meta`, uploaded when the
    block ends well.

    Write a remote one with DatasetWriter(..., grow=False). Raises RemoteError.
    """
    if not is_remote(out):
        yield Path(out)
        return
    fs, base = filesystem(str(out))
    with tempfile.TemporaryDirectory(prefix="rove_remote_") as scratch:
        root = Path(scratch) / (base.rsplit("/", 1)[-1] or "dataset")
        with _access(str(out)):
            if fs.exists(f"{base}/{layout.INFO}"):
                _fetch_meta(fs, base, root)
        before = _state(root)
        yield root
        after = _state(root)
        changed = [name for name in after if after[name] != before.get(name)]
        with _access(str(out)):
            for name in sorted(changed, key=_turn):
                fs.put_file(str(root / name), f"{base}/{name}")


def _fetch_meta(fs, base: str, root: Path) -> None:
    """meta into `root`; what a killed upload left behind is removed from the store."""
    for file in fs.find(f"{base}/meta"):
        _get(fs, file, layout.inside(root, file[len(base) + 1 :]))
    total = reader.read_info(root)["total_episodes"]
    used = set()
    for path in reader.tables(root, "meta/episodes"):
        rows = reader.read_table(path).to_pylist()
        if rows[0]["episode_index"] >= total:
            fs.rm_file(f"{base}/{path.relative_to(root).as_posix()}")
            path.unlink()
            continue
        for row in rows:
            used.add(layout.Slot(row["data/chunk_index"], row["data/file_index"]).path(layout.DATA))
            for name in row:
                if name.startswith("videos/") and name.endswith("/file_index"):
                    key = name.removeprefix("videos/").removesuffix("/file_index")
                    slot = layout.Slot(row[f"videos/{key}/chunk_index"], row[name])
                    used.add(slot.path(layout.VIDEO, key))
    for folder in ("data", "videos"):
        for file in fs.find(f"{base}/{folder}"):
            if file[len(base) + 1 :] not in used:
                fs.rm_file(file)


def _state(root: Path) -> dict[str, tuple[int, int]]:
    """(size, time of change) of every file of the dataset."""
    files = [path for folder in ("data", "videos", "meta") for path in (root / folder).rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def _turn(name: str) -> tuple[int, str]:
    """Frames and pictures, then the tables that point to them, then info.json."""
    order = ("data/", "videos/", "meta/episodes/", layout.QUALITY, layout.TASKS, layout.STATS, layout.INFO)
    return next((i for i, start in enumerate(order) if name.startswith(start)), 0), name


def write_text(path: str | Path, text: str) -> None:
    """A small file, local or remote. Raises RemoteError."""
    if not is_remote(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        files.write(path, text)
        return
    fs, target = filesystem(str(path))
    with _access(str(path)):
        fs.pipe_file(target, text.encode("utf-8"))


def remove_folder(path: str | Path) -> None:
    """Remove a folder, local or remote; links in it go, never what they name. Raises RemoteError, DatasetError."""
    if not is_remote(path):
        shutil.rmtree(layout.inside(Path(path).parent, Path(path).name))
        return
    fs, target = filesystem(str(path))
    with _access(str(path)):
        fs.rm(target, recursive=True)
