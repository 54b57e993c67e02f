# SPDX-License-Identifier: Apache-2.0
"""Practise without the robot: operator skeleton, robot and error live in the browser. `rove run rove_teleop preview`.

It listens where the teleop node would, with the same retargeting, and moves a robot that exists in the picture only. No
ROS is needed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rove_contract.web.server import on_signals
from rove_description import robot
from rove_teleop.practice.practice import Practice
from rove_teleop.practice.preview_picture import Picture
from rove_teleop.practice.preview_server import PreviewServer
from rove_teleop.retargeting import calibration
from rove_teleop.sources import arguments

PORT = 8767


def size(text: str) -> tuple[int, int]:
    """Text such as 800x600 -> (800, 600), within what MuJoCo's buffer holds."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and 160 <= int(width) <= 1920 and 120 <= int(height) <= 1440):
        raise argparse.ArgumentTypeError(f"{text!r}; expected WIDTHxHEIGHT from 160x120 to 1920x1440")
    return int(width), int(height)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--mode", choices=("absolute", "relative"), default="absolute", help="of retargeting; %(default)s"
    )
    parser.add_argument("--no-smoothing", action="store_true", help="without the One-Euro filter")
    parser.add_argument(
        "--calibration",
        type=Path,
        help="the operator's file: read if it exists, written by Calibrate, which without it is not kept",
    )
    parser.add_argument(
        "--port", type=int, default=PORT, help="of the page, on this machine only; 0: any free one; %(default)s"
    )
    parser.add_argument("--size", type=size, default=(800, 600), help="of the picture, pixels; 800x600")
    parser.add_argument("--fps", type=float, default=30.0, help="pictures per second at most; %(default)s")
    parser.add_argument("--robot", default=robot.DEFAULT, help="a name, or a folder with robot.yaml; %(default)s")
    arguments.add(parser)
    options = parser.parse_args(argv)
    if not 1.0 <= options.fps <= 120.0:
        parser.error(f"--fps {options.fps:g}; expected 1 to 120")
    return options


def serve(practice: Practice, options: argparse.Namespace) -> None:
    """Until SIGINT or SIGTERM. Raises ValueError when the port cannot be had, and whatever ends the server."""
    stop = on_signals()
    server = PreviewServer(practice, Picture(practice.described, options.size), options.fps, options.port)
    url = server.start()
    print(
        f"listening for the operator at {practice.source.endpoint}",
        practice.source.invitation,
        f"open {url}",
        sep="\n",
        flush=True,
    )
    server.wait(stop)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    practice = None
    try:
        path = options.calibration.expanduser() if options.calibration else None
        known = calibration.load(path) if path is not None and path.exists() else None
        described = robot.load(options.robot)
        source = arguments.opened(options, described)
        practice = Practice(source, options.mode, not options.no_smoothing, known, path, described)
        serve(practice, options)
    except (ValueError, OSError) as error:
        print(f"error: {error}")
        return 2
    finally:
        if practice is not None:
            practice.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
