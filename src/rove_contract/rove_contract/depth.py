# SPDX-License-Identifier: Apache-2.0
"""Depth pictures and tactile arrays: from messages to what datasets hold. Duck-typed, as in messages.py; no rclpy.

A depth picture is (H, W) uint16, mm along the optical axis, 0 where nothing was measured (REP-118), and a PNG of one
16-bit channel on disks: that is what compressed_depth_image_transport sends, behind a header of 12 bytes.
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np

from rove_contract.images import LARGEST_PIXELS, PADDING, PNG_MAGIC, ImageError, declared_size

ENCODINGS = ("16UC1", "mono16")
TRANSPORT_HEADER = 12  # bytes before the PNG: format (int32) and two parameters (float32) that 16UC1 does not use


class TactileError(ValueError):
    """A tactile message cannot be read; the message says what was expected and what came."""


def png_of(msg: Any) -> bytes:
    """sensor_msgs/Image (16UC1, mono16), or CompressedImage of compressedDepth or PNG -> 16-bit PNG, lossless; of a
    compressed picture the very bytes that came. Raises ImageError.
    """
    if hasattr(msg, "encoding"):
        return encode(_array(msg))
    data = bytes(msg.data)
    at = TRANSPORT_HEADER if data[TRANSPORT_HEADER : TRANSPORT_HEADER + len(PNG_MAGIC)] == PNG_MAGIC else 0
    kind = str(msg.format)
    if "32FC1" in kind or data[at : at + len(PNG_MAGIC)] != PNG_MAGIC:
        raise ImageError(f"expected 16UC1 in a PNG (compressedDepth), got the format {kind[:60]!r}")
    check(data[at:])
    return data[at:]


def _array(msg: Any) -> np.ndarray:
    """(H, W) uint16 of a sensor_msgs/Image."""
    if msg.encoding not in ENCODINGS:
        raise ImageError(f"expected a depth picture of encoding {' or '.join(ENCODINGS)}, got {msg.encoding[:40]!r}")
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    data = np.frombuffer(msg.data, dtype=np.uint8)
    if not 0 < height * width <= LARGEST_PIXELS or step < 2 * width or len(data) < height * step:
        raise ImageError(
            f"the depth picture declares {height} x {width} px in rows of {step} bytes and has {len(data)} bytes"
        )
    rows = data[: height * step].reshape(height, step)[:, : 2 * width]
    return np.ascontiguousarray(rows).view(">u2" if msg.is_bigendian else "<u2").astype(np.uint16)


def check(png: bytes) -> tuple[int, int]:
    """(H, W) px of a PNG of one 16-bit channel; nothing is decoded. Raises ImageError for any other data."""
    height, width = declared_size(png)
    if png[: len(PNG_MAGIC)] != PNG_MAGIC or png[24:26] != b"\x10\x00":  # bits per sample, gray without alpha
        raise ImageError(f"expected a PNG of one 16-bit channel, got another picture of {height} x {width} px")
    if not 0 < height * width <= LARGEST_PIXELS:
        raise ImageError(f"the depth picture declares {height} x {width} px; at most {LARGEST_PIXELS} px are decoded")
    if b"IEND" not in png[-PADDING:]:
        raise ImageError(f"the depth picture of {height} x {width} px is cut off after {len(png)} bytes")
    return height, width


def decode(png: bytes) -> np.ndarray:
    """16-bit PNG -> (H, W) uint16, mm. Raises ImageError."""
    size = check(png)
    try:
        picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError(f"cannot decode the depth picture: {error.err}") from error
    if picture is None or picture.shape != size or picture.dtype != np.uint16:
        raise ImageError(f"cannot decode the depth picture of {size[0]} x {size[1]} px in {len(png)} bytes")
    return picture


def encode(depth: np.ndarray) -> bytes:
    """(H, W) uint16, mm -> 16-bit PNG, lossless. Raises ImageError."""
    if depth.ndim != 2 or depth.dtype != np.uint16 or not depth.size:
        raise ImageError(f"expected a depth picture (H, W) uint16, got {depth.shape} {depth.dtype}")
    return cv2.imencode(".png", depth)[1].tobytes()


def fill_compressed(msg: Any, png: bytes) -> Any:
    """Write a 16-bit PNG into a sensor_msgs/CompressedImage as compressed_depth_image_transport does. Returns it."""
    msg.format = "16UC1; compressedDepth png"
    msg.data = struct.pack("<iff", 0, 0.0, 0.0) + png
    return msg


def tactile(msg: Any, size: int) -> np.ndarray:
    """std_msgs/*MultiArray -> (size,) float32, in the message's order. Raises TactileError for another number of
    values, or one that is not finite.
    """
    values = np.asarray(msg.data)[int(msg.layout.data_offset) :].astype(np.float32)
    if values.shape != (size,):
        raise TactileError(f"expected {size} tactile values, got {values.size}")
    if not np.isfinite(values).all():
        raise TactileError(f"tactile value {int(np.flatnonzero(~np.isfinite(values))[0])} is not finite")
    return values
