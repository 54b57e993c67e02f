# SPDX-License-Identifier: Apache-2.0
"""Operator inputs. Each is an `OperatorInput`: something that yields the newest believable operator frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from rove_contract.operator_frame import PARTS, OperatorFrame
from rove_contract.thresholds import TAKEOVER_RAD


@dataclass(frozen=True)
class ReceivedFrame:
    """A frame as it arrived.

    received_s: time.monotonic() of the arrival. delay_s: how much later it came than the fastest frames of the last
    seconds.
    """

    frame: OperatorFrame
    received_s: float
    delay_s: float

    @property
    def taken_s(self) -> float:
        """time.monotonic() at which the operator was in this pose, up to the constant part of the transport's delay."""
        return self.received_s - self.delay_s


@dataclass(frozen=True)
class RobotView:
    """What a display may show its operator of the robot.

    measured: (J,) rad, None while unknown. mode: the supervisor's. level, text: of /teleop/alignment. errors_rad: side
    -> worst |target - measured| of its arm and hand. warn_rad: from which on that is misaligned. held: parts that hold.
    """

    measured: np.ndarray | None
    mode: str = ""
    level: int = 0
    text: str = ""
    errors_rad: dict[str, float] = field(default_factory=dict)
    warn_rad: float = TAKEOVER_RAD
    held: tuple[str, ...] = ()


class OperatorInput(ABC):
    """One operator input; polled from a single thread, shown the robot from another.

    parts: the body parts that this kind of device can track at all. shows_robot: it has a display, so call `show_robot`
    and `show_camera`. endpoint: where it listens. invitation: a sentence on what the operator has to do.
    """

    parts: frozenset[str] = frozenset(PARTS)
    shows_robot = False
    endpoint: str
    invitation = ""

    @abstractmethod
    def poll(self, timeout_s: float) -> ReceivedFrame | None:
        """The newest acceptable frame, waiting at most `timeout_s`; older ones that queued up are counted and skipped.

        None: nothing acceptable came. Bad input is counted and never raises.
        """

    @abstractmethod
    def statistics(self) -> dict[str, int | float | str]:
        """Counts since the start, for /diagnostics."""

    @abstractmethod
    def close(self) -> None:
        """Release the socket; idempotent."""

    def show_robot(self, view: RobotView) -> None:  # noqa: B027 - most devices have no display
        """Newest state of the robot, for the display."""

    def show_camera(self, jpeg: bytes, stamp_s: float) -> None:  # noqa: B027
        """Newest picture of the robot's camera (JPEG) and when it was taken (unix s), for the display."""
