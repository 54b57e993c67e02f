# SPDX-License-Identifier: Apache-2.0
"""Messages of the panel's page."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rove_contract.web.framing import Malformed
from rove_supervisor.panel.protocol import Alive, Do, read


def test_good_messages():
    assert read({"do": "pause", "id": 3}) == Do("pause", 3)
    assert read({"alive": True}) == Alive()
    assert read({"do": "start_stage", "stage": "grasped", "id": 1}) == Do("start_stage", 1, "grasped")


BAD = [{}, {"do": 3}, {"do": ""}, {"do": "pause", "id": "x"}, {"do": "pause", "id": True}, {"do": "pause", "on": 1}]
BAD += [{"do": "\ud800"}, {"do": "pause\nestop"}, {"do": "x" * 99}]  # what a log cannot take or should not


@pytest.mark.parametrize("message", BAD)
def test_malformed_messages_are_named(message):
    with pytest.raises(Malformed):
        read(message)


LEAF = st.none() | st.booleans() | st.floats() | st.integers() | st.text()
KEYS = st.sampled_from(["do", "id", "stage", "on", "alive"])
VALUE = st.recursive(LEAF, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=6)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # a busy machine is no fault
@given(st.dictionaries(KEYS, VALUE))
def test_no_message_breaks_the_reader(message):
    try:
        assert isinstance(read(message), (Alive, Do))
    except Malformed as error:
        assert str(error)
