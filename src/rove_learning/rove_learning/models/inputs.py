# SPDX-License-Identifier: Apache-2.0
"""Pictures and texts as model inputs; training cache and live inference go through the same functions."""

from __future__ import annotations

import numpy as np
from PIL import Image

RESAMPLE = {"box": Image.Resampling.BOX, "lanczos": Image.Resampling.LANCZOS}


def resize(image: np.ndarray, size: int, resample: str = "box") -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (size, size, 3) uint8; box: 192 -> 96 is the mean of 2 x 2 pixels. Raises ValueError
    otherwise.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"expected a picture (H, W, 3) uint8, got {image.shape} {image.dtype}")
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), RESAMPLE[resample]))


def encode_text(texts, length: int) -> np.ndarray:
    """B strings -> (B, L) int64: UTF-8 bytes + 1, 0 = padding; L = the longest text here. Raises ValueError above
    `length` bytes.
    """
    encoded = [text.encode("utf-8") for text in texts]
    for text, data in zip(texts, encoded):
        if not 0 < len(data) <= length:
            raise ValueError(
                f"the text {text[:80]!r} has {len(data)} bytes, expected 1 to {length} (BackboneConfig.text_bytes)"
            )
    longest = max(len(data) for data in encoded)
    tokens = np.zeros((len(encoded), longest), dtype=np.int64)
    for row, data in zip(tokens, encoded):
        row[: len(data)] = np.frombuffer(data, dtype=np.uint8).astype(np.int64) + 1
    return tokens
