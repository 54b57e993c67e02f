# SPDX-License-Identifier: Apache-2.0
"""Operator frames from a page that this source serves: what a headset's page and the drag page have in common."""

from __future__ import annotations

import os
import secrets
import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from rove_contract import timing
from rove_contract.operator_frame import OperatorFrame
from rove_contract.web.access import Access, is_loopback
from rove_teleop.retargeting.robot_geometry import SIDES
from rove_teleop.sources import OperatorInput, ReceivedFrame, RobotView
from rove_teleop.sources.certificate import machine_addresses, provide
from rove_teleop.sources.device_server import DeviceServer
from rove_teleop.sources.stream import StreamGuard

DIRECTORY = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "rove" / "webxr"
QUEUE = 500  # messages between two polls; at 120 Hz they are 4 s
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # typed in a headset: nothing that looks like something else
TOKEN_LENGTH = 14  # 69 bits


class Message(Protocol):
    """One frame of a page. seq: its counter. t: its clock, s. offset_s: its estimate of (our monotonic clock - its
    clock), None while unknown, and rtt_s of the exchange it comes from.
    """

    @property
    def seq(self) -> int: ...

    @property
    def t(self) -> float: ...

    @property
    def offset_s(self) -> float | None: ...

    @property
    def rtt_s(self) -> float: ...


M = TypeVar("M", bound=Message)


def kept_token(directory: Path) -> str:
    """The secret in DIRECTORY/token, made on the first run (0600)."""
    path = directory / "token"
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write("".join(secrets.choice(ALPHABET) for _ in range(TOKEN_LENGTH)) + "\n")
    return path.read_text().strip()


class PageSource(OperatorInput, Generic[M]):
    """host, port: where the page is served. tls: with a certificate of our own, kept in `directory` with the token
    ("" = ~/.local/share/rove/webxr). Beyond loopback every request needs the token. frames later than max_delay_s are
    refused. Raises ValueError with what to do.
    """

    shows_robot = True
    service: str  # what the page is called in refusals
    folder: str  # of the page's files
    where = "a browser"  # what opens it, in words

    def __init__(
        self,
        host: str,
        port: int,
        tls: bool,
        parse: Callable[[bytes], M],
        constants: dict,
        directory: str | Path = "",
        max_delay_s: float = timing.TELEOP_STALE_S,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._clock, self._guard, self.max_delay_s = clock, StreamGuard(max_delay_s), max_delay_s
        self._arrived = threading.Condition()
        self._queue: deque[tuple[str, M, float]] = deque(maxlen=QUEUE)
        self._superseded = self._late = 0
        self._delay_s = self._rtt_s = 0.0
        self._offset_s: float | None = None  # our monotonic clock minus the page's, by its pings
        directory = Path(directory or DIRECTORY).expanduser()
        files = provide(directory) if tls else None
        self.fingerprint = files.fingerprint if files else ""
        access = Access(
            host=host,
            token="" if is_loopback(host) else kept_token(directory),
            cert=str(files.cert) if files else "",
            key=str(files.key) if files else "",
            names=files.names if files else (),
            service=self.service,
        )
        authority = files.authority if files else None
        self._server = DeviceServer(
            access, port, self.folder, parse, self._receive, self._closed, constants, authority, clock
        )
        self.endpoint = self._server.start().rstrip("/")
        self.addresses = self._addresses(access)

    @abstractmethod
    def frame_of(self, message: M, name: str) -> OperatorFrame:
        """Operator frame of a message of the page `name`."""

    def described(self, view: RobotView) -> dict:
        """What the page needs of the robot beside `show_robot`'s own; {} while the robot's pose is unknown."""
        return {}

    def _addresses(self, access: Access) -> list[str]:
        """What to open."""
        query = f"?token={access.token}" if access.token else ""
        if access.host not in ("0.0.0.0", "::"):
            return [f"{self.endpoint}/{query}"]
        reachable = [
            a for a in machine_addresses() if ":" not in a and not is_loopback(a) and not a.startswith("169.254.")
        ]
        return [f"{access.scheme}://{a}:{self._server.port}/{query}" for a in reachable or ["127.0.0.1"]]

    @property
    def invitation(self) -> str:  # type: ignore[override]
        """One sentence for the log: where to go, and what to compare when trusting the certificate."""
        compare = f"; certificate authority SHA-256 {self.fingerprint}" if self.fingerprint else ""
        return f"open {' or '.join(self.addresses)} in {self.where}{compare}"

    # -- the server's thread --

    def _receive(self, name: str, message: M, received_s: float) -> None:
        with self._arrived:
            self._superseded += len(self._queue) == QUEUE
            self._queue.append((name, message, received_s))
            self._arrived.notify()

    def _closed(self, name: str) -> None:
        with self._arrived:
            self._queue = deque((entry for entry in self._queue if entry[0] != name), maxlen=QUEUE)

    # -- the poller's thread --

    def poll(self, timeout_s: float) -> ReceivedFrame | None:
        """See OperatorInput.poll."""
        with self._arrived:
            if not self._queue:
                self._arrived.wait(max(timeout_s, 0.0))
            batch = list(self._queue)
            self._queue.clear()
        newest: ReceivedFrame | None = None
        for name, message, received_s in batch:
            sample = self._sample(name, message, received_s)
            if sample is not None:
                self._superseded += newest is not None
                newest = sample
        return newest

    def _sample(self, name: str, message: M, received_s: float) -> ReceivedFrame | None:
        delay = self._guard.accept(OperatorFrame({}, message.seq, message.t, name), received_s)
        if delay is None:
            return None
        if message.offset_s is not None:
            # The exchange of pings sees the constant part of the delay, too; its own error is half the round trip at
            # most.
            seen = received_s - (message.t + message.offset_s) - 0.5 * message.rtt_s
            delay = max(delay, seen)
            self._delay_s, self._rtt_s, self._offset_s = delay, message.rtt_s, message.offset_s
            if delay > self.max_delay_s:
                self._late += 1
                return None
        return ReceivedFrame(self.frame_of(message, name), received_s, delay)

    # -- the display --

    def show_robot(self, view: RobotView) -> None:
        """See OperatorInput.show_robot."""
        described = self.described(view)
        if not self._server.clients:
            return
        errors = {side: round(min(view.errors_rad[side], 9.0), 4) for side in SIDES if side in view.errors_rad}
        self._server.view(
            {
                "mode": view.mode,
                "level": view.level,
                "text": view.text,
                "held": list(view.held),
                "errors": errors,
                "warn": view.warn_rad,
                "following": self._guard.source,
                **described,
            }
        )

    def show_camera(self, jpeg: bytes, stamp_s: float) -> None:
        """See OperatorInput.show_camera."""
        self._server.show(jpeg, stamp_s)

    def statistics(self) -> dict[str, int | float | str]:
        """Counts: received, accepted, superseded, lost, replayed, out_of_order, other_source, late, restarts, malformed
        and malformed/<reason> ("size", "version", "seq", "time", "text", "too_large"), rate_limited, refused_requests,
        pictures (sent), pages; clock_offset_s (headset's clock minus ours, by its pings where there were any), rtt_ms,
        delay_ms; source; last_error."""
        guard, counts = self._guard, self._server.counts.copy()
        offset = guard.clock.offset_s if self._offset_s is None else self._offset_s
        values: dict[str, int | float | str] = {"received": counts["received"], "superseded": self._superseded}
        for key in ("accepted", "lost", "replayed", "out_of_order", "other_source", "late", "restarts"):
            values[key] = guard.counts[key]
        values["accepted"], values["late"] = guard.counts["accepted"] - self._late, guard.counts["late"] + self._late
        malformed = {key: n for key, n in sorted(counts.items()) if key.startswith("malformed/")}
        values |= {"malformed": sum(malformed.values()), **malformed}
        for key in ("rate_limited", "refused_requests"):
            values[key] = counts[key]
        values["pictures"] = self._server.feed.pictures_sent
        values["pages"] = len(self._server.clients)
        values["clock_steps"] = guard.clock.steps
        values["clock_offset_s"] = "" if offset is None else round(self._clock() - time.time() - offset, 4)
        values["rtt_ms"], values["delay_ms"] = round(1e3 * self._rtt_s, 1), round(1e3 * self._delay_s, 1)
        values["source"] = guard.source
        values["last_error"] = self._server.last_error
        return values

    def close(self) -> None:
        """See OperatorInput.close."""
        self._server.stop()
