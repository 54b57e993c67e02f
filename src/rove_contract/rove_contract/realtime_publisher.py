# SPDX-License-Identifier: Apache-2.0
"""Messages leave in a thread of their own, so that a control loop never waits for the middleware. Pure.

In the manner of ros2_control's RealtimePublisher: the loop hands over with a try-lock, the newest message replaces one
that has not left yet, and a message that waited too long is dropped instead of being published late.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any


class RealtimePublisher:
    """send: message -> None, may block; called in the thread only. late_s: a message older than this is dropped.

    sent, late, replaced, missed: messages that left, that were dropped because they had waited too long, that a newer
    one replaced, and that were not taken because the thread held the lock at that moment.
    """

    def __init__(
        self, send: Callable[[Any], None], late_s: float, *, clock: Callable[[], float] = time.monotonic, name: str
    ):
        self._send, self._late_s, self._clock = send, late_s, clock
        self._lock = threading.Lock()
        self._due = threading.Semaphore(0)
        self._slot: tuple[object, float] | None = None
        self._since: float | None = None  # when the `send` that runs now began
        self._running = True
        self.sent = self.late = self.replaced = self.missed = 0
        self.send_max_s = 0.0  # longest `send`; whoever reports it sets it back to 0
        self.error: Exception | None = None  # what ended the thread
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, message: Any) -> bool:
        """Hand a message over without waiting; False when the thread was just taking the one before."""
        if not self._lock.acquire(blocking=False):
            self.missed += 1
            return False
        waiting = self._slot is not None
        self._slot = (message, self._clock())
        self._lock.release()
        if waiting:
            self.replaced += 1
        else:
            self._due.release()
        return True

    def blocked_s(self) -> float:
        """s for which the present `send` has been running; 0 when none runs; infinite when the thread has ended."""
        if self.error is not None:
            return float("inf")
        since = self._since
        return 0.0 if since is None else self._clock() - since

    def close(self, timeout_s: float = 0.5) -> None:
        """End the thread; what was handed over before still leaves, if `send` does not block."""
        self._running = False
        self._due.release()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            self._due.acquire()
            with self._lock:
                slot, self._slot = self._slot, None
            if slot is None:
                if self._running:
                    continue
                return
            message, at = slot
            now = self._clock()
            if now - at > self._late_s:
                self.late += 1
                continue
            self._since = now
            try:
                self._send(message)
                self.sent += 1
            except Exception as error:  # the loop sees it as a publisher that is blocked for ever
                self.error = error
                return
            finally:
                self._since = None
                self.send_max_s = max(self.send_max_s, self._clock() - now)
