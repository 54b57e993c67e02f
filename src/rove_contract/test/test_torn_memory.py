# SPDX-License-Identifier: Apache-2.0
"""Only what a killed process left half made is removed."""

import os
import time

from rove_contract import torn_memory


def test_old_empty_ports_go_and_everything_else_stays(tmp_path):
    old = time.time() - 60.0
    for name, text, stamp in (
        ("fastrtps_port16911", "", old),
        ("fastrtps_port16913", "", time.time()),
        ("fastrtps_port16915", "used", old),
        ("fastrtps_port16911_el", "", old),
        ("fastrtps_0a1b", "", old),
        ("other", "", old),
    ):
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (stamp, stamp))
    assert torn_memory.clear(tmp_path) == ["fastrtps_port16911"]
    assert not (tmp_path / "fastrtps_port16911").exists() and len(list(tmp_path.iterdir())) == 5
    assert torn_memory.clear(tmp_path / "none") == []
