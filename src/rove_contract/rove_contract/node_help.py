# SPDX-License-Identifier: Apache-2.0
"""`--help` of a node: what it is and which parameters it has, read from its module. Nothing is started."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from types import ModuleType

from rove_contract.parameters import Declaration, declarations


def is_wanted(args: list[str]) -> bool:
    """Whether a node's command line asks for help; behind --ros-args the words belong to ROS."""
    own = args[1 : args.index("--ros-args")] if "--ros-args" in args else args[1:]
    return "-h" in own or "--help" in own


def read_parameters(module: ModuleType) -> list[Declaration]:
    """The parameters of a node's module: those of its dataclass `Parameters`."""
    return list(declarations(module.Parameters).values())


def notes(parameter: Declaration) -> list[str]:
    """What is to be known about a parameter beside its description: default, range, whether it can be set."""
    bounds = parameter.range()
    return [
        f"default: {parameter.default!r}" + (f" {parameter.unit}" if parameter.unit else ""),
        *([f"range: {bounds}"] if bounds else []),
        *(["can be set while the node runs"] if parameter.live else []),
    ]


def describe(make_node: Callable[[], object]) -> str:
    """What `--help` prints for the node that make_node makes."""
    module = inspect.getmodule(make_node)
    assert module is not None
    lines = [
        f"usage: {_program(module)} [--ros-args -p NAME:=VALUE ... --params-file FILE]",
        "",
        inspect.getdoc(module) or "",
        "",
        "parameters:",
    ]
    for parameter in read_parameters(module):
        lines += [f"  {parameter.name}: {parameter.description}", f"      {'; '.join(notes(parameter))}"]
    return "\n".join(lines)


def _program(module: ModuleType) -> str:
    if sys.argv[0].startswith("rove run "):
        return sys.argv[0]
    if module.__name__ == "__main__" and module.__spec__ is None:
        return f"python {sys.argv[0]}"
    name = module.__spec__.name if module.__spec__ is not None else module.__name__
    return f"rove run {name.partition('.')[0]} {os.path.basename(sys.argv[0])}"
