# SPDX-License-Identifier: Apache-2.0
"""All-or-nothing changes to a directory: files are prepared beside their destination and moved in one journalled step.

A process killed while preparing leaves the old state; killed while moving, the journal lets the next opener finish the
moves.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path

FOLDER = ".staging"
JOURNAL = "journal.json"


class Busy(RuntimeError):
    """Another process is writing to the same directory."""


def sync(path: Path) -> None:
    """fsync a file or a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Staging:
    """Prepares files for `root`. One writer at a time. Raises Busy when there is another one."""

    def __init__(self, root: Path):
        self.root = Path(root)
        self.folder = self.root / FOLDER
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.root / ".lock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise Busy(f"another process is writing to {self.root}; wait for it, or choose another --out") from None
        self._finish_moves()
        self._clear()

    def path(self, relative: str) -> Path:
        """Where to prepare the file that will be `root / relative`; its folder exists."""
        path = self.folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def commit(self, order: list[str]) -> None:
        """Move the prepared files `order` (relative paths) to their destinations. After a crash: all or none, once
        reopened.
        """
        for relative in order:
            sync(self.folder / relative)
        journal = self.folder / JOURNAL
        temporary = journal.with_suffix(".tmp")
        temporary.write_text(json.dumps(order))
        sync(temporary)
        os.replace(temporary, journal)
        sync(self.folder)
        self._finish_moves()
        self._clear()

    def _finish_moves(self) -> None:
        journal = self.folder / JOURNAL
        if not journal.is_file():
            return
        for relative in json.loads(journal.read_text()):
            source, target = self.folder / relative, self.root / relative
            if source.is_file():  # else: moved before the crash
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(source, target)
                sync(target.parent)
        journal.unlink()
        sync(self.folder)

    def _clear(self) -> None:
        for entry in self.folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def close(self) -> None:
        """Drop what was not committed and let others write."""
        if self._lock < 0:
            return
        self._clear()
        self.folder.rmdir()
        os.close(self._lock)
        self._lock = -1
