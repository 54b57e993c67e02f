# SPDX-License-Identifier: Apache-2.0
"""Loading another checkpoint while the one in force goes on; the switch is made between episodes. No ROS."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path


def is_address(checkpoint: str) -> bool:
    """Whether a checkpoint is a policy server, e.g. wss://gpu:8000, and no folder."""
    return "://" in checkpoint


def absent(path: str) -> str:
    """Why there is no checkpoint at `path`, or ""; a policy server is asked when it is loaded."""
    if is_address(path):
        return ""
    file = Path(path) / "config.json"
    return "" if file.is_file() else f"no checkpoint at {path} (expected {file})"


class Reload:
    """One load at a time, in a thread of its own.

    load: path -> the loaded thing, or an exception whose text says what is wrong. failed(path, reason) is called in the
    thread. path: of what is in force. loading: of what is being loaded, or "".
    """

    def __init__(self, load: Callable[[str], object], path: str, failed: Callable[[str, str], None]):
        self._load, self.path, self._failed = load, path, failed
        self.loading = ""
        self._loaded: tuple[str, object, Callable[[str], None]] | None = None

    def begin(self, path: str, done: Callable[[str], None] = lambda reason: None) -> str:
        """Load `path`; done("") when it is in force, done(reason) when it cannot be loaded. Returns why it is not even
        tried, or "".
        """
        if self.loading:
            return f"{self.loading} is being loaded"
        if reason := absent(path):
            return reason
        self.loading = path
        threading.Thread(target=self._run, args=(path, done), name="reload", daemon=True).start()
        return ""

    def _run(self, path: str, done) -> None:
        try:
            self._loaded = (path, self._load(path), done)
        except Exception as error:  # whatever is wrong with it, the old one goes on
            reason = f"{path} is not loaded, {self.path} stays in force: {error}"
            self.loading = ""
            self._failed(path, reason)
            done(reason)

    def take(self):
        """(what was loaded, its `done` to be called when it is in force), or None."""
        if self._loaded is None:
            return None
        (path, loaded, done), self._loaded = self._loaded, None
        self.path, self.loading = path, ""
        return loaded, done
