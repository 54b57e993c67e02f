# SPDX-License-Identifier: Apache-2.0
"""The `param`s of a node: values with ROS types, nested ones, and parameter files, as ROS command-line arguments."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import yaml

from rove_bringup import substitutions
from rove_bringup.launch_text import Text, text_of
from rove_bringup.launch_tree import Entity, LaunchError
from rove_bringup.substitutions import Context

TYPES = {"str": str, "int": int, "float": float, "bool": bool}
LISTS = {f"list_of_{name}": kind for name, kind in TYPES.items()}


def _is_parameter(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(
            type(item) is type(value[0]) and isinstance(item, (bool, int, float, str)) for item in value
        )
    return isinstance(value, (bool, int, float, str))


def _typed(text: str, kind: str | None) -> object:
    """Text -> parameter value: of the declared type, or by YAML's rules. Raises ValueError."""
    if kind == "str" or (kind is None and not text):
        return text
    if kind in ("int", "float"):
        return TYPES[kind](text)
    if kind == "bool":
        return substitutions.boolean(text)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{text!r} is not valid YAML") from error
    wanted = LISTS.get(kind)
    if not _is_parameter(value) or (wanted and not (isinstance(value, list) and isinstance(value[0], wanted))):
        raise ValueError(f"{text!r} is not a {kind or 'bool, int, float, text or uniform list of them'}")
    return value


def _values(
    entity: Entity, prefix: tuple[Text, ...] = ()
) -> list[tuple[tuple[Text, ...], Callable[[Context], object]]]:
    """A `param` with `name` -> [(names from the outside in, its value)], nested ones flattened."""
    path = (*prefix, text_of(entity, "name", required=True))
    kind_value, value, nested = entity.get("type"), entity.raw("value"), entity.entities("param")
    entity.finish()
    kind = None if kind_value is None or kind_value.data == "yaml" else kind_value.data
    if kind is not None and kind not in TYPES and kind not in LISTS:
        raise entity.error(f"unknown parameter type {kind!r}; known: {', '.join([*TYPES, *LISTS, 'yaml'])}")
    if (value is None) == (not nested):
        raise entity.error("a parameter has either `value` or nested `param`s")
    if nested:
        if kind is not None:
            raise entity.error("a parameter with nested `param`s has no `type`")
        return [pair for item in nested for pair in _values(item, path)]
    plain = value.plain
    if not isinstance(plain, (bool, int, float, str, list)):
        raise entity.error(f"a parameter cannot be {plain!r}", value.line)

    def evaluate(context: Context) -> object:
        try:
            if isinstance(plain, str):
                text = Text(entity, value)
                if any(not isinstance(part, str) for part in text.template):
                    return _typed(text.of(context), kind)
                if kind not in (None, "str"):  # as in ros2 launch: only what a substitution gives is converted
                    raise ValueError(f"{plain!r} is text and not of the type {kind}")
                return text.of(context)
            if isinstance(plain, list):
                items = [
                    _typed(Text(entity, item).of(context), None)
                    if isinstance(item.data, str) and "$(" in item.data
                    else item.data
                    for item in value.data
                ]
                if not _is_parameter(items):
                    raise ValueError(f"{items!r} is empty or mixes types")
                return items
            if kind is not None and type(plain) is not TYPES.get(kind):
                raise ValueError(f"{plain!r} is not of the type {kind}")
            return plain
        except LaunchError:
            raise
        except ValueError as error:
            raise entity.error(f"parameter `{path[-1].source}`: {error}", value.line) from error

    return [(path, evaluate)]


def arguments_of(entity: Entity) -> Callable[[Context], list[str]]:
    """All `param`s of a node, in order, as ROS arguments: `--params-file FILE` or `-p name:=value`."""
    steps: list[Callable[[Context], list[str]]] = []
    for item in entity.entities("param"):
        if item.raw("from") is not None:
            if item.raw("name") is not None:
                raise item.error("`name` and `from` exclude each other")
            source = text_of(item, "from", required=True)
            item.finish()

            def from_file(context: Context, source: Text = source) -> list[str]:
                path = source.of(context)
                if not Path(path).is_file():
                    raise source.entity.error(f"the parameter file {path} does not exist", source.line)
                return ["--params-file", path]

            steps.append(from_file)
            continue
        for names, evaluate in _values(item):

            def from_value(context: Context, names=names, evaluate=evaluate) -> list[str]:
                return [
                    "-p",
                    f"{'.'.join(name.of(context) for name in names)}"
                    f":={json.dumps(evaluate(context), ensure_ascii=False)}",
                ]

            steps.append(from_value)
    return lambda context: [word for step in steps for word in step(context)]
