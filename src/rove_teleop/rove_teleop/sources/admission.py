# SPDX-License-Identifier: Apache-2.0
"""Which CURVE keys may send operator frames at this moment: the folder of keys is watched while teleop runs."""

from __future__ import annotations

import os
from pathlib import Path

import zmq.auth

WATCH_S = 0.5  # between two looks into the folder


class Admission:
    """The keys in `folder`/*.key by name. A credentials provider of pyzmq: `callback` runs in its thread.

    names: public key (Z85 text) -> name of its file without `.key`. error: of the last file that is no key.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.names: dict[str, str] = {}
        self.error = ""
        self._seen: tuple | None = None
        self._due = 0.0
        self._let_in: set[str] = set()
        self._read(self._look())

    def callback(self, _domain: str, key: bytes) -> bool:
        """Whether a connection with this public key (Z85) is let in."""
        text = key.decode("ascii")
        if text not in self.names:
            return False
        self._let_in.add(text)
        return True

    def revokes(self, now: float) -> bool:
        """Look into the folder, every WATCH_S at most. True when a key was taken away that a connection came in with:
        all connections must be cut, since ZMQ cannot cut a single one. now: monotonic s."""
        if now < self._due:
            return False
        self._due = now + WATCH_S
        seen = self._look()
        if seen != self._seen:
            self._read(seen)
        gone = self._let_in - set(self.names)
        self._let_in -= gone
        return bool(gone)

    def _look(self) -> tuple:
        """What tells one state of the folder from another; empty when it cannot be read."""
        try:
            entries = [(entry.name, entry.stat()) for entry in os.scandir(self.folder) if entry.name.endswith(".key")]
        except OSError:
            return ()
        return tuple(sorted((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in entries))

    def _read(self, seen: tuple) -> None:
        names = {}
        for name, *_ in seen:
            try:
                public, _ = zmq.auth.load_certificate(self.folder / name)
                names[public.decode("ascii")] = name.removesuffix(".key")
            except (OSError, ValueError) as error:
                self.error = f"{self.folder / name} is no CURVE key and admits nobody: {error}"
        self._seen, self.names = seen, names
