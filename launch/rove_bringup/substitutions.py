# SPDX-License-Identifier: Apache-2.0
"""`$(name argument …)` in launch files: the substitutions of ROS 2 Jazzy's launch that rove supports.

A text is parsed once into a template (literal text and calls) and performed against a context. Arguments are separated
by one space; quotes keep spaces together; a backslash takes the next character literally.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rove_bringup import packages


class SubstitutionError(ValueError):
    """A substitution is malformed, unknown or cannot be performed; the message says which. The caller adds the line."""


@dataclass(frozen=True)
class Call:
    """One `$(name arguments)`."""

    name: str
    arguments: tuple[Template, ...]


Template = tuple[str | Call, ...]


@dataclass
class Context:
    """What substitutions see. arguments: of the launch file. environment: of the processes."""

    arguments: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


_NAME = re.compile(r"\$\(([A-Za-z][\w-]*)")


class _Parser:
    """Recursive descent over one text."""

    def __init__(self, text: str):
        self.text = text
        self.at = 0

    @property
    def next(self) -> str:
        return self.text[self.at : self.at + 1]

    def template(self, stops: str, quote: str = "") -> Template:
        """Literal text and calls up to one of `stops` or the end. quote: the quote in which the text stands."""
        parts: list[str | Call] = []
        while self.next and self.next not in stops:
            if self.text.startswith("$(", self.at):
                parts.append(self.call(quote))
                continue
            if self.next == "\\" and self.at + 1 < len(self.text):
                self.at += 1
            parts.append(self.next)
            self.at += 1
        return tuple(parts)

    def call(self, quote: str) -> Call:
        begin = self.at
        match = _NAME.match(self.text, begin)
        if match is None:
            raise SubstitutionError(f"expected a name after `$(` in {self.text[begin:]!r}")
        name, self.at = match[1], match.end()
        if name not in FUNCTIONS:
            raise SubstitutionError(f"unknown substitution `$({name} …)`; rove knows {', '.join(sorted(FUNCTIONS))}")
        arguments = []
        while self.next == " ":
            self.at += 1
            arguments.append(self.argument(quote))
        if self.next != ")":
            rest = self.text[self.at :]
            raise SubstitutionError(f"expected `)` or a space and an argument at {rest!r} of {self.text[begin:]!r}")
        self.at += 1
        least, most, _ = FUNCTIONS[name]
        if not least <= len(arguments) <= most:
            expected = f"{least}" if least == most else f"{least} to {most}"
            raise SubstitutionError(f"`$({name} …)` takes {expected} arguments, got {len(arguments)}")
        if name in ("equals", "not-equals") and () in arguments:  # Jazzy's launch compares with the text "[]" then
            raise SubstitutionError(f"`$({name} …)` cannot compare with an empty text; write $(eval \"'…' == ''\")")
        return Call(name, tuple(arguments))

    def argument(self, quote: str) -> Template:
        begin, opening = self.at, self.next
        if not quote and opening in ("'", '"'):
            self.at += 1
            template = self.template(opening, opening)
            if self.next != opening:
                raise SubstitutionError(f"the quote {opening} is not closed in {self.text[begin:]!r}")
            self.at += 1
            return template
        template = self.template(" ()'\"", quote)
        if not template:
            rest = self.text[begin:]
            raise SubstitutionError(f"expected an argument at {rest!r} (arguments are separated by one space)")
        return template


def parse(text: str) -> Template:
    """Text of a launch file -> template. Raises SubstitutionError."""
    return _Parser(text).template("")


def perform(template: Template, context: Context) -> str:
    """Template -> text. Raises SubstitutionError for what is missing."""
    return "".join(
        part if isinstance(part, str) else FUNCTIONS[part.name][2](context, part.arguments) for part in template
    )


def truth(text: str) -> bool:
    """true, false, 1 or 0: what a condition must come to. Raises SubstitutionError for another text."""
    word = text.strip().lower()
    if word not in ("true", "1", "false", "0"):
        raise SubstitutionError(f"{text!r} is neither true nor false")
    return word in ("true", "1")


def equal(left: str, right: str) -> bool:
    """`$(equals …)`: true and 1 are the same, numbers are compared by value, the rest as text."""
    try:
        return truth(left) == truth(right)
    except SubstitutionError:
        pass
    try:
        return math.isclose(float(left), float(right))
    except ValueError:
        return left == right


_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


def evaluate(expression: str) -> str:
    """`$(eval …)`: one comparison of quoted texts, `==`, `!=`, `in [...]` or `not in [...]`; it runs no Python.

    Raises SubstitutionError for anything else.
    """
    try:
        node = ast.parse(expression.strip(), mode="eval").body
        if not isinstance(node, ast.Compare) or len(node.ops) != 1 or type(node.ops[0]) not in _COMPARISONS:
            raise ValueError("expected one comparison with ==, !=, in or not in")
        left, right = ast.literal_eval(node.left), ast.literal_eval(node.comparators[0])
        return str(_COMPARISONS[type(node.ops[0])](left, right))
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError) as error:
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
    name = perform(arguments[0], context)
    if name in context.arguments:
        return context.arguments[name]
    known = ", ".join(sorted(context.arguments)) or "none"
    raise SubstitutionError(f"`$(var {name})`: no such argument so far; known here: {known}")


def _share(context: Context, arguments: tuple[Template, ...]) -> str:
    try:
        return str(packages.share(perform(arguments[0], context)))
    except packages.PackageError as error:
        raise SubstitutionError(str(error)) from error


def _choose(context: Context, arguments: tuple[Template, ...]) -> str:
    condition, yes, no = arguments
    return perform(yes if truth(perform(condition, context)) else no, context)


def _compare(wanted: bool) -> Callable[[Context, tuple[Template, ...]], str]:
    return lambda context, arguments: str(equal(*(perform(a, context) for a in arguments)) is wanted).lower()


# name: (fewest arguments, most arguments, function)
FUNCTIONS: dict[str, tuple[int, int, Callable[[Context, tuple[Template, ...]], str]]] = {
    "var": (1, 1, _variable),
    "env": (1, 2, _environment),
    "find-pkg-share": (1, 1, _share),
    "equals": (2, 2, _compare(True)),
    "not-equals": (2, 2, _compare(False)),
    "if": (3, 3, _choose),
    "eval": (1, 1, lambda context, arguments: evaluate(perform(arguments[0], context))),
}
