"""Operator inputs. Each is a `Source`: something that yields the newest believable operator frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from rove_teleop.frames import OperatorFrame


@dataclass(frozen=True)
class Sample:
    """A frame as it arrived.

    received_s: time.monotonic() of the arrival. delay_s: how much later it came than the fastest frames of the last seconds.
    """

    frame: OperatorFrame
    received_s: float
    delay_s: float

    @property
    def taken_s(self) -> float:
        """time.monotonic() at which the operator was in this pose, up to the constant part of the transport's delay."""
        return self.received_s - self.delay_s


class Source(ABC):
    """One operator input; used from a single thread."""

    @abstractmethod
    def poll(self, timeout_s: float) -> Sample | None:
        """The newest acceptable frame, waiting at most `timeout_s`; older ones that queued up are counted and skipped.

        None: nothing acceptable came. Bad input is counted and never raises.
        """

    @abstractmethod
    def statistics(self) -> dict[str, int | float | str]:
        """Counts since the start, for /diagnostics."""

    @abstractmethod
    def close(self) -> None:
        """Release the socket; idempotent."""
