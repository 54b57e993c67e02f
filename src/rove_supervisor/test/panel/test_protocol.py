# SPDX-License-Identifier: Apache-2.0
"""Messages of the page."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rove_supervisor.panel.protocol import Ack, Alive, Do, Malformed, parse


def test_good_messages():
    assert parse('{"do": "pause", "id": 3}') == Do("pause", 3)
    assert parse('{"ack": 17}') == Ack(17) and parse('{"seen": 18}') == Ack(18, picture=False)
    assert parse('{"do": "start_stage", "stage": "grasped", "id": 1}') == Do("start_stage", 1, "grasped")


BAD = [
    "",
    "pause",
    "[]",
    "null",
    "3",
    "{}",
    '{"do": 3}',
    '{"do": ""}',
    '{"ack": -1}',
    '{"ack": true}',
    '{"do": "pause", "id": "x"}',
]
BAD += ["[" * 2000, b'{"do": "pause"}']  # deeper than the parser goes; not text
BAD += [
    '{"do": "\\ud800"}',
    '{"do": "pause\\nestop"}',
    '{"do": "' + "x" * 99 + '"}',
]  # what a log cannot take or should not


@pytest.mark.parametrize("text", BAD)
def test_malformed_messages_are_named(text):
    with pytest.raises(Malformed):
        parse(text)


LEAF = st.none() | st.booleans() | st.floats() | st.integers() | st.text()
KEYS = st.sampled_from(["do", "ack", "seen", "id", "stage", "on", "alive"])
JSON = st.recursive(LEAF, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=6).map(json.dumps)


@given(st.text() | st.binary() | JSON)
def test_no_text_breaks_the_parser(text):
    try:
        assert isinstance(parse(text), (Ack, Alive, Do))
    except Malformed as error:
        assert str(error)
