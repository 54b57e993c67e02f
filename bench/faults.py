# SPDX-License-Identifier: Apache-2.0
"""Fault matrix of the command path over real processes: every source killed, frozen and delayed, in every mode; and
clock steps.

Real `command_filter` and `teleop` nodes; robot, policy, supervisor and the operator's input stream are small processes
(`processes/fault_roles.py`), so that each can be hurt alone. Per cell: did /joint_command stay within all limits, did
the robot come to rest, was the reason named on /diagnostics, and how long did it take. A clock step is made by
replacing time.time_ns in one or in all processes (the machine's own clock is left alone). Every cell also fails when
the filter's loop took more than WORST_PERIOD_S for a period, or when a reason was named that its fault does not cause.
`--freezes N` freezes every source N times at random moments, several at once, and looks at the loop and at the commands
as they arrive. Prints the matrix; the last line is one JSON object. `--quick`: some cells, within 30 s.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import rclpy

from rove_contract import domain, messages, ros, timing, topics
from rove_contract.modes import ACTIVE, SOURCE_OF, Mode, Source
from rove_contract.priority import raise_priority
from rove_description import joints
from rove_teleop.command_filter import command_source as reasons

domain.isolate()
TABLE = joints.load()
LIMITS = TABLE.limits
ROLES = Path(__file__).parent / "processes" / "fault_roles.py"
PERIOD = timing.CONTROL_PERIOD_S
VICTIMS = ("teleop", "input", "policy", "supervisor", "robot")
KINDS = ("kill", "freeze", "delay")
MODES = tuple(Mode)
# Delay: what it sends is held back for half as long again as the time-out, then comes in a burst. A chunk covers 0.6 s.
WORST_PERIOD_S = 0.03  # of the control loop, in every cell
DELAY_S = {"teleop": 0.15, "input": 0.15, "policy": 0.9, "supervisor": 0.3, "robot": 0.15}


class Bench:
    def __init__(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.endpoint = f"tcp://127.0.0.1:{s.getsockname()[1]}"
        self.mode = Mode.IDLE
        self.processes = {}
        self.commands, self.speeds = [], []
        self.received = []  # s, when the middleware received each command; independent of this process' Python
        self.send_max_ms = 0.0
        self.unsent_commands = 0  # that never left the filter, since its start
        self.period_max_s = 0.0  # of the filter's loop, since `clear`
        self.reason = self.heard = ""
        self.reporting = set()  # nodes that were heard on /diagnostics
        self.named = []
        rclpy.init()
        self.node = rclpy.create_node("faults")
        self.reader, self.speed_reader = messages.JointReader(TABLE), messages.JointReader(TABLE)
        ros.subscription(self.node, topics.JOINT_COMMAND, self.on_command, depth=1000)
        ros.subscription(self.node, topics.DIAGNOSTICS, self.on_diagnostics, depth=100)
        for name in ("filter", *VICTIMS):
            self.start(name)

    def start(self, name):
        role, argument = {
            "filter": ("module", "rove_teleop.command_filter_node --ros-args -p discovery:=0.3"),
            "teleop": ("module", f"rove_teleop.teleop_node --ros-args -p endpoint:={self.endpoint}"),
            "input": ("input", self.endpoint),
            "policy": ("policy", "-"),
            "supervisor": ("supervisor", str(int(self.mode))),
            "robot": ("robot", "-"),
        }[name]
        words = [sys.executable, str(ROLES), role, argument]
        self.processes[name] = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def close(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        self.node.destroy_node()
        rclpy.try_shutdown()

    def on_command(self, msg, info):
        self.received.append(info["received_timestamp"] * 1e-9)
        self.commands.append(self.reader.position(msg))
        self.speeds.append(self.speed_reader.velocity(msg))

    def on_diagnostics(self, msg):
        for status in msg.status:
            self.reporting.add(status.name)
            if status.name == "command_filter":
                values = messages.diagnostic_values(status)
                self.reason, self.heard = values["reason"], values.get("mode", "")
                self.named.append(self.reason)
                self.unsent_commands = int(values.get("unsent_commands", 0))
                self.send_max_ms = max(self.send_max_ms, float(values.get("send_max_ms", 0.0)))
                self.period_max_s = max(self.period_max_s, float(values.get("period_max_ms", 0.0)) * 1e-3)

    def until(self, condition, what, limit_s=15.0):
        begin = time.monotonic()
        while not condition():
            if time.monotonic() - begin > limit_s:
                raise TimeoutError(f"{what}: not within {limit_s} s; the last reason is {self.reason!r}")
            rclpy.spin_once(self.node, timeout_sec=0.02)
        return time.monotonic() - begin

    def spin(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.02)

    def set_mode(self, mode):
        self.mode = mode
        self.processes["supervisor"].stdin.write(f"{int(mode)}\n")
        self.processes["supervisor"].stdin.flush()

    def moving(self):
        return len(self.speeds) > 0 and np.abs(self.speeds[-1]).max() > 0.3

    def resting(self):
        return len(self.speeds) > 5 and not np.any(self.speeds[-3:])

    def excess(self):
        """Largest share of a limit (velocity, acceleration, jerk) between commands that follow each other; a lost
        sample shows, as every message says its own velocity."""
        q, v = np.array(self.commands), np.array(self.speeds)
        together = np.abs(np.diff(q, axis=0) - v[1:] * PERIOD).max(axis=1) < 1e-9
        a = np.diff(v, axis=0) / PERIOD
        j = np.diff(a, axis=0) / PERIOD
        inside = np.all(q >= LIMITS.lower) and np.all(q <= LIMITS.upper)
        shares = [
            np.abs(v / LIMITS.velocity).max(),
            np.abs(a[together] / LIMITS.acceleration).max(initial=0.0),
            np.abs(j[together[1:] & together[:-1]] / LIMITS.jerk).max(initial=0.0),
        ]
        return float(max(shares)) if inside else np.inf

    def expected(self, victim, mode):
        """The reason that must be named, or "" where the victim does not matter in this mode."""
        if victim == "supervisor":
            return reasons.SUPERVISOR_SILENT
        if victim == "robot":
            return reasons.STATE_MISSING
        source = SOURCE_OF.get(mode, Source.NONE)
        if victim == "policy":
            return reasons.CHUNK_EXHAUSTED if source is Source.POLICY else ""
        return reasons.TELEOP_STALE if source is Source.OPERATOR else ""

    def ready(self, mode):
        self.set_mode(mode)
        base = reasons.TRACKING if mode in SOURCE_OF else f"holding in {mode.name}"
        self.until(lambda: self.reason == base and self.heard == mode.name, f"{mode.name} runs")
        if mode in SOURCE_OF:
            self.until(self.moving, "the robot moves")
        return base

    def clear(self):
        for recorded in (self.commands, self.speeds, self.named, self.received):
            recorded.clear()
        self.period_max_s = 0.0

    def cell(self, victim, kind, mode):
        """One fault in one mode -> dict with the verdict."""
        base, expected = self.ready(mode), self.expected(victim, mode)
        self.clear()
        process = self.processes[victim]
        begin = time.monotonic()
        if kind == "kill":
            process.kill()
        else:
            process.send_signal(signal.SIGSTOP)
        result = {"victim": victim, "kind": kind, "mode": mode.name, "expected": expected or "no effect"}
        try:
            if expected:
                self.until(lambda: expected in self.named, f"{expected!r} is named", 5.0)
                result["named_s"] = round(time.monotonic() - begin, 3)
            else:
                self.spin(max(0.4, 1.5 * DELAY_S[victim]))
            if kind == "delay":
                for _ in range(2):
                    process.send_signal(signal.SIGCONT)
                    self.spin(0.05)
                    process.send_signal(signal.SIGSTOP)
                    self.spin(DELAY_S[victim])
            elif expected:
                self.until(self.resting, "the robot rests", 5.0)
                result["rest_s"] = round(time.monotonic() - begin, 3)
            fine = (base, expected, reasons.TELEOP_WAITING, reasons.CHUNK_WAITING)
            wrong = {name for name in self.named if name not in fine}
            result["share_of_limits"] = self.excess()
            result["ok"] = not wrong and result["share_of_limits"] <= 1.0 + 1e-6
            if wrong:
                result["fault"] = f"also named: {sorted(wrong)}"
        except TimeoutError as error:
            result.update(ok=False, fault=str(error))
        if kind == "kill":
            process.wait()
            self.start(victim)
            if victim == "supervisor" and mode in (ACTIVE | {Mode.ESTOP}):
                self.reset_emergency(mode)
        else:
            process.send_signal(signal.SIGCONT)
        self.until(lambda: self.reason == base, f"{base} again after {victim} {kind}")
        result["ok"] = result["ok"] and self.excess() <= 1.0 + 1e-6
        return self.judge_periods(result)

    def reset_emergency(self, mode):
        """A supervisor that is replaced in an episode leaves an emergency stop: as a person would, press and reset."""
        self.until(lambda: self.reason.startswith("holding in ESTOP"), "the emergency stop is latched")
        for step in (Mode.ESTOP, Mode.IDLE):
            self.set_mode(step)
            self.until(lambda step=step: self.reason == f"holding in {step.name}", f"{step.name} is heard")
        self.set_mode(mode)

    def judge_periods(self, result):
        """Fail a cell in which the control loop took too long for a period."""
        result["period_max_s"] = round(self.period_max_s, 4)
        if self.period_max_s > WORST_PERIOD_S:
            fault = result.get("fault", "")
            result.update(ok=False, fault=f"{fault} a control period of {self.period_max_s * 1e3:.0f} ms".strip())
        return result

    def freeze_all(self, count, only="", mode=Mode.ADAPTATION):
        """Freeze every source `count` times for 0.3 to 1.2 s, each by its own dice -> dict with the verdict.

        Whatever is frozen: the loop keeps its period, commands keep arriving, and no limit is broken.
        """
        self.ready(mode)
        self.clear()
        frozen = dict.fromkeys(VICTIMS, 0)

        def hurt(name, dice):
            process = self.processes[name]
            for _ in range(count):
                process.send_signal(signal.SIGSTOP)
                time.sleep(dice.uniform(0.3, 1.2))
                process.send_signal(signal.SIGCONT)
                frozen[name] += 1
                time.sleep(dice.uniform(0.1, 0.6))

        victims = [name for name in VICTIMS if only in name]
        threads = [threading.Thread(target=hurt, args=(name, random.Random(name))) for name in victims]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            self.spin(0.2)
        self.spin(1.1)  # the filter's last report
        gaps = np.diff(self.received)
        result = {"victim": "every source", "kind": "freezes", "mode": mode.name, "expected": "no effect on the loop"}
        result |= {"unsent_commands": self.unsent_commands}
        result |= {"frozen": frozen, "commands": len(self.received), "share_of_limits": self.excess()}
        result |= {"command_gap_max_s": round(float(gaps.max()), 4), "periods_late": int((gaps > WORST_PERIOD_S).sum())}
        result["ok"] = result["share_of_limits"] <= 1.0 + 1e-6 and result["periods_late"] == 0
        if result["periods_late"]:
            result["fault"] = (
                f"{result['periods_late']} gaps between commands, the longest {gaps.max() * 1e3:.0f} ms; "
                f"{self.unsent_commands} never left the filter, whose longest send took {self.send_max_ms:.0f} ms"
            )
        return self.judge_periods(result)

    def clock_step(self, mode, number, names):
        """A step of the system clock in `names`: nothing at all may change.

        One exception: when the suit's own clock is set back, its frames look as if they had waited; teleop refuses them
        until it is sure that the clock moved and not the frames. The robot stops with that reason, and must go on by
        itself.
        """
        suit_back = "input" in names and number == signal.SIGUSR1 and SOURCE_OF.get(mode) is Source.OPERATOR
        base = self.ready(mode)
        self.clear()
        for name in names:
            self.processes[name].send_signal(number)
        self.spin(1.2)  # 120 periods; a loop on the system clock would stand still
        moved = mode not in SOURCE_OF or np.ptp(np.array(self.commands), axis=0).max() > 0.1
        wrong = {name for name in self.named if name != base}
        if suit_back:
            wrong -= {reasons.TELEOP_STALE}
            self.until(lambda: self.reason == base, "teleop trusts the suit again")
        where = "all" if len(names) > 1 else names[0]
        result = {
            "victim": f"clock of {where}",
            "kind": "-1 h" if number == signal.SIGUSR1 else "+1 h",
            "mode": mode.name,
        }
        result.update(
            expected="a stop that ends by itself" if suit_back else "no effect", share_of_limits=self.excess()
        )
        result["ok"] = bool(moved and not wrong and len(self.commands) > 40 and result["share_of_limits"] <= 1.0 + 1e-6)
        if not result["ok"]:
            result["fault"] = f"moved {moved}, also named {sorted(wrong)}, {len(self.commands)} commands"
        return self.judge_periods(result)


def cells(quick):
    if not quick:
        return [(victim, kind, mode) for mode in MODES for victim in VICTIMS for kind in KINDS]
    active = {"policy": Mode.ROLLOUT}
    chosen = [(victim, "freeze", active.get(victim, Mode.ADAPTATION)) for victim in VICTIMS]
    return [
        *chosen,
        ("input", "kill", Mode.RECOVERY),
        ("robot", "delay", Mode.ROLLOUT),
        ("teleop", "freeze", Mode.PAUSED),
    ]


def show(rows):
    columns = list(dict.fromkeys((row["victim"], row["kind"]) for row in rows))
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    table = {(row["victim"], row["kind"], row["mode"]): row for row in rows}
    print(f"{'':24}" + "".join(f"{mode:>27}" for mode in modes))
    for victim, kind in columns:
        line = []
        for mode in modes:
            row = table.get((victim, kind, mode))
            if row is None:
                line.append("")
            elif not row["ok"]:
                line.append("FAILED")
            elif "named_s" in row:
                rest = f", rest {row['rest_s']:.2f} s" if "rest_s" in row else " s"
                line.append(f"named {row['named_s']:.2f}{rest}")
            else:
                line.append(row["expected"] if row["expected"].startswith("a stop") else "no effect")
        print(f"{victim + ', ' + kind:24}" + "".join(f"{text:>27}" for text in line))
    for row in rows:
        if not row["ok"]:
            print(f"FAILED: {row['victim']} {row['kind']} in {row['mode']}: {row.get('fault', 'a limit was broken')}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some cells, within 30 s")
    parser.add_argument("--only", default="", help="cells whose victim contains this word, e.g. clock")
    parser.add_argument("--freezes", type=int, default=0, help="freeze every source so often, and nothing else")
    args = parser.parse_args()
    bench = Bench()
    raise_priority(realtime=10, nice=-10)  # below the filter: what the bench receives late it would report as late
    rows, error = [], ""
    try:
        bench.until(
            lambda: bench.reason.startswith("holding") and "teleop" in bench.reporting, "all processes run", 60.0
        )
        if args.freezes:
            rows.append(bench.freeze_all(args.freezes, args.only))
        for cell in (c for c in cells(args.quick) if args.only in c[0] and not args.freezes):
            rows.append(bench.cell(*cell))
        for mode in (
            ()
            if args.only not in "clock" or args.freezes
            else (Mode.ADAPTATION,)
            if args.quick
            else (Mode.ROLLOUT, Mode.ADAPTATION, Mode.PAUSED)
        ):
            for number in (signal.SIGUSR1, signal.SIGUSR2):
                for names in (["filter"], list(bench.processes)) if not args.quick else (["filter"],):
                    rows.append(bench.clock_step(mode, number, names))
    except TimeoutError as stuck:
        error = str(stuck)
    finally:
        bench.close()
    show(rows)
    if error:
        print(f"stuck: {error}")
    named = [row["named_s"] for row in rows if "named_s" in row]
    result = {
        "bench": "faults",
        "cells": len(rows),
        "passed": sum(row["ok"] for row in rows),
        "worst_share_of_limits": round(max((row.get("share_of_limits", np.inf) for row in rows), default=np.inf), 9),
        "named_max_s": max(named, default=None),
        "rest_max_s": max((row["rest_s"] for row in rows if "rest_s" in row), default=None),
        "failed": [f"{row['victim']} {row['kind']} in {row['mode']}" for row in rows if not row["ok"]],
        "period_max_ms": round(1e3 * max((row["period_max_s"] for row in rows), default=np.inf), 1),
        "freezes": next((row["frozen"] for row in rows if "frozen" in row), None),
        "command_gap_max_ms": next((1e3 * row["command_gap_max_s"] for row in rows if "frozen" in row), None),
        "load_1min": round(os.getloadavg()[0], 2),
        "error": error,
    }
    print(json.dumps(result))
    return 0 if rows and result["passed"] == len(rows) and not error else 1


if __name__ == "__main__":
    sys.exit(main())
