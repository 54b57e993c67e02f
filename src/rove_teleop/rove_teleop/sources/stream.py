# SPDX-License-Identifier: Apache-2.0
"""What every network input needs: which frames are new, and how old they are although the sender's clock is not
ours.
"""

from __future__ import annotations

from collections import Counter

from rove_contract.operator_frame import OperatorFrame

WINDOW_S = 10.0  # clocks drift by at most 0.5 ms in 10 s (50 ppm)
STEP_BAND_S = (
    0.05  # delays within this band for STEP_SETTLED_S are a stepped clock (or a new route), not a draining queue
)
STEP_SETTLED_S = 0.3
SILENT_S = 0.5  # after so long without a frame another sender, or a sender that started again, may take over
STEADY_FRAMES = 3  # that it must send in order, at its own clock's pace, before it is believed
PACE_ERROR_S = 0.25  # how far its clock's pace may be off ours between two frames


class ClockOffset:
    """Offset and delay of a stream from its timestamps alone: the fastest frame of the last window defines zero delay.

    A constant transport delay cannot be told from an offset one way; what trips stale-source stops is delay that grows.
    """

    def __init__(self):
        self._buckets: list[
            tuple[float, float]
        ] = []  # (start, smallest difference) of the previous and the current half window
        self._settling: tuple[float, float] | None = None  # (since, difference)
        self.steps = 0

    @property
    def offset_s(self) -> float | None:
        """Smallest (received - sent) of the window, s; receiver's monotonic clock minus sender's clock. None before the
        first frame.
        """
        return min(b[1] for b in self._buckets) if self._buckets else None

    def update(self, sent_s: float, received_s: float) -> float:
        """A frame's two times -> its delay beyond the fastest, s."""
        difference = received_s - sent_s
        if not self._buckets or received_s - self._buckets[-1][0] > WINDOW_S / 2:
            self._buckets = self._buckets[-1:] + [(received_s, difference)]
        elif difference < self._buckets[-1][1]:
            self._buckets[-1] = (self._buckets[-1][0], difference)
        delay = difference - self.offset_s
        if delay < STEP_BAND_S:
            self._settling = None
        elif self._settling is None or abs(difference - self._settling[1]) > STEP_BAND_S:
            self._settling = (received_s, difference)
        elif received_s - self._settling[0] > STEP_SETTLED_S:
            self.steps += 1
            self._buckets = [(received_s, difference)]
            self._settling = None
            return 0.0
        return delay


class StreamGuard:
    """Accepts frames of one sender in order; counts what it refuses.

    Reasons: "replayed" (sequence number seen last), "out_of_order", "other_source" (a second sender while the first is
    alive), "late" (delayed by more than max_delay_s).
    """

    def __init__(self, max_delay_s: float):
        self.max_delay_s = max_delay_s
        self.counts: Counter[str] = Counter()
        self.clock = ClockOffset()
        self._last: OperatorFrame | None = None
        self._last_s = 0.0
        self._candidate: tuple[OperatorFrame, float, int] | None = None

    @property
    def source(self) -> str:
        """Name of the sender that is followed; empty before the first frame."""
        return self._last.source if self._last is not None else ""

    def accept(self, frame: OperatorFrame, received_s: float) -> float | None:
        """Delay of the frame in s if it is to be used, else None (counted)."""
        last = self._last
        if last is not None:
            if frame.source != last.source or frame.seq <= last.seq:
                if not self._may_restart(frame, received_s):
                    return None
                self.counts["restarts"] += 1
                self.clock = ClockOffset()
            else:
                self.counts["lost"] += frame.seq - last.seq - 1 if frame.seq - last.seq < 1000 else 0
        self._candidate = None
        self._last, self._last_s = frame, received_s
        delay = self.clock.update(frame.t, received_s)
        if delay > self.max_delay_s:
            self.counts["late"] += 1
            return None
        self.counts["accepted"] += 1
        return delay

    def _may_restart(self, frame: OperatorFrame, received_s: float) -> bool:
        last = self._last
        if received_s - self._last_s < SILENT_S:
            reason = (
                "other_source"
                if frame.source != last.source
                else "replayed"
                if frame.seq == last.seq
                else "out_of_order"
            )
            self.counts[reason] += 1
            self._candidate = None
            return False
        before, self._candidate = self._candidate, (frame, received_s, 1)
        if before is not None and before[0].source == frame.source and frame.seq > before[0].seq:
            pace = (frame.t - before[0].t) - (received_s - before[1])
            if frame.t > before[0].t and abs(pace) < PACE_ERROR_S:
                self._candidate = (frame, received_s, before[2] + 1)
        if self._candidate[2] >= STEADY_FRAMES:
            return True
        self.counts["out_of_order"] += 1
        return False
