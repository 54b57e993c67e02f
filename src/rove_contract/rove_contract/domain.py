# SPDX-License-Identifier: Apache-2.0
"""A ROS domain that no other process of this machine has reserved: tests and benches that must meet nobody. Pure."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from rove_contract import transport

DEMO = 87  # `rove demo`; never reserved
# Linux's ephemeral ports begin above domain 101's; 0 is what a user has who sets nothing.
POOL = [number for number in range(1, 101) if number != DEMO]

_held: list = []  # files whose locks end with this process, also when it is killed


def reserve() -> int:
    """The number of a domain that is this process's until it ends. Raises RuntimeError when all are taken."""
    folder = Path(tempfile.gettempdir()) / f"rove-domains-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    begin = os.getpid()  # another one each time: what was killed in a domain is not met by the next run
    for i in range(len(POOL)):
        number = POOL[(begin + i) % len(POOL)]
        file = open(folder / str(number), "w")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        _held.append(file)
        return number
    raise RuntimeError(f"all {len(POOL)} ROS domains are reserved by running tests; locks are in {folder}")


def isolate() -> int:
    """Put this process, and those it starts, alone into a reserved domain on this machine. Call before rclpy.init."""
    number = reserve()
    os.environ["ROS_DOMAIN_ID"] = str(number)
    if "FASTRTPS_DEFAULT_PROFILES_FILE" not in os.environ:  # else this machine was chosen before, or a user's profile
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        transport.choose_udp()
    return number
