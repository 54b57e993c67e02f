# SPDX-License-Identifier: Apache-2.0
"""A launch file as a tree that remembers its lines, so that every error can name one. Plain YAML, loaded safely."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


class LaunchError(ValueError):
    """A launch file or its arguments are wrong; the message names file and line, what was expected and what came."""

    def __init__(self, message: str, path: Path, line: int | None = None):
        super().__init__(f"{path}: {message}" if line is None else f"{path}:{line}: {message}")


@dataclass(frozen=True)
class Value:
    """One YAML value. data: str | int | float | bool | None | list[Value] | dict[str, Value]. line: 1-based."""

    data: Any
    line: int

    def __str__(self) -> str:
        if isinstance(self.data, (list, dict)):
            return f"a {'list' if isinstance(self.data, list) else 'mapping'}"
        return repr(self.data)


KINDS = {str: "text (quote it: ros2 launch takes only text here)", float: "a number with a point, such as 1.0"}


@dataclass
class Entity:
    """One construct, such as `node: {...}`: its kind, its attributes, and which of them were read.

    Attributes have the types that ros2 launch's YAML frontend demands; `finish` refuses the ones nobody read.
    """

    kind: str
    value: Value
    path: Path
    _read: set[str] = field(default_factory=set, init=False)

    def error(self, message: str, line: int | None = None) -> LaunchError:
        """LaunchError at this entity's line, or at `line`."""
        return LaunchError(message, self.path, self.value.line if line is None else line)

    def raw(self, name: str) -> Value | None:
        """The attribute as it stands in the file, or None."""
        if not isinstance(self.value.data, dict):
            raise self.error(f"`{self.kind}` must be a mapping of attributes, got {self.value}")
        self._read.add(name)
        return self.value.data.get(name)

    def get(self, name: str, kind: type = str) -> Value | None:
        """Attribute `name` of type `kind`, or None where it is missing. Raises LaunchError for another type."""
        value = self.raw(name)
        if value is not None and not isinstance(value.data, kind):
            raise self.error(f"`{name}` of `{self.kind}` is {value}, expected {KINDS[kind]}", value.line)
        return value

    def need(self, name: str) -> Value:
        """Text attribute `name`. Raises LaunchError where it is missing."""
        value = self.get(name)
        if value is None:
            raise self.error(f"`{self.kind}` needs the attribute `{name}`")
        return value

    def entities(self, name: str) -> list[Entity]:
        """Attribute `name` as a list of mappings, such as `param: [{name: …, value: …}]`; empty where it is missing."""
        value = self.raw(name)
        if value is None:
            return []
        if not isinstance(value.data, list) or not all(isinstance(item.data, dict) for item in value.data):
            raise self.error(f"`{name}` of `{self.kind}` must be a list of mappings", value.line)
        return [Entity(name, item, self.path) for item in value.data]

    def finish(self) -> None:
        """Raise LaunchError for an attribute that was not read."""
        for name, value in self.value.data.items():
            if name not in self._read:
                known = ", ".join(sorted(self._read))
                raise self.error(f"unknown attribute `{name}` of `{self.kind}`; known here: {known}", value.line)


def _convert(loader: yaml.SafeLoader, node: yaml.Node, path: Path) -> Value:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return Value([_convert(loader, item, path) for item in node.value], line)
    if not isinstance(node, yaml.MappingNode):
        return Value(loader.construct_object(node), line)
    items: dict[str, Value] = {}
    for key_node, value_node in node.value:
        key, key_line = loader.construct_object(key_node), key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise LaunchError(f"{key!r} is not a name", path, key_line)
        if key in items:
            raise LaunchError(f"`{key}` stands here twice", path, key_line)
        items[key] = Value(_convert(loader, value_node, path).data, key_line)
    return Value(items, line)


def read_entities(path: Path, known: Collection[str]) -> list[Entity]:
    """The constructs of a launch file in order.

    Raises LaunchError for a file that cannot be read, is no launch file, or holds a construct that is not `known`.
    """
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise LaunchError(f"cannot read the launch file: {error}", path) from error
    try:
        node = loader.get_single_node()
        root = Value(None, 1) if node is None else _convert(loader, node, path)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise LaunchError(f"not valid YAML: {error.problem}", path, None if mark is None else mark.line + 1) from error
    finally:
        loader.dispose()
    if not isinstance(root.data, dict) or list(root.data) != ["launch"]:
        raise LaunchError("a launch file has one root, `launch:`", path, root.line)
    constructs = root.data["launch"]
    if not isinstance(constructs.data, list):
        raise LaunchError(f"`launch` must hold a list of constructs, got {constructs}", path, constructs.line)
    found = []
    for item in constructs.data:
        if not isinstance(item.data, dict) or len(item.data) != 1:
            raise LaunchError(f"expected one construct such as `- node:`, got {item}", path, item.line)
        [(kind, body)] = item.data.items()
        if kind not in known:
            raise LaunchError(f"unknown construct `{kind}`; rove knows {', '.join(sorted(known))}", path, item.line)
        found.append(Entity(kind, Value(body.data, item.line), path))
    return found
