# SPDX-License-Identifier: Apache-2.0
"""`--help` of a node: what it is and which parameters it has, read from its module. Nothing is started."""

from __future__ import annotations

import ast
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Parameter:
    """A parameter of a node. default: as Python writes it; empty where only the running node knows it."""

    name: str
    default: str
    description: str


def is_wanted(args: list[str]) -> bool:
    """Whether a node's command line asks for help; behind --ros-args the words belong to ROS."""
    own = args[1 : args.index("--ros-args")] if "--ros-args" in args else args[1:]
    return "-h" in own or "--help" in own


def read_parameters(module: ModuleType) -> list[Parameter]:
    """The parameters of a node's module: its `PARAMETERS` ({name: description}) with the defaults that `get(name,
    default)` declares, where `get = ros.parameter_reader(…)`. Raises ValueError for one that is declared and not
    described.
    """
    descriptions: dict[str, str] = module.PARAMETERS
    defaults: dict[str, str] = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "get"):
            continue
        name, default = node.args
        if isinstance(name, ast.Constant):
            defaults[str(name.value)] = _value(default, module)
    if unknown := defaults.keys() - descriptions.keys():
        raise ValueError(f"{module.__name__} declares {', '.join(sorted(unknown))} without a line in PARAMETERS")
    return [Parameter(name, defaults.get(name, ""), text) for name, text in descriptions.items()]


def _value(default: ast.expr, module: ModuleType) -> str:
    try:
        return repr(eval(ast.unparse(default), dict(vars(module))))  # the module's own source
    except Exception:  # made of what only the running node has
        return ""


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
        lines.append(f"  {parameter.name}: {parameter.description}")
        lines += [f"      default: {parameter.default}"] if parameter.default else []
    return "\n".join(lines)


def _program(module: ModuleType) -> str:
    if sys.argv[0].startswith("rove run "):
        return sys.argv[0]
    if module.__name__ == "__main__" and module.__spec__ is None:
        return f"python {sys.argv[0]}"
    name = module.__spec__.name if module.__spec__ is not None else module.__name__
    return f"rove run {name.partition('.')[0]} {os.path.basename(sys.argv[0])}"
