# SPDX-License-Identifier: Apache-2.0
"""The listing of packages and rooms in docs/explanation/architecture.md, from the tree and the first sentence of each.

python scripts/house.py            # says whether the page is true
python scripts/house.py --write    # makes it so
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
BEGIN, END = "<!-- house: scripts/house.py --write -->\n```text\n", "```\n<!-- /house -->"
# From what is imported by all to what imports all.
PACKAGES = ["description", "contract", "sim", "teleop", "supervisor", "recorder", "learning", "policy"]


def read_purpose(file: Path) -> str:
    """The first sentence of a module's docstring; empty where there is none."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) if file.is_file() else None
    sentence = " ".join((text or "").split("\n\n")[0].split())
    return re.split(r"(?<!App)\. ", sentence)[0].rstrip(".")


def list_house() -> str:
    """The listing, two levels deep: rooms with their purpose, then the modules beside them."""
    lines = []
    for name in PACKAGES:
        package = ROOT / "src" / f"rove_{name}" / f"rove_{name}"
        lines.append(f"rove_{name}  {read_purpose(package / '__init__.py')}")
        for room in sorted(p for p in package.iterdir() if (p / "__init__.py").is_file()):
            lines.append(f"    {room.name + '/':16}{read_purpose(room / '__init__.py')}")
        files = sorted(p.stem for p in package.glob("*.py") if p.stem != "__init__")
        lines += textwrap.wrap(", ".join(files), 116, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the listing into the page")
    options = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    listing = list_house()
    if options.write:
        PAGE.write_text(text[:start] + listing + text[end:], encoding="utf-8")
    elif text[start:end] != listing:
        print(f"{PAGE.relative_to(ROOT)} lists another house; run: python scripts/house.py --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
