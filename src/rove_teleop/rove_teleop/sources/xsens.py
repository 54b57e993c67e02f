# SPDX-License-Identifier: Apache-2.0
"""Xsens MVN network streaming, message type 02 (absolute positions and quaternions): datagrams -> operator frames.

Layout after Xsens' "MVN real-time network streaming protocol specification" (MV0305P): 24-byte header, 32 bytes per
item, big endian; items in the order 23 body segments, props, 20 left and 20 right finger segments; positions in metres,
Z up (the document's sec. 2.5.6 says centimetres, MVN's manual metres for this message: both are recognised). MVN's
segment frames are all parallel to the world's (x forward, y left, z up) in the T-pose; a segment's origin is its
proximal joint.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from rove_contract.operator_frame import FrameError, OperatorFrame
from rove_teleop.retargeting import rotations as rot

PORT = 9763
MAGIC = b"MXTP02"
HEADER = struct.Struct(
    ">6sIBBIBBBBHH"
)  # id, sample, datagram, items, time code ms, character, body, props, fingers, reserved, payload
ITEM_BYTES = 32
ITEM = np.dtype([("id", ">i4"), ("pose", ">f4", (7,))])
BODY, FINGERS = 23, 40
LAST = 0x80
PELVIS, CHEST, HEAD = 0, 4, 6  # T8 carries the chest
FOREARM, HAND = {"right": 9, "left": 13}, {"right": 10, "left": 14}
HALF = 0.5**0.5
# In the T-pose the left hand points along +y, the robot's hand at zero along -z: a turn about x.
TO_ROBOT = {"left": rot.from_quaternion(HALF, HALF, 0.0, 0.0), "right": rot.from_quaternion(HALF, -HALF, 0.0, 0.0)}
# The stream ends with the last phalanx' origin; a fingertip is this much of the phalanx before further on.
TIP_RATIO = 0.9
CENTIMETRES_FROM = 10.0  # pelvis to head is 0.5 to 0.8 in metres, 50 to 80 in centimetres


@dataclass(frozen=True)
class Datagram:
    """One parsed datagram. items: (n, 7) float64 x, y, z, qw, qx, qy, qz."""

    sample: int
    index: int
    last: bool
    time_ms: int
    character: int
    body: int
    props: int
    fingers: int
    items: np.ndarray


def parse(data: bytes) -> Datagram:
    """Raises FrameError: "not_mvn", "type" (a pose message of another kind), "size"."""
    if len(data) < HEADER.size or data[:4] != MAGIC[:4]:
        raise FrameError("not_mvn", f"{len(data)} bytes that do not begin with an MXTP header")
    magic, sample, counter, count, time_ms, character, body, props, fingers, _, _ = HEADER.unpack_from(data)
    if magic != MAGIC:
        kind = magic[4:].decode("ascii", "replace")
        raise FrameError("type", f"message type {kind}; switch MVN to 'Position + Orientation (Quaternion)'")
    if len(data) != HEADER.size + count * ITEM_BYTES:
        raise FrameError("size", f"{len(data)} bytes for {count} items, expected {HEADER.size + count * ITEM_BYTES}")
    # Before MVN 2019 the three counts are zero and only bodies are streamed.
    body = body or min(count, BODY)
    items = np.frombuffer(data, ITEM, count, HEADER.size)["pose"].astype(np.float64)
    return Datagram(sample, counter & 0x7F, bool(counter & LAST), time_ms, character, body, props, fingers, items)


class Assembler:
    """Joins the datagrams of one sample (a body with fingers does not fit into one)."""

    def __init__(self):
        self._sample: int | None = None
        self._pieces: dict[int, Datagram] = {}

    def add(self, datagram: Datagram) -> np.ndarray | None:
        """Items (n, 7) of the sample once all its datagrams are here, else None. An unfinished older sample is
        dropped.
        """
        if datagram.sample != self._sample:
            self._sample, self._pieces = datagram.sample, {}
        self._pieces[datagram.index] = datagram
        last = next((d.index for d in self._pieces.values() if d.last), None)
        if last is None or len(self._pieces) != last + 1 or max(self._pieces) != last:
            return None
        items = np.concatenate([self._pieces[i].items for i in range(last + 1)])
        self._sample, self._pieces = None, {}
        return items


def _keypoints(fingers: np.ndarray) -> np.ndarray:
    """(20, 7) finger segments of one hand -> (21, 3) keypoints.

    Segments: carpus; thumb metacarpal, proximal, distal; per finger metacarpal, proximal, middle, distal phalanx.
    """
    points = np.empty((21, 3))
    points[0] = fingers[0, :3]
    points[1:4] = fingers[1:4, :3]
    points[4] = _tip(fingers[2], fingers[3])
    for finger in range(4):
        a, b = 4 + 4 * finger, 5 + 4 * finger
        points[b : b + 3] = fingers[a + 1 : a + 4, :3]
        points[b + 3] = _tip(fingers[a + 2], fingers[a + 3])
    return points


def _tip(before: np.ndarray, last: np.ndarray) -> tuple[float, float, float]:
    """Fingertip: the phalanx before, turned by the last joint (the two are in line where their frames are parallel)."""
    turn = rot.mul(rot.from_quaternion(*last[3:].tolist()), rot.transpose(rot.from_quaternion(*before[3:].tolist())))
    step = rot.apply(turn, (last[:3] - before[:3]).tolist())
    return tuple(p + TIP_RATIO * s for p, s in zip(last[:3].tolist(), step))


def to_frame(datagram: Datagram, items: np.ndarray, t: float) -> OperatorFrame:
    """A whole sample -> OperatorFrame in the pelvis frame (its heading only: the robot's pelvis stays upright).

    items: (23 + props [+ 40], 7). t: s. Segments that are not finite leave out their parts.
    Raises FrameError("segments") for another number of items.
    """
    expected = datagram.body + datagram.props + datagram.fingers
    if datagram.body != BODY or datagram.fingers not in (0, FINGERS) or len(items) not in (expected, BODY):
        raise FrameError(
            "segments",
            f"{len(items)} segments, expected {BODY} of the body, then props, then 0 or {FINGERS} of the fingers",
        )
    norms = np.linalg.norm(items[:, 3:], axis=1)
    good = np.isfinite(items).all(axis=1) & (np.abs(norms - 1.0) < 0.1) & (np.abs(items[:, :3]) < 1e5).all(axis=1)
    if not (good[PELVIS] and good[HEAD]):
        return OperatorFrame({}, datagram.sample, t, f"xsens {datagram.character}")
    unit = 0.01 if np.linalg.norm(items[HEAD, :3] - items[PELVIS, :3]) > CENTIMETRES_FROM else 1.0
    pelvis = rot.from_quaternion(*items[PELVIS, 3:].tolist())
    heading = np.arctan2(pelvis[3], pelvis[0])
    c, s = np.cos(heading), np.sin(heading)
    level = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    to_pelvis = tuple(level.ravel().tolist())
    items = np.where(good[:, None], items, 0.0)  # not used below, but kept out of the arithmetic
    points = (unit * (items[:, :3] - items[PELVIS, :3])) @ level.T

    def pose(i, turn=rot.IDENTITY):
        matrix = rot.mul(rot.mul(to_pelvis, rot.from_quaternion(*items[i, 3:].tolist())), turn)
        return np.concatenate([points[i], rot.to_quaternion(matrix)])

    parts = {name: pose(i) for name, i in (("head", HEAD), ("chest", CHEST)) if good[i]}
    for side in ("left", "right"):
        if good[FOREARM[side]]:
            parts[f"{side}_elbow"] = points[FOREARM[side]]
        if good[HAND[side]]:
            parts[f"{side}_wrist"] = pose(HAND[side], TO_ROBOT[side])
    if datagram.fingers and len(items) == expected:
        for k, side in enumerate(("left", "right")):
            at = slice(BODY + datagram.props + 20 * k, BODY + datagram.props + 20 * (k + 1))
            if good[at].all():
                segments = items[at].copy()
                segments[:, :3] *= unit
                parts[f"{side}_hand"] = (_keypoints(segments) - unit * items[PELVIS, :3]) @ level.T
    return OperatorFrame(parts, datagram.sample, t, f"xsens {datagram.character}")
