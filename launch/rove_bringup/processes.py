# SPDX-License-Identifier: Apache-2.0
"""The processes of a session: started, shown, watched, respawned, and stopped for certain.

honcho's processes and printer do the work; what ends a session is decided here: a stop signal, the end of a required
process, or the end of the last one. Every process leads a process group of its own, and its end ends what is left of
that group. Should `rove` itself be killed, the kernel sends SIGTERM to its children.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime

import honcho.process
from honcho.colour import get_colours
from honcho.printer import Message, Printer

# After the first stop signal: SIGINT at once, then these. All is over within 5 s, and a recorder has 2 s to close its
# bag undisturbed.
TERMINATE_AFTER_S = 2.0
KILL_AFTER_S = 4.0
# A process that holds the robot is asked to stop it before anybody else ends, and goes when all others have: no joint
# of the table needs longer than 0.3 s from its top speed to rest.
STOP_ROBOT_S = 0.5
OUTPUT_GRACE_S = 0.5  # a dead process's last lines are read for so long
SYSTEM = "rove"

# PR_SET_PDEATHSIG = 1: SIGTERM when the thread that started the child ends, which is when `rove` dies.
_TIED = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, int(signal.SIGTERM)); os.execvp(sys.argv[1], "
    "sys.argv[1:])"
)


@dataclass(frozen=True)
class ProcessSpec:
    """A process to run. command: argv. required: its end ends the session. respawn: it is started again, for ever.

    holds_robot: on SIGINT it stops the robot and holds it until a second signal; it ends last.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(repr=False, default_factory=lambda: dict(os.environ))
    required: bool = False
    holds_robot: bool = False
    respawn: bool = False
    respawn_delay_s: float = 0.0


def describe_exit(code: int) -> str:
    """Return code of subprocess -> words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def shell_status(code: int) -> int:
    """Return code of subprocess -> exit status as a shell gives it (128 + signal)."""
    return code if code >= 0 else 128 - code


class _Process(honcho.process.Process):
    """honcho's process, but: no shell, no input, its death is seen though a grandchild holds its output, and no
    grandchild outlives it.
    """

    def __init__(self, spec: ProcessSpec, colour: str):
        environment = {**spec.environment, "PYTHONUNBUFFERED": "1"}
        command = list(spec.command)
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _TIED, *command]
        super().__init__(command, name=spec.name, colour=colour, env=environment)

    def run(self, events=None, ignore_signals=False) -> None:
        self._events = events
        try:
            self._child = honcho.process.Popen(self.cmd, shell=False, stdin=subprocess.DEVNULL, env=self.env)
        except OSError as error:
            self._send_message(f"cannot start: {error}\n")
            self._send_message({"returncode": 127}, type="stop")
            return
        self._send_message({"pid": self._child.pid}, type="start")
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        code = self._child.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)  # what is left of its group
        reader.join(timeout=OUTPUT_GRACE_S)
        self._send_message({"returncode": code}, type="stop")

    def _read(self) -> None:
        for line in iter(self._child.stdout.readline, b""):
            self._send_message(line)
        self._child.stdout.close()

    def signal(self, number: int) -> None:
        """Signal the whole group; nothing when it has not started or is gone."""
        if self._child is not None and self._child.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, number)


@dataclass
class _Slot:
    """One process of the session over its respawns."""

    spec: ProcessSpec
    colour: str
    process: _Process | None = None
    respawns: int = 0
    start_at: float | None = None  # time.monotonic() at which to start (again)

    @property
    def alive(self) -> bool:
        return self.process is not None


class ProcessGroup:
    """Runs the processes of one session. `run` blocks; `stop` may be called from a signal handler or another thread."""

    def __init__(self, specs: list[ProcessSpec]):
        self._printer = Printer(sys.stdout)
        self._printer.width = max([len(SYSTEM), *(len(spec.name) for spec in specs)])
        colours = get_colours()
        self._slots = {spec.name: _Slot(spec, next(colours), start_at=0.0) for spec in specs}
        self._events: queue.SimpleQueue = queue.SimpleQueue()  # its put is safe in a signal handler
        self._stopping_since: float | None = None
        self._escalated = 0  # signals sent to everybody but who holds the robot
        self._released_at: float | None = None  # when who holds the robot was told to go
        self._status: int | None = None
        self._failed = 0  # first exit status that was not 0

    def stop(self, signal_number: int) -> None:
        """Ask for the end of the session; asked again, the next harder signal is sent at once."""
        self._events.put(Message("request", signal_number, datetime.now(), SYSTEM, None))

    def run(self) -> int:
        """Start all, return the session's exit status when none is left.

        A required process gives its own status; a stop signal 128 + its number; else the first status that was not 0,
        or 0.
        """
        while True:
            self._start_due()
            try:
                self._handle(self._events.get(timeout=self._wait_s()))
                while True:
                    self._handle(self._events.get_nowait())
            except queue.Empty:
                pass
            self._escalate()
            if not any(slot.alive or slot.start_at is not None for slot in self._slots.values()):
                return self._failed if self._status is None else self._status

    def _say(self, text: str) -> None:
        self._printer.write(Message("line", text + "\n", datetime.now(), SYSTEM, None))

    def _wait_s(self) -> float:
        """Until the next thing that is due by the clock: at most 0.1 s, so that a due respawn or harder signal is never
        late.
        """
        due = [slot.start_at - time.monotonic() for slot in self._slots.values() if slot.start_at is not None]
        return max(0.0, min([0.1, *due]))

    def _start_due(self) -> None:
        for slot in self._slots.values():
            if slot.start_at is not None and slot.start_at <= time.monotonic():
                slot.start_at = None
                slot.process = _Process(slot.spec, slot.colour)
                threading.Thread(
                    target=slot.process.run, args=(self._events,), name=slot.spec.name, daemon=True
                ).start()

    def _handle(self, event: Message) -> None:
        if event.type == "line":
            self._printer.write(event)
        elif event.type == "start":
            self._say(f"{event.name}: started (pid {event.data['pid']})")
            slot = self._slots[event.name]  # it may have been being started while the session was stopped
            if slot.spec.holds_robot and self._stopping_since is not None:
                slot.process.signal(signal.SIGINT)
            elif self._escalated and not slot.spec.holds_robot:
                slot.process.signal(_LADDER[self._escalated - 1][1])
        elif event.type == "stop":
            self._ended(self._slots[event.name], event.data["returncode"])
        elif event.type == "request":
            self._requested(event.data)

    def _requested(self, number: int) -> None:
        name = signal.Signals(number).name
        if self._stopping_since is None:
            self._say(f"{name}: stopping every process")
            self._status = 128 + number
            self._begin_stop()
        elif self._escalated < len(_LADDER):
            self._say(f"{name} again: sending {_LADDER[self._escalated][1].name}")
            self._send_next()

    def _begin_stop(self) -> None:
        self._stopping_since = time.monotonic()
        for slot in self._slots.values():
            slot.start_at = None
        for slot in self._alive(holds_robot=True):
            slot.process.signal(signal.SIGINT)
        self._escalate()

    def _alive(self, holds_robot: bool) -> list[_Slot]:
        return [slot for slot in self._slots.values() if slot.alive and slot.spec.holds_robot is holds_robot]

    def _ended(self, slot: _Slot, code: int) -> None:
        slot.process = None
        name, spec = slot.spec.name, slot.spec
        if self._stopping_since is not None:
            self._say(f"{name}: ended ({describe_exit(code)})")
            return
        if spec.required:
            self._say(
                f"{name}: {'ended' if code == 0 else 'died'} ({describe_exit(code)}); it is required, so the "
                f"session ends"
            )
            self._status = shell_status(code)
            self._begin_stop()
            return
        self._say(f"{name}: {'ended' if code == 0 else 'died'} ({describe_exit(code)})")
        if spec.respawn:
            slot.respawns += 1
            slot.start_at = time.monotonic() + spec.respawn_delay_s
            self._say(f"{name}: respawn {slot.respawns} in {spec.respawn_delay_s:g} s")
        elif code != 0 and self._failed == 0:
            self._failed = shell_status(code)

    def _escalate(self) -> None:
        """Send each signal of the ladder when its time has come; last of all, let go who holds the robot."""
        if self._stopping_since is None:
            return
        elapsed = time.monotonic() - self._stopping_since
        if self._escalated == 0 and self._alive(holds_robot=True):
            if elapsed < STOP_ROBOT_S:
                return  # the robot stops first
            self._stopping_since, elapsed = self._stopping_since + STOP_ROBOT_S, elapsed - STOP_ROBOT_S
        while self._escalated < len(_LADDER) and elapsed >= _LADDER[self._escalated][0]:
            self._send_next()
        if not self._alive(holds_robot=False):
            self._release()

    def _release(self) -> None:
        """Everybody else has ended: who holds the robot goes too, with SIGKILL if need be."""
        now = time.monotonic()
        number = signal.SIGTERM if self._released_at is None else signal.SIGKILL
        if self._released_at is not None and now - self._released_at < KILL_AFTER_S - TERMINATE_AFTER_S:
            return
        self._released_at = now
        for slot in self._alive(holds_robot=True):
            if number == signal.SIGKILL:
                self._say(f"{slot.spec.name}: still there, sending SIGKILL")
            slot.process.signal(number)

    def _send_next(self) -> None:
        after_s, number = _LADDER[self._escalated]
        self._escalated += 1
        alive = self._alive(holds_robot=False)
        if after_s > 0.0 and alive:
            self._say(f"{', '.join(slot.spec.name for slot in alive)}: still there, sending {number.name}")
        for slot in alive:
            slot.process.signal(number)


_LADDER = ((0.0, signal.SIGINT), (TERMINATE_AFTER_S, signal.SIGTERM), (KILL_AFTER_S, signal.SIGKILL))


def run_session(specs: list[ProcessSpec]) -> int:
    """Run a session in the main thread until it ends; Ctrl-C, SIGTERM and SIGHUP stop it. Returns the exit status."""
    group = ProcessGroup(specs)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda received, _: group.stop(received)) for number in numbers}
    try:
        return group.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
