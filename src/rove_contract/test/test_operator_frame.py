# SPDX-License-Identifier: Apache-2.0
"""Wire format, version 1: what goes out comes in, and whatever else comes in is a counted FrameError."""

import contextlib

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rove_contract.operator_frame import KEYPOINTS, PARTS, WEBXR_KEPT, FrameError, OperatorFrame, decode, encode


def full_frame(seq=7):
    rng = np.random.default_rng(seq)
    return OperatorFrame({name: rng.normal(size=shape) for name, shape in PARTS.items()}, seq, 1.7e9 + seq, "suit")


def test_a_frame_survives_the_wire():
    frame = full_frame()
    back = decode(encode(frame))
    assert (back.seq, back.t, back.source) == (7, frame.t, "suit")
    assert set(back.parts) == set(PARTS)
    for name in PARTS:
        np.testing.assert_array_equal(back.parts[name], frame.parts[name])


def test_a_missing_part_stays_missing():
    assert decode(encode(OperatorFrame({"head": np.zeros(7)}))).parts.keys() == {"head"}


def test_25_keypoints_become_21():
    points = np.arange(75.0).reshape(25, 3)
    message = {"v": 1, "seq": 0, "t": 0.0, "source": "headset", "parts": {"left_hand": points.tolist()}}
    hand = decode(msgpack.packb(message)).parts["left_hand"]
    assert hand.shape == KEYPOINTS
    np.testing.assert_array_equal(hand, points[WEBXR_KEPT])


def test_an_unknown_part_is_ignored_and_named():
    message = {"v": 1, "seq": 0, "t": 0.0, "source": "s", "parts": {"tail": [0, 0, 0], "head": [0, 0, 0, 1, 0, 0, 0]}}
    frame = decode(msgpack.packb(message))
    assert frame.unknown == ("tail",) and frame.parts.keys() == {"head"}


GOOD = {"v": 1, "seq": 1, "t": 2.0, "source": "s", "parts": {}}


@pytest.mark.parametrize(
    "reason, message",
    [
        ("version", GOOD | {"v": 2}),
        ("version", GOOD | {"v": True}),
        ("version", {}),
        ("seq", GOOD | {"seq": -1}),
        ("seq", GOOD | {"seq": 1.5}),
        ("time", GOOD | {"t": float("nan")}),
        ("time", GOOD | {"t": "now"}),
        ("source", GOOD | {"source": ""}),
        ("source", GOOD | {"source": "x" * 65}),
        ("part", GOOD | {"parts": []}),
        ("part", GOOD | {"parts": {"head": [1, 2, 3]}}),
        ("part", GOOD | {"parts": {"head": None}}),
        ("part", GOOD | {"parts": {"head": ["a"] * 7}}),
        ("part", GOOD | {"parts": {"left_hand": [[1, 2], [3]]}}),
        ("not_a_map", [1, 2]),
        ("not_a_map", 3),
    ],
)
def test_what_is_wrong_is_named(reason, message):
    with pytest.raises(FrameError) as error:
        decode(msgpack.packb(message))
    assert error.value.reason == reason


NO_MSGPACK = [
    b"",
    b"\xc1",
    b"\x81",
    b"\xc1" * 40,
    b"{}",
    b"\x91" * 3000,
    b"\xdd\xff\xff\xff\xff",
    b"\xd6\xff\0\0\0\0",
    b"\x81\x90\x01",
]


@pytest.mark.parametrize("data", NO_MSGPACK)
def test_bytes_that_are_no_msgpack_are_refused(data):
    with pytest.raises(FrameError):
        decode(data)


def test_a_huge_message_is_refused_before_it_is_parsed():
    with pytest.raises(FrameError) as error:
        decode(b"\x00" * 1_000_000)
    assert error.value.reason == "too_large"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_frame_or_a_frame_error(data):
    with contextlib.suppress(FrameError):
        decode(data)


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["v", "parts", *PARTS]), inner, max_size=5)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["seq", "t", "source", "parts"]), json_like))
def test_any_structure_gives_a_frame_or_a_frame_error(message):
    with contextlib.suppress(FrameError):
        decode(msgpack.packb({"v": 1} | message))
