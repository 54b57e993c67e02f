# SPDX-License-Identifier: Apache-2.0
"""Every guarantee on the safety page has the name of a test behind it, and the test exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_every_test_that_the_safety_page_names_exists():
    page = (ROOT / "docs/explanation/safety.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    files = [*ROOT.glob("src/*/test/**/test_*.py"), *ROOT.glob("launch/test/test_*.py")]
    existing = set(
        re.findall(r"^def (test_\w+)\(", "\n".join(file.read_text(encoding="utf-8") for file in files), re.M)
    )
    assert len(named) > 30
    assert named <= existing, f"no such test: {sorted(named - existing)}"
