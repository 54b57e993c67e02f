# SPDX-License-Identifier: Apache-2.0
"""Every link of the documentation leads to a file that is there, and every heading that it names."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(page):
    """Of its headings, as GitHub names them."""
    headings = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_link_leads_somewhere():
    broken = []
    for page in PAGES:
        for name, heading in LINK.findall(page.read_text(encoding="utf-8")):
            target = page.parent / name if name else page
            if not target.exists() or (heading and target.suffix == ".md" and heading not in anchors(target)):
                broken.append(f"{page.relative_to(ROOT)}: {name}#{heading}")
    assert not broken, "\n".join(broken)


def test_every_page_of_docs_stands_in_its_index():
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    results = (ROOT / "docs/results/README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        if page.name != "README.md":
            known = results if page.parent.name == "results" else index
            assert page.name in known, f"{page.relative_to(ROOT)} is in no index"


def test_every_command_that_is_named_can_be_run():
    sources = [*PAGES, ROOT / "Makefile", *(ROOT / "src").rglob("*.py"), *(ROOT / "launch/rove_bringup").rglob("*.py")]
    named = {
        command
        for file in sources
        if "test" not in file.relative_to(ROOT).parts
        for command in re.findall(r"rove run (rove_\w+)\s+([a-z]\w*)", file.read_text(encoding="utf-8"))
    }
    setups = {path.parent.name: path for path in (ROOT / "src").glob("*/setup.py")}
    setups["rove_bringup"] = ROOT / "launch/setup.py"
    scripts = {
        (package, name)
        for package, setup in setups.items()
        for name in re.findall(r'"(\w+) = rove_', setup.read_text(encoding="utf-8"))
    }
    assert len(named) > 15
    assert named <= scripts, sorted(named - scripts)
