# SPDX-License-Identifier: Apache-2.0
"""Fault matrix of the command path over real processes: each source killed, restarted, frozen, delayed and sending
garbage, second nodes in each role, and clock steps; in every mode.

Real `command_filter` and `teleop` nodes; robot, policy, supervisor and the operator's input stream are small processes
(`processes/fault_roles.py`), so that each can be hurt alone. Per cell: did /joint_command stay within all limits, did
the robot come to rest, was the reason named on /diagnostics, and how long did it take. A clock step is made by
replacing time.time_ns in one or in all processes (the machine's own clock is left alone). Every cell also fails when
the filter's loop took more than 30 ms for a period, or when a reason was named that its fault does not cause.
Recorder, camera and disk: `recording_faults.py`.

`--freezes N` freezes every source N times at random moments, several at once, and looks at the loop and at the commands
as they arrive. Prints the matrix; the last line is one JSON object. `--quick`: some cells, within 30 s.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import socket
import sys
import threading
import time

import numpy as np
import zmq
from processes import fault_session, garbage
from processes.fault_session import BACK_S, TABLE, WORST_PERIOD_S, Session, run_cells
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rove_contract import domain, messages, ros, topics
from rove_contract.modes import ACTIVE, SOURCE_OF, Mode, Source, Trigger
from rove_contract.priority import raise_priority
from rove_description import mjcf
from rove_teleop.command_filter import command_source as reasons
from rove_teleop.command_filter_node import FOREIGN_PUBLISHER
from rove_teleop.sources import flood

VICTIMS = ("teleop", "input", "policy", "supervisor", "robot")
KINDS = ("kill", "restart", "freeze", "delay", "garbage")
CLAIMANTS = ("supervisor", "teleop", "policy", "filter")
MODES = tuple(Mode)
FREEZE_S = (0.3, 5.0)
# Delay: what it sends is held back for half as long again as the time-out, then comes in a burst. A chunk covers 0.6 s.
DELAY_S = {"teleop": 0.15, "input": 0.15, "policy": 0.9, "supervisor": 0.3, "robot": 0.15}
GARBAGE = 40  # messages within 0.4 s
RIVAL = "/rival@elsewhere:1"


class Rivals:
    """Second nodes in the roles of the command path, played by `node`."""

    def __init__(self, node):
        self._node, self._home = node, mjcf.home(TABLE)
        self._state, self._chunk = JointState(), JointTrajectory()

    def make(self, role):
        """(publisher, () -> the rival's next message; None: it only is there)."""

        def event():
            return ros.mode_event(Mode.IDLE, Trigger.PAUSE, Mode.IDLE, ros.now_ns(), RIVAL)

        def target():
            return messages.fill_joint_state(self._state, TABLE, ros.now_ns(), self._home, session=RIVAL)

        def chunk():
            rows, plan = np.tile(self._home, (12, 1)), messages.Plan(0, RIVAL)
            return messages.fill_chunk(self._chunk, JointTrajectoryPoint, TABLE, ros.now_ns(), rows, 0.05, plan)

        topic, message = {
            "supervisor": (topics.MODE, event),
            "teleop": (topics.TELEOP_TARGETS, target),
            "policy": (topics.ACTION_CHUNK, chunk),
            "filter": (topics.JOINT_COMMAND, None),
        }[role]
        return ros.publisher(self._node, topic), message


class Faults(Session):
    def __init__(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.endpoint = f"tcp://127.0.0.1:{s.getsockname()[1]}"
        self.mode = Mode.IDLE
        self.dice = random.Random(0)
        super().__init__(
            {
                "filter": fault_session.FILTER,
                "teleop": ("module rove_teleop.teleop_node", f"--ros-args -p endpoint:={self.endpoint}"),
                "input": ("input", self.endpoint),
                "policy": ("policy", "-"),
                "supervisor": ("supervisor", lambda: int(self.mode)),
                "robot": ("robot", "-"),
            }
        )

    def set_mode(self, mode):
        self.mode = mode
        self.processes["supervisor"].stdin.write(f"{int(mode)}\n")
        self.processes["supervisor"].stdin.flush()

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

    def base(self, mode):
        """The reason while nothing is wrong."""
        return reasons.TRACKING if mode in SOURCE_OF else f"holding in {mode.name}"

    def ready(self, mode):
        self.set_mode(mode)
        base = self.base(mode)
        self.until(lambda: self.reason == base and self.heard == mode.name, f"{mode.name} runs")
        if mode in SOURCE_OF:
            self.until(self.is_moving, "the robot moves")
        return base

    def cell(self, victim, kind, mode):
        """One fault in one mode -> dict with the verdict."""
        base, expected = self.ready(mode), "" if kind == "garbage" else self.expected(victim, mode)
        self.clear()
        result = {"victim": victim, "kind": kind, "mode": mode.name, "expected": expected or "no effect"}
        begin = time.monotonic()
        try:
            if kind == "garbage":
                self.send_garbage(victim)
            else:
                number = {"kill": signal.SIGKILL, "restart": signal.SIGTERM}.get(kind, signal.SIGSTOP)
                self.signal(victim, number)
                self.await_stop(victim, kind, expected, result, begin)
            self.judge_reasons(result, (base, expected, reasons.TELEOP_WAITING, reasons.CHUNK_WAITING))
        except TimeoutError as error:
            result["fault"] = str(error)
        if kind in ("kill", "restart"):
            self.restart(victim)
            if victim == "supervisor" and mode in (ACTIVE | {Mode.ESTOP}):
                self.reset_emergency(mode)
        elif kind != "garbage":
            self.signal(victim, signal.SIGCONT)
        result["back_s"] = self.until(lambda: self.reason == base, f"{base} again after {victim} {kind}", BACK_S)
        return self.verdict(result)

    def name_of(self, cell):
        """(victim, kind, mode) of a row."""
        method, words = cell
        if method == "cell":
            return words[0], words[1], words[2].name
        return (words[0], "second", words[1].name) if method == "claim" else ("clock", "step", words[0].name)

    def await_stop(self, victim, kind, expected, result, begin):
        """Until the fault is named and the robot at rest, where it should be, and the fault has lasted."""
        lasts = self.dice.uniform(*FREEZE_S) if kind == "freeze" else 0.0
        if expected:
            self.until(lambda: self.is_named(expected), f"{expected!r} is named", 5.0)
            result["named_s"] = round(time.monotonic() - begin, 3)
        else:
            self.spin(max(0.4, 1.5 * DELAY_S[victim]))
        if kind == "delay":
            for _ in range(2):
                self.signal(victim, signal.SIGCONT)
                self.spin(0.05)
                self.signal(victim, signal.SIGSTOP)
                self.spin(DELAY_S[victim])
        elif expected:
            self.until(self.is_resting, "the robot rests", 5.0)
            result["rest_s"] = round(time.monotonic() - begin, 3)
        if kind == "freeze":
            result["frozen_s"] = round(lasts, 2)
            self.spin(lasts - (time.monotonic() - begin))

    def judge_reasons(self, result, fine):
        wrong = sorted({name for name in self.named if not any(name == known for known in fine)})
        if wrong:
            result["fault"] = f"also named: {wrong}"

    def send_garbage(self, victim):
        """Useless messages beside the victim's own; they must have arrived, been dropped and counted."""
        node, key = ("teleop", "malformed") if victim == "input" else ("command_filter", "dropped")
        before = self.count(node, key)
        if victim == "input":
            sender = zmq.Context.instance().socket(zmq.PUB)
            sender.setsockopt(zmq.LINGER, 0)
            sender.connect(self.endpoint)
            found, send = flood.messages(GARBAGE), sender.send
            self.spin(0.3)  # until the subscription is through
        else:
            topic, found = garbage.messages_of(victim, TABLE.names)
            publisher = ros.publisher(self.node, topic)
            send = publisher.publish
            self.until(lambda: publisher.get_subscription_count() > 0, "the garbage has a receiver")
        end = time.monotonic() + BACK_S
        try:
            # Until it is counted, at least so many: a connection that is not through yet loses the first ones.
            for i in itertools.count():
                if i >= GARBAGE and self.count(node, key) > before:
                    break
                if time.monotonic() > end:
                    raise TimeoutError(f"{node} does not count the garbage")
                send(found[i % len(found)])
                self.spin(0.01)
        finally:
            sender.close() if victim == "input" else self.node.destroy_publisher(publisher)

    def claim(self, role, mode):
        """A second node speaks in a role: the robot stops with both names where that role matters, else nothing
        changes."""
        base = self.ready(mode)
        source = SOURCE_OF.get(mode, Source.NONE)
        matters = {"teleop": source is Source.OPERATOR, "policy": source is Source.POLICY}.get(role, True)
        words = (
            FOREIGN_PUBLISHER
            if role == "filter"
            else f"nodes claim to be the {'teleop node' if role == 'teleop' else role}"
        )
        expected = words if matters else ""
        self.clear()
        result = {"victim": role, "kind": "second", "mode": mode.name, "expected": expected or "no effect"}
        publisher, message = Rivals(self.node).make(role)
        begin = time.monotonic()
        try:
            while time.monotonic() - begin < 5.0 and not (expected and self.is_named(expected) and self.is_resting()):
                if message is not None:
                    publisher.publish(message())
                self.spin(0.03)
                if expected and self.is_named(expected):
                    result.setdefault("named_s", round(time.monotonic() - begin, 3))
                if not expected and time.monotonic() - begin > 0.6:
                    break
            if expected and "named_s" not in result:
                raise TimeoutError(f"{expected!r} is not named within 5 s")
            if expected and mode in SOURCE_OF:
                result["rest_s"] = round(time.monotonic() - begin, 3)
            wrong = sorted({name for name in self.named if name != base and not (expected and expected in name)})
            if wrong:
                result["fault"] = f"also named: {wrong}"
        except TimeoutError as error:
            result["fault"] = str(error)
        finally:
            self.node.destroy_publisher(publisher)
        if role == "supervisor" and mode in ACTIVE:
            self.reset_emergency(mode)
        self.until(lambda: self.reason == base, f"{base} again after a second {role}")
        return self.verdict(result)

    def reset_emergency(self, mode):
        """A supervisor that is replaced in an episode leaves an emergency stop: as a person would, press and reset."""
        self.until(lambda: self.reason.startswith("holding in ESTOP"), "the emergency stop is latched")
        for step in (Mode.ESTOP, Mode.IDLE):
            self.set_mode(step)
            self.until(lambda step=step: self.reason == f"holding in {step.name}", f"{step.name} is heard")
        self.set_mode(mode)

    def freeze_all(self, count, only="", mode=Mode.ADAPTATION):
        """Freeze every source `count` times for 0.3 to 1.2 s, each by its own dice -> dict with the verdict.

        Whatever is frozen: the loop keeps its period, commands keep arriving, and no limit is broken.
        """
        self.ready(mode)
        self.clear()
        frozen = dict.fromkeys(VICTIMS, 0)

        def hurt(name, dice):
            for _ in range(count):
                self.signal(name, signal.SIGSTOP)
                time.sleep(dice.uniform(0.3, 1.2))
                self.signal(name, signal.SIGCONT)
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
        late, unsent = int((gaps > WORST_PERIOD_S).sum()), self.count("command_filter", "unsent_commands")
        result = {"victim": "every source", "kind": "freezes", "mode": mode.name, "expected": "no effect on the loop"}
        result |= {"frozen": frozen, "commands": len(self.received), "unsent_commands": unsent}
        result |= {"command_gap_max_s": round(float(gaps.max()), 4), "periods_late": late}
        if late:
            result["fault"] = (
                f"{late} gaps between commands, the longest {gaps.max() * 1e3:.0f} ms; {unsent} never left the filter, "
                f"whose longest send took {self.send_max_ms:.0f} ms"
            )
        return self.verdict(result)

    def clock_step(self, mode, number, names):
        """A step of the system clock in `names`: nothing at all may change.

        One exception: when the suit's own clock is set back, its frames look as if they had waited; teleop refuses them
        until it is sure that the clock moved and not the frames. The robot stops with that reason, and must go on by
        itself.
        """
        back = number == signal.SIGUSR1
        suit_back = "input" in names and back and SOURCE_OF.get(mode) is Source.OPERATOR
        base = self.ready(mode)
        self.clear()
        for name in names:
            self.signal(name, number)
        self.spin(1.2)  # 120 periods; a loop on the system clock would stand still
        moved = mode not in SOURCE_OF or np.ptp(np.array(self.commands), axis=0).max() > 0.1
        wrong = {name for name in self.named if name != base}
        if suit_back:
            wrong -= {reasons.TELEOP_STALE}
            self.until(lambda: self.reason == base, "teleop trusts the suit again")
        result = {
            "victim": f"clock of {'all' if len(names) > 1 else names[0]}",
            "kind": "-1 h" if back else "+1 h",
            "mode": mode.name,
            "expected": "a stop that ends by itself" if suit_back else "no effect",
        }
        if not (moved and not wrong and len(self.commands) > 40):
            result["fault"] = f"moved {moved}, also named {sorted(wrong)}, {len(self.commands)} commands"
        return self.verdict(result)


def cells(quick, only=""):
    """[(name of the method, its arguments)] of the matrix, mode by mode."""
    if quick:
        chosen = [(v, "freeze", Mode.ROLLOUT if v == "policy" else Mode.ADAPTATION) for v in VICTIMS]
        chosen += [
            ("input", "kill", Mode.RECOVERY),
            ("robot", "delay", Mode.ROLLOUT),
            ("teleop", "garbage", Mode.PAUSED),
        ]
        found = [("cell", cell) for cell in chosen] + [("claim", ("policy", Mode.ROLLOUT))]
        found += [("clock_step", (Mode.ADAPTATION, number, ["filter"])) for number in (signal.SIGUSR1, signal.SIGUSR2)]
    else:
        found = []
        for mode in MODES:
            found += [("cell", (victim, kind, mode)) for victim in VICTIMS for kind in KINDS]
            found += [("claim", (role, mode)) for role in CLAIMANTS]
            for names in (["filter"], ["filter", *VICTIMS]):
                found += [("clock_step", (mode, number, names)) for number in (signal.SIGUSR1, signal.SIGUSR2)]
    return [(method, words) for method, words in found if all(word in label(method, words) for word in only.split())]


def label(method, words):
    """What `--only` looks into, e.g. "teleop kill RECOVERY"."""
    if method == "cell":
        return f"{words[0]} {words[1]} {words[2].name}"
    return f"second {words[0]} {words[1].name}" if method == "claim" else f"clock {words[0].name}"


def show(rows):
    """The matrix: s until the reason is named / until the robot rests; - where nothing may change."""
    columns = list(dict.fromkeys((row["victim"], row["kind"]) for row in rows))
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    table = {(row["victim"], row["kind"], row["mode"]): row for row in rows}
    print(f"{'s until named / at rest':24}" + "".join(f"{mode:>15}" for mode in modes))
    for victim, kind in columns:
        line = []
        for mode in modes:
            row = table.get((victim, kind, mode))
            if row is None:
                line.append("")
            elif not row["ok"]:
                line.append("FAILED")
            elif "named_s" in row:
                line.append(f"{row['named_s']:.2f}" + (f" / {row['rest_s']:.2f}" if "rest_s" in row else ""))
            else:
                line.append("by itself" if row["expected"].startswith("a stop") else "-")
        print(f"{victim + ', ' + kind:24}" + "".join(f"{text:>15}" for text in line))
    for row in rows:
        if not row["ok"]:
            print(f"FAILED at load {row['load']}: {row['victim']} {row['kind']} in {row['mode']}: {row['fault']}")


def summary(bench, rows, error, begin):
    """The JSON object of a run."""
    load = [row["load"] for row in rows]
    return {
        "bench": bench,
        "cells": len(rows),
        "passed": sum(row["ok"] for row in rows),
        "worst_share_of_limits": round(max((row.get("share_of_limits", np.inf) for row in rows), default=np.inf), 9),
        "named_max_s": max((row["named_s"] for row in rows if "named_s" in row), default=None),
        "back_max_s": round(max((row["back_s"] for row in rows if "back_s" in row), default=0.0), 1),
        "rest_max_s": max((row["rest_s"] for row in rows if "rest_s" in row), default=None),
        "period_max_ms": round(1e3 * max((row["period_max_s"] for row in rows), default=np.inf), 1),
        "failed": [f"{row['victim']} {row['kind']} in {row['mode']}: {row['fault']}" for row in rows if not row["ok"]],
        "load": [min(load, default=None), max(load, default=None)],
        "cores": os.cpu_count(),
        "seconds": round(time.monotonic() - begin),
        "error": error,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="some cells, within 30 s")
    parser.add_argument("--only", default="", help='cells with these words, e.g. "teleop kill RECOVERY" or clock')
    parser.add_argument("--repeat", type=int, default=1, help="how often each cell is run")
    parser.add_argument("--freezes", type=int, default=0, help="freeze every source so often, and nothing else")
    args = parser.parse_args()
    domain.isolate()
    chosen = [] if args.freezes else [cell for cell in cells(args.quick, args.only) for _ in range(args.repeat)]
    begin = time.monotonic()
    bench = Faults()
    raise_priority(realtime=10, nice=-10)  # below the filter: what the bench receives late it would report as late
    rows, error = [], ""
    try:
        bench.until(lambda: bench.reason.startswith("holding") and "teleop" in bench.values, "all processes run", 180.0)
        if args.freezes:
            rows.append(bench.freeze_all(args.freezes, args.only) | {"load": round(os.getloadavg()[0], 1)})
        else:
            rows, error = run_cells(bench, chosen, lambda cell: getattr(bench, cell[0])(*cell[1]))
    except TimeoutError as stuck:
        error = str(stuck)
    finally:
        bench.close()
    show(rows)
    if error:
        print(f"stuck: {error}")
    result = summary("faults", rows, error, begin)
    if args.freezes and rows:
        result |= {"freezes": rows[0]["frozen"], "command_gap_max_ms": 1e3 * rows[0]["command_gap_max_s"]}
    print(json.dumps(result))
    return 0 if rows and result["passed"] == len(rows) and not error else 1


if __name__ == "__main__":
    sys.exit(main())
