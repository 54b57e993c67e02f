# SPDX-License-Identifier: Apache-2.0
"""`--help` of a node: what it is and which parameters it has, read from its source. Nothing is started."""

from __future__ import annotations

import ast
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Parameter:
    """A declared parameter. default: as written in the source. description: that of its descriptor, or empty."""

    name: str
    default: str
    description: str


def is_wanted(args: list[str]) -> bool:
    """Whether a node's command line asks for help; behind --ros-args the words belong to ROS."""
    own = args[1 : args.index("--ros-args")] if "--ros-args" in args else args[1:]
    return "-h" in own or "--help" in own


def parameters_of(source: str) -> list[Parameter]:
    """The parameters that a node's source declares with a literal name, in order.

    A declaration is `self.declare_parameter("name", default, descriptor)`, or the same through a local name, as in
    `get = self.declare_parameter`. The description is the first text in the call that makes the descriptor.
    """
    tree = ast.parse(source)
    names = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "declare_parameter"
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return list(_declarations(tree, names))


def _declarations(tree: ast.Module, names: set[str]) -> Iterator[Parameter]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
        direct = isinstance(call.func, ast.Attribute) and call.func.attr == "declare_parameter"
        local = isinstance(call.func, ast.Name) and call.func.id in names
        name = call.args[0]
        if not (direct or local) or not isinstance(name, ast.Constant) or not isinstance(name.value, str):
            continue
        default = ast.unparse(call.args[1]) if len(call.args) > 1 else ""
        texts = [
            node.value
            for argument in call.args[2:]
            for node in ast.walk(argument)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        yield Parameter(name.value, default, texts[0] if texts else "")


def describe(make_node: Callable[[], object]) -> str:
    """What `--help` prints for the node that make_node makes."""
    module = inspect.getmodule(make_node)
    assert module is not None
    lines = [
        f"usage: {_program(module)} [--ros-args -p NAME:=VALUE ... --params-file FILE]",
        "",
        inspect.getdoc(module) or "",
        "",
        "parameters (name: default):",
    ]
    for parameter in parameters_of(inspect.getsource(module)):
        lines.append(f"  {parameter.name}: {parameter.default}")
        lines += [f"      {parameter.description}"] if parameter.description else []
    return "\n".join(lines)


def _program(module: ModuleType) -> str:
    if sys.argv[0].startswith("rove run "):
        return sys.argv[0]
    name = module.__spec__.name if module.__spec__ is not None else module.__name__
    return f"rove run {name.partition('.')[0]} {os.path.basename(sys.argv[0])}"
