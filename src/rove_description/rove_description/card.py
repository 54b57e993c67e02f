# SPDX-License-Identifier: Apache-2.0
"""What bags, datasets and checkpoints say of the robot they belong to. Plain data: nothing of a model is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class RobotCard:
    """name, hash: of the description (see `robot.load`), "" where unknown. joints, blocks, sides: (J,) of each joint in
    the order of every array; blocks and sides may be empty where only names are known. units: (J,) "rad" or "m";
    empty where all joints turn.
    """

    name: str = ""
    hash: str = ""
    joints: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()
    sides: tuple[str, ...] = ()
    units: tuple[str, ...] = ()

    def refusal(self, own: RobotCard, what: str) -> str:
        """Why `what`, which belongs to this robot, cannot serve `own`; "" where it can. Names first: a sentence about
        joint 17 helps nobody who took the wrong folder. The hash may differ: margins and cameras are edited.
        """
        if self.name and own.name and self.name != own.name:
            return f"{what} belongs to the robot {self.words}, this is {own.words}"
        if self.joints and own.joints and self.joints != own.joints:
            return f"{what} belongs to other joints than the robot {own.name}'s: {_difference(self.joints, own.joints)}"
        return ""

    @property
    def words(self) -> str:
        """The robot's name, with its number of joints where that is known."""
        return f"{self.name} ({len(self.joints)} joints)" if self.joints else self.name

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; inverse of `from_dict`."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RobotCard:
        """A card from a file that anybody may have written. Raises ValueError."""
        joints, blocks, sides, units = (_texts(values, key) for key in ("joints", "blocks", "sides", "units"))
        card = cls(_text(values, "name"), _text(values, "hash"), joints, blocks, sides, units)
        for key, each in (("blocks", card.blocks), ("sides", card.sides), ("units", card.units)):
            if each and card.joints and len(each) != len(card.joints):
                raise ValueError(f"the robot has {len(card.joints)} joints, but {len(each)} {key}")
        return card


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key, "")
    if not isinstance(value, str):
        raise ValueError(f"the robot's {key} is {str(value)[:60]!r}, expected text")
    return value


def _texts(values: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = values.get(key, ())
    if not isinstance(value, (list, tuple)) or not all(isinstance(entry, str) for entry in value):
        raise ValueError(f"the robot's {key} are {str(value)[:60]!r}, expected texts")
    return tuple(value)


def _difference(joints: Sequence[str], own: Sequence[str]) -> str:
    if len(joints) != len(own):
        return f"{len(joints)} instead of {len(own)}"
    return next(f"joint {i} is {a}, expected {b}" for i, (a, b) in enumerate(zip(joints, own)) if a != b)
