# SPDX-License-Identifier: Apache-2.0
"""docs/how-to/add-an-operator-device.md, followed to the letter: its code is run as it is printed there."""

import re
from pathlib import Path

import numpy as np
import pytest

from rove_contract.operator_frame import OperatorFrame, encode
from rove_description import joints, mjcf
from rove_teleop.retargeting.robot_geometry import RobotSkeleton
from rove_teleop.sources import endpoint

GUIDE = Path(__file__).resolve().parents[4] / "docs" / "how-to" / "add-an-operator-device.md"


def code_blocks():
    """The guide's two pieces of Python: the input, and its line in the registry."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), flags=re.S)
    return ["\n".join(line[3:] for line in block.splitlines()) for block in blocks]


def test_the_guide_s_device_is_opened_by_its_scheme_and_yields_frames(tmp_path, monkeypatch):
    source, line = code_blocks()
    names: dict = {}
    exec(compile(source, str(GUIDE), "exec"), names)
    monkeypatch.setattr(endpoint, "SCHEMES", endpoint.SCHEMES | eval("{" + line + "}", names))
    parts = RobotSkeleton(joints.load()).parts(mjcf.home())
    messages = [encode(OperatorFrame(parts, seq, seq / 60.0, "tape")).hex() for seq in range(3)]
    file = tmp_path / "frames.txt"
    file.write_text("\n".join([messages[0], "rubbish", *messages[1:]]))
    device = endpoint.open_source(f"replay://{file}", max_delay_s=60.0)
    got = [device.poll(0.01) for _ in range(5)]
    assert [sample and sample.frame.seq for sample in got] == [0, None, 1, 2, None]
    np.testing.assert_allclose(got[0].frame.parts["left_wrist"], parts["left_wrist"])
    assert device.statistics()["malformed"] == 1 and device.statistics()["source"] == "tape"


def test_an_unknown_scheme_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="tcp://HOST:PORT.*browser://HOST:PORT"):
        endpoint.open_source("replay://frames.txt")
