# SPDX-License-Identifier: Apache-2.0
"""The operator input as command-line options, for the tools that listen to it without ROS."""

from __future__ import annotations

import argparse

from rove_description.robot import Robot
from rove_teleop.sources import OperatorInput
from rove_teleop.sources.endpoint import open_source
from rove_teleop.sources.zmq_source import DEFAULT_ENDPOINT, PATTERNS


def add(parser: argparse.ArgumentParser) -> None:
    """Options of `open_source`; names and meaning are the teleop node's parameters."""
    group = parser.add_argument_group("operator input")
    group.add_argument(
        "--endpoint",
        default=DEFAULT_ENDPOINT,
        help="tcp://HOST:PORT (ZMQ), mvn://HOST:PORT (Xsens MVN), https://HOST:PORT (headset) or "
        "browser://HOST:PORT (dragging in a browser); %(default)s",
    )
    group.add_argument("--pattern", choices=sorted(PATTERNS), default="sub", help="of ZMQ; %(default)s")
    group.add_argument("--connect", action="store_true", help="ZMQ: connect to a suit's server instead of binding")
    group.add_argument(
        "--keys", default="", help="directory of keys: CURVE beyond loopback, certificate of the headset's page"
    )
    group.add_argument("--peer", default="", help="IP address of the MVN computer, needed beyond loopback")


def opened(options: argparse.Namespace, robot: Robot | None = None) -> OperatorInput:
    """The OperatorInput of parsed `add` options; robot: see `endpoint.Options`. Raises ValueError with what to do."""
    return open_source(
        options.endpoint, options.pattern, bind=not options.connect, keys=options.keys, peer=options.peer, robot=robot
    )
