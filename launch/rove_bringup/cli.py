# SPDX-License-Identifier: Apache-2.0
"""The `rove` command: the verbs `launch` and `run` with the grammar of `ros2`, for machines where ROS 2 comes as Python
wheels.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from rove_bringup import packages
from rove_bringup.launch_tree import LaunchError

USAGE = """usage: rove launch [--show-args] FILE | PACKAGE FILE [name:=value ...]
       rove run PACKAGE EXECUTABLE [arguments ...]
       rove demo [options]
       rove push FOLDER OWNER/NAME --license LICENCE
       rove pull OWNER/NAME FOLDER
       rove --version

launch  start the processes of a launch file (YAML, the same that ros2 launch reads)
run     run one executable of a package
demo    the whole loop on the simulated robot, from demonstrations to the report
push    a dataset or checkpoint to the Hugging Face Hub
pull    one from there
"""


class UsageError(ValueError):
    """The command line is wrong; the message says what was expected."""


def _parse_arguments(words: list[str]) -> dict[str, str]:
    found = {}
    for word in words:
        name, separator, value = word.partition(":=")
        if not separator or not name:
            raise UsageError(f"expected a launch argument such as record:=true, got {word!r}")
        found[name] = value
    return found


def _find_launch_file(words: list[str]) -> tuple[Path, list[str]]:
    """FILE or PACKAGE FILE -> path and the remaining words. A bare FILE that is not here is looked for in
    rove_bringup.
    """
    if Path(words[0]).is_file():
        return Path(words[0]), words[1:]
    if words[0].endswith((".yaml", ".yml")):
        return packages.launch_file("rove_bringup", words[0]), words[1:]
    if len(words) > 1 and ":=" not in words[1]:
        return packages.launch_file(words[0], words[1]), words[2:]
    options = ", ".join(path.name for path in packages.launch_files(words[0])) or "none"
    raise UsageError(f"rove launch {words[0]} needs a launch file; the package has {options}")


def launch_session(argv: list[str]) -> int:
    """`rove launch`: returns the session's exit status."""
    from rove_bringup import launch_file, processes

    parser = argparse.ArgumentParser(
        prog="rove launch", description="Start the processes of a launch file.", allow_abbrev=False
    )
    parser.add_argument(
        "-s", "--show-args", "--show-arguments", action="store_true", help="list the file's arguments and stop"
    )
    parser.add_argument(
        "words", nargs="+", metavar="FILE | PACKAGE FILE [name:=value ...]", help="launch file and its arguments"
    )
    options = parser.parse_args(argv)
    path, rest = _find_launch_file(options.words)
    if options.show_args:
        print(describe_arguments(path))
        return 0
    specs = launch_file.plan_processes(path.resolve(), _parse_arguments(rest))
    if not specs:
        raise LaunchError("with these arguments the launch file starts nothing", path)
    return processes.run_session(specs)


def describe_arguments(path: Path) -> str:
    """The arguments of a launch file, for people."""
    from rove_bringup import launch_file

    lines = [f"Arguments of {path} (give them as name:=value):"]
    for argument in launch_file.declared_arguments(path.resolve()):
        lines += ["", f"    {argument.name}"]
        lines += [f"        {argument.description}"] if argument.description else []
        lines += [f"        one of: {', '.join(argument.choices)}"] if argument.choices else []
        lines += ["        (required)" if argument.default is None else f"        (default: {argument.default!r})"]
    return "\n".join(lines if len(lines) > 1 else [*lines, "    none"])


def run_executable(argv: list[str]) -> int:
    """`rove run`: replaces this process by the executable; returns only when it cannot be found."""
    if not argv or argv[0] in ("-h", "--help"):
        ours = ", ".join(name for name in packages.names() if name.startswith("rove_"))
        print(f"usage: rove run PACKAGE EXECUTABLE [arguments ...]\n\npackages: {ours}")
        return 0 if argv else 2
    if len(argv) == 1:
        options = ", ".join(packages.executables(argv[0])) or "none"
        raise UsageError(f"rove run {argv[0]} needs an executable; the package has {options}")
    command = [*packages.executable(argv[0], argv[1]), *argv[2:]]
    sys.stdout.flush()
    os.execv(command[0], command)


def run_demo(argv: list[str]) -> int:
    """`rove demo`: see rove_bringup.demo."""
    from rove_bringup import demo

    return demo.main(argv)


def run_push(argv: list[str]) -> int:
    """`rove push`: see rove_bringup.hub."""
    from rove_bringup.hub import command

    return command.main("push", argv)


def run_pull(argv: list[str]) -> int:
    """`rove pull`: see rove_bringup.hub."""
    from rove_bringup.hub import command

    return command.main("pull", argv)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "launch": launch_session,
    "run": run_executable,
    "demo": run_demo,
    "push": run_push,
    "pull": run_pull,
}


def main(argv: list[str] | None = None) -> int:
    """Dispatch; returns the exit status. Errors of the user are one sentence on stderr and status 2."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"rove {metadata.version('rove_bringup')}")
        return 0
    if argv[0] not in COMMANDS:
        print(f"rove: unknown command {argv[0]!r}; expected {', '.join(COMMANDS)}\n\n{USAGE}", end="", file=sys.stderr)
        return 2
    try:
        return COMMANDS[argv[0]](argv[1:])
    except (LaunchError, packages.PackageError, UsageError) as error:
        print(f"rove {argv[0]}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
