# SPDX-License-Identifier: Apache-2.0
"""The page about the architecture lists the packages and rooms that there are."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_architecture_page_lists_the_house_as_it_is():
    done = subprocess.run([sys.executable, ROOT / "scripts/house.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
