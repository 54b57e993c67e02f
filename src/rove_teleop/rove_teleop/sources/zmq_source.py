# SPDX-License-Identifier: Apache-2.0
"""Operator frames over ZMQ: SUB (a suit that publishes) or PULL (a suit that pushes), msgpack, CURVE beyond this
machine.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import zmq
from zmq.auth.thread import ThreadAuthenticator

from rove_contract import timing
from rove_contract.operator_frame import MAX_BYTES, FrameError, OperatorFrame, decode
from rove_teleop.sources import OperatorInput, ReceivedFrame
from rove_teleop.sources.admission import Admission
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
    connecting one. With a directory a frame's source is the name of the key it came with, and a key that is taken out
    of it is shut out within `admission.WATCH_S`. Raises ValueError for a non-local endpoint without keys, an unknown
    pattern, or an address that cannot be bound.
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
        self._admission: Admission | None = None
        self._pattern, self._bind, self._pair = pattern, bind, self._key_pair(keys, bind)
        self._cut = 0  # times that all connections were cut because a key was revoked
        self._unbound = False  # the address is not free again yet
        self._poller = zmq.Poller()
        try:
            if self._admission is not None:
                # Without an authenticator any key pair would be let in.
                self._authenticator = ThreadAuthenticator(self._context)
                self._authenticator.start()
                self._authenticator.configure_curve_callback(domain="*", credentials_provider=self._admission)
            self._socket = self._open(endpoint)
        except Exception:
            self.close()
            raise
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT) if bind else endpoint

    def _key_pair(self, keys, bind: bool) -> Keys | None:
        if keys is None or (isinstance(keys, Keys) and not bind):
            return keys
        if isinstance(keys, Keys):
            raise ValueError("a bound source needs the key directory, which names the operators that may connect")
        directory = Path(keys).expanduser()
        if bind:
            self._admission = Admission(directory / OPERATORS)
        return receiver_keys(directory)

    def _open(self, endpoint: str) -> zmq.Socket:
        """A socket that is bound or connected, and polled. Raises ValueError."""
        socket = self._context.socket(PATTERNS[self._pattern])
        socket.setsockopt(zmq.RCVHWM, QUEUE)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_BYTES)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IPV6, int("[" in endpoint))
        if self._pattern == "sub":
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        if self._pair is not None:
            if self._bind:
                socket.curve_server = True
            else:
                socket.curve_serverkey = self._pair.receiver
            socket.curve_publickey, socket.curve_secretkey = self._pair.public, self._pair.secret
        try:
            socket.bind(endpoint) if self._bind else socket.connect(endpoint)
        except zmq.ZMQError as error:
            socket.close(0)
            raise ValueError(
                f"cannot {'bind' if self._bind else 'connect to'} {endpoint}: {error}; is another session running?"
            ) from error
        self._poller.register(socket, zmq.POLLIN)
        return socket

    def _cut_connections(self) -> None:
        """Close and open the socket: whoever still has a key comes in again by itself, after some 0.1 s."""
        if not self._unbound:
            self._poller.unregister(self._socket)
            self._socket.close(0)
            self._unbound = True
            self._cut += 1
        try:
            self._socket = self._open(self.endpoint)
            self._unbound = False
        except ValueError as error:  # ZMQ's own thread has not let go of the address yet
            self.last_error = str(error)
            time.sleep(0.01)

    def poll(self, timeout_s: float) -> ReceivedFrame | None:
        """See OperatorInput.poll."""
        if self._unbound or (self._admission is not None and self._admission.revokes(self._clock())):
            self._cut_connections()
            if self._unbound:
                return None
        if not self._poller.poll(max(timeout_s, 0.0) * 1e3):  # type: ignore[arg-type]
            return None
        newest: ReceivedFrame | None = None
        for _ in range(MAX_BATCH):
            try:
                message = self._socket.recv_multipart(zmq.NOBLOCK, copy=self._admission is None)
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

    def _decoded(self, message: list) -> OperatorFrame | None:
        """message: parts, as bytes, or with keys as ZMQ frames, which know the key they came with."""
        try:
            if len(message) != 1:
                raise FrameError("multipart", f"{len(message)} message parts, expected 1")
            if self._admission is None:
                frame = decode(message[0])
            else:
                key = str(message[0].get("User-Id"))
                frame = self._named_by_key(decode(message[0].bytes), key, self._admission.names)
        except FrameError as error:
            self._malformed[error.reason] += 1
            self.last_error = str(error)
            return None
        self._unknown_parts += len(frame.unknown)
        return frame

    def _named_by_key(self, frame: OperatorFrame, key: str, names: dict[str, str]) -> OperatorFrame:
        """The frame with its key's name as its source. Raises FrameError for a key that was revoked since the
        connection was made, and for the name of another key."""
        if key not in names:
            raise FrameError("revoked", "a frame came with a key that is admitted no longer")
        if frame.source != names[key] and frame.source in names.values():
            raise FrameError("forged", f"a frame says it is of {frame.source!r}, but its key is that of {names[key]!r}")
        return replace(frame, source=names[key])

    def statistics(self) -> dict[str, int | float | str]:
        """Counts: received, accepted, superseded, lost, replayed, out_of_order, other_source, late, restarts, malformed
        and malformed/<reason>, unknown_parts; admitted keys and cut_connections (with keys); clock_offset_s (sender's
        clock minus ours); source; last_error."""
        guard = self._guard
        offset = guard.clock.offset_s
        values: dict[str, int | float | str] = {"received": self._received, "superseded": self._superseded}
        for key in ("accepted", "lost", "replayed", "out_of_order", "other_source", "late", "restarts"):
            values[key] = guard.counts[key]
        values["malformed"] = sum(self._malformed.values())
        values |= {f"malformed/{reason}": n for reason, n in sorted(self._malformed.copy().items())}
        values["unknown_parts"] = self._unknown_parts
        if self._admission is not None:
            values["admitted"] = len(self._admission.names)
            values["cut_connections"] = self._cut
            self.last_error = self.last_error or self._admission.error
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
        if self._authenticator is not None:
            self._authenticator.stop()
        self._context.destroy(linger=0)
