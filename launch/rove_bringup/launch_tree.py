# SPDX-License-Identifier: Apache-2.0
"""A launch file as a tree that remembers its lines, so that every error can name one. Plain YAML, loaded safely."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import yaml


class LaunchError(ValueError):
    """A launch file or its arguments are wrong; the message names file and line, what was expected and what came."""

    def __init__(self, message: str, path: Path | str | None = None, line: int | None = None):
        where = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(where + message)


@dataclass(frozen=True)
class Value:
    """One YAML value. data: str | int | float | bool | None | list[Value] | dict[str, Value]. line: 1-based."""

    data: object
    line: int

    @property
    def plain(self) -> object:
        """The value without line numbers."""
        if isinstance(self.data, list):
            return [item.plain for item in self.data]
        if isinstance(self.data, dict):
            return {key: item.plain for key, item in self.data.items()}
        return self.data


KINDS = {
    str: "text (quote it: ros2 launch takes only text here)",
    float: "a number with a point, such as 1.0",
    int: "a whole number",
    bool: "true or false",
}


@dataclass
class Entity:
    """One construct, such as `node: {...}`: its kind, its attributes, and which of them were read.

    Attributes have the types that ros2 launch's YAML frontend demands; `finish` refuses the ones nobody read.
    """

    kind: str
    value: Value
    path: Path
    _read: set[str] = field(default_factory=set, init=False)

    @property
    def line(self) -> int:
        return self.value.line

    def error(self, message: str, line: int | None = None) -> LaunchError:
        """LaunchError at this entity's line, or at `line`."""
        return LaunchError(message, self.path, self.line if line is None else line)

    def raw(self, name: str) -> Value | None:
        """The attribute as it stands in the file, or None."""
        if not isinstance(self.value.data, dict):
            raise self.error(f"`{self.kind}` must be a mapping of attributes, got {self.value.plain!r}")
        self._read.add(name)
        return self.value.data.get(name)

    def get(self, name: str, kind: type = str, *, required: bool = False) -> Value | None:
        """Attribute `name` of type `kind`, or None where it is missing. Raises LaunchError for a missing or mistyped
        one.
        """
        value = self.raw(name)
        if value is None:
            if required:
                raise self.error(f"`{self.kind}` needs the attribute `{name}`")
            return None
        fits = isinstance(value.data, kind) and not (kind is not bool and isinstance(value.data, bool))
        if not fits:
            raise self.error(f"`{name}` of `{self.kind}` is {value.plain!r}, expected {KINDS[kind]}", value.line)
        return value

    def entities(self, name: str) -> list[Entity]:
        """Attribute `name` as a list of mappings, such as `param: [{name: …, value: …}]`; empty where it is missing."""
        value = self.raw(name)
        if value is None:
            return []
        if (
            not isinstance(value.data, list)
            or not value.data
            or not all(isinstance(item.data, dict) for item in value.data)
        ):
            raise self.error(
                f"`{name}` of `{self.kind}` must be a list of mappings (each item starts with `- `)", value.line
            )
        return [Entity(name, item, self.path) for item in value.data]

    def children(self, known: Collection[str]) -> list[Entity]:
        """The constructs inside a `launch` or `group`; a list, or a mapping with `children`. Raises LaunchError for
        unknown ones.
        """
        value = self.value if isinstance(self.value.data, list) else self.raw("children")
        if value is None or not isinstance(value.data, list):
            raise self.error(f"`{self.kind}` must hold a list of constructs")
        found = []
        for item in value.data:
            if not isinstance(item.data, dict) or len(item.data) != 1:
                raise self.error(f"expected one construct such as `- node:`, got {item.plain!r}", item.line)
            [(kind, body)] = item.data.items()
            if kind not in known:
                raise self.error(f"unknown construct `{kind}`; rove knows {', '.join(sorted(known))}", item.line)
            found.append(Entity(kind, Value(body.data, item.line), self.path))
        return found

    def finish(self) -> None:
        """Raise LaunchError for an attribute that was not read."""
        if not isinstance(self.value.data, dict):
            return
        for name, value in self.value.data.items():
            if name not in self._read:
                raise self.error(
                    f"unknown attribute `{name}` of `{self.kind}`; known here: {', '.join(sorted(self._read))}",
                    value.line,
                )


def _convert(loader: yaml.SafeLoader, node: yaml.Node, path: Path) -> Value:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)  # YAML's merge key `<<`
        items: dict[str, Value] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node)
            key_line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise LaunchError(f"{key!r} is not a name", path, key_line)
            if key in items:
                raise LaunchError(f"`{key}` stands here twice", path, key_line)
            value = _convert(loader, value_node, path)
            items[key] = Value(value.data, key_line)
        return Value(items, line)
    if isinstance(node, yaml.SequenceNode):
        return Value([_convert(loader, item, path) for item in node.value], line)
    return Value(loader.construct_object(node), line)


def load(path: Path) -> Entity:
    """The root entity `launch` of a launch file. Raises LaunchError when it cannot be read or is no launch file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LaunchError(f"cannot read the launch file: {error}", path) from error
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise LaunchError("the launch file is empty", path)
        root = _convert(loader, node, path)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise LaunchError(f"not valid YAML: {error.problem}", path, None if mark is None else mark.line + 1) from error
    finally:
        loader.dispose()
    if not isinstance(root.data, dict) or list(root.data) != ["launch"]:
        raise LaunchError("a launch file has one root, `launch:`", path, root.line)
    return Entity("launch", root.data["launch"], path)
