# SPDX-License-Identifier: Apache-2.0
"""From a launch file and its arguments to the processes of a session."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from rove_bringup.actions import Action, Argument, Session, parse_file
from rove_bringup.launch_tree import LaunchError
from rove_bringup.substitutions import Context


def _walk(actions: Iterable[Action], context: Context) -> Iterator[Argument]:
    for action in actions:
        if action.argument is not None:
            context.configurations.setdefault(action.argument.name, action.argument.default or "")
            yield action.argument
        yield from _walk(action.children, context)
        if action.include is not None:
            try:
                path = Path(action.include.of(context))
            except LaunchError:
                continue  # its path depends on what is known only when the file is executed
            if path.is_file():
                yield from _walk(parse_file(path), Context(context.configurations, context.environment, path))


def declared_arguments(path: Path) -> list[Argument]:
    """Arguments that a launch file declares, also behind conditions and in files it includes, in order and without
    repetition.
    """
    context = Context({}, dict(os.environ), path)
    found: dict[str, Argument] = {}
    for argument in _walk(parse_file(path), context):
        found.setdefault(argument.name, argument)
    return list(found.values())


def load_session(path: Path, arguments: dict[str, str]) -> Session:
    """Execute a launch file with its arguments; nothing is started yet. Raises LaunchError naming file and line."""
    path = path.resolve()
    session = Session(Context(dict(arguments), dict(os.environ), path))
    actions = parse_file(path)
    known = {argument.name for argument in declared_arguments(path)}
    for name in arguments:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise LaunchError(
                f"no argument `{name}` is declared; known: {', '.join(sorted(known)) or 'none'}.{hint}", path
            )
    for action in actions:
        action.execute(session)
    return session
