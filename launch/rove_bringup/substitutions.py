# SPDX-License-Identifier: Apache-2.0
"""`$(name argument …)` in launch files: the grammar and the substitutions of ROS 2 Jazzy's launch that rove supports.

A text is parsed once into a template (literal text and calls) and performed against a context. Arguments are separated
by one space; quotes keep spaces together; a backslash takes the next character literally.
"""

from __future__ import annotations

import ast
import math
import operator
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from rove_bringup import packages


class SubstitutionError(ValueError):
    """A substitution is malformed, unknown or cannot be performed; the message says which. The caller adds file and
    line.
    """


@dataclass(frozen=True)
class Call:
    """One `$(name arguments)`."""

    name: str
    arguments: tuple[Template, ...]


Template = tuple[str | Call, ...]


@dataclass
class Context:
    """What substitutions see. configurations: launch arguments and `let`s. environment: of the processes. path: the
    launch file.
    """

    configurations: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    path: Path = Path()


class _Parser:
    """Recursive descent over one text."""

    def __init__(self, text: str):
        self.text = text
        self.at = 0

    def _peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def _literal(self, stops: str) -> str:
        """Text up to one of `stops`, a `$(` or the end; a backslash takes the next character literally."""
        found = []
        while self.at < len(self.text) and self._peek() not in stops and not self.text.startswith("$(", self.at):
            if self._peek() == "\\" and self.at + 1 < len(self.text):
                self.at += 1
            found.append(self._peek())
            self.at += 1
        return "".join(found)

    def fragments(self, stops: str, quote: str = "") -> Template:
        """Literal text and calls up to one of `stops` or the end."""
        found: list[str | Call] = []
        while self.at < len(self.text) and self._peek() not in stops:
            if self.text.startswith("$(", self.at):
                found.append(self.call(quote))
            else:
                found.append(self._literal(stops))
        return tuple(found)

    def call(self, quote: str) -> Call:
        begin = self.at
        self.at += 2
        name = ""
        while self._peek() and self._peek() in string.ascii_letters + string.digits + "_-":
            name += self._peek()
            self.at += 1
        if not name or name[0] not in string.ascii_letters:
            raise SubstitutionError(f"expected a name after `$(` in {self.text[begin:]!r}")
        if name not in FUNCTIONS:
            raise SubstitutionError(f"unknown substitution `$({name} …)`; rove knows {', '.join(sorted(FUNCTIONS))}")
        arguments = []
        while self._peek() == " ":
            self.at += 1
            arguments.append(self._argument(begin, quote))
        if self._peek() != ")":
            raise SubstitutionError(
                f"expected `)` or a space and an argument at {self.text[self.at :]!r} of {self.text[begin:]!r}"
            )
        self.at += 1
        least, most, _ = FUNCTIONS[name]
        if not least <= len(arguments) <= most:
            expected = f"{least}" if least == most else f"{least} to {most}"
            raise SubstitutionError(f"`$({name} …)` takes {expected} arguments, got {len(arguments)}")
        if name in ("equals", "not-equals") and () in arguments:  # Jazzy's launch compares with the text "[]" then
            raise SubstitutionError(f"`$({name} …)` cannot compare with an empty text; write $(eval \"'…' == ''\")")
        return Call(name, tuple(arguments))

    def _argument(self, begin: int, quote: str) -> Template:
        opening = self._peek()
        if not quote and opening and opening in "'\"":
            self.at += 1
            template = self.fragments(opening, opening)
            if self._peek() != opening:
                raise SubstitutionError(f"the quote {opening} is not closed in {self.text[begin:]!r}")
            self.at += 1
            return template
        template = self.fragments(f" ()'\"{quote}" if not quote else f" (){quote}", quote)
        if not template:
            rest, whole = self.text[self.at :], self.text[begin:]
            raise SubstitutionError(
                f"expected an argument at {rest!r} of {whole!r} (arguments are separated by one space)"
            )
        return template


def parse(text: str) -> Template:
    """Text of a launch file -> template. Raises SubstitutionError."""
    return _Parser(text).fragments("")


def perform(template: Template, context: Context) -> str:
    """Template -> text. Raises SubstitutionError for what is missing."""
    return "".join(
        part if isinstance(part, str) else FUNCTIONS[part.name][2](context, part.arguments) for part in template
    )


def boolean(text: str) -> bool:
    """Truth of a condition or of an argument of `and`, `or`, `not`, `if`: true, false, 1, 0 and YAML's other
    spellings.
    """
    value = {"1": True, "0": False}.get(text.strip())
    if value is None:
        try:
            value = yaml.safe_load(text.strip().lower())
        except yaml.YAMLError:
            value = None
    if not isinstance(value, bool):
        raise SubstitutionError(f"{text!r} is neither true nor false")
    return value


def equal(left: str, right: str) -> bool:
    """`$(equals …)`: booleans by truth (true, 1), numbers by value, else text."""
    booleans = {"true": True, "1": True, "false": False, "0": False}
    if left.lower() in booleans and right.lower() in booleans:
        return booleans[left.lower()] == booleans[right.lower()]
    try:
        return math.isclose(float(left), float(right))
    except ValueError:
        return left == right


_COMPARISONS = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


def _evaluate(node: ast.AST) -> object:
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float, bool)):
        return node.value
    if isinstance(node, ast.Tuple):
        return tuple(_evaluate(item) for item in node.elts)
    if isinstance(node, ast.List):
        return [_evaluate(item) for item in node.elts]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not _evaluate(node.operand)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        return -node.operand.value
    if isinstance(node, ast.BoolOp):
        stop = isinstance(node.op, ast.Or)  # Python's `and`/`or` give the operand that decided
        values = [_evaluate(value) for value in node.values]
        return next((value for value in values if bool(value) == stop), values[-1])
    if isinstance(node, ast.Compare) and all(type(op) in _COMPARISONS for op in node.ops):
        values = [_evaluate(node.left), *map(_evaluate, node.comparators)]
        return all(_COMPARISONS[type(op)](a, b) for op, a, b in zip(node.ops, values, values[1:]))
    raise ValueError("only quoted texts, numbers, comparisons, in, not, and, or are allowed")


def evaluate(expression: str) -> str:
    """`$(eval …)`: the comparison subset of Python that needs no Python to run. Raises SubstitutionError for anything
    else.
    """
    try:
        return str(_evaluate(ast.parse(expression.strip(), mode="eval").body))
    except (SyntaxError, TypeError, ValueError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise SubstitutionError(f"$(eval …) cannot evaluate {expression!r}: {reason}") from None


def _environment(context: Context, arguments: tuple[Template, ...]) -> str:
    name, *default = (perform(argument, context) for argument in arguments)
    if name in context.environment:
        return context.environment[name]
    if default:
        return default[0]
    raise SubstitutionError(f"the environment variable {name} is not set and `$(env {name} DEFAULT)` gives no default")


def _variable(context: Context, arguments: tuple[Template, ...]) -> str:
    name, *default = (perform(argument, context) for argument in arguments)
    if name in context.configurations:
        return context.configurations[name]
    if default:
        return default[0]
    known = ", ".join(sorted(context.configurations)) or "none"
    raise SubstitutionError(f"`$(var {name})`: no such argument or `let` so far; known here: {known}")


def _package(directory: Callable[[str], Path]) -> Callable[[Context, tuple[Template, ...]], str]:
    def find(context: Context, arguments: tuple[Template, ...]) -> str:
        try:
            return str(directory(perform(arguments[0], context)))
        except packages.PackageError as error:
            raise SubstitutionError(str(error)) from error

    return find


def _if(context: Context, arguments: tuple[Template, ...]) -> str:
    condition, *branches = arguments
    chosen = 0 if boolean(perform(condition, context)) else 1
    return perform(branches[chosen], context) if chosen < len(branches) else ""


def _logic(
    function: Callable[..., bool], convert: Callable[[str], object] = boolean
) -> Callable[[Context, tuple[Template, ...]], str]:
    return lambda context, arguments: str(bool(function(*[convert(perform(a, context)) for a in arguments]))).lower()


# name: (fewest arguments, most arguments, function). `any` and `all` are left out: Jazzy's launch fails on them in YAML
# files.
FUNCTIONS: dict[str, tuple[int, int, Callable[[Context, tuple[Template, ...]], str]]] = {
    "var": (1, 2, _variable),
    "env": (1, 2, _environment),
    "find-pkg-share": (1, 1, _package(packages.share)),
    "find-pkg-prefix": (1, 1, _package(packages.prefix)),
    "dirname": (0, 0, lambda context, _: str(context.path.parent)),
    "filename": (0, 0, lambda context, _: str(context.path)),
    "eval": (1, 1, lambda context, arguments: evaluate(perform(arguments[0], context))),
    "equals": (2, 2, _logic(equal, str)),
    "not-equals": (2, 2, _logic(lambda a, b: not equal(a, b), str)),
    "not": (1, 1, _logic(lambda a: not a)),
    "and": (2, 2, _logic(lambda a, b: a and b)),
    "or": (2, 2, _logic(lambda a, b: a or b)),
    "if": (2, 3, _if),
}
