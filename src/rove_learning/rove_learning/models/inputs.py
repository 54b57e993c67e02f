# SPDX-License-Identifier: Apache-2.0
"""Texts as inputs of the compact model; training and live inference go through the same function."""

from __future__ import annotations

import numpy as np


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
