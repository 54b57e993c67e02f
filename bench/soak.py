# SPDX-License-Identifier: Apache-2.0
"""An unattended session under faults: scripted people run episode after episode while every 20 s something is killed,
frozen, stepped, filled or doubled at random.

Every node is the real one: simulated robot, policy, operator, teleop, supervisor with its script, command filter,
recorder. What ends is started again after a second, and one attendant does what a person would: resets an emergency
stop, pauses when the robot stands still in mid-episode. At the end all bags are exported. Asked: no command beyond a
limit, every episode in the dataset or left out by name, no memory growth above 5 % of any node after its warm-up, no
process that ends by itself, no stretch of 5 minutes without an episode that ends. Prints its seed, a table, and one
JSON object as the last line. `--quick`: 90 s.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from faults import CLAIMANTS, RIVAL, Rivals
from processes import garbage
from processes.fault_session import FILTER, TABLE, Session, worst_share
from std_srvs.srv import Trigger as TriggerService

from rove_contract import domain, ros, topics
from rove_contract import episode as episodes
from rove_contract.modes import SOURCE_OF, Mode, Trigger
from rove_contract.priority import raise_priority
from rove_recorder.bag.recover import find_bags
from rove_recorder.export.export import export_bags

EVERY_S = 20.0  # between two faults
BACK_S = 1.0  # until a process that ended is started again
FREEZE_S = (0.3, 5.0)
HOLD_S = 4.0  # of a slow or full disk, of a stepped clock
RIVAL_S = 1.0
ATTEND_S = 2.0  # an emergency stop, or a robot that stands still in mid-episode, before the attendant acts
AGAIN_S = 2.0  # between two calls of the attendant
SAMPLE_S = 5.0  # between two looks at memory and limits
WARM_UP_S = 120.0  # of a process, before its memory counts
WINDOW_S = 90.0  # of the two windows that are compared: several episodes begin and end in each
MOST_GROWTH = 0.05
STUCK_S = 300.0
NODES = ("robot", "operator", "teleop", "policy", "filter", "supervisor", "people", "recorder")
FAULTS = [
    *[(name, kind) for name in NODES if name != "people" for kind in ("kill", "restart", "freeze")],
    *[("disk", kind) for kind in ("slow", "full")],
    *[("clock", where) for where in ("filter", "recorder", "all")],
    *[("garbage", victim) for victim in ("robot", "teleop", "policy", "supervisor", "camera", "recorder")],
    *[("second", role) for role in CLAIMANTS],
]


def motionless_policy(folder: Path) -> Path:
    """A checkpoint whose untrained actor holds the home pose, so that every rollout needs its operator."""
    import torch

    from rove_description import mjcf
    from rove_learning.config import ActorConfig, CriticConfig
    from rove_learning.inference import checkpoint
    from rove_learning.models.actor import Actor
    from rove_learning.models.critic import Critic

    actor = Actor(ActorConfig(), len(TABLE))
    actor.action_mean.copy_(torch.from_numpy(mjcf.home(TABLE)))
    info = {"joints": list(TABLE.names), "instructions": ["erase the whiteboard"]}
    return checkpoint.save(folder / "policy", actor, Critic(CriticConfig()), info=info)


class Soak(Session):
    def __init__(self, bags: Path, policy: Path, seed: int, keep: Path | None = None):
        self.keep = keep
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            endpoint = f"tcp://127.0.0.1:{s.getsockname()[1]}"
        self.dice = random.Random(seed)
        self.mode, self.episode = Mode.IDLE, None
        self.told: dict[str, int] = {}  # episode -> stamp of its end, 0 while it runs
        self.ended_at = self.asked_at = time.monotonic()
        self.mode_at = self.reason_at = time.monotonic()
        self.done: Counter = Counter()  # (victim, kind) -> how often
        self.due: list[tuple[float, object]] = []  # (when, what ends a fault)
        self.expected_ends: set[int] = set()
        self.unexpected: list[str] = []
        self.broken: list[str] = []  # limits
        self.bags, self.last_fault = bags, "no fault"
        self.dead: dict[str, float] = {}
        self.memory: dict[tuple[str, int], list[tuple[float, float]]] = {}  # (node, pid) -> [(s, MB)]
        self.starts: Counter = Counter()
        self.worst_share = self.worst_period_s = 0.0
        self.commands_seen, self.loads, self.attended = 0, [], Counter()

        def node(module, **parameters):
            words = " ".join(f"-p {name}:={value}" for name, value in parameters.items())
            return f"module {module}", f"--ros-args {words}" if words else "--ros-args"

        super().__init__(
            {
                "robot": node("rove_sim.robot_node", image_size=96, camera_hz=15.0, seed=seed),
                "operator": node("rove_sim.scripted_operator_node", endpoint=endpoint, seed=seed),
                "teleop": node("rove_teleop.teleop_node", endpoint=endpoint),
                "policy": node("rove_policy.policy_node", checkpoint=policy, device="cpu", threads=1),
                "filter": FILTER,
                "supervisor": node(
                    "rove_supervisor.supervisor_node", record="true", panel_port=0, checkpoint=policy, discovery=0.3
                ),
                "people": node("rove_sim.scripted_supervisor_node", episodes=100000, ready_timeout_s=1e6, seed=seed),
                "recorder": node("rove_recorder.recorder_node", out_dir=bags, min_free_gb=0.1),
            },
            spares=False,
        )
        self.rivals = Rivals(self.node)
        ros.subscription(self.node, topics.MODE, self._on_mode)
        ros.subscription(self.node, topics.EPISODE, self._on_episode)
        self.services = {
            trigger: self.node.create_client(TriggerService, topics.SUPERVISOR_SERVICES[trigger])
            for trigger in (Trigger.PAUSE, Trigger.ABORT, Trigger.RESET)
        }

    def start(self, name):
        super().start(name)
        self.starts[name] += 1

    def _on_mode(self, msg):
        try:
            mode = ros.mode_of(msg)
        except ValueError:
            return  # our own garbage
        if mode is not self.mode and ros.mode_session(msg) != RIVAL:
            self.mode, self.mode_at = mode, time.monotonic()

    def _on_episode(self, msg):
        episode = episodes.from_status(msg)
        if self.told.get(episode.id) == 0 and episode.ended_ns:
            self.ended_at = time.monotonic()
        self.told[episode.id] = episode.ended_ns

    # ---- faults

    def hurt(self):
        """One fault by the dice."""
        victim, kind = self.dice.choice(FAULTS)
        self.done[victim, kind] += 1
        self.last_fault = f"{victim} {kind}"
        now = time.monotonic()
        if kind in ("kill", "restart"):
            self.expected_ends.add(self.processes[victim].pid)
            self.signal(victim, signal.SIGKILL if kind == "kill" else signal.SIGTERM)
        elif kind == "freeze":
            process = self.processes[victim]
            process.send_signal(signal.SIGSTOP)
            self.due.append((now + self.dice.uniform(*FREEZE_S), lambda: process.send_signal(signal.SIGCONT)))
        elif victim == "disk":
            self.fill(self.processes["recorder"], kind, now)
        elif victim == "clock":
            names = NODES if kind == "all" else (kind,)
            hurt = [self.processes[name] for name in names if self.processes[name].poll() is None]
            there, back = self.dice.sample((signal.SIGUSR1, signal.SIGUSR2), 2)
            self.step(hurt, there)
            self.due.append((now + HOLD_S, lambda: self.step(hurt, back)))
        elif victim == "garbage":
            topic, found = garbage.messages_of(kind, TABLE.names)
            publisher = ros.publisher(self.node, topic)
            for i, message in enumerate(5 * found):
                self.due.append((now + 0.3 + 0.03 * i, partial(publisher.publish, message)))
            self.due.append((now + 2.0, lambda: self.node.destroy_publisher(publisher)))
        else:
            publisher, message = self.rivals.make(kind)
            if message is not None:
                for i in range(round(RIVAL_S / 0.03)):
                    self.due.append((now + 0.03 * i, lambda: publisher.publish(message())))
            self.due.append((now + RIVAL_S + 0.5, lambda: self.node.destroy_publisher(publisher)))

    def step(self, processes, number):
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    def fill(self, recorder, kind, now):
        if kind == "slow":
            recorder.send_signal(signal.SIGRTMIN)
            self.due.append((now + HOLD_S, lambda: self.step([recorder], signal.SIGRTMIN)))
            return

        def limit(size):
            if recorder.poll() is None:
                resource.prlimit(recorder.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        limit(4096)
        self.due.append((now + HOLD_S, lambda: limit(resource.RLIM_INFINITY)))

    # ---- what goes on beside the faults

    def attend(self, now):
        """What a person would do: start what ended, reset an emergency stop, pause a robot that stands still."""
        for name, process in self.processes.items():
            if process.poll() is None:
                continue
            if name not in self.dead:
                self.dead[name] = now
                if process.pid not in self.expected_ends:
                    self.unexpected.append(
                        f"{name} ended by itself with {process.returncode} after {now - self.begin:.0f} s"
                    )
            elif now - self.dead[name] > BACK_S:
                del self.dead[name]
                self.start(name)
        if now - self.asked_at < AGAIN_S:
            return
        trigger = None
        if self.mode is Mode.ESTOP and now - self.mode_at > ATTEND_S:
            trigger = Trigger.RESET
        elif self.mode in SOURCE_OF and self.stands_still(now):
            trigger = Trigger.ABORT if self.mode is Mode.DEMONSTRATION else Trigger.PAUSE
        if trigger is not None and self.services[trigger].service_is_ready():
            self.asked_at = now
            self.attended[trigger.service] += 1
            self.services[trigger].call_async(TriggerService.Request())

    def stands_still(self, now):
        """The filter has named a reason to stop for ATTEND_S, though somebody should drive."""
        if self.reason == "tracking" or self.heard != self.mode.name:
            self.reason_at = now
        return now - self.reason_at > ATTEND_S

    def sample(self, now):
        """Limits of the commands since the last look, memory of every node, load."""
        q, v = np.array(self.commands), np.array(self.speeds)
        share, where = worst_share(q, v)
        if share > 1.0 + 1e-6:
            self.broken.append(f"{where}, {now - self.begin:.0f} s after the start, soon after {self.last_fault}")
            if self.keep:
                self.keep.mkdir(parents=True, exist_ok=True)
                np.savez(self.keep / f"broken_{len(self.broken)}.npz", q=q, v=v, received=np.array(self.received))
        self.worst_share = max(self.worst_share, share)
        self.commands_seen += max(0, len(q) - 3)
        del self.commands[:-3], self.speeds[:-3], self.received[:-3]
        self.named.clear()
        self.worst_period_s = max(self.worst_period_s, self.period_max_s)
        self.loads.append(os.getloadavg()[0])
        for name, process in self.processes.items():
            try:
                used = psutil.Process(process.pid).memory_full_info().uss / 1e6
            except (psutil.Error, OSError):
                continue
            self.memory.setdefault((name, process.pid), []).append((now, used))

    def run(self, seconds):
        """Until the time is over or nothing goes on any more."""
        self.begin = self.ended_at = time.monotonic()
        end, fault_at, sample_at = self.begin + seconds, self.begin + EVERY_S, self.begin
        while (now := time.monotonic()) < end and now - self.ended_at < STUCK_S:
            self.spin(0.02)
            for entry in [entry for entry in self.due if entry[0] <= now]:
                self.due.remove(entry)
                entry[1]()
            if now >= fault_at:
                fault_at += EVERY_S
                self.hurt()
            if now >= sample_at:
                sample_at += SAMPLE_S
                self.sample(now)
            self.attend(now)
        return now - self.ended_at < STUCK_S

    def finish(self):
        """End orderly: the people first, then the running episode, then the recorder."""
        for _, end_of_fault in sorted(self.due, key=lambda entry: entry[0]):
            end_of_fault()
        for name in list(self.dead):
            self.start(name)
        self.processes["people"].terminate()
        self.spin(3.0)
        if self.services[Trigger.ABORT].service_is_ready():
            self.services[Trigger.ABORT].call_async(TriggerService.Request())
        self.spin(3.0)
        self.processes["recorder"].terminate()
        self.processes["recorder"].wait(20)


def growth(samples):
    """(MB after the warm-up, MB at the end, growth) of one process; None for one that did not live long enough. MB: the
    lowest of a window; what an episode that is being written or drawn holds for a while comes and goes, a leak stays.
    """
    begin, end = samples[0][0] + WARM_UP_S, samples[-1][0]
    first = [used for at, used in samples if begin <= at <= begin + WINDOW_S]
    last = [used for at, used in samples if at >= end - WINDOW_S]
    if not first or end < begin + 2 * WINDOW_S:
        return None
    return min(first), min(last), min(last) / min(first) - 1.0


def fates(told, bags, out):
    """episode -> "exported", "excluded" or "left out: reason"; an episode without one is missing."""
    found = {}
    for result in export_bags(find_bags([bags]), out, camera="image", workers=1, progress=False):
        if result.episode is not None:
            frames = result.episode.frames
            found[frames.episode_id] = "excluded" if frames.excluded else "exported"
        else:
            stem = Path(result.folder).name.partition(".")[0]
            found.setdefault(stem, f"left out: {result.error}")
    return {name: found[name] for name in told if name in found}


def report(soak, fate, alive, seconds, seed):
    """Print the tables; returns the JSON object."""
    print(f"\n{'fault':24}{'times':>6}")
    for (victim, kind), times in sorted(soak.done.items()):
        print(f"{victim + ', ' + kind:24}{times:>6}")
    print(f"\n{'node':12}{'starts':>7}{'lived s':>9}{'warm MB':>9}{'end MB':>8}{'growth':>8}")
    worst = {}
    for name in NODES:
        lives = [life for (node, _), life in soak.memory.items() if node == name]
        found = [(life[-1][0] - life[0][0], *grown) for life in lives if (grown := growth(life)) is not None]
        if found:
            lived, warm, end, grown = max(found, key=lambda row: row[3])
            worst[name] = round(grown, 4)
            print(f"{name:12}{soak.starts[name]:>7}{lived:>9.0f}{warm:>9.1f}{end:>8.1f}{grown:>8.1%}")
        else:
            print(f"{name:12}{soak.starts[name]:>7}{'no process lived long enough':>34}")
    count = Counter(text.partition(":")[0] for text in fate.values())
    missing = sorted(set(soak.told) - set(fate))
    print(f"\n{len(soak.told)} episodes: {dict(count)}, {len(missing)} missing {missing}")
    for name, text in fate.items():
        if text.startswith("left out"):
            print(f"  {name}: {text}")
    print(f"limits broken: {soak.broken or 'none'}")
    print(f"the attendant's calls: {dict(soak.attended)}; ended by themselves: {soak.unexpected or 'none'}")
    result = {
        "bench": "soak",
        "minutes": round(seconds / 60, 1),
        "seed": seed,
        "faults": sum(soak.done.values()),
        "commands": soak.commands_seen,
        "worst_share_of_limits": round(soak.worst_share, 9),
        "period_max_ms": round(1e3 * soak.worst_period_s, 1),
        "episodes": len(soak.told),
        **{name.replace(" ", "_"): number for name, number in count.items()},
        "missing": missing,
        "limits_broken": soak.broken,
        "memory_growth": worst,
        "ended_by_themselves": soak.unexpected,
        "alive_to_the_end": alive,
        "cores": os.cpu_count(),
        "load": [round(float(f(soak.loads)), 1) for f in (np.min, np.mean, np.max)],
    }
    result["ok"] = bool(
        soak.worst_share <= 1.0 + 1e-6
        and not missing
        and max(worst.values(), default=0.0) <= MOST_GROWTH
        and not soak.unexpected
        and alive
    )
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--quick", action="store_true", help="90 s")
    parser.add_argument("--keep", type=Path, help="folder for the commands around a broken limit")
    args = parser.parse_args()
    seconds = 90.0 if args.quick else 60.0 * args.minutes
    print(f"seed {args.seed}", flush=True)
    domain.isolate()
    with tempfile.TemporaryDirectory(prefix="rove_soak_") as folder:
        bags = Path(folder) / "bags"
        soak = Soak(bags, motionless_policy(Path(folder)), args.seed, args.keep)
        raise_priority(nice=-5)  # what the bench hears late it would report as late
        try:
            soak.until(lambda: soak.told, "the first episode", 180.0)
            alive = soak.run(seconds)
            soak.finish()
        finally:
            soak.close()
        result = report(soak, fates(soak.told, bags, Path(folder) / "dataset"), alive, seconds, args.seed)
    print(json.dumps(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
