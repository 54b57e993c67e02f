# SPDX-License-Identifier: Apache-2.0
"""Some damaged and hostile files of every format; bench/fuzz_files.py tries 20,000."""

import random

import pytest

from rove_learning.testing import fuzz_files
from rove_learning.testing.fuzz_files import TARGETS, FuzzFailure, damage_value, fuzz

INPUTS = {"bag": 6, "dataset": 8, "jpegs": 6, "journal": 20, "checkpoint": 25, "yaml": 40}


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_end_in_a_result_or_a_sentence(tmp_path, name):
    counts = fuzz(name, range(INPUTS[name]), tmp_path)
    assert sum(counts.values()) == INPUTS[name]
    assert len(counts) > 1  # some were refused, and not all


def write_outside(folder):
    (folder.parent / ".bashrc").write_text("theirs")


def divide(folder):
    return 1 / 0


@pytest.mark.parametrize("use, words", [(write_outside, "outside its folder"), (divide, "ZeroDivisionError")])
def test_the_fuzz_notices_what_it_is_made_to_notice(tmp_path, monkeypatch, use, words):
    uses = iter([lambda folder: None, use])  # the sound folder is right, the damaged one does what it must not
    yaml = fuzz_files._targets()["yaml"]
    target = fuzz_files.Target("yaml", yaml.make, lambda folder: next(uses)(folder), yaml.files, ())
    monkeypatch.setattr(fuzz_files, "_targets", lambda: {"yaml": target})
    with pytest.raises(FuzzFailure, match=words):
        fuzz("yaml", range(1), tmp_path)


def test_the_same_seed_is_the_same_damage():
    value = {"a": [1, {"b": 2}], "c": "x"}
    assert damage_value(value, random.Random(5)) == damage_value(value, random.Random(5))
