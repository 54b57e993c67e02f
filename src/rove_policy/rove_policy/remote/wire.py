# SPDX-License-Identifier: Apache-2.0
"""Messages with numpy arrays as msgpack, in the layout of openpi's policy server, so that either side may be openpi's.

An array is {b"__ndarray__": True, b"data": bytes, b"dtype": "<f4", b"shape": [..]}, a numpy scalar {b"__npgeneric__":
True, b"data": number, b"dtype": ..}; see openpi_client/msgpack_numpy.py in
https://github.com/Physical-Intelligence/openpi.
"""

from __future__ import annotations

import math
from typing import Any

import msgpack
import numpy as np

LARGEST = 64 * 2**20  # bytes of a message: eight raw pictures of 1920 x 1080 and some
KINDS = "biuf"  # of arrays that travel: truth values and numbers, never objects


class WireError(ValueError):
    """A message cannot be read; the text says what was expected."""


def pack(message: dict) -> bytes:
    """A message with numpy arrays in it."""
    return msgpack.packb(message, default=_encode)


def unpack(data: bytes) -> dict:
    """Inverse of `pack`; anybody may have written the data. Raises WireError."""
    if len(data) > LARGEST:
        raise WireError(f"a message has {len(data)} bytes, at most {LARGEST} are read")
    try:
        message = msgpack.unpackb(data, object_hook=_decode, strict_map_key=False)
    except WireError:
        raise
    except Exception as error:  # msgpack raises ValueErrors, and what the hook meets
        raise WireError(f"a message is no msgpack: {error}"[:200]) from error
    if not isinstance(message, dict):
        raise WireError(f"a message is a {type(message).__name__}, expected a mapping")
    return message


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in KINDS:
            raise WireError(f"an array of {value.dtype} cannot be sent")
        data = {b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
        return {b"__ndarray__": True, **data}
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _decode(value: dict) -> Any:
    keys = {key.decode("ascii", "replace") if isinstance(key, bytes) else key for key in value}
    if not keys & {"__ndarray__", "__npgeneric__"}:
        return value
    parts = {key.decode("ascii", "replace") if isinstance(key, bytes) else key: item for key, item in value.items()}
    name = parts.get("dtype")
    dtype = np.dtype(name.decode("ascii") if isinstance(name, bytes) else str(name))
    if dtype.kind not in KINDS:
        raise WireError(f"an array of {dtype} is not read")
    if "__npgeneric__" in parts:
        return dtype.type(parts["data"])
    shape, data = parts.get("shape"), parts.get("data")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape) or not isinstance(data, bytes):
        raise WireError("an array has no shape and data")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise WireError(f"an array of shape {shape} and type {dtype} has {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape)
