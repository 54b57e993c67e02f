# SPDX-License-Identifier: Apache-2.0
"""All-or-nothing changes to a dataset: files are prepared beside their destination and moved in one journalled step.

A process killed while preparing leaves the old state; killed while moving, the journal lets the next opener finish the
moves.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from rove_contract import files
from rove_contract.files import sync
from rove_recorder.dataset.lerobot_format import DatasetError, inside

FOLDER = ".staging"
JOURNAL = "journal.json"
LOCK = ".lock"
LARGEST_JOURNAL = 2**20  # bytes; a commit of 10,000 files


class Busy(RuntimeError):
    """Another process is writing to the same dataset."""


class Staging:
    """Prepares files for the dataset `root`. One writer at a time. Raises Busy when there is another one, DatasetError
    when a link or a damaged journal stands where the writer must write.
    """

    def __init__(self, root: Path):
        self.root = Path(root)
        self.root.mkdir(parents=True, exist_ok=True)
        self.folder = inside(self.root, FOLDER)
        try:
            files.open_folder(self.folder)
        except files.UnsafePath as error:
            raise DatasetError(str(error)) from error
        self._lock = os.open(inside(self.root, LOCK), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise Busy(f"another process is writing to {self.root}; wait for it, or choose another --out") from None
        try:
            self._finish_moves()
            files.clear(self.folder)
        except BaseException:
            os.close(self._lock)
            raise

    def path(self, relative: str) -> Path:
        """Where to prepare the file that will be `root / relative`; its folder exists. Raises DatasetError."""
        path = inside(self.folder, relative)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def commit(self, order: list[str]) -> None:
        """Move the prepared files `order` (relative paths) to their destinations. After a crash: all or none, once
        reopened. Raises DatasetError, and then none is moved.
        """
        for relative in order:
            inside(self.root, relative)
            sync(inside(self.folder, relative))
        files.write(self.folder / JOURNAL, json.dumps(order))
        self._finish_moves()
        files.clear(self.folder)

    def _finish_moves(self) -> None:
        moves = self._journal()
        if moves is None:
            return
        for source, target in moves:
            if source.is_file():  # else: moved before the crash
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(source, target)
                sync(target.parent)
        (self.folder / JOURNAL).unlink()
        sync(self.folder)

    def _journal(self) -> list[tuple[Path, Path]] | None:
        """(prepared file, destination) of a commit that was begun; None: of none. All are checked before one moves."""
        journal = inside(self.folder, JOURNAL)
        if not journal.exists():
            return None
        try:
            if journal.stat().st_size > LARGEST_JOURNAL:
                raise ValueError(f"it has more than {LARGEST_JOURNAL} bytes")
            order = json.loads(journal.read_text(encoding="utf-8"))
            if not isinstance(order, list) or not all(isinstance(entry, str) for entry in order):
                raise ValueError("it is no list of paths")
            return [(inside(self.folder, relative), inside(self.root, relative)) for relative in order]
        except (ValueError, RecursionError, OSError) as error:
            raise DatasetError(
                f"the journal {journal} is not one that a writer left ({error}); if nobody is writing, remove "
                f"{self.folder}"
            ) from error

    def close(self) -> None:
        """Drop what was not committed and let others write."""
        if self._lock < 0:
            return
        files.clear(self.folder)
        self.folder.rmdir()
        os.close(self._lock)
        self._lock = -1
