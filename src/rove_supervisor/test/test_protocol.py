"""Messages of the page and who may send them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rove_supervisor.access import Access
from rove_supervisor.protocol import Ack, Bucket, Do, Malformed, parse


def test_good_messages():
    assert parse('{"do": "pause", "id": 3}') == Do("pause", 3)
    assert parse('{"ack": 17}') == Ack(17)
    assert parse('{"do": "start_stage", "stage": "grasped", "id": 1}') == Do("start_stage", 1, "grasped")


BAD = ["", "pause", "[]", "null", "3", "{}", '{"do": 3}', '{"do": ""}', '{"ack": -1}', '{"ack": true}', '{"do": "pause", "id": "x"}']
BAD.append("[" * 2000)  # deeper than the parser goes


@pytest.mark.parametrize("text", BAD)
def test_malformed_messages_are_named(text):
    with pytest.raises(Malformed):
        parse(text)


LEAF = st.none() | st.booleans() | st.floats() | st.integers() | st.text()
KEYS = st.sampled_from(["do", "ack", "id", "stage"])
JSON = st.recursive(LEAF, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=6).map(json.dumps)


@given(st.text() | JSON)
def test_no_text_breaks_the_parser(text):
    try:
        assert isinstance(parse(text), (Ack, Do))
    except Malformed as error:
        assert str(error)


def test_the_bucket_lets_a_burst_pass_and_then_the_rate():
    bucket = Bucket(rate=5.0, burst=10.0)
    assert sum(bucket.take(0.0) for _ in range(100)) == 10
    assert sum(bucket.take(1.0) for _ in range(100)) == 5
    assert sum(bucket.take(0.5) for _ in range(100)) == 0, "a clock that steps back grants nothing"


def test_only_this_machine_may_be_bound_without_token_and_tls():
    with pytest.raises(ValueError, match="needs panel_token and TLS"):
        Access("0.0.0.0")
    with pytest.raises(ValueError, match="needs panel_token and TLS"):
        Access("0.0.0.0", token="secret")
    Access("0.0.0.0", token="secret", cert="c.pem", key="k.pem")


@pytest.mark.parametrize("host, origin, ok", [
    ("127.0.0.1:8765", None, True), ("127.0.0.1:8765", "http://127.0.0.1:8765", True), ("localhost:8765", "http://localhost:8765", True),
    ("[::1]:8765", None, True), ("evil.example:8765", None, False), ("127.0.0.1:8765", "http://evil.example", False),
    ("127.0.0.1:8765", "http://127.0.0.1:9999", False), ("127.0.0.1:8765", "null", False), (None, None, False),
])
def test_foreign_hosts_and_origins_are_refused(host, origin, ok):
    assert (Access().refusal(host, origin) == "") is ok


def test_tokens():
    assert Access().knows(None)
    assert Access(token="s").knows("s") and not Access(token="s").knows("t") and not Access(token="s").knows(None)
