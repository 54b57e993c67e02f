# SPDX-License-Identifier: Apache-2.0
"""A session whose processes can be hurt one by one, and what a bench sees of it: commands, modes, reasons, control
periods. For `bench/faults.py` and `bench/recording_faults.py`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import rclpy

from rove_contract import messages, ros, timing, topics
from rove_description import joints

TABLE = joints.load()
LIMITS = TABLE.limits
ROLES = Path(__file__).parent / "fault_roles.py"
NICE = os.getpriority(os.PRIO_PROCESS, 0)  # before the bench raises its own
PERIOD = timing.CONTROL_PERIOD_S
BACK_S = 60.0  # until a restarted process works again, on a machine that has other work, too
WORST_PERIOD_S = 0.03  # of the control loop, in every cell; the load of the machine excuses nothing
FILTER = "module rove_teleop.command_filter_node", "--ros-args -p discovery:=0.3"


class Session:
    """roles: process -> (words of `fault_roles.py`, its argument or a function that gives it).

    spares: whether a process that is restarted has one waiting, with everything imported, to take its place.
    """

    def __init__(self, roles: dict, *, spares: bool = True):
        self.roles, self.spares = roles, spares
        self.processes: dict[str, subprocess.Popen] = {}
        self._waiting: dict[str, subprocess.Popen] = {}
        self.commands, self.speeds = [], []
        self.received = []  # s, when the middleware received each command; independent of this process' Python
        self.values: dict[str, dict[str, str]] = {}  # of the last report of each node on /diagnostics
        self.reports = dict.fromkeys(roles, 0)  # how many of each were heard
        self.named: list[str] = []  # reasons of the command filter since `clear`
        self.reason = self.heard = ""
        self.period_max_s = 0.0  # of the filter's loop, since `clear`
        self.send_max_ms = 0.0
        rclpy.init()
        self.node = rclpy.create_node("faults")
        self._reader, self._speed_reader = messages.JointReader(TABLE), messages.JointReader(TABLE)
        ros.subscription(self.node, topics.JOINT_COMMAND, self._on_command, depth=1000)
        ros.subscription(self.node, topics.DIAGNOSTICS, self._on_diagnostics, depth=100)
        for name in roles:
            self.start(name)

    # ---- processes

    def _spawn(self, name: str) -> subprocess.Popen:
        words = [sys.executable, str(ROLES), *self.roles[name][0].split(" ")]
        return subprocess.Popen(
            words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=leave_priority
        )

    def start(self, name: str) -> None:
        process = self._waiting.pop(name, None) or self._spawn(name)
        argument = self.roles[name][1]
        process.stdin.write(f"{argument() if callable(argument) else argument}\n")
        process.stdin.flush()
        self.processes[name] = process

    def restart(self, name: str) -> None:
        """Start it again after its end, and let a spare import meanwhile for the next time."""
        self.processes[name].wait()
        self.start(name)
        if self.spares:
            self._waiting[name] = self._spawn(name)

    def signal(self, name: str, number: int) -> None:
        self.processes[name].send_signal(number)

    def revive(self) -> None:
        """After a cell that got stuck: everything runs again."""
        for name, process in self.processes.items():
            process.send_signal(signal.SIGCONT)
            if process.poll() is not None:
                self.restart(name)

    def close(self) -> None:
        for process in (*self.processes.values(), *self._waiting.values()):
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        self.node.destroy_node()
        rclpy.try_shutdown()

    # ---- what is seen

    def _on_command(self, msg, info):
        self.received.append(info["received_timestamp"] * 1e-9)
        self.commands.append(self._reader.position(msg))
        self.speeds.append(self._speed_reader.velocity(msg))

    def _on_diagnostics(self, msg):
        for status in msg.status:
            self.values[status.name] = messages.diagnostic_values(status) | {"message": status.message}
            self.reports[status.name] = self.reports.get(status.name, 0) + 1
            if status.name != "command_filter":
                continue
            values = self.values[status.name]
            self.reason, self.heard = values["reason"], values.get("mode", "")
            self.named.append(self.reason)
            self.send_max_ms = max(self.send_max_ms, float(values.get("send_max_ms", 0.0)))
            self.period_max_s = max(self.period_max_s, float(values.get("period_max_ms", 0.0)) * 1e-3)

    def clear(self) -> None:
        for recorded in (self.commands, self.speeds, self.named, self.received):
            recorded.clear()
        self.period_max_s = 0.0

    def until(self, condition, what: str, limit_s: float = BACK_S) -> float:
        """Spin until `condition()`; returns how long it took, s. Raises TimeoutError."""
        begin = time.monotonic()
        while not condition():
            if time.monotonic() - begin > limit_s:
                raise TimeoutError(f"{what}: not within {limit_s:g} s; the last reason is {self.reason!r}")
            rclpy.spin_once(self.node, timeout_sec=0.02)
        return time.monotonic() - begin

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.02)

    def count(self, node: str, key: str) -> int:
        """A number of a node's last report."""
        return int(self.values.get(node, {}).get(key, 0))

    def is_named(self, reason: str) -> bool:
        return any(reason in named for named in self.named)

    def is_moving(self) -> bool:
        return len(self.speeds) > 0 and np.abs(self.speeds[-1]).max() > 0.3

    def is_resting(self) -> bool:
        return len(self.speeds) > 5 and not np.any(self.speeds[-3:])

    def excess(self) -> float:
        """Largest share of a limit (velocity, acceleration, jerk) since `clear`; infinite outside the positions'."""
        return share_of_limits(np.array(self.commands), np.array(self.speeds))

    def verdict(self, result: dict) -> dict:
        """Fail a cell in which a limit was broken or the control loop took too long for a period."""
        share = self.excess()
        faults = [result["fault"]] if result.get("fault") else []
        if share > 1.0 + 1e-6:
            faults.append(f"{share:.3f} of a limit")
        if self.period_max_s > WORST_PERIOD_S:
            faults.append(f"a control period of {self.period_max_s * 1e3:.0f} ms")
        result |= {"share_of_limits": share, "period_max_s": round(self.period_max_s, 4), "ok": not faults}
        return result | {"fault": "; ".join(faults)}


def run_cells(bench: Session, chosen: list, run) -> tuple[list[dict], str]:
    """Rows of all cells, and why the run broke off. run: cell -> row. A cell that gets stuck is a failed row; three of
    them in a row end the run."""
    rows, stuck = [], 0
    for cell in chosen:
        try:
            row, stuck = run(cell), 0
        except TimeoutError as error:
            stuck += 1
            if stuck == 3:
                return rows, str(error)
            victim, kind, mode = bench.name_of(cell)
            row = {"victim": victim, "kind": kind, "mode": mode, "ok": False, "fault": f"stuck: {error}"}
            row |= {"expected": "", "share_of_limits": bench.excess(), "period_max_s": bench.period_max_s}
            bench.revive()
        rows.append(row | {"load": round(os.getloadavg()[0], 1)})
    return rows, ""


def leave_priority() -> None:
    """Of a child, before its first instruction: imports at the bench's real-time priority would starve the robot, and
    Linux then stops every real-time thread, the command filter's too, for 50 ms of each second."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.setpriority(os.PRIO_PROCESS, 0, NICE)


def share_of_limits(q: np.ndarray, v: np.ndarray) -> float:
    """Largest share of a limit in commands q (N, J) rad with their own velocities v (N, J) rad/s; see `worst_share`."""
    return worst_share(q, v)[0]


def worst_share(q: np.ndarray, v: np.ndarray) -> tuple[float, str]:
    """(largest share of a limit, where) in commands q (N, J) rad with their own velocities v (N, J) rad/s. A lost
    command shows, as q then moved farther than v says; acceleration and jerk are of commands that follow each other."""
    if len(q) < 3:
        return 0.0, ""
    outside = np.maximum(LIMITS.lower - q, q - LIMITS.upper).max(axis=0)
    if outside.max() > 0:
        return float("inf"), f"{TABLE.names[int(outside.argmax())]} is {outside.max():.2g} rad beyond its range"
    together = np.abs(np.diff(q, axis=0) - v[1:] * PERIOD).max(axis=1) < 1e-9
    a = np.diff(v, axis=0) / PERIOD
    j = np.diff(a, axis=0) / PERIOD
    found = {
        "velocity": np.abs(v / LIMITS.velocity),
        "acceleration": np.abs(a / LIMITS.acceleration)[together],
        "jerk": np.abs(j / LIMITS.jerk)[together[1:] & together[:-1]],
    }
    name = max(found, key=lambda name: found[name].max(initial=0.0))
    share = found[name].max(initial=0.0)
    joint = TABLE.names[int(found[name].max(axis=0, initial=0.0).argmax())]
    return float(share), f"{name} of {joint}: {share:.3f} of its limit"
