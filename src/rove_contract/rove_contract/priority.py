# SPDX-License-Identifier: Apache-2.0
"""Scheduling priority of the processes whose lateness a robot would feel. No ROS."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def raise_priority(*, realtime: int = 0, nice: int = 0) -> str:
    """Raise the priority of every thread of this process; call it when the middleware's threads exist (they are created
    with the node).

    Linux schedules threads, not processes: raising the main thread alone leaves the threads that receive messages
    behind. realtime: SCHED_FIFO priority, 1 to 99, 0 = none; where it is not permitted (root, CAP_SYS_NICE or an rtprio
    limit), nice is tried. nice: -20 to 0, 0 = leave it. Returns what is in force: "real-time 20", "nice -10" or "" for
    nothing.
    """
    threads = [int(task.name) for task in Path("/proc/self/task").iterdir()]
    try:
        if realtime:
            _each(threads, lambda thread: os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(realtime)))
            return f"real-time {realtime}"
    except OSError:
        pass
    try:
        if nice:
            _each(threads, lambda thread: os.setpriority(os.PRIO_PROCESS, thread, nice))
            return f"nice {nice}"
    except OSError:
        pass
    return ""


def _each(threads: Any, change: Any) -> None:
    for thread in threads:
        try:
            change(thread)
        except ProcessLookupError:
            continue  # it ended meanwhile
