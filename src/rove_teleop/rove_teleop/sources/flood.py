# SPDX-License-Identifier: Apache-2.0
"""Hostile operator messages for tests and the benchmark: random bytes, mutilated frames, wrong structures, replays."""

from __future__ import annotations

import msgpack
import numpy as np

from rove_contract.operator_frame import OperatorFrame, encode


def message(rng: np.random.Generator, number: int, source: str) -> bytes:
    """One message that no receiver should follow, of five kinds in turn; replays repeat 50 frames of the sender
    `source`.
    """
    parts = {"head": np.array([0, 0, 0.6, 1, 0, 0, 0.0]), "left_hand": np.zeros((21, 3))}
    good = encode(OperatorFrame(parts, number % 50, 1e9, source))
    kind = number % 5
    if kind == 0:
        return rng.integers(0, 256, size=int(rng.integers(0, 80)), dtype=np.uint8).tobytes()
    if kind == 1:
        data = bytearray(good)
        for at in rng.integers(0, len(data), size=4):
            data[at] = int(rng.integers(0, 256))
        return bytes(data)
    if kind == 2:
        return good[: int(rng.integers(0, len(good)))]
    if kind == 3:
        wrong = {"v": 2, "seq": -1, "t": float("nan"), "source": "", "parts": []}
        key = list(wrong)[int(rng.integers(len(wrong)))]
        return msgpack.packb(msgpack.unpackb(good) | {key: wrong[key]})
    return good


def messages(n: int, source: str = "replay", seed: int = 0) -> list[bytes]:
    """n of them."""
    rng = np.random.default_rng(seed)
    return [message(rng, number, source) for number in range(n)]
