# SPDX-License-Identifier: Apache-2.0
"""Arrays travel unchanged in openpi's layout, and nothing else than data comes in."""

import contextlib

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rove_policy.remote import wire

KINDS = st.sampled_from([np.uint8, np.int64, np.float32, np.float64, np.bool_])


@given(arrays.arrays(KINDS, arrays.array_shapes(min_dims=0, max_dims=3, max_side=4)))
def test_an_array_comes_back_as_it_was(array):
    back = wire.unpack(wire.pack({"a": {"b": array}, "text": "x", "none": None}))
    assert back["text"] == "x" and back["none"] is None
    assert (back["a"]["b"].dtype, back["a"]["b"].shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back["a"]["b"], array)


def test_the_layout_is_openpis():
    data = msgpack.unpackb(wire.pack({"x": np.arange(3, dtype="<f4"), "n": np.int64(7)}), raw=True)
    assert data[b"x"] == {
        b"__ndarray__": True,
        b"data": np.arange(3, dtype="<f4").tobytes(),
        b"dtype": b"<f4",
        b"shape": [3],
    }
    assert data[b"n"] == {b"__npgeneric__": True, b"data": 7, b"dtype": b"<i8"}


@pytest.mark.parametrize(
    "message",
    [
        b"\xc1",
        msgpack.packb([1]),
        msgpack.packb({"a": {b"__ndarray__": True, b"data": b"12", b"dtype": "<f4", b"shape": [9]}}),
        msgpack.packb({"a": {b"__ndarray__": True, b"data": b"", b"dtype": "O", b"shape": [0]}}),
        msgpack.packb({"a": {b"__ndarray__": True, b"data": b"12345678", b"dtype": "<f8", b"shape": [-1, -1]}}),
        msgpack.packb({"a": {b"__ndarray__": True, b"dtype": "nonsense", b"shape": [1]}}),
    ],
)
def test_what_is_no_message_is_refused_in_a_sentence(message):
    with pytest.raises(wire.WireError):
        wire.unpack(message)


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_message_or_a_refusal(data):
    with contextlib.suppress(wire.WireError):
        assert isinstance(wire.unpack(data), dict)
