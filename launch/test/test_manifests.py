# SPDX-License-Identifier: Apache-2.0
"""What a package imports is what its package.xml and setup.py name, and imports point down only."""

import importlib.util
import re
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts/manifests.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="an installed package without its checkout")


@pytest.fixture(scope="module")
def manifests():
    spec = importlib.util.spec_from_file_location("manifests", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["manifests"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_manifests_name_what_is_imported_and_nothing_else(manifests):
    table = manifests.read_table()
    found = [
        s for name, folder in manifests.package_folders().items() for s in manifests.differences(name, folder, table)
    ]
    assert found == []


def test_a_package_imports_only_what_is_below_it(manifests):
    assert list(manifests.climbing_imports()) == []


@pytest.fixture
def workspace(manifests, tmp_path, monkeypatch):
    """A copy of rove_sim's manifests with one module; returns (module's path, package's folder)."""
    folder = tmp_path / "src/rove_sim"
    (folder / "rove_sim").mkdir(parents=True)
    for file in ("package.xml", "setup.py"):
        shutil.copy(ROOT / "src/rove_sim" / file, folder)
    monkeypatch.setattr(manifests, "ROOT", tmp_path)
    return folder / "rove_sim/camera.py", folder


def test_an_undeclared_import_and_a_dependency_for_nothing_are_found(manifests, workspace):
    module, folder = workspace
    module.write_text("import numpy, torch\nfrom rove_contract import topics\n")
    found = list(manifests.differences("rove_sim", folder, manifests.read_table()))
    assert "src/rove_sim/setup.py: install_requires lacks torch" in found
    assert "src/rove_sim/setup.py: install_requires names mujoco, which nothing imports" in found
    assert "src/rove_sim/package.xml: exec_depend names rclpy, which nothing imports" in found
    manifests.write_manifest(folder, manifests.expected("rove_sim", folder, manifests.read_table()))
    assert list(manifests.differences("rove_sim", folder, manifests.read_table())) == []


def test_an_import_upwards_or_beside_is_found(manifests, workspace):
    module, _ = workspace
    module.write_text(
        "from rove_contract import topics\n\n\ndef load():\n    import rove_teleop.filter\n    import rove_policy\n"
    )
    assert [sentence.split(": ", 1)[0] for sentence in manifests.climbing_imports()] == [
        "src/rove_sim/rove_sim/camera.py:5",
        "src/rove_sim/rove_sim/camera.py:6",
    ]


def test_an_import_that_the_table_of_dependencies_lacks_is_refused(manifests, workspace):
    module, folder = workspace
    module.write_text("import pandas\n")
    with pytest.raises(KeyError, match="rove_sim imports pandas, which docs/reference/dependencies.md does not name"):
        manifests.expected("rove_sim", folder, manifests.read_table())


def test_every_dependency_of_a_package_is_pinned(manifests):
    """`make setup` installs packages without their dependencies, so each must stand in requirements/."""
    text = "".join(path.read_text() for path in (ROOT / "requirements").glob("*.txt"))
    pinned = {
        name.lower().replace("_", "-") for name in re.findall(r"^([A-Za-z0-9_-]+)(?:\[\w+\])?==", text, re.MULTILINE)
    }
    assert {source.pypi for source in manifests.read_table().values()} <= pinned
