# SPDX-License-Identifier: Apache-2.0
"""Record the operator's arms for a few seconds and write the calibration: `rove run rove_teleop calibrate
operator.json`.

Run it before the session: it listens where the teleop node will.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rove_contract.operator_frame import OperatorFrame
from rove_teleop.retargeting.calibration import CalibrationError, calibrate
from rove_teleop.sources import OperatorInput, arguments

START_S = 30.0  # how long to wait for the first frame


def record(source: OperatorInput, seconds: float) -> list[OperatorFrame]:
    """Frames of `seconds` s from the first one on. Raises CalibrationError when none comes."""
    frames: list[OperatorFrame] = []
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        sample = source.poll(0.1)
        if sample is None:
            continue
        if not frames:
            end = time.monotonic() + seconds
            print(
                f"Swing both arms forward, sideways and up for {seconds:g} s; in a headset stretch them forward …",
                flush=True,
            )
        frames.append(sample.frame)
    if not frames:
        raise CalibrationError(f"no operator frames within {START_S:g} s: {source.statistics()}")
    return frames


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="where the calibration is written (JSON)")
    parser.add_argument("--seconds", type=float, default=6.0, help="of recording; %(default)s")
    arguments.add(parser)
    options = parser.parse_args()
    try:
        source = arguments.opened(options)
        try:
            result = calibrate(record(source, options.seconds))
        finally:
            source.close()
        result.save(options.file)
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    print(result)
    print(options.file)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
