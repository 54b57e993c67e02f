# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or absent, and paths that stay inside their folder.

Every file that another process may read, or that must survive a crash, is written by `replaced` (or `write`); every
path that comes out of a file, a message or a request is opened through `inside`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

PART = ".part"  # the end of the name of a file that is being written; its beginning is "."


class UnsafePath(ValueError):
    """A path would leave its folder; the message names the folder and the path."""


def sync(path: Path | str) -> None:
    """Bring a file's or a folder's content to the disk (fsync). Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replaced(path: Path | str, *, durable: bool = True) -> Iterator[Path]:
    """The path to write a new version of the file `path` at, which takes its place when the block ends without error.

    Whoever reads `path` meanwhile, or after a crash at any moment, sees the old version or the new one, whole. durable:
    the new version also survives a power cut from the end of the block on (fsync of the file and its folder; tens of
    milliseconds on a disk); without it a power cut may bring back the old version, or leave an empty file: enough for
    caches that are checked when they are read. The file keeps its suffix while it is written. Raises OSError, and then
    the old version stands.
    """
    path = Path(path)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.stem[:100]}.", suffix=f"{PART}{path.suffix}", dir=path.parent)
    os.close(descriptor)
    part = Path(name)
    try:
        os.chmod(part, _mode(path))
        yield part
        if durable:
            sync(part)
        os.replace(part, path)
        if durable:
            sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _mode(path: Path) -> int:
    """Permissions of the file at `path`, or those of a new file."""
    with contextlib.suppress(OSError):
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def write(path: Path | str, content: str | bytes, *, durable: bool = True) -> None:
    """A small file, UTF-8 text or bytes, as `replaced` does it. Raises OSError."""
    with replaced(path, durable=durable) as part:
        part.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def inside(root: Path | str, relative: str | os.PathLike) -> Path:
    """root / relative, which names a place inside the folder `root` and reaches it through real folders only.

    relative: with "/" as separator; need not exist. The folder `root` itself may be, or lie behind, a symbolic link:
    its owner chose it. Raises UnsafePath for an empty, absolute or overlong path, for "..", and where the path or a
    folder on the way to it is a symbolic link.
    """
    root, text = Path(root), os.fspath(relative)
    parts = PurePosixPath(text).parts
    if not parts or "\0" in text or "\\" in text or text.startswith("/") or ".." in parts:
        raise UnsafePath(f"{text!r} is no path inside {root}; expected a relative one without '..'")
    place = root
    for part in parts:
        place = place / part
        try:
            if stat.S_ISLNK(os.lstat(place).st_mode):
                raise UnsafePath(f"{place} is a symbolic link, which {root} must not hold; replace it by what it names")
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            raise UnsafePath(f"{text!r} leads through a file in {root}; expected folders") from None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise UnsafePath(f"{text[:80]!r}... is too long for a path inside {root}") from None
            raise
    return place


def name(text: str, what: str = "name") -> str:
    """`text` when it can be the name of one file or folder. Raises UnsafePath for anything that is more, or less.

    At most 200 bytes: what is appended to it (a counter, a suffix) must fit into 255.
    """
    encoded = text.encode("utf-8", "surrogatepass")
    if text in ("", ".", "..") or len(encoded) > 200 or any(c in "/\\" or ord(c) < 32 or ord(c) == 127 for c in text):
        raise UnsafePath(
            f"the {what} {text[:80]!r} cannot be the name of a file; expected 1 to 200 bytes without '/', '\\' and "
            f"control characters"
        )
    return text


def open_new(path: Path | str) -> BinaryIO:
    """Open a file for writing bytes that must not exist yet: neither followed, if it is a link, nor emptied.

    Raises FileExistsError, OSError.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    return os.fdopen(descriptor, "wb")


def open_folder(path: Path | str) -> None:
    """Make the folder `path` unless it is there. Raises UnsafePath when a symbolic link or a file stands in its
    place, OSError.
    """
    path = Path(path)
    with contextlib.suppress(FileExistsError):
        path.mkdir(parents=True)
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise UnsafePath(f"{path} is a symbolic link or a file, expected a folder; remove it")


def clear(folder: Path | str) -> None:
    """Remove everything in `folder`; a link in it goes, never what it names. Raises UnsafePath when `folder` itself is
    a link, OSError.
    """
    folder = Path(folder)
    if not stat.S_ISDIR(os.lstat(folder).st_mode):
        raise UnsafePath(f"{folder} is a symbolic link or a file, expected a folder; remove it")
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
