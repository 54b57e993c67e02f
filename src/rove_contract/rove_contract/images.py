# SPDX-License-Identifier: Apache-2.0
"""Pictures as arrays: decoding, encoding, resizing. The only module that knows OpenCV's channel order and filters.

Every array here is (H, W, 3) uint8 in RGB order. Live nodes, export, caches and training all resize with `resize`, so a
policy sees a camera picture exactly as its training did.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

# What is decoded at most: 3 bytes a pixel make 100 MB. A few bytes can declare a picture of gigabytes.
LARGEST_PIXELS = 2**25
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC, JPEG_END = b"\xff\xd8", b"\xff\xd9"
SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame; those three are tables and reserved
BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})  # without a length
RESIZING = "area-bicubic"  # names the filters of `resize`: part of the key of whatever is computed from its pictures
PADDING = 64  # bytes that a camera may leave after the end of a picture


class ImageError(ValueError):
    """A picture cannot be decoded or encoded; the message says what was expected and what came."""


def declared_size(data: Any) -> tuple[int, int]:
    """(H, W) px that a JPEG or PNG declares in its header; nothing is decoded. Raises ImageError for other data."""
    data = memoryview(data).cast("B")
    if bytes(data[:8]) == PNG_MAGIC and bytes(data[12:16]) == b"IHDR" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return height, width
    if bytes(data[:2]) == JPEG_MAGIC:
        at = 2
        while at + 9 <= len(data) and data[at] == 0xFF:
            marker = data[at + 1]
            if marker == 0xFF:  # fill byte
                at += 1
            elif marker in BARE_MARKERS:
                at += 2
            elif marker in SIZE_MARKERS:
                return struct.unpack(">HH", data[at + 5 : at + 9])
            else:
                at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise ImageError(f"expected a JPEG or PNG, got {len(data)} bytes that begin with {bytes(data[:8])!r}")


def decode(data: Any) -> np.ndarray:
    """JPEG or PNG (bytes or any buffer of them) -> (H, W, 3) uint8 RGB.

    Orientation marks are ignored: the picture has the size that its header declares. Raises ImageError for data that is
    no picture, is cut off, or declares more than LARGEST_PIXELS, before any of it is decoded.
    """
    data = np.frombuffer(data, dtype=np.uint8)
    height, width = declared_size(data)
    if not 0 < height * width <= LARGEST_PIXELS:
        raise ImageError(
            f"the picture declares {height} x {width} px in {len(data)} bytes; at most {LARGEST_PIXELS} px are decoded"
        )
    # OpenCV fills up what is missing with grey and says so on the terminal only.
    if (JPEG_END if data[0] == 0xFF else b"IEND") not in data[-PADDING:].tobytes():
        raise ImageError(f"the picture of {height} x {width} px is cut off after {len(data)} bytes")
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageError(f"cannot decode the picture of {len(data)} bytes: {error.err}") from error
    if bgr is None:
        raise ImageError(f"cannot decode the picture of {height} x {width} px in {len(data)} bytes")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def check(rgb: np.ndarray) -> None:
    """Raises ImageError unless `rgb` is (H, W, 3) uint8 with at least one pixel."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
        raise ImageError(f"expected a picture (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}")


def encode_jpeg(rgb: np.ndarray, quality: int = 90) -> bytes:
    """(H, W, 3) uint8 RGB -> JPEG. quality: 1 to 100. Raises ImageError."""
    return _encode(rgb, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])


def encode_png(rgb: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB -> PNG, lossless. Raises ImageError."""
    return _encode(rgb, ".png", [])


def encode_animation(pictures: Sequence[np.ndarray], frame_s: float, quality: int = 60) -> bytes:
    """(H, W, 3) uint8 RGB each -> an animated WebP that shows each for frame_s seconds, over and over. quality: 1 to
    100. Raises ImageError.
    """
    if not pictures:
        raise ImageError("an animation needs a picture")
    if not hasattr(cv2, "imencodeanimation"):
        raise ImageError(f"OpenCV {cv2.__version__} writes no animations; 4.11 and newer do")
    for rgb in pictures:
        check(rgb)
    animation = cv2.Animation()
    animation.frames = [cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR) for rgb in pictures]
    animation.durations = [round(1000 * frame_s)] * len(pictures)
    done, data = cv2.imencodeanimation(".webp", animation, [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not done:
        raise ImageError(f"cannot encode an animation of {len(pictures)} pictures")
    return data.tobytes()


def _encode(rgb: np.ndarray, suffix: str, options: list[int]) -> bytes:
    check(rgb)
    try:
        return cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)[1].tobytes()
    except cv2.error as error:
        raise ImageError(f"cannot encode a picture of {rgb.shape[0]} x {rgb.shape[1]} px: {error.err}") from error


def resize(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (*size, 3), size = (H, W) px; the same array when it has the size. Raises ImageError.

    Shrinking takes the mean of the pixels that fall on one (192 -> 96: of 2 x 2), which aliases least; enlarging is
    bicubic.
    """
    check(rgb)
    height, width = size
    if rgb.shape[:2] == (height, width):
        return rgb
    shrinks = height <= rgb.shape[0] and width <= rgb.shape[1]
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
