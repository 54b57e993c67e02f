# SPDX-License-Identifier: Apache-2.0
"""When a node's process ends: with the launch that started it, and not in the middle of closing. Pure."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

# Set by the launch file. `ros2 launch` that gets SIGTERM or SIGKILL ends without a word to its processes.
VARIABLE = "ROVE_END_WITH_LAUNCH"
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """The kernel sends SIGTERM to this process when its parent ends, if a launch file started it (Linux)."""
    parent = os.getppid()
    if os.environ.get(VARIABLE) != "1" or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != parent:  # it ended before prctl
        os.kill(os.getpid(), signal.SIGTERM)


def ignore_stop_signals() -> None:
    """From now on Ctrl-C and SIGTERM change nothing: the process is closing, and a bag must be whole.

    Call it in the main thread.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
