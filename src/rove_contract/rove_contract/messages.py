# SPDX-License-Identifier: Apache-2.0
"""Conversion between ROS messages and arrays, by joint name. Duck-typed: the same code reads rclpy's messages and a
bag's.

No rclpy here. Message classes are passed in or come from the interface packages; decoding needs attributes only.
"""

from __future__ import annotations

import array
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rove_contract.modes import WIRE_IDS_FROM, Mode, mode_from_wire
from rove_description.joints import JointTable


class JointMessageError(ValueError):
    """A joint message cannot be read; the message says what was expected and what came."""


def stamp_ns(stamp: Any) -> int:
    """builtin_interfaces/Time -> ns since the epoch."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def set_stamp(stamp: Any, ns: int) -> None:
    """Write ns since the epoch into a builtin_interfaces/Time."""
    stamp.sec, stamp.nanosec = divmod(int(ns), 1_000_000_000)


class JointReader:
    """Reads joint arrays in contract order, whatever the sender's order; keeps the permutation of the last name list.

    table: the contract's joints.
    """

    def __init__(self, table: JointTable):
        self.table = table
        self._names: tuple[str, ...] | None = None
        self._source = np.empty(0, dtype=np.intp)
        self._target = np.empty(0, dtype=np.intp)

    def _match(self, names: Any) -> None:
        key = tuple(names)
        if key == self._names:
            return
        if len(set(key)) != len(key):
            twice = sorted({name for name in key if key.count(name) > 1})
            raise JointMessageError(f"joint names stand twice in the message: {', '.join(twice)}")
        pairs = [(i, self.table.index[name]) for i, name in enumerate(key) if name in self.table.index]
        if not pairs:
            raise JointMessageError(
                f"none of the {len(key)} joint names is known; first: {key[:3]}, expected e.g. {self.table.names[0]!r}"
            )
        self._source = np.array([i for i, _ in pairs], dtype=np.intp)
        self._target = np.array([j for _, j in pairs], dtype=np.intp)
        self._names = key

    def read(self, names: Any, values: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """values (n,) by `names` (n,) -> (J,) float64 in contract order; joints that are not in the message are NaN.

        Unknown joints are ignored. Raises JointMessageError for repeated names, no known name, or lengths that differ.
        """
        self._match(names)
        assert self._names is not None  # _match has set them
        values = np.asarray(values, dtype=np.float64)
        if values.shape != (len(self._names),):
            raise JointMessageError(f"{len(self._names)} joint names, but {values.size} values")
        out = np.empty(len(self.table)) if out is None else out
        out.fill(np.nan)
        out[self._target] = values[self._source]
        return out

    def position(self, msg: Any, out: np.ndarray | None = None) -> np.ndarray:
        """sensor_msgs/JointState -> positions (J,) rad; NaN where the message has no such joint."""
        return self.read(msg.name, msg.position, out)

    def velocity(self, msg: Any, out: np.ndarray | None = None) -> np.ndarray:
        """sensor_msgs/JointState -> velocities (J,) rad/s; NaN where the message has none."""
        if len(msg.velocity) == 0:
            out = np.empty(len(self.table)) if out is None else out
            out.fill(np.nan)
            return out
        return self.read(msg.name, msg.velocity, out)

    def chunk(self, msg: Any) -> tuple[np.ndarray, np.ndarray]:
        """trajectory_msgs/JointTrajectory -> (positions (H, J) rad, time_from_start (H,) s); missing joints are NaN."""
        if not msg.points:
            raise JointMessageError("the action chunk has no points")
        positions = np.stack([self.read(msg.joint_names, point.positions) for point in msg.points])
        times = np.array([stamp_ns(point.time_from_start) * 1e-9 for point in msg.points])
        return positions, times


@dataclass(frozen=True)
class Plan:
    """From which situation an action chunk was planned; travels in the chunk's header.frame_id.

    mode_ns: stamp of the mode's transition (ns since the epoch), which is another one after every change of mode.
    session: id of the policy's process. episode: id.
    """

    mode_ns: int
    session: str
    episode: str = ""

    def to_text(self) -> str:
        return f"{self.mode_ns} {self.session} {self.episode}"

    @classmethod
    def from_text(cls, text: str) -> Plan | None:
        """None for a chunk whose sender says nothing; raises JointMessageError for what cannot be read."""
        if not text:
            return None
        number, _, rest = text.partition(" ")
        session, _, episode = rest.partition(" ")
        if not number.isdecimal() or len(number) > 20:
            raise JointMessageError(f"the action chunk's frame_id must begin with the mode's stamp, got {text[:40]!r}")
        return cls(int(number), session, episode)


def fill_joint_state(
    msg: Any,
    table: JointTable,
    stamp: int,
    position: np.ndarray,
    velocity: np.ndarray | None = None,
    session: str = "",
) -> Any:
    """Write q (J,) rad and optionally dq (J,) rad/s into a sensor_msgs/JointState; `stamp` in ns. Returns `msg`.

    session: id of the sending process, kept in header.frame_id.
    """
    set_stamp(msg.header.stamp, stamp)
    msg.header.frame_id = session
    if len(msg.name) != len(table):
        msg.name = list(table.names)
    msg.position = array.array("d", np.ascontiguousarray(position, dtype=np.float64).tobytes())
    if velocity is not None:
        msg.velocity = array.array("d", np.ascontiguousarray(velocity, dtype=np.float64).tobytes())
    return msg


def fill_chunk(
    msg: Any,
    point_class: Any,
    table: JointTable,
    stamp: int,
    chunk: np.ndarray,
    period_s: float,
    plan: Plan | None = None,
) -> Any:
    """Write an action chunk (H, J) rad, one step every `period_s`, into a trajectory_msgs/JointTrajectory.

    plan: from which mode and episode it was planned; without it the filter judges by the stamp alone.
    point_class: trajectory_msgs.msg.JointTrajectoryPoint. Step i is due at time_from_start = (i + 1) * period_s after
    `stamp` (ns): the first step answers the observation at `stamp`, as the first action of a dataset's frame does.
    """
    set_stamp(msg.header.stamp, stamp)
    msg.header.frame_id = "" if plan is None else plan.to_text()
    msg.joint_names = list(table.names)
    points = []
    for i, row in enumerate(np.ascontiguousarray(chunk, dtype=np.float64)):
        point = point_class()
        point.positions = array.array("d", row.tobytes())
        set_stamp(point.time_from_start, round((i + 1) * period_s * 1e9))
        points.append(point)
    msg.points = points
    return msg


def recorded_mode(event: Any) -> Mode:
    """Mode in a TransitionEvent of a bag. Bags of version 0.1 have ids from 0 on. Raises ValueError for others."""
    mode_id = event.goal_state.id
    return mode_from_wire(mode_id) if mode_id >= WIRE_IDS_FROM else Mode(mode_id)


def fill_camera_info(msg: Any, frame: str, width: int, height: int, fovy_deg: float | None) -> Any:
    """Write a pinhole camera without distortion into a sensor_msgs/CameraInfo. Returns `msg`.

    frame: the camera's optical frame. width, height: px. fovy_deg: vertical field of view, None where unknown: then K
    is zero, which says "not calibrated". Pixels are square, and the axis meets the picture's middle; the centre of the
    first pixel is (0, 0), as in OpenCV.
    """
    msg.header.frame_id, msg.width, msg.height = frame, width, height
    msg.distortion_model, msg.d = "plumb_bob", [0.0] * 5
    msg.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    if fovy_deg is not None:
        focal = 0.5 * height / math.tan(math.radians(0.5 * fovy_deg))
        x, y = 0.5 * (width - 1), 0.5 * (height - 1)
        msg.k = [focal, 0.0, x, 0.0, focal, y, 0.0, 0.0, 1.0]
        msg.p = [focal, 0.0, x, 0.0, 0.0, focal, y, 0.0, 0.0, 0.0, 1.0, 0.0]
    return msg


def diagnostic_values(status: Any) -> dict[str, str]:
    """diagnostic_msgs/DiagnosticStatus -> its key/value pairs."""
    return {pair.key: pair.value for pair in status.values}
