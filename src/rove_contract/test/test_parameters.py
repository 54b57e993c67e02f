# SPDX-License-Identifier: Apache-2.0
"""A parameter is declared once, and a wrong value is refused with what would be right."""

import math
from dataclasses import dataclass

import pytest

from rove_contract.parameters import declarations, parameter


@dataclass(frozen=True)
class Parameters:
    margin: float = parameter(0.1, "distance", unit="m", low=0.0, high=0.5)
    least: int = parameter(1, "of them", low=1)
    corner: list[float] = parameter([0.0, 1.0], "of the box", unit="m", low=-1.0, high=1.0)
    kind: str = parameter("fast", "of it", choices=("fast", "slow"))
    strength: float = parameter(math.nan, "NaN: its own", low=0.0, high=9.0)
    on: bool = parameter(True, "whether")


@pytest.mark.parametrize(
    "name, value, reason",
    [
        ("margin", 0.5, ""),
        ("margin", 0.6, "parameter margin is 0.6, expected 0 to 0.5 m"),
        ("margin", math.nan, "parameter margin is nan, expected 0 to 0.5 m"),
        ("least", 0, "parameter least is 0, expected 1 or more"),
        ("corner", [0.5, 1.5], "parameter corner is [0.5, 1.5], expected -1 to 1 m"),
        ("corner", [0.5], "parameter corner has 1 values, expected 2"),
        ("kind", "odd", "parameter kind is 'odd', expected one of fast, slow"),
        ("strength", math.nan, ""),
        ("strength", 10.0, "parameter strength is 10.0, expected 0 to 9"),
        ("on", False, ""),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_the_range(name, value, reason):
    assert declarations(Parameters)[name].refusal(value) == reason


def test_every_default_is_in_its_range_and_no_two_readers_share_a_list():
    for name, declaration in declarations(Parameters).items():
        assert declaration.refusal(declaration.default) == "", name
    assert Parameters().corner is not Parameters().corner
