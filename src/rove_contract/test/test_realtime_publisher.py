# SPDX-License-Identifier: Apache-2.0
"""Whatever the middleware does, the loop goes on, the newest message wins and nothing leaves late."""

import threading

from rove_contract.realtime_publisher import RealtimePublisher


class Middleware:
    """Takes messages while its gate is open; a send that meets a closed gate blocks, as in front of a frozen peer."""

    def __init__(self):
        self.gate, self.entered, self.taken = threading.Event(), threading.Semaphore(0), []
        self.left = threading.Semaphore(0)
        self.gate.set()

    def send(self, message):
        self.entered.release()
        assert self.gate.wait(30.0)
        self.taken.append(message)
        self.left.release()


def test_a_blocked_middleware_never_blocks_the_loop_and_only_the_newest_message_leaves_afterwards():
    middleware, now = Middleware(), [0.0]
    publisher = RealtimePublisher(middleware.send, 0.02, clock=lambda: now[0], name="test")
    middleware.gate.clear()
    assert publisher.offer("first") and middleware.entered.acquire(timeout=30.0)
    for k in range(100):  # one second of periods; each call returns though the send does not
        now[0] += 0.01
        assert publisher.offer(k)
    assert round(publisher.blocked_s(), 6) == 1.0
    middleware.gate.set()
    assert middleware.left.acquire(timeout=30.0) and middleware.left.acquire(timeout=30.0)
    publisher.close(30.0)
    assert middleware.taken == ["first", 99] and publisher.replaced == 99
    assert publisher.blocked_s() == 0.0


def test_a_message_that_waited_too_long_is_dropped_and_the_next_one_leaves():
    middleware, now = Middleware(), [0.0]
    publisher = RealtimePublisher(middleware.send, 0.02, clock=lambda: now[0], name="test")
    middleware.gate.clear()
    publisher.offer("first")
    assert middleware.entered.acquire(timeout=30.0)
    publisher.offer("old")
    now[0] = 1.0  # the loop too stood still meanwhile
    middleware.gate.set()
    publisher.close(30.0)
    assert middleware.taken == ["first"] and publisher.late == 1


def test_an_error_of_the_middleware_counts_as_blocked_for_ever():
    def fail(_message):
        raise RuntimeError("the context is gone")

    publisher = RealtimePublisher(fail, 0.02, name="test")
    publisher.offer("first")
    publisher._thread.join(30.0)
    assert publisher.blocked_s() == float("inf") and "context" in str(publisher.error)
