# SPDX-License-Identifier: Apache-2.0
"""The recorder's queue and writer thread: callers only enqueue, a thread writes the bag and closes its chunks in time;
another one brings them to the disk, so that a slow fsync delays no chunk.

What does not fit into the bounded queue is dropped and counted per topic; a write error ends the recording and is never
hidden.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from rove_recorder.bag.bag import BagInfo, BagTopic, BagWriter
from rove_recorder.bag.schema import OfferedQos

QUEUE_BYTES = 256 * 2**20  # minutes of a session's 2-3 MB/s while a disk stalls
CHECKPOINT_S = 0.5  # half of the second that may be lost: the other half is for a slow fsync
PER_MESSAGE_BYTES = 200  # of Python objects around the payload
UNDER_WAY_NS = 1_000_000_000  # no message is under way for longer

TOTALS = ("received", "written", "dropped", "missed")


class RawMessage(NamedTuple):
    """One message on its way into the bag. log_ns, publish_ns: ns since the epoch; sequence: the publisher's counter, 0
    = unknown.
    """

    topic: str
    log_ns: int
    publish_ns: int
    data: bytes
    sequence: int = 0


class Offers(NamedTuple):
    """What the publishers of a topic offer."""

    topic: str
    qos: tuple[OfferedQos, ...]


class ClockNote(NamedTuple):
    """The system clock (ns since the epoch) and the steady clock (ns) at one moment."""

    system_ns: int
    steady_ns: int


@dataclass
class Counts:
    """Of one topic in one bag. missed: published but never received, by the publisher's sequence numbers.
    longest_gap_s: between stamps.

    delay_s: least reception - publication, None before the first message. The clock of the publisher's computer is
    behind the recorder's by this much at most; where it is negative, ahead by this much at least.
    """

    received: int = 0
    written: int = 0
    dropped: int = 0
    missed: int = 0
    longest_gap_s: float = 0.0
    delay_s: float | None = None


class Recording:
    """One bag being written. open_bag: () -> BagWriter, called in the writer thread, so that no caller waits for the
    disk.

    on_done: called once in the writer thread with the Recording when the bag is closed or has failed.
    """

    def __init__(
        self,
        open_bag: Callable[[], BagWriter],
        *,
        queue_bytes: int = QUEUE_BYTES,
        checkpoint_s: float = CHECKPOINT_S,
        on_done: Callable[[Recording], None] | None = None,
    ):
        self.counts: dict[str, Counts] = {}
        self.error: str = ""
        self.info: BagInfo | None = None  # once closed without an error
        self.bytes_written = 0
        self._queue: deque[RawMessage | BagTopic | ClockNote | Offers] = deque()
        self._queued_bytes = 0
        self._limit = queue_bytes
        self._checkpoint_s = checkpoint_s
        self._last: dict[str, tuple[int, int]] = {}  # topic -> (publish_ns, sequence)
        self._set_ns = 0  # when the system clock was set last
        self.folder: Path | None = None  # set by who opened it
        self._closing: dict | None = None
        self._on_done = on_done
        self._wake = threading.Condition()
        self._safe = self._flushed = time.monotonic()  # what was put before this is on the disk, or with the kernel
        self._flush_done, self._written = threading.Event(), threading.Event()
        self._sync_error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(open_bag,), name="bag writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        return sum(count.dropped for count in self.counts.values())

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    @property
    def unsaved_s(self) -> float:
        """s: how much of the recording a power cut would take now; about CHECKPOINT_S at most while the disk keeps
        up.
        """
        return 0.0 if self.done else time.monotonic() - self._safe

    def put(self, samples: list[RawMessage]) -> None:
        """Enqueue messages; never waits. Messages beyond the queue's limit, or after an error, are dropped and
        counted.
        """
        with self._wake:
            for sample in samples:
                count = self.counts.get(sample.topic)
                if count is None:
                    count = self.counts[sample.topic] = Counts()
                count.received += 1
                size = len(sample.data) + PER_MESSAGE_BYTES
                if self.error or self._closing is not None or self._queued_bytes + size > self._limit:
                    count.dropped += 1
                    continue
                self._watch(sample, count)
                self._queue.append(sample)
                self._queued_bytes += size
            if self._queued_bytes > self._limit // 4:
                self._wake.notify()  # else the writer comes by itself every 50 ms: fewer, larger batches

    def _watch(self, sample: RawMessage, count: Counts) -> None:
        last_ns, last_sequence = self._last.get(sample.topic, (0, 0))
        if last_ns:
            count.longest_gap_s = max(count.longest_gap_s, (sample.publish_ns - last_ns) * 1e-9)
        if last_sequence and sample.sequence > last_sequence + 1:
            count.missed += sample.sequence - last_sequence - 1
        self._last[sample.topic] = (sample.publish_ns, sample.sequence)
        if sample.publish_ns > sample.log_ns and 0 <= sample.log_ns - self._set_ns < UNDER_WAY_NS:
            return  # sent before the clock was set back, received after it: its delay says nothing
        delay = (sample.log_ns - sample.publish_ns) * 1e-9
        count.delay_s = delay if count.delay_s is None else min(count.delay_s, delay)

    def add_topic(self, topic: BagTopic) -> None:
        """A topic that was discovered while recording."""
        with self._wake:
            self._queue.append(topic)

    def add_offered(self, offers: Offers) -> None:
        """Publishers that came, or were found, while recording."""
        with self._wake:
            self._queue.append(offers)

    def note_clock(self, note: ClockNote) -> None:
        """The bag says how the clocks compare: at its start, and when the system clock was set."""
        with self._wake:
            self._set_ns = note.system_ns
            self._queue.append(note)

    def close(self, custom: Mapping[str, object] = MappingProxyType({})) -> None:
        """Write what is queued and close the bag, in the writer thread; see `join` and on_done."""
        with self._wake:
            if self._closing is None:
                self._closing = dict(custom)
            self._wake.notify()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the writer thread; True when it has ended."""
        self._thread.join(timeout_s)
        return self.done

    def summary(self) -> dict[str, dict]:
        """Per-topic counts as plain data."""
        with self._wake:
            return {topic: rounded(count) for topic, count in self.counts.items()}

    def _run(self, open_bag: Callable[[], BagWriter]) -> None:
        bag: BagWriter | None = None
        try:
            bag = open_bag()
            syncing = threading.Thread(target=self._sync_until_closed, args=(bag,), name="bag sync", daemon=True)
            syncing.start()
            try:
                self._write_until_closed(bag)
            finally:
                self._written.set()
                self._flush_done.set()
                syncing.join()
            if self._sync_error is not None:
                raise self._sync_error
            totals = {name: sum(getattr(count, name) for count in self.counts.values()) for name in TOTALS}
            self.info = bag.close({**self._closing, **totals, "counts": self.summary()})
        except Exception as error:  # whatever it was, the recording has failed and must say so
            with self._wake:
                self.error = f"{type(error).__name__}: {error}"
                self._queue.clear()
                for count in self.counts.values():
                    count.dropped = count.received - count.written
            if bag is not None:
                bag.abandon()
        finally:
            if self._on_done is not None:
                self._on_done(self)

    def _sync_until_closed(self, bag: BagWriter) -> None:
        while not self._written.is_set():
            self._flush_done.wait()
            self._flush_done.clear()
            mark = self._flushed
            try:
                bag.sync()
            except Exception as error:  # the writer thread reports it
                self._sync_error = error
                return
            self._safe = mark

    def _flush(self, bag: BagWriter, mark: float) -> float:
        """mark: everything put before this is written (monotonic s). Returns when the next one is due."""
        if self._sync_error is not None:
            raise self._sync_error
        bag.flush()
        self._flushed = mark
        self._flush_done.set()
        return time.monotonic() + self._checkpoint_s

    def _write_until_closed(self, bag: BagWriter) -> None:
        due = 0.0  # the pre-roll and the latched state are safe at once
        complete = self._flushed  # what was put before this has been written: it was in a batch before the current one
        while True:
            with self._wake:
                if not self._queue and self._closing is None:
                    self._wake.wait(0.05)
                batch, self._queue = self._queue, deque()
                taken = time.monotonic()
                self._queued_bytes = 0
                closing = self._closing is not None
            for entry in batch:
                if isinstance(entry, BagTopic):
                    bag.add_topic(entry)
                    continue
                if isinstance(entry, ClockNote):
                    bag.note_clock(*entry)
                    continue
                if isinstance(entry, Offers):
                    bag.add_offered(*entry)
                    continue
                bag.write(entry.topic, entry.log_ns, entry.publish_ns, entry.data, entry.sequence)
                self.bytes_written += len(entry.data)
                self.counts[entry.topic].written += 1
                if due and time.monotonic() >= due:  # also within a long batch: it may have waited for a slow disk
                    due = self._flush(bag, complete)
            complete = taken
            if closing:
                return
            if time.monotonic() >= due and (batch or due):
                due = self._flush(bag, taken)


def rounded(count: Counts) -> dict[str, int | float | None]:
    """Counts as plain data, s to 0.1 ms."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(count).items()}
