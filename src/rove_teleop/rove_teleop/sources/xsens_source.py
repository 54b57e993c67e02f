# SPDX-License-Identifier: Apache-2.0
"""Operator frames from Xsens MVN over UDP: MVN > Options > Network Streamer > Position + Orientation (Quaternion), port
9763.
"""

from __future__ import annotations

import select
import socket
import time
from collections import Counter

from rove_contract import timing
from rove_contract.operator_frame import FrameError
from rove_teleop.sources import OperatorInput, ReceivedFrame
from rove_teleop.sources.stream import StreamGuard
from rove_teleop.sources.xsens import PORT, Assembler, parse, to_frame

MAX_BATCH = 1000  # datagrams read in one poll
MAX_STEP_S = 1.0  # the time code of a recording starts again from 0, and stands still outside a recording


class XsensSource(OperatorInput):
    """Receives MVN's datagrams.

    host, port: address to bind. peer: IP address of the MVN computer; needed beyond loopback, everyone else is ignored
    and counted (UDP cannot prove who sends: use a network of its own). character: MVN's character ID. Raises
    ValueError.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = PORT,
        *,
        peer: str = "",
        character: int = 0,
        max_delay_s: float = timing.TELEOP_STALE_S,
        clock=time.monotonic,
    ):
        if not peer and not host.startswith("127."):
            raise ValueError(
                f"MVN datagrams at {host} carry no proof of who sent them, and they move the robot: name the MVN "
                f"computer "
                "(peer:=IP address) and use a network of its own, or bind 127.0.0.1"
            )
        self.peer, self.character = peer, character
        self._clock = clock
        self._guard = StreamGuard(max_delay_s)
        self._assembler = Assembler()
        self._refused: Counter[str] = Counter()
        self._received = self._superseded = 0
        self._time_ms: int | None = None
        self._sender_s = self._seen_s = 0.0
        self.last_error = ""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise ValueError(f"cannot bind UDP {host}:{port}: {error}") from error
        self._socket.setblocking(False)
        self.endpoint = "mvn://{}:{}".format(*self._socket.getsockname())

    def poll(self, timeout_s: float) -> ReceivedFrame | None:
        """See OperatorInput.poll."""
        if not select.select([self._socket], [], [], max(timeout_s, 0.0))[0]:
            return None
        newest: ReceivedFrame | None = None
        for _ in range(MAX_BATCH):
            try:
                data, (address, _) = self._socket.recvfrom(65535)
            except OSError:  # nothing more, or a network error of an earlier datagram
                break
            now = self._clock()
            self._received += 1
            if self.peer and address != self.peer:
                self._refused["stranger"] += 1
                continue
            sample = self._sample(data, now)
            if sample is not None:
                self._superseded += newest is not None
                newest = sample
        return newest

    def _sample(self, data: bytes, now: float) -> ReceivedFrame | None:
        try:
            datagram = parse(data)
            if datagram.character != self.character:
                raise FrameError("character", f"character {datagram.character}, following {self.character}")
            items = self._assembler.add(datagram)
            if items is None:
                return None
            frame = to_frame(datagram, items, self._sender_time(datagram.time_ms, now))
        except FrameError as error:
            self._refused[error.reason] += 1
            self.last_error = str(error)
            return None
        delay = self._guard.accept(frame, now)
        return None if delay is None else ReceivedFrame(frame, now, delay)

    def _sender_time(self, time_ms: int, now: float) -> float:
        """A sender's clock that always runs: MVN's time code where it advances, our own clock where it does not."""
        before, self._time_ms = self._time_ms, time_ms
        step = (time_ms - before) * 1e-3 if before is not None else 0.0
        self._sender_s += step if 0.0 < step < MAX_STEP_S else now - self._seen_s
        self._seen_s = now
        return self._sender_s

    def statistics(self) -> dict[str, int | float | str]:
        """Counts: received (datagrams), accepted (samples), superseded, lost, replayed, out_of_order, late, restarts,
        malformed and malformed/<reason> ("not_mvn", "type", "size", "segments", "character", "stranger"); source;
        last_error."""
        values: dict[str, int | float | str] = {"received": self._received, "superseded": self._superseded}
        for key in ("accepted", "lost", "replayed", "out_of_order", "other_source", "late", "restarts"):
            values[key] = self._guard.counts[key]
        values["malformed"] = sum(self._refused.values())
        values |= {f"malformed/{reason}": n for reason, n in sorted(self._refused.copy().items())}
        values["source"] = self._guard.source
        values["last_error"] = self.last_error
        return values

    def close(self) -> None:
        """See OperatorInput.close."""
        self._socket.close()
