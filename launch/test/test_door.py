# SPDX-License-Identifier: Apache-2.0
"""What a stranger needs is there: a licence line in each source file, one version, type information."""

import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from rove_bringup import cli, packages

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "LICENSE").exists(), reason="an installed package without its checkout")

SOURCES = {
    ".py",
    ".sh",
    ".js",
    ".mjs",
    ".css",
    ".html",
    ".yaml",
    ".yml",
    ".toml",
    ".cfg",
    ".xml",
    ".cff",
    ".Dockerfile",
}
LINE = "SPDX-License-Identifier: Apache-2.0"


def tracked() -> list[Path]:
    """Files of the repository, those that are new included."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in done.stdout.splitlines() if (path := ROOT / name).is_file()]


def test_each_source_file_names_its_licence_at_the_top():
    without = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if (path.suffix in SOURCES or path.name == "Makefile") and path.name != "package.xml"
        if LINE not in "".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:3])
    ]
    assert without == []


def test_each_package_names_the_licence_of_the_repository():
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]
    for folder in [*(ROOT / "src").glob("*/"), ROOT / "launch"]:
        assert ElementTree.parse(folder / "package.xml").findtext("license") == "Apache-2.0", folder.name
        assert 'license="Apache-2.0"' in (folder / "setup.py").read_text(), folder.name


def test_the_version_is_the_same_everywhere(capsys):
    roots = {
        path.parent.name: ElementTree.parse(path) for path in ROOT.glob("*/**/package.xml") if ".venv" not in str(path)
    }
    versions = {name: root.findtext("version") for name, root in roots.items()}
    assert len(versions) >= 9 and len(set(versions.values())) == 1, versions
    [version] = set(versions.values())
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == version
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"rove {version}\n"


def test_each_package_is_installed_with_its_type_information():
    for name in [name for name in packages.names() if name.startswith("rove_")]:
        assert (packages.share(name) / name / "py.typed").is_file(), name
        assert '"py.typed"' in (packages.share(name) / "setup.py").read_text(), name


def test_workflows_and_hooks_call_what_exists():
    """They cannot run here; what they name must be there."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in (ROOT / ".github/workflows").glob("*.yaml"):
        text = path.read_text()
        assert yaml.safe_load(text)["jobs"]
        assert set(re.findall(r"make ([a-z]+)", text)) - {"python"} <= targets, path.name
        for file in re.findall(r"(?:launch|src|scripts|requirements)/[\w/.*-]+", text):
            assert list(ROOT.glob(file)), f"{path.name} names {file}"
    for hook in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]:
        assert {word for word in hook["entry"].split() if word.startswith("scripts/")} <= {"scripts/manifests.py"}
