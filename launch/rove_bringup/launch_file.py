# SPDX-License-Identifier: Apache-2.0
"""From a launch file and its arguments to the processes of a session.

Three constructs of ROS 2 Jazzy's YAML frontend: `arg`, `set_env`, `node`. Each is parsed as a whole before anything of
the file is executed, so an error behind a false condition is found as well.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rove_bringup import launch_tree, packages, substitutions
from rove_bringup.launch_tree import Entity, LaunchError, Value
from rove_bringup.processes import ProcessSpec
from rove_bringup.substitutions import Context, SubstitutionError


@dataclass(frozen=True)
class Argument:
    """A declared launch argument. default: its text as written, or None where it must be given."""

    name: str
    default: str | None
    description: str
    choices: tuple[str, ...]


@dataclass
class _File:
    """A parsed launch file: what it declares, and its constructs as functions of the context, in order."""

    arguments: list[Argument] = field(default_factory=list)
    steps: list[Callable[[Context], ProcessSpec | None]] = field(default_factory=list)


class Text:
    """A text attribute. `perform` gives it with its substitutions performed; errors name the line."""

    def __init__(self, entity: Entity, value: Value):
        self.entity, self.line, self.source = entity, value.line, str(value.data)
        self.template = self._named(lambda: substitutions.parse(self.source))

    def _named(self, compute: Callable):
        try:
            return compute()
        except (SubstitutionError, packages.PackageError) as error:
            raise self.entity.error(str(error), self.line) from error

    def perform(self, context: Context) -> str:
        return self._named(lambda: substitutions.perform(self.template, context))

    def truth(self, context: Context) -> bool:
        return self._named(lambda: substitutions.truth(self.perform(context)))


def _text(entity: Entity, name: str) -> Text | None:
    value = entity.get(name)
    return None if value is None else Text(entity, value)


def _parse_condition(entity: Entity) -> Callable[[Context], bool]:
    wanted, unwanted = _text(entity, "if"), _text(entity, "unless")
    if wanted is not None and unwanted is not None:
        raise entity.error("`if` and `unless` exclude each other")
    if wanted is not None:
        return wanted.truth
    if unwanted is not None:
        return lambda context: not unwanted.truth(context)
    return lambda context: True


def _parse_argument(entity: Entity, file: _File) -> None:
    name, default, description = str(entity.need("name").data), _text(entity, "default"), entity.get("description")
    choices = []
    for item in entity.entities("choice"):
        choices.append(str(item.need("value").data))
        item.finish()
    explanation = "" if description is None else str(description.data)
    file.arguments.append(Argument(name, None if default is None else default.source, explanation, tuple(choices)))

    def declare(context: Context) -> None:
        if name not in context.arguments:
            if default is None:
                raise entity.error(f"the argument `{name}` must be given as {name}:=… ({explanation})")
            context.arguments[name] = default.perform(context)
        value = context.arguments[name]
        if choices and value not in choices:
            raise entity.error(f"the argument `{name}` is {value!r}, expected one of {', '.join(choices)}")

    file.steps.append(declare)


def _parse_set_env(entity: Entity, file: _File) -> None:
    name, value = Text(entity, entity.need("name")), Text(entity, entity.need("value"))

    def set_variable(context: Context) -> None:
        context.environment[name.perform(context)] = value.perform(context)

    file.steps.append(set_variable)


TYPES: dict[str, Callable[[str], object]] = {"str": str, "int": int, "float": float, "bool": substitutions.truth}


def _parse_parameter(entity: Entity) -> Callable[[Context], list[str]]:
    """One `param` -> context -> ROS arguments: `--params-file FILE` or `-p name:=value`."""
    source = _text(entity, "from")
    if source is not None:

        def give_file(context: Context) -> list[str]:
            path = source.perform(context)
            if not Path(path).is_file():
                raise entity.error(f"the parameter file {path} does not exist", source.line)
            return ["--params-file", path]

        return give_file
    name, value, kind = entity.need("name"), Text(entity, entity.need("value")), str(entity.need("type").data)
    if kind not in TYPES:
        raise entity.error(f"unknown parameter type {kind!r}; known: {', '.join(TYPES)}")
    if kind != "str" and all(isinstance(part, str) for part in value.template):
        # As in ros2 launch: only what a substitution gives is converted.
        raise entity.error(f"parameter `{name.data}`: {value.source!r} is text and not of the type {kind}", value.line)

    def give_value(context: Context) -> list[str]:
        text = value.perform(context)
        try:
            typed = TYPES[kind](text)
        except ValueError:
            raise entity.error(f"parameter `{name.data}`: {text!r} is not of the type {kind}", value.line) from None
        return ["-p", f"{name.data}:={json.dumps(typed, ensure_ascii=False)}"]

    return give_value


def _parse_parameters(entity: Entity) -> list[Callable[[Context], list[str]]]:
    found = []
    for item in entity.entities("param"):
        found.append(_parse_parameter(item))
        item.finish()
    return found


def _only(entity: Entity, name: str, allowed: str) -> bool:
    """Whether the attribute is there. Raises LaunchError where it is anything but `allowed`."""
    value = entity.get(name)
    if value is not None and value.data != allowed:
        raise entity.error(f"`{name}` is {value}; the only value is `{allowed}`", value.line)
    return value is not None


def _parse_node(entity: Entity, file: _File) -> None:
    package, executable = entity.need("pkg"), entity.need("exec")
    name, parameters, condition = Text(entity, entity.need("name")), _parse_parameters(entity), _parse_condition(entity)
    namespace = _text(entity, "namespace")
    _only(entity, "output", "screen")  # every output is shown on the screen; rove keeps no log files
    required, respawn = _only(entity, "on_exit", "shutdown"), _only(entity, "respawn", "true")
    delay = entity.get("respawn_delay", float)
    if delay is not None and delay.data < 0.0:
        raise entity.error("`respawn_delay` must not be negative", delay.line)
    if (delay is not None and not respawn) or (required and respawn):
        raise entity.error("`respawn_delay` needs `respawn`, and what is respawned cannot end the session (`on_exit`)")

    def start(context: Context) -> ProcessSpec | None:
        if not condition(context):
            return None
        line = package.line
        try:
            packages.prefix(str(package.data))
            line = executable.line
            command = packages.executable(str(package.data), str(executable.data))
        except packages.PackageError as error:
            raise entity.error(str(error), line) from error
        label = name.perform(context)
        arguments = [word for parameter in parameters for word in parameter(context)]
        space = "" if namespace is None else _namespace(entity, namespace, context)
        remaps = ["-r", f"__node:={label}", *(["-r", f"__ns:={space}"] if space else [])]
        return ProcessSpec(
            label,
            (*command, "--ros-args", *remaps, *arguments),
            dict(context.environment),
            required=required,
            holds_robot=(str(package.data), str(executable.data)) == HOLDS_ROBOT,
            respawn=respawn,
            respawn_delay_s=0.0 if delay is None else delay.data,
        )

    file.steps.append(start)


def _namespace(entity: Entity, text: Text, context: Context) -> str:
    """A node's namespace with its leading slash, "" for none, as ros2 launch reads it."""
    space = text.perform(context).strip("/")
    if space and not re.fullmatch(r"[A-Za-z_]\w*(/[A-Za-z_]\w*)*", space, re.ASCII):
        raise entity.error(
            f"the namespace {space!r} is no ROS name: expected letters, digits and _, parts split by /, none beginning "
            "with a digit",
            text.line,
        )
    return f"/{space}" if space else ""


HOLDS_ROBOT = ("rove_teleop", "command_filter")  # package and executable

CONSTRUCTS = {"arg": _parse_argument, "set_env": _parse_set_env, "node": _parse_node}


def _parse(path: Path) -> _File:
    file = _File()
    for entity in launch_tree.read_entities(path, CONSTRUCTS):
        CONSTRUCTS[entity.kind](entity, file)
        entity.finish()
    return file


def declared_arguments(path: Path) -> list[Argument]:
    """Arguments that a launch file declares, in order. Raises LaunchError naming file and line."""
    return _parse(path).arguments


def plan_processes(path: Path, arguments: dict[str, str]) -> list[ProcessSpec]:
    """The processes that a launch file starts with these arguments; nothing is started yet.

    Raises LaunchError naming file and line.
    """
    file = _parse(path)
    known = {argument.name for argument in file.arguments}
    for name in arguments:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            listed = ", ".join(sorted(known)) or "none"
            raise LaunchError(f"no argument `{name}` is declared; known: {listed}.{hint}", path)
    context = Context(dict(arguments), dict(os.environ))
    found = [spec for step in file.steps if (spec := step(context)) is not None]
    names = [spec.name for spec in found]
    for name in names:
        if names.count(name) > 1:
            raise LaunchError(f"{names.count(name)} nodes are named {name!r}; their names must differ", path)
    return found
