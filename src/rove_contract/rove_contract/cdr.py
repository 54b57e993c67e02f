# SPDX-License-Identifier: Apache-2.0
"""The size of a ROS message in CDR, the encoding on the wire. Pure.

rclpy's serialize_message returns the middleware's estimate of the size, some bytes more than the message has. ROS does
not mind; readers of bags that check sizes do.
"""

from __future__ import annotations

from typing import Any

HEADER = 4  # bytes before the message: the encoding's id and options
_WIDTHS = {
    "boolean": 1,
    "octet": 1,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "int32": 4,
    "uint32": 4,
    "float": 4,
}
_WIDTHS |= {"int64": 8, "uint64": 8, "double": 8}


def serialized_size(message: Any) -> int:
    """Bytes of a rclpy message in CDR, header included. Its fields: numbers, strings, messages, sequences of them.

    Raises KeyError for another kind of field (fixed arrays, wide strings).
    """
    return HEADER + _end_of_message(message, 0)


def _aligned(at: int, width: int) -> int:
    return at + -at % width


def _end_of_message(message: Any, at: int) -> int:
    for name, kind in message.get_fields_and_field_types().items():
        at = _end(getattr(message, name), kind, at)
    return at


def _end_of_string(value: str, at: int) -> int:
    """Length (4 bytes, aligned), bytes, and a zero."""
    return (at + 3 & ~3) + 5 + (len(value) if value.isascii() else len(value.encode()))


def _end(value: Any, kind: str, at: int) -> int:
    """Where a value of this kind ends that begins at `at` or, aligned, behind it."""
    if kind.startswith("sequence<"):
        inner = kind[len("sequence<") : -1].partition(",")[0]
        at = _aligned(at, 4) + 4
        if not len(value):
            return at
        if width := _WIDTHS.get(inner):
            return _aligned(at, width) + width * len(value)
        if inner == "string":  # names of joints, at 100 Hz
            for item in value:
                at = _end_of_string(item, at)
            return at
        for item in value:
            at = _end(item, inner, at)
        return at
    if kind == "string":
        return _end_of_string(value, at)
    if "/" in kind:
        return _end_of_message(value, at)
    return _aligned(at, _WIDTHS[kind]) + _WIDTHS[kind]
