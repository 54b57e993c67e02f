# SPDX-License-Identifier: Apache-2.0
"""Shared memory that a killed process left half made. Pure.

Fast DDS makes the file of a port and then gives it its size. Of a process killed in between an empty file remains, and
every later participant of that ROS domain that opens the port waits for the size forever (Fast DDS 2.14; boost's
open_or_create).
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

FOLDER = Path("/dev/shm")
AGE_S = 10.0  # making a port takes microseconds


def clear(folder: Path = FOLDER) -> list[str]:
    """Remove the empty port files older than AGE_S; returns their names. Files `…_el` are locks and empty by nature."""
    removed = []
    for path in folder.glob("fastrtps_port*"):
        with contextlib.suppress(OSError):  # gone meanwhile, or of another user
            status = path.stat()
            if (
                status.st_size == 0
                and path.name.removeprefix("fastrtps_port").isdigit()
                and time.time() - status.st_mtime > AGE_S
            ):
                path.unlink()
                removed.append(path.name)
    return removed
