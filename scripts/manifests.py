#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare what each package imports with its package.xml and setup.py; with --write, mend them.

The names on PyPI and the rosdep keys come from the table in docs/reference/dependencies.md. What a test imports counts
as a dependency of the tests, except our own packages above it: such tests run in a checkout, and colcon could not order
packages that need each other.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
TABLE_NAME = "docs/reference/dependencies.md"
TABLE = ROOT / TABLE_NAME
# Packages of ROS 2 that are imported; they come with ROS 2 and have no name on PyPI.
ROS = {
    "rclpy",
    "ament_index_python",
    "launch",
    "launch_pytest",
    "diagnostic_msgs",
    "geometry_msgs",
    "lifecycle_msgs",
    "rcl_interfaces",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "tf2_msgs",
    "trajectory_msgs",
}
# Used without an import: the launch system reads session.launch.yaml.
LAUNCH = {"launch", "launch_ros", "launch_yaml"}
# Which package may import which: everything further down, nothing beside it.
LAYERS = (
    ("rove_description",),
    ("rove_contract",),
    ("rove_recorder", "rove_teleop", "rove_supervisor", "rove_sim"),
    ("rove_learning",),
    ("rove_policy",),
    ("rove_bringup",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


@dataclass(frozen=True)
class Source:
    """Where an import comes from. pypi: its distribution. rosdep: its key, or None (pip only). extra: or empty."""

    pypi: str
    rosdep: str | None
    extra: str


@dataclass
class Manifest:
    """The dependencies of a package, as its package.xml (depend: execution, test) and setup.py (requires) say them."""

    execution: set[str] = field(default_factory=set)
    test: set[str] = field(default_factory=set)
    requires: set[str] = field(default_factory=set)
    extras: dict[str, set[str]] = field(default_factory=dict)


def read_table() -> dict[str, Source]:
    """import name -> Source, from the table in the docs."""
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| (pip only|\S+) \| *(\w*) *\| .+ \|$", TABLE.read_text(), re.MULTILINE)
    return {name: Source(pypi, None if key == "pip only" else key, extra) for name, pypi, key, extra in rows}


def package_folders() -> dict[str, Path]:
    """Package name -> its folder, lower layers first."""
    found = {path.parent.name: path.parent for path in ROOT.glob("src/*/package.xml")} | {
        "rove_bringup": ROOT / "launch"
    }
    return dict(sorted(found.items(), key=lambda item: (LEVEL.get(item[0], len(LAYERS)), item[0])))


def imports_of(folder: Path) -> Iterator[tuple[str, Path, int]]:
    """Every absolute import below the folder: dotted name, file, line."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((alias.name, path, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                yield node.module, path, node.lineno


def _tops(folder: Path, name: str) -> set[str]:
    tops = {module.partition(".")[0] for module, _, _ in imports_of(folder)}
    return tops - set(sys.stdlib_module_names) - {name}


def _messages(folder: Path) -> set[str]:
    """Message packages that are named as text, such as "sensor_msgs/msg/JointState" or std_srvs/Trigger."""
    text = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    return set(re.findall(r"\b(\w+_(?:msgs|srvs))/(?:msg|srv|Trigger)", text))


def expected(name: str, folder: Path, table: dict[str, Source]) -> Manifest:
    """The manifest that the imports ask for. Raises KeyError for an import that the table does not have."""
    used, tested = _tops(folder / name, name), _tops(folder / "test", name)
    if name == "rove_contract":
        used |= _messages(folder / name)
    if name == "rove_bringup":
        used |= LAUNCH | set(re.findall(r"pkg: (\w+)", (folder / "session.launch.yaml").read_text())) - {name}
    below = {other for other in LEVEL if LEVEL[other] < LEVEL[name]}
    tested = {top for top in tested - used if top not in LEVEL or top in below} | {"pytest"}
    manifest = Manifest(extras={"test": set()})
    for tops, depends in ((used, manifest.execution), (tested, manifest.test)):
        for top in tops:
            if top in LEVEL or top in ROS | LAUNCH:
                depends.add(top)
            elif top not in table:
                raise KeyError(f"{name} imports {top}, which {TABLE_NAME} does not name")
            elif (key := table[top].rosdep) is not None:
                depends.add(key)
    for top in used - ROS - LAUNCH:
        extra = "" if top in LEVEL else table[top].extra
        group = manifest.extras.setdefault(extra, set()) if extra else manifest.requires
        group.add(top if top in LEVEL else table[top].pypi)
    manifest.extras["test"] |= {table[top].pypi for top in tested if top in table}
    return manifest


def _setup_values(text: str) -> dict[str, ast.expr]:
    [call] = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and _is_setup(node)]
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}


def _is_setup(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "setup"


def read_manifest(folder: Path) -> Manifest:
    """What package.xml and setup.py of the package say now."""
    root = ElementTree.parse(folder / "package.xml").getroot()
    values = _setup_values((folder / "setup.py").read_text())
    extras = ast.literal_eval(values["extras_require"]) if "extras_require" in values else {}
    return Manifest(
        {element.text or "" for element in root.iter("exec_depend")},
        {element.text or "" for element in root.iter("test_depend")},
        set(ast.literal_eval(values["install_requires"])),
        {extra: set(names) for extra, names in extras.items()},
    )


def _ordered(names: set[str]) -> list[str]:
    """Our own packages first, from the lowest layer up, then the rest by name."""
    return sorted(names, key=lambda name: (name not in LEVEL, LEVEL.get(name, 0), name))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put the dependencies into package.xml and setup.py; the rest of both stays. `ruff format` lays out setup.py."""
    path = folder / "package.xml"
    lines = [f"  <exec_depend>{depend}</exec_depend>\n" for depend in _ordered(manifest.execution)]
    lines += [f"  <test_depend>{depend}</test_depend>\n" for depend in _ordered(manifest.test)]
    text = re.sub(r"  <(?:exec|test)_depend>.*\n", "", path.read_text())
    path.write_text(text.replace("  <export>", "".join(lines) + "  <export>", 1))
    path = folder / "setup.py"
    text = path.read_text()
    extras = {extra: _ordered(names) for extra, names in sorted(manifest.extras.items()) if names}
    for key, value in (("install_requires", _ordered(manifest.requires)), ("extras_require", extras)):
        old = ast.get_source_segment(text, _setup_values(text)[key])
        assert old is not None
        text = text.replace(old, repr(value).replace("'", '"'), 1)
    path.write_text(text)


def differences(name: str, folder: Path, table: dict[str, Source]) -> Iterator[str]:
    """One sentence for each dependency that is missing from a manifest or stands in it for nothing."""
    wanted, found = expected(name, folder, table), read_manifest(folder)
    pairs = [
        ("package.xml: exec_depend", wanted.execution, found.execution),
        ("package.xml: test_depend", wanted.test, found.test),
        ("setup.py: install_requires", wanted.requires, found.requires),
    ]
    for extra in sorted(wanted.extras | found.extras):
        pairs.append((f"setup.py: extra {extra}", wanted.extras.get(extra, set()), found.extras.get(extra, set())))
    for place, right, now in pairs:
        for depend in sorted(right - now):
            yield f"{folder.relative_to(ROOT)}/{place} lacks {depend}"
        for depend in sorted(now - right):
            yield f"{folder.relative_to(ROOT)}/{place} names {depend}, which nothing imports"


def climbing_imports() -> Iterator[str]:
    """One sentence for each import of a package that is not further down."""
    for name, folder in package_folders().items():
        for module, path, line in imports_of(folder / name):
            other = module.partition(".")[0]
            if other in LEVEL and other != name and LEVEL[other] >= LEVEL[name]:
                yield f"{path.relative_to(ROOT)}:{line}: {name} imports {module}, which is not below it"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="mend package.xml and setup.py")
    options = parser.parse_args(argv)
    table = read_table()
    found = list(climbing_imports())
    for name, folder in package_folders().items():
        try:
            if options.write:
                write_manifest(folder, expected(name, folder, table))
            found += differences(name, folder, table)
        except KeyError as error:
            found.append(str(error.args[0]))
    used = {
        top
        for name, folder in package_folders().items()
        for part in (name, "test")
        for top in _tops(folder / part, name)
    }
    found += [f"{TABLE_NAME} names {name}, which nothing imports" for name in sorted(set(table) - used)]
    for sentence in found:
        print(f"manifests: {sentence}", file=sys.stderr)
    if found and not options.write:
        print("manifests: `python scripts/manifests.py --write` mends package.xml and setup.py", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
