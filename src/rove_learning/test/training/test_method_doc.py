# SPDX-License-Identifier: Apache-2.0
"""docs/explanation/method.md lists the defaults as config.py has them."""

import re
from pathlib import Path

import pytest

from rove_learning.config import TrainConfig

DOC = Path(__file__).resolve().parents[4] / "docs" / "explanation" / "method.md"
NUMBER = r"\u2212?\d+(?:\.\d+)?(?:e-\d+)?"


def rows():
    """(fields, numbers of the default) of each row that names fields of config.py and gives one number for each."""
    for line in DOC.read_text(encoding="utf-8").splitlines():
        if not re.match(r"\| `(reward|critic|labels|actor|regularise)\.", line):
            continue
        names, default = line.strip("| ").split("|")[:2]
        fields, part = [], ""
        for name in re.findall(r"`([^`]+)`", names):
            part = name.split(".")[0] if "." in name else part
            fields.append((part, name.split(".")[-1]))
        numbers = [float(n.replace("\u2212", "-")) for n in re.findall(NUMBER, re.sub(r"\([^)]*\)", "", default))]
        if "*" not in names and numbers and "executed" not in names:
            yield pytest.param(fields, numbers, id=names.strip())


@pytest.mark.parametrize(("fields", "numbers"), list(rows()))
def test_a_default_in_the_table_is_the_one_in_force(fields, numbers):
    config = TrainConfig((), "")
    assert [float(getattr(getattr(config, part), name)) for part, name in fields] == numbers


def test_the_table_is_read():
    assert len(list(rows())) >= 18
