# SPDX-License-Identifier: Apache-2.0
"""The operator frame: what a suit or headset says about one instant, and its wire format, version 1
(docs/reference/operator-inputs.md).

Frame: the robot's pelvis, x forward, y left, z up, metres; head, chest and wrist orientations are those of the robot
model's sites (upright and hanging arms: identity). A part that is missing is a part whose tracking is lost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np

VERSION = 1
POSE, POINT, KEYPOINTS = (7,), (3,), (21, 3)
# The 21 keypoints of a hand; `{side}_{name}` are the robot model's sites.
KEYPOINT_NAMES = (
    "wrist",
    *(f"thumb_{joint}" for joint in ("cmc", "mcp", "ip", "tip")),
    *(f"{f}_{joint}" for f in ("index", "middle", "ring", "little") for joint in ("mcp", "pip", "dip", "tip")),
)
# Part -> shape. Pose: x, y, z, qw, qx, qy, qz. Keypoints: in the order of KEYPOINT_NAMES.
PARTS: dict[str, tuple[int, ...]] = {
    "head": POSE,
    "chest": POSE,
    "left_elbow": POINT,
    "right_elbow": POINT,
    "left_wrist": POSE,
    "right_wrist": POSE,
    "left_hand": KEYPOINTS,
    "right_hand": KEYPOINTS,
}
WEBXR_KEPT = [
    i for i in range(25) if i not in (5, 10, 15, 20)
]  # the 25-joint convention has four finger metacarpals more
MAX_BYTES = 16384  # a full frame has about 1.5 kB
MAX_TIME_S = 1e11  # year 5138; beyond it a time is not a unix time in seconds


class FrameError(ValueError):
    """A message is not an operator frame. `reason` is one word for counting; the text says what was expected and what
    came.
    """

    def __init__(self, reason: str, text: str):
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class OperatorFrame:
    """One instant of the operator.

    parts: part name -> float64 array of the shape in `PARTS`, pelvis frame, m; may be non-finite (the retargeter takes
    it as lost). seq: sender's counter. t: sender's clock, s since the epoch. source: the sender's name.
    """

    parts: dict[str, np.ndarray]
    seq: int = 0
    t: float = 0.0
    source: str = "operator"
    unknown: tuple[str, ...] = field(default=(), compare=False)  # part names that this version does not know


def shaped(name: str, value: Any) -> np.ndarray:
    """A part's value as a float64 array of its shape; 25 keypoints become 21. Raises FrameError("part")."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        raise FrameError("part", f"part {name!r} is not an array of numbers of shape {PARTS[name]}") from None
    if PARTS[name] == KEYPOINTS and array.shape == (25, 3):
        array = array[WEBXR_KEPT]
    if array.shape != PARTS[name]:
        raise FrameError("part", f"part {name!r} has shape {array.shape}, expected {PARTS[name]}")
    return array


def encode(frame: OperatorFrame) -> bytes:
    """OperatorFrame -> one wire message (msgpack map, version 1). Raises FrameError for an unknown part or a wrong
    shape.
    """
    parts = {}
    for name, value in frame.parts.items():
        if name not in PARTS:
            raise FrameError("part", f"unknown part {name!r}; the parts are {', '.join(PARTS)}")
        parts[name] = shaped(name, value).tolist()
    return msgpack.packb(
        {"v": VERSION, "seq": int(frame.seq), "t": float(frame.t), "source": frame.source, "parts": parts}
    )


def _unpack(data: bytes) -> Any:
    if len(data) > MAX_BYTES:
        raise FrameError("too_large", f"{len(data)} bytes, expected at most {MAX_BYTES}")
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=True, max_ext_len=0)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise FrameError("not_msgpack", f"not a msgpack message: {error}") from None


def decode(data: bytes) -> OperatorFrame:
    """One wire message -> OperatorFrame. Raises FrameError, and nothing else, for any bytes."""
    message = _unpack(data)
    if not isinstance(message, dict):
        raise FrameError("not_a_map", f"expected a msgpack map, got {type(message).__name__}")
    version = message.get("v")
    if type(version) is not int or version != VERSION:
        raise FrameError("version", f"frame version {str(version)[:40]}, this receiver reads version {VERSION}")
    seq, t, source, parts = message.get("seq"), message.get("t"), message.get("source"), message.get("parts")
    if type(seq) is not int or not 0 <= seq < 2**63:
        raise FrameError("seq", f"seq is {str(seq)[:40]}, expected an integer from 0")
    if isinstance(t, bool) or not isinstance(t, (int, float)) or not math.isfinite(t) or not 0 <= t < MAX_TIME_S:
        raise FrameError("time", f"t is {str(t)[:40]}, expected the sender's unix time in seconds")
    if not isinstance(source, str) or not 0 < len(source) <= 64:
        raise FrameError("source", "source is not a name of 1 to 64 characters")
    if not isinstance(parts, dict):
        raise FrameError("part", f"parts is {type(parts).__name__}, expected a map of part names")
    known = {name: shaped(name, value) for name, value in parts.items() if name in PARTS}
    unknown = tuple(name for name in parts if name not in PARTS) if len(known) != len(parts) else ()
    return OperatorFrame(known, seq, float(t), source, unknown)
