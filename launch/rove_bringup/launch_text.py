# SPDX-License-Identifier: Apache-2.0
"""Texts of a launch file with `$(…)` in them, which know the line they stand in."""

from __future__ import annotations

import shlex

from rove_bringup import packages, substitutions
from rove_bringup.launch_tree import Entity, Value
from rove_bringup.substitutions import Context, Template


class Text:
    """A parsed attribute: template and line. `of(context)` performs it, `LaunchError` with the line when that fails."""

    def __init__(self, entity: Entity, value: Value):
        self.entity = entity
        self.line = value.line
        self.source = str(value.data)
        with self.located():
            self.template: Template = substitutions.parse(self.source)

    def located(self) -> Located:
        return Located(self.entity, self.line)

    def of(self, context: Context) -> str:
        with self.located():
            return substitutions.perform(self.template, context)

    def boolean(self, context: Context) -> bool:
        """true, false, 1 or 0: what a condition must come to."""
        text = self.of(context).strip().lower()
        if text not in ("true", "1", "false", "0"):
            raise self.entity.error(f"{self.source!r} comes to {text!r}, expected true, false, 1 or 0", self.line)
        return text in ("true", "1")

    def words(self, context: Context) -> list[str]:
        """As a command line: split at spaces outside quotes; what a substitution gives is never split."""
        with self.located():
            performed = [
                part if isinstance(part, str) else substitutions.perform((part,), context) for part in self.template
            ]
            marked = "".join(
                part if isinstance(part, str) else f"\ue000{index}\ue001" for index, part in enumerate(self.template)
            )  # private-use characters stand for the substitutions while shlex splits
            try:
                words = shlex.split(marked)
            except ValueError as error:
                raise substitutions.SubstitutionError(f"{self.source!r} cannot be split into words: {error}") from error
        for index, value in enumerate(performed):
            words = [word.replace(f"\ue000{index}\ue001", value) for word in words]
        return words


class Located:
    """Turns a SubstitutionError or PackageError inside the block into a LaunchError that names the line."""

    def __init__(self, entity: Entity, line: int):
        self.entity = entity
        self.line = line

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> bool:
        if isinstance(error, (substitutions.SubstitutionError, packages.PackageError)):
            raise self.entity.error(str(error), self.line) from error
        return False


def text_of(entity: Entity, name: str, *, required: bool = False) -> Text | None:
    value = entity.get(name, required=required)
    return None if value is None else Text(entity, value)


def performed(text: Text | None, context: Context) -> str | None:
    return None if text is None else text.of(context)


def pairs_of(entity: Entity, name: str, first: str, second: str) -> list[tuple[Text, Text]]:
    found = []
    for item in entity.entities(name):
        found.append((text_of(item, first, required=True), text_of(item, second, required=True)))
        item.finish()
    return found
