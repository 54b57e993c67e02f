# SPDX-License-Identifier: Apache-2.0
"""Fault matrix of recording over real processes: recorder, camera and disk, each hurt in every mode.

Real `command_filter`, `supervisor` and `recorder` nodes; robot, camera, policy and operator are small processes
(`processes/fault_roles.py`). Each cell in an active mode is an episode. Per cell: did the robot keep its limits and the
control loop its period, did the session do what it must (pause, refuse, end the episode, or nothing), was the reason
named. At the end all bags are exported: every episode must be in the dataset or left out by name, and no more of the
robot's motion may be lost than the fault lasted, and a second. A full disk is a file-size limit of the recorder's
process, a slow one an fsync of 2 s. Prints the matrix; the last line is one JSON object. `--quick`: some cells.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from faults import GARBAGE, MODES, show, summary
from processes import fault_session, garbage
from processes.fault_session import BACK_S, TABLE, Session, run_cells
from std_srvs.srv import Trigger as TriggerService

from rove_contract import domain, messages, ros, topics
from rove_contract import episode as episodes
from rove_contract.modes import ACTIVE, SOURCE_OF, Mode
from rove_contract.priority import raise_priority
from rove_contract.timing import POLICY_HZ
from rove_recorder.bag.recover import find_bags
from rove_recorder.export.export import export_bags

FAULTS = {
    "recorder": ("kill", "restart", "freeze", "delay", "garbage"),
    "camera": ("kill", "restart", "freeze", "delay", "garbage"),
    "disk": ("full", "slow"),
}
ENTRY = {
    Mode.IDLE: (),
    Mode.ROLLOUT: ("start_rollout",),
    Mode.PAUSED: ("start_rollout", "pause"),
    Mode.ADAPTATION: ("start_rollout", "pause", "force_takeover"),
    Mode.RECOVERY: ("start_rollout", "pause", "force_takeover", "recovered"),
    Mode.DEMONSTRATION: ("start_demonstration",),
    Mode.ESTOP: ("estop",),
}
AFTER = {Mode.DEMONSTRATION: Mode.IDLE, **dict.fromkeys(set(SOURCE_OF) - {Mode.DEMONSTRATION}, Mode.PAUSED)}
LEAD_S = 0.6  # of an episode before its fault
FULL_BYTES = 4096  # no file of the recorder may grow beyond
SAMPLE_S = 1 / POLICY_HZ
LOST_S = 1.0  # of motion, beside what the fault itself lasted


@dataclass
class Told:
    """What the supervisor said of one episode: its modes with their stamps (ns), and its end."""

    modes: list[tuple[int, Mode]] = field(default_factory=list)
    ended_ns: int = 0

    def acted_s(self) -> float:
        """s in modes in which somebody drove the robot."""
        ends = [at for at, _ in self.modes[1:]] + [self.ended_ns]
        return sum((end - at) * 1e-9 for (at, mode), end in zip(self.modes, ends) if mode in SOURCE_OF)


class RecordingFaults(Session):
    def __init__(self, bags: Path):
        self.bags, self.mode = bags, Mode.IDLE
        self.status, self.episode, self.told = {}, None, {}
        self.pictures = 0
        supervisor = "--ros-args -p record:=true -p panel_port:=-1 -p discovery:=0.3"
        super().__init__(
            {
                "filter": fault_session.FILTER,
                "robot": ("robot", "-"),
                "camera": ("camera", "-"),
                "operator": ("operator", "-"),
                "policy": ("policy", "-"),
                "supervisor": ("module rove_supervisor.supervisor_node", supervisor),
                "recorder": ("module rove_recorder.recorder_node", f"--ros-args -p out_dir:={bags}"),
            }
        )
        ros.subscription(self.node, topics.MODE, self._on_mode)
        ros.subscription(self.node, topics.EPISODE, self._on_episode)
        ros.subscription(self.node, topics.RECORDER_STATUS, self._on_status)
        ros.subscription(self.node, topics.EGO_IMAGE, self._on_picture)
        self.services = {}

    def _on_mode(self, msg):
        self.mode = ros.mode_of(msg)
        if self.episode is not None and self.mode in ACTIVE:
            modes = self.told[self.episode.id].modes
            if (msg.timestamp, self.mode) not in modes:
                modes.append((msg.timestamp, self.mode))

    def _on_episode(self, msg):
        self.episode = episodes.from_status(msg)
        told = self.told.setdefault(self.episode.id, Told())
        told.ended_ns = self.episode.ended_ns

    def _on_status(self, msg):
        self.status = messages.diagnostic_values(msg) | {"message": msg.message}

    def _on_picture(self, _msg):
        self.pictures += 1

    # ---- what a person does

    def request(self, action):
        """(accepted, answer) of a service of the supervisor."""
        client = self.services.setdefault(action, self.node.create_client(TriggerService, f"/supervisor/{action}"))
        self.until(client.service_is_ready, f"service {action}")
        future = client.call_async(TriggerService.Request())
        self.until(future.done, f"answer of {action}")
        return future.result().success, future.result().message

    def do(self, action, limit_s=20.0):
        end, text = time.monotonic() + limit_s, ""
        while time.monotonic() < end:
            accepted, text = self.request(action)
            if accepted:
                return
            self.spin(0.1)
        raise TimeoutError(f"{action} is refused for {limit_s:g} s: {text}")

    def enter(self, mode):
        for action in ENTRY[mode]:
            self.do(action)
        self.until(lambda: self.mode is mode and self.heard == mode.name, f"{mode.name} runs")
        if mode in SOURCE_OF:
            self.until(self.is_moving, "the robot moves")
        if mode in ACTIVE:
            self.spin(LEAD_S)

    def leave(self):
        """Back to IDLE with the bag closed, everything alive."""
        recorded = self.mode in ACTIVE
        if self.mode is Mode.ESTOP:
            self.do("reset")
        elif self.mode in ACTIVE:
            self.do("succeed")
        self.until(lambda: self.mode is Mode.IDLE and self.heard == "IDLE", "IDLE after the episode")
        self.until(
            lambda: self.status.get("recording") == "false" and self.status.get("ready") == "true",
            "the recorder is ready",
            BACK_S,
        )
        if recorded:
            name = self.episode.id
            self.until(lambda: Path(self.status["last_bag"]).name.startswith(name), "the bag is closed", 20.0)

    def revive(self):
        super().revive()
        self.leave()

    def name_of(self, cell):
        """(victim, kind, mode) of a row."""
        return cell[0], cell[1], cell[2].name

    # ---- one cell

    def cell(self, victim, kind, mode):
        """One fault in one mode -> dict with the verdict; the episode's fate is known after the export."""
        self.enter(mode)
        self.clear()
        result = {"victim": victim, "kind": kind, "mode": mode.name, "expected": "no effect"}
        if mode in ACTIVE:
            result["episode"] = self.episode.id
        begin = time.monotonic()
        try:
            getattr(self, f"hurt_{victim}")(kind, mode, result, begin)
            fine = ("holding", "waiting", "tracking")
            wrong = sorted({name for name in self.named if not name.startswith(fine)})
            if wrong:
                result["fault"] = f"the command filter named: {wrong}"
        except TimeoutError as error:
            result["fault"] = str(error)
        finally:
            self.mend(victim, kind)
            result["away_s"] = round(time.monotonic() - begin, 2)
        self.leave()
        return self.verdict(result)

    def mend(self, victim, kind):
        name = "recorder" if victim == "disk" else victim
        if self.processes[name].poll() is not None:
            self.restart(name)
        self.signal(name, signal.SIGCONT)
        if kind == "full":
            self.limit_files(resource.RLIM_INFINITY)

    def hurt_process(self, victim, kind):
        """Begin the fault; a delay and garbage are over when this returns."""
        if kind == "delay":
            for _ in range(3):
                self.signal(victim, signal.SIGSTOP)
                self.spin(0.4)
                self.signal(victim, signal.SIGCONT)
                self.spin(0.05)
        elif kind == "garbage":
            topic, found = garbage.messages_of(victim, TABLE.names)
            publisher = ros.publisher(self.node, topic)
            self.until(lambda: publisher.get_subscription_count() >= 2, "the garbage has receivers")
            for i in range(GARBAGE):
                publisher.publish(found[i % len(found)])
                self.spin(0.01)
            self.node.destroy_publisher(publisher)
        else:
            number = {"kill": signal.SIGKILL, "restart": signal.SIGTERM}.get(kind, signal.SIGSTOP)
            self.signal(victim, number)

    def hurt_camera(self, kind, mode, result, begin):
        self.hurt_process("camera", kind)
        if kind in ("delay", "garbage"):
            return
        if kind == "restart":  # back within a second or not: both are fine, if it is back
            before = self.pictures
            self.restart("camera")
            self.until(lambda: self.pictures > before + 10, "pictures come again", BACK_S)
            result["expected"] = "pictures come again"
            return
        words = "the camera ego is silent"
        if mode in SOURCE_OF:
            result["expected"] = f"{AFTER[mode].name}, {words!r}"
            self.until(lambda: self.mode is AFTER[mode], f"{AFTER[mode].name} without a camera", 5.0)
            result["named_s"] = round(time.monotonic() - begin, 3)
            self.until(self.is_resting, "the robot rests", 5.0)
            result["rest_s"] = round(time.monotonic() - begin, 3)
            self.until(lambda: words in self.values["supervisor"].get("notice", ""), f"{words!r} is named", 5.0)
            return
        self.spin(1.2)
        action = {Mode.IDLE: "start_rollout", Mode.PAUSED: "resume"}.get(mode)
        if action is not None:
            result["expected"] = f"{action} is refused"
            accepted, text = self.request(action)
            if accepted or words not in text:
                raise TimeoutError(f"{action} without a camera is answered by {text!r}")
            result["named_s"] = round(time.monotonic() - begin, 3)

    def hurt_recorder(self, kind, mode, result, begin):
        self.hurt_process("recorder", kind)
        if kind == "kill" and mode is Mode.IDLE:
            result["expected"] = "start_rollout is refused"
            self.spin(3.3)
            accepted, text = self.request("start_rollout")
            if accepted or "the recorder is silent" not in text:
                raise TimeoutError(f"start_rollout without a recorder is answered by {text!r}")
            result["named_s"] = round(time.monotonic() - begin, 3)
        elif kind == "freeze":
            self.spin(2.0)
        elif kind in ("kill", "restart"):
            self.restart("recorder")
            if mode in ACTIVE:  # the rest of the episode is recorded, as a second part
                self.until(lambda: (self.bags / f"{result['episode']}.2").is_dir(), "the recorder goes on", BACK_S)
                result["named_s"] = round(time.monotonic() - begin, 3)
                self.spin(1.0)
            result["expected"] = "the rest is recorded"

    def hurt_disk(self, kind, mode, result, begin):
        if kind == "slow":
            self.signal("recorder", signal.SIGRTMIN)
            try:
                if mode in ACTIVE:
                    result["expected"] = "the disk does not keep up"
                    self.until(lambda: result["expected"] in self.status["message"], "the slow disk is named", 10.0)
                    result["named_s"] = round(time.monotonic() - begin, 3)
                else:
                    self.spin(0.5)
            finally:
                self.signal("recorder", signal.SIGRTMIN)
            return
        self.limit_files(FULL_BYTES)
        if mode is Mode.IDLE:
            self.do("start_rollout")
            self.until(lambda: self.mode is Mode.ROLLOUT or self.episode.state != episodes.ACTIVE, "an episode")
            result["episode"] = self.episode.id
        if mode in ACTIVE or mode is Mode.IDLE:
            result["expected"] = "the episode is ended"
            self.until(lambda: self.episode.state == episodes.ENDED and self.mode is Mode.IDLE, "the episode is ended")
            self.until(lambda: "is not complete" in self.status["message"], "the recorder says that the bag is lost")
            result["named_s"] = round(time.monotonic() - begin, 3)
            self.until(self.is_resting, "the robot rests", 5.0)
        else:
            self.spin(0.5)

    def limit_files(self, size):
        """No file of the recorder's process grows beyond `size` bytes, which is how a full disk answers it."""
        pid = self.processes["recorder"].pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def judge_export(rows, bags, out, told):
    """Export everything and add to each row what became of its episode; a row whose episode is in no list fails."""
    exported, left_out = {}, {}
    for result in export_bags(find_bags([bags]), out, workers=1, progress=False):
        name = Path(result.folder).name
        if result.episode is None:
            left_out[name] = result.error
        else:
            exported[result.episode.frames.episode_id] = result
    for row in rows:
        if (name := row.get("episode")) is None:
            continue
        if name in exported:
            found = exported[name]
            row["lost_s"] = round(max(0.0, told[name].acted_s() - len(found.episode.frames) * SAMPLE_S), 2)
            row["fate"] = "excluded" if found.episode.frames.excluded else "exported"
            row["flags"] = found.quality.flags
            if row["lost_s"] > row["away_s"] + LOST_S:
                row.update(ok=False, fault=f"{row['fault']} {row['lost_s']:.2f} s of {name} were lost".strip())
        elif reasons := [text for folder, text in left_out.items() if folder in (name, f"{name}.2")]:
            row["fate"], row["flags"] = "left out", reasons
            row["lost_s"] = round(told[name].acted_s(), 2)
        else:
            row.update(
                ok=False, fault=f"{row['fault']} episode {name} is neither exported nor left out by name".strip()
            )


def show_losses(rows):
    """Seconds of motion lost per fault and mode, and what became of the episodes."""
    modes = [mode.name for mode in MODES if mode in ACTIVE]
    print(f"\n{'s of motion lost':24}" + "".join(f"{mode:>15}" for mode in modes))
    for victim, kind in dict.fromkeys((row["victim"], row["kind"]) for row in rows):
        mine = {row["mode"]: row for row in rows if (row["victim"], row["kind"]) == (victim, kind)}
        texts = []
        for mode in modes:
            row = mine.get(mode, {})
            mark = {"excluded": "x", "left out": "o"}.get(row.get("fate"), "")
            texts.append(f"{row['lost_s']:.2f}{mark}" if "lost_s" in row else "")
        print(f"{victim + ', ' + kind:24}" + "".join(f"{text:>15}" for text in texts))
    print("x: in the dataset, excluded from training; o: left out, with the reason")
    for row in rows:
        if row.get("fate", "exported") != "exported":
            print(f"  {row['victim']} {row['kind']} in {row['mode']}: {row['fate']}; {'; '.join(row['flags'])}")


def cells(quick, only=""):
    modes = (Mode.ROLLOUT,) if quick else MODES
    found = [(victim, kind, mode) for mode in modes for victim, kinds in FAULTS.items() for kind in kinds]
    return [cell for cell in found if all(word in f"{cell[0]} {cell[1]} {cell[2].name}" for word in only.split())]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="ROLLOUT only")
    parser.add_argument("--only", default="", help='cells with these words, e.g. "camera kill"')
    args = parser.parse_args()
    domain.isolate()
    begin, rows, error = time.monotonic(), [], ""
    with tempfile.TemporaryDirectory() as folder:
        bags = Path(folder) / "bags"
        bench = RecordingFaults(bags)
        raise_priority(realtime=10, nice=-10)
        try:
            bench.until(lambda: bench.reason == "holding in IDLE", "all processes run", 180.0)
            bench.until(lambda: bench.status.get("ready") == "true", "the recorder is ready", 180.0)
            rows, error = run_cells(bench, cells(args.quick, args.only), lambda cell: bench.cell(*cell))
        except TimeoutError as stuck:
            error = str(stuck)
        finally:
            bench.close()
        if rows and bags.is_dir():
            judge_export(rows, bags, Path(folder) / "dataset", bench.told)
    show(rows)
    show_losses(rows)
    if error:
        print(f"stuck: {error}")
    result = summary("recording_faults", rows, error, begin)
    fates = [row["fate"] for row in rows if "fate" in row]
    result |= {"episodes": len(fates), **{fate.replace(" ", "_"): fates.count(fate) for fate in sorted(set(fates))}}
    print(json.dumps(result))
    return 0 if rows and result["passed"] == len(rows) and not error else 1


if __name__ == "__main__":
    sys.exit(main())
