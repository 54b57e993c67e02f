# SPDX-License-Identifier: Apache-2.0
"""Operator frames over ZMQ: SUB (a suit that publishes) or PULL (a suit that pushes), msgpack, CURVE beyond this
machine.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import zmq
from zmq.auth.thread import ThreadAuthenticator

from rove_contract import timing
from rove_contract.operator_frame import MAX_BYTES, FrameError, OperatorFrame, decode
from rove_teleop.sources import OperatorInput, ReceivedFrame
from rove_teleop.sources.curve import OPERATORS, Keys, receiver_keys
from rove_teleop.sources.stream import StreamGuard

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5591"
PATTERNS = {"sub": zmq.SUB, "pull": zmq.PULL}
# messages read in one poll: some 8 ms of a flood, after which the operator's newest frame among them gets through
MAX_BATCH = 200
QUEUE = 1000  # messages that ZMQ holds for us; at 60 Hz they are 16 s, and a PUB sender drops beyond it


def is_local(endpoint: str) -> bool:
    """True for endpoints that only this machine can reach."""
    scheme, _, address = endpoint.partition("://")
    if scheme in ("ipc", "inproc"):
        return True
    host = address.rpartition(":")[0].strip("[]").lower()
    return scheme == "tcp" and (
        host == "localhost" or host == "::1" or (host.startswith("127.") and host.count(".") == 3)
    )


class ZmqSource(OperatorInput):
    """Receives wire frames, version 1.

    endpoint: bound (bind=True, the default) or connected to. pattern: "sub" | "pull". max_delay_s: later frames are
    refused. keys: directory of `rove run rove_teleop keys` for a bound socket beyond loopback, or `curve.Keys` of a
    connecting one. Raises ValueError for a non-local endpoint without keys, an unknown pattern, or an address that
    cannot be bound.
    """

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        pattern: str = "sub",
        *,
        bind: bool = True,
        keys: str | Path | Keys | None = None,
        max_delay_s: float = timing.TELEOP_STALE_S,
        clock=time.monotonic,
    ):
        if pattern not in PATTERNS:
            raise ValueError(f"pattern {pattern!r}; expected one of {', '.join(PATTERNS)}")
        if keys is None and not is_local(endpoint):
            raise ValueError(
                f"{endpoint} can be reached from other machines, and whoever reaches it moves the robot: give CURVE "
                f"keys "
                "(`rove run rove_teleop keys DIR`, then keys:=DIR), or use tcp://127.0.0.1:PORT"
            )
        self._clock = clock
        self._guard = StreamGuard(max_delay_s)
        self._malformed: Counter[str] = Counter()
        self._received = self._superseded = self._unknown_parts = 0
        self.last_error = ""
        self._context = zmq.Context()
        self._authenticator: ThreadAuthenticator | None = None
        self._socket = self._context.socket(PATTERNS[pattern])
        try:
            self._socket.setsockopt(zmq.RCVHWM, QUEUE)
            self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_BYTES)
            self._socket.setsockopt(zmq.LINGER, 0)
            self._socket.setsockopt(zmq.IPV6, int("[" in endpoint))
            if pattern == "sub":
                self._socket.setsockopt(zmq.SUBSCRIBE, b"")
            if keys is not None:
                self._secure(keys, bind)
            try:
                self._socket.bind(endpoint) if bind else self._socket.connect(endpoint)
            except zmq.ZMQError as error:
                raise ValueError(
                    f"cannot {'bind' if bind else 'connect to'} {endpoint}: {error}; is another session running?"
                ) from error
        except Exception:
            self.close()
            raise
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT) if bind else endpoint
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)

    def _secure(self, keys, bind: bool) -> None:
        directory = None if isinstance(keys, Keys) else Path(keys).expanduser()
        pair = receiver_keys(directory) if directory is not None else keys
        if bind:
            if directory is None:
                raise ValueError("a bound source needs the key directory, which names the operators that may connect")
            # Without an authenticator any key pair would be let in.
            self._authenticator = ThreadAuthenticator(self._context)
            self._authenticator.start()
            self._authenticator.configure_curve(domain="*", location=str(directory / OPERATORS))
            self._socket.curve_server = True
        else:
            self._socket.curve_serverkey = pair.receiver
        self._socket.curve_publickey, self._socket.curve_secretkey = pair.public, pair.secret

    def poll(self, timeout_s: float) -> ReceivedFrame | None:
        """See OperatorInput.poll."""
        if not self._poller.poll(max(timeout_s, 0.0) * 1e3):  # type: ignore[arg-type]
            return None
        newest: ReceivedFrame | None = None
        for _ in range(MAX_BATCH):
            try:
                message = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            now = self._clock()
            self._received += 1
            frame = self._decoded(message)
            if frame is None:
                continue
            delay = self._guard.accept(frame, now)
            if delay is not None:
                self._superseded += newest is not None
                newest = ReceivedFrame(frame, now, delay)
        return newest

    def _decoded(self, message: list[bytes]) -> OperatorFrame | None:
        try:
            if len(message) != 1:
                raise FrameError("multipart", f"{len(message)} message parts, expected 1")
            frame = decode(message[0])
        except FrameError as error:
            self._malformed[error.reason] += 1
            self.last_error = str(error)
            return None
        self._unknown_parts += len(frame.unknown)
        return frame

    def statistics(self) -> dict[str, int | float | str]:
        """Counts: received, accepted, superseded, lost, replayed, out_of_order, other_source, late, restarts, malformed
        and malformed/<reason>, unknown_parts; clock_offset_s (sender's clock minus ours); source; last_error."""
        guard = self._guard
        offset = guard.clock.offset_s
        values: dict[str, int | float | str] = {"received": self._received, "superseded": self._superseded}
        for key in ("accepted", "lost", "replayed", "out_of_order", "other_source", "late", "restarts"):
            values[key] = guard.counts[key]
        values["malformed"] = sum(self._malformed.values())
        values |= {f"malformed/{reason}": n for reason, n in sorted(self._malformed.copy().items())}
        values["unknown_parts"] = self._unknown_parts
        values["clock_steps"] = guard.clock.steps
        # Up to the smallest transport delay, which one-way timestamps cannot show.
        values["clock_offset_s"] = "" if offset is None else round(self._clock() - time.time() - offset, 4)
        values["source"] = guard.source
        values["last_error"] = self.last_error
        return values

    def close(self) -> None:
        """See OperatorInput.close."""
        if self._context.closed:
            return
        self._socket.close(0)
        if self._authenticator is not None:
            self._authenticator.stop()
        self._context.term()
