# SPDX-License-Identifier: Apache-2.0
"""Parameters of a node, each declared once: a frozen dataclass `Parameters` in the node's module, one field each. Pure.

`rove_contract.ros.read_parameters` gives it to ROS, `--help` and docs/reference/parameters.md are made from it.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Declaration:
    """What is said about a parameter. low, high: smallest and largest value, of every element of a list; infinite:
    none. choices: the values there are, empty: any. live: setting it while the node runs takes effect.
    """

    name: str
    default: Any
    description: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    live: bool = False

    def range(self) -> str:
        """In words; "" where every value of the type will do."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        unit = f" {self.unit}" if self.unit else ""
        if math.isinf(self.low) and math.isinf(self.high):
            return ""
        if math.isinf(self.high):
            return f"{self.low:g}{unit} or more"
        if math.isinf(self.low):
            return f"{self.high:g}{unit} or less"
        return f"{self.low:g} to {self.high:g}{unit}"

    def refusal(self, value: Any) -> str:
        """Why the parameter cannot have this value, as a sentence; "" if it can. NaN passes where it is the default; a
        list of numbers has as many as the default.
        """
        values = value if isinstance(value, list | tuple) else [value]
        if isinstance(self.default, list) and isinstance(self.default[0], float) and len(values) != len(self.default):
            return f"parameter {self.name} has {len(values)} values, expected {len(self.default)}"
        unset = isinstance(self.default, float) and math.isnan(self.default)
        for one in values:
            if self.choices:
                wrong = one not in self.choices
            elif isinstance(one, int | float):
                wrong = not self.low <= one <= self.high and not (unset and math.isnan(one))
            else:
                wrong = False
            if wrong:
                return f"parameter {self.name} is {value!r}, expected {self.range()}"
        return ""


def parameter(
    default: Any,
    description: str,
    *,
    unit: str = "",
    low: float = -math.inf,
    high: float = math.inf,
    choices: tuple[str, ...] = (),
    live: bool = False,
) -> Any:
    """A field of a dataclass `Parameters`; see `Declaration`."""
    words = {"description": description, "unit": unit, "low": low, "high": high, "choices": choices, "live": live}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=words)
    return dataclasses.field(default=default, metadata=words)


def declarations(cls: type) -> dict[str, Declaration]:
    """name -> what the dataclass `Parameters` of a node says about it, in its order."""
    defaults = cls()
    return {
        field.name: Declaration(field.name, getattr(defaults, field.name), **field.metadata)
        for field in dataclasses.fields(cls)
    }
