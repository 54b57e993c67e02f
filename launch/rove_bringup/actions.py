# SPDX-License-Identifier: Apache-2.0
"""The constructs of a launch file: what each accepts (`parse`) and what it does (`execute`).

The grammar is that of ROS 2 Jazzy's YAML frontend. A file is parsed as a whole before anything of it is executed, so an
error behind a false condition is found as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rove_bringup import launch_tree, node_parameters, packages
from rove_bringup.launch_text import Text, pairs_of, performed, text_of
from rove_bringup.launch_tree import Entity
from rove_bringup.processes import ProcessSpec
from rove_bringup.substitutions import Context


@dataclass(frozen=True)
class Argument:
    """A declared launch argument. default: its text as written, or None where it must be given."""

    name: str
    default: str | None
    description: str
    choices: tuple[str, ...]


@dataclass
class Session:
    """What executing a launch file gives: the processes, the arguments it declared, and lines to print."""

    context: Context
    processes: list[ProcessSpec] = field(default_factory=list)
    declared: dict[str, Argument] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


Execute = Callable[[Session], None]


@dataclass
class Action:
    """A parsed construct. execute: its effect on the session. children: constructs inside. argument: what it
    declares.
    """

    execute: Execute
    children: tuple[Action, ...] = ()
    argument: Argument | None = None
    include: Text | None = None


def _condition(entity: Entity) -> Callable[[Context], bool]:
    wanted, unwanted = text_of(entity, "if"), text_of(entity, "unless")
    if wanted is not None and unwanted is not None:
        raise entity.error("`if` and `unless` exclude each other")
    if wanted is not None:
        return wanted.boolean
    if unwanted is not None:
        return lambda context: not unwanted.boolean(context)
    return lambda context: True


def _argument(entity: Entity) -> Action:
    name = entity.get("name", required=True).data
    default = text_of(entity, "default")
    description = entity.get("description")
    choices = []
    for item in entity.entities("choice"):
        choices.append(item.get("value", required=True).data)
        item.finish()
    argument = Argument(
        name,
        default=None if default is None else default.source,
        description="" if description is None else description.data,
        choices=tuple(choices),
    )

    def execute(session: Session) -> None:
        known = session.context.configurations
        session.declared[name] = argument
        if name not in known:
            if default is None:
                raise entity.error(
                    f"the argument `{name}` must be given as {name}:=… ({argument.description or 'no description'})"
                )
            known[name] = default.of(session.context)
        if choices and known[name] not in choices:
            raise entity.error(f"the argument `{name}` is {known[name]!r}, expected one of {', '.join(choices)}")

    return Action(execute, argument=argument)


def _let(entity: Entity) -> Action:
    name, value = text_of(entity, "name", required=True), text_of(entity, "value", required=True)

    def execute(session: Session) -> None:
        session.context.configurations[name.of(session.context)] = value.of(session.context)

    return Action(execute)


def _set_env(entity: Entity) -> Action:
    name, value = text_of(entity, "name", required=True), text_of(entity, "value", required=True)

    def execute(session: Session) -> None:
        session.context.environment[name.of(session.context)] = value.of(session.context)

    return Action(execute)


def _unset_env(entity: Entity) -> Action:
    name = text_of(entity, "name", required=True)
    return Action(lambda session: session.context.environment.pop(name.of(session.context), None))


def _log(entity: Entity) -> Action:
    message = text_of(entity, "message", required=True)
    return Action(lambda session: session.notes.append(message.of(session.context)))


def _group(entity: Entity) -> Action:
    scoped = True
    if isinstance(entity.value.data, dict):
        given = entity.get("scoped", bool)
        scoped = True if given is None else given.data
    children = tuple(parse_action(child) for child in entity.children(CONSTRUCTS))

    def execute(session: Session) -> None:
        context = session.context
        saved = dict(context.configurations), dict(context.environment)
        for child in children:
            child.execute(session)
        if scoped:
            context.configurations, context.environment = saved

    return Action(execute, children=children)


def _include(entity: Entity) -> Action:
    file = text_of(entity, "file", required=True)
    arguments = pairs_of(entity, "arg", "name", "value")

    def execute(session: Session) -> None:
        context = session.context
        path = Path(file.of(context))
        if not path.is_file():
            raise entity.error(f"the included file {path} does not exist", file.line)
        for name, value in arguments:
            context.configurations[name.of(context)] = value.of(context)
        here, context.path = context.path, path
        for action in parse_file(path):
            action.execute(session)
        context.path = here

    return Action(execute, include=file)


OUTPUTS = ("screen", "log", "both", "own_log", "full")


def _process(entity: Entity, build: Callable[[Context], tuple[str, list[str]]]) -> Action:
    """What `node` and `executable` share. build: context -> (name, command)."""
    environment = pairs_of(entity, "env", "name", "value")
    directory = text_of(entity, "cwd")
    respawn = text_of(entity, "respawn")
    delay = entity.get("respawn_delay", float)
    if delay is not None and delay.data < 0.0:
        raise entity.error("`respawn_delay` must not be negative", delay.line)
    retries = entity.get("respawn_max_retries", int)
    output = text_of(entity, "output")  # every output is shown on the screen; rove keeps no log files
    on_exit = entity.get("on_exit")
    if on_exit is not None and on_exit.data != "shutdown":
        raise entity.error(f"`on_exit` is {on_exit.data!r}; the only value is `shutdown`", on_exit.line)

    def execute(session: Session) -> None:
        context = session.context
        name, command = build(context)
        if output is not None and output.of(context) not in OUTPUTS:
            raise entity.error(f"`output` is {output.of(context)!r}, expected one of {', '.join(OUTPUTS)}", output.line)
        taken = {process.name for process in session.processes}
        unique = next(n for n in (name, *(f"{name}-{i}" for i in range(2, len(taken) + 3))) if n not in taken)
        session.processes.append(
            ProcessSpec(
                unique,
                tuple(command),
                {**context.environment, **{key.of(context): value.of(context) for key, value in environment}},
                performed(directory, context),
                required=on_exit is not None,
                respawn=respawn is not None and respawn.boolean(context),
                respawn_delay_s=0.0 if delay is None else delay.data,
                respawn_max_retries=-1 if retries is None else retries.data,
            )
        )

    return Action(execute)


def _executable(entity: Entity) -> Action:
    cmd, name = text_of(entity, "cmd", required=True), text_of(entity, "name")

    def build(context: Context) -> tuple[str, list[str]]:
        words = cmd.words(context)
        if not words:
            raise entity.error("`cmd` is empty", cmd.line)
        return performed(name, context) or Path(words[0]).name, words

    return _process(entity, build)


def _node(entity: Entity) -> Action:
    package, executable = text_of(entity, "pkg", required=True), text_of(entity, "exec", required=True)
    name, namespace, label = text_of(entity, "name"), text_of(entity, "namespace"), text_of(entity, "exec_name")
    arguments, ros_arguments = text_of(entity, "args"), text_of(entity, "ros_args")
    remaps = pairs_of(entity, "remap", "from", "to")
    parameters = node_parameters.arguments_of(entity)

    def build(context: Context) -> tuple[str, list[str]]:
        pkg, program = package.of(context), executable.of(context)
        with package.located():
            packages.prefix(pkg)
        with executable.located():
            command = list(packages.executable(pkg, program))
        command += [] if arguments is None else arguments.words(context)
        command += [] if ros_arguments is None else ["--ros-args", *ros_arguments.words(context)]
        command += ["--ros-args"]
        node = performed(name, context)
        if node:
            command += ["-r", f"__node:={node}"]
        space = performed(namespace, context)
        if space:
            command += ["-r", f"__ns:={space if space.startswith('/') else '/' + space}"]
        command += parameters(context)
        for source, target in remaps:
            command += ["-r", f"{source.of(context)}:={target.of(context)}"]
        return performed(label, context) or node or program, command

    return _process(entity, build)


CONSTRUCTS: dict[str, Callable[[Entity], Action]] = {
    "arg": _argument,
    "let": _let,
    "node": _node,
    "executable": _executable,
    "include": _include,
    "group": _group,
    "set_env": _set_env,
    "unset_env": _unset_env,
    "log": _log,
}


def parse_action(entity: Entity) -> Action:
    """One construct -> action that obeys its `if` / `unless`. Raises LaunchError for anything unknown in it."""
    listed = isinstance(entity.value.data, list)  # a group may be a bare list, which has no attributes
    condition = (lambda context: True) if listed else _condition(entity)
    action = CONSTRUCTS[entity.kind](entity)
    entity.finish()
    execute = action.execute
    action.execute = lambda session: execute(session) if condition(session.context) else None
    return action


def parse_file(path: Path) -> list[Action]:
    """The actions of a launch file. Raises LaunchError naming file and line."""
    root = launch_tree.load(path)
    actions = [parse_action(child) for child in root.children(CONSTRUCTS)]
    root.finish()
    return actions
