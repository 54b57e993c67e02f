# SPDX-License-Identifier: Apache-2.0
"""Reading of a `robot.yaml`: each value with its place in the file, all faults of a file at once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

SIDES = ("left", "right")


class RobotError(ValueError):
    """A robot description is wrong; each line of the message names file, key, what was expected and what came."""


class Node:
    """A mapping of the file. path: keys from the root, dotted. faults: of the whole file, filled on the way."""

    def __init__(self, file: Path, values: dict[str, Any], path: str = "", faults: list[str] | None = None):
        self.file, self.values, self.path = file, values, path
        self.faults: list[str] = [] if faults is None else faults
        self._read: set[str] = set()

    def fault(self, key: str, expected: str, got: Any) -> None:
        """Note that the value of `key` is not what was expected."""
        where = f"{self.path}.{key}" if self.path else key
        self.faults.append(f"{self.file}: {where}: expected {expected}, got {got if got is not None else 'nothing'}")

    def take(self, key: str, kind: type | tuple[type, ...], expected: str, default: Any = None) -> Any:
        """The value of a key; `default`, and a fault, where it is not of `kind`. Without a default the key must stand
        there.
        """
        self._read.add(key)
        value = self.values.get(key, default)
        if isinstance(value, bool) and kind not in (bool, (bool,)) or not isinstance(value, kind):
            self.fault(key, expected, repr(value) if key in self.values else None)
            return default
        return value

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """A number from low to high."""
        expected = f"a number from {low:g} to {high:g}"
        value = self.take(key, (int, float), expected, default)
        if value is not None and not low <= value <= high:
            self.fault(key, expected, value)
        return float(value) if value is not None else low

    def node(self, key: str, needed: bool = True) -> Node:
        """A mapping under a key; empty where it is missing and not needed."""
        value = self.take(key, dict, "a mapping", None if needed else {})
        return Node(self.file, value or {}, f"{self.path}.{key}" if self.path else key, self.faults)

    def texts(self, key: str, names: Iterable[str]) -> dict[str, str]:
        """A mapping of these keys to names."""
        node = self.node(key)
        found = {name: node.take(name, str, "a name", "") for name in names}
        node.close()
        return found

    def close(self) -> None:
        """Note the keys that nobody asked for."""
        for key in self.values:
            if key not in self._read:
                known = ", ".join(sorted(map(str, self._read)))
                self.fault(str(key), f"one of the keys {known}", "an unknown key")


def of_side(value: Any, side: str) -> Any:
    """A value of the file with {side}, {s} and {S} (its first letter, small or large) replaced in texts and keys."""
    if isinstance(value, str):
        return value.replace("{side}", side).replace("{s}", side[0]).replace("{S}", side[0].upper())
    if isinstance(value, dict):
        return {of_side(key, side): of_side(entry, side) for key, entry in value.items()}
    return [of_side(entry, side) for entry in value] if isinstance(value, list) else value


def read(file: Path) -> Node:
    """The root of a robot.yaml. Raises RobotError where it is no YAML mapping."""
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RobotError(f"{file}: expected a robot description, got {error.strerror}") from error
    except yaml.YAMLError as error:
        raise RobotError(f"{file}: expected YAML, got {error}") from error
    if not isinstance(values, dict):
        raise RobotError(f"{file}: expected a mapping of keys, got {type(values).__name__}")
    return Node(file, values)
