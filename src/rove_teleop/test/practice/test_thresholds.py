# SPDX-License-Identifier: Apache-2.0
"""The angles that stand in a page's script are those of the contract."""

import re
from pathlib import Path

import rove_teleop
from rove_contract import thresholds


def test_the_practice_page_colours_by_the_takeover_threshold():
    script = Path(rove_teleop.__file__).parent / "practice" / "page" / "preview.js"
    assert float(re.search(r"LIMIT_RAD = ([0-9.]+);", script.read_text())[1]) == thresholds.TAKEOVER_RAD


def test_what_the_filter_does_not_re_seat_for_counts_as_seated():
    assert thresholds.RESEAT_RAD < thresholds.SEATED_RAD
