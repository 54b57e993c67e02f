# SPDX-License-Identifier: Apache-2.0
"""Which transport the middleware uses: UDP between all processes, also on one computer. Pure.

In Fast DDS' shared memory a process that was stopped (SIGSTOP, a debugger, a full disk) can hold the lock of a port,
and everybody who publishes to that port waits as long; a process killed while it makes a port leaves an empty file, on
which later processes wait for ever. Neither may reach the command filter, nor the supervisor, whose emergency stop must
leave.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

LOCALHOST_PROFILE = Path(__file__).with_name("fastdds_localhost.xml")
_RANGE, _PROFILES, _BUILTIN = (
    "ROS_AUTOMATIC_DISCOVERY_RANGE",
    "FASTRTPS_DEFAULT_PROFILES_FILE",
    "FASTDDS_BUILTIN_TRANSPORTS",
)


def choose_udp(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the variables that Fast DDS reads when rclpy.init makes the participant; what a user has set is left alone.

    With LOCALHOST the ROS middleware adds shared memory whatever FASTDDS_BUILTIN_TRANSPORTS says (rmw_fastrtps 8.4), so
    there a profile says the same as LOCALHOST without it: loopback interface only, found by unicast.
    """
    if _PROFILES in environment or environment.setdefault(_BUILTIN, "UDPv4") != "UDPv4":
        return
    if environment.get(_RANGE, "").upper() == "LOCALHOST":
        environment[_PROFILES] = str(LOCALHOST_PROFILE)
        environment[_RANGE] = "SYSTEM_DEFAULT"
