# SPDX-License-Identifier: Apache-2.0
"""The example of docs/reference/operator-inputs.md runs, and its frames move the arm."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from rove_description import joints
from rove_teleop.retargeting.intake import LOST, OK
from rove_teleop.retargeting.retarget import Retargeter
from rove_teleop.sources.zmq_source import ZmqSource

EXAMPLE = Path(__file__).resolve().parents[4] / "docs" / "how-to" / "operator_example.py"


def test_the_documented_example_drives_the_left_arm():
    source = ZmqSource("tcp://127.0.0.1:*")
    process = subprocess.Popen([sys.executable, str(EXAMPLE), source.endpoint, "30"])
    try:
        retargeter, outputs, end = Retargeter(joints.load()), [], time.monotonic() + 20
        while len(outputs) < 30 and time.monotonic() < end:
            sample = source.poll(0.1)
            if sample is not None:
                outputs.append(retargeter.retarget(sample.frame))
        assert len(outputs) >= 30 and source.statistics()["malformed"] == 0
        assert retargeter.report["left_wrist"] == OK and retargeter.report["right_wrist"] == LOST
        moved = np.abs(outputs[-1] - outputs[0])
        assert moved[retargeter.arm_index["left"]].max() > 0.02
        assert moved[retargeter.arm_index["right"]].max() == 0
    finally:
        process.kill()
        process.wait()
        source.close()
