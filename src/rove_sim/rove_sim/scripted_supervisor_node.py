# SPDX-License-Identifier: Apache-2.0
"""`scripted_supervisor`: plays the person at the panel for some episodes, through the supervisor's services; prints one
JSON line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from dataclasses import dataclass

import numpy as np
import rclpy
from rclpy.node import Node
from std_srvs.srv import Trigger as TriggerService

from rove_contract import messages, ros, topics
from rove_contract.modes import Mode, Trigger
from rove_contract.parameters import parameter
from rove_sim.people.supervision import FORCE, RESET, Patience, Supervision, View
from rove_sim.people.watching import Attention
from rove_sim.tasks import task as tasks

STALE_S = 1.0  # 20 samples of the simulator's state


@dataclass(frozen=True)
class Parameters:
    """Of the node; those from patience_s on are fields of `Patience` and `Attention`."""

    kind: str = parameter("rollout", "what is run", choices=("rollout", "demonstration"))
    episodes: int = parameter(4, "this many, then the session ends", low=1)
    min_interventions: int = parameter(0, "go on beyond `episodes` until so many had an intervention", low=0)
    max_episodes: int = parameter(0, "at most this many; 0: as `episodes`", low=0)
    intervene: bool = parameter(True, "hand over to the operator near failure")
    wait_recorder: bool = parameter(True, "start no episode before the recorder is ready")
    wait_policy: bool = parameter(True, "start no rollout before the policy is ready")
    ready_timeout_s: float = parameter(
        120.0, "give up when the session is not ready by then", unit="s", low=0.0, high=86400.0
    )
    task: str = parameter(tasks.ERASE_WHITEBOARD.name, "what is done in the simulator")
    seed: int = parameter(0, "of the person: reactions, misses, false alarms", low=0)
    patience_s: float = parameter(
        Patience.patience_s, "without progress before pausing", unit="s", low=0.0, high=3600.0
    )
    lost_s: float = parameter(
        Patience.lost_s, "the task cannot be done any more, before it is called failed", unit="s", low=0.0, high=3600.0
    )
    autonomous_s: float = parameter(Patience.autonomous_s, "longest rollout", unit="s", low=0.0, high=3600.0)
    settle_s: float = parameter(
        Patience.settle_s, "paused before the first attempt to take over", unit="s", low=0.0, high=3600.0
    )
    retry_s: float = parameter(Patience.retry_s, "between attempts", unit="s", low=0.0, high=3600.0)
    force_s: float = parameter(Patience.force_s, "paused before the takeover is forced", unit="s", low=0.0, high=3600.0)
    intervention_s: float = parameter(Patience.intervention_s, "longest intervention", unit="s", low=0.0, high=3600.0)
    demonstration_s: float = parameter(
        Patience.demonstration_s, "longest demonstration", unit="s", low=0.0, high=3600.0
    )
    reset_s: float = parameter(
        Patience.reset_s, "waits so long between episodes before asking for a reset", unit="s", low=0.0, high=3600.0
    )
    alignment_rad: float = parameter(
        Patience.alignment_rad, "operator and robot may differ by so much at a takeover", unit="rad", low=0.0, high=10.0
    )
    reaction_s: float = parameter(
        Attention.reaction_s, "median from seeing trouble to pressing pause", unit="s", low=0.0, high=3600.0
    )
    spread: float = parameter(Attention.spread, "of the logarithm of reactions", low=0.0, high=10.0)
    miss_rate: float = parameter(
        Attention.miss_rate, "share of troubles that are not noticed at first", low=0.0, high=1.0
    )
    missed_s: float = parameter(Attention.missed_s, "until a missed trouble is noticed", unit="s", low=0.0, high=3600.0)
    false_alarm_hz: float = parameter(
        Attention.false_alarm_hz,
        "pauses per second of a rollout in which nothing is wrong",
        unit="Hz",
        low=0.0,
        high=10.0,
    )
    mark_s: float = parameter(
        Attention.mark_s,
        "median from the beginning of sustained progress to marking it",
        unit="s",
        low=0.0,
        high=3600.0,
    )


class ScriptedSupervisorNode(Node):
    """See Parameters; the values from patience_s on are fields of `Patience` and `Attention`."""

    def __init__(self):
        super().__init__("scripted_supervisor")
        p = ros.read_parameters(self, Parameters)
        self.kind = p.kind
        self.wait_recorder = p.wait_recorder
        self.wait_policy = p.wait_policy and p.kind == "rollout"
        self.ready_timeout = p.ready_timeout_s

        def read(cls):
            return cls(**{field.name: getattr(p, field.name) for field in dataclasses.fields(cls)})

        self.supervision = Supervision(
            tasks.get(p.task),
            p.kind,
            p.episodes,
            read(Patience),
            p.min_interventions,
            p.max_episodes or None,
            p.intervene,
            read(Attention),
            np.random.default_rng(p.seed),
        )
        self.exit_code = 1
        self.mode: Mode | None = None
        self.sim: dict | None = None
        self.alignment: float | None = None
        self.recorder: dict[str, str] = {}
        self.seen: dict[str, float] = {}
        self.ready_nodes: dict[str, bool] = {}
        self.pending = None
        self.begin = self.last_wait = time.monotonic()
        names: dict[Trigger | str, str] = {**topics.SUPERVISOR_SERVICES}  # type: ignore[dict-item]
        names |= {FORCE: topics.FORCE_TAKEOVER_SERVICE, RESET: topics.SIM_RESET_SERVICE}
        self.services_by_action = {action: ros.client(self, name) for action, name in names.items()}
        ros.subscription(self, topics.MODE, self.on_mode)
        ros.subscription(self, topics.SIM_STATE, self.on_state)
        ros.subscription(self, topics.TELEOP_ALIGNMENT, self.on_alignment)
        ros.subscription(self, topics.RECORDER_STATUS, self.on_recorder)
        ros.subscription(self, topics.DIAGNOSTICS, self.on_diagnostics)
        self.diagnostics = ros.Diagnostics(self, self.report)
        self.timer = ros.timer(self, 0.05, self.tick)

    def on_mode(self, msg) -> None:
        with contextlib.suppress(ValueError):  # no mode: not a supervisor's message
            self.mode = ros.mode_of(msg)

    def on_state(self, msg) -> None:
        self.sim = json.loads(msg.data)
        self.seen["sim"] = time.monotonic()

    def on_alignment(self, msg) -> None:
        values = messages.diagnostic_values(msg)
        numbers = [float(values[block]) for block in ("head", "waist", "arm", "hand") if block in values]
        level = msg.level[0] if isinstance(msg.level, bytes) else int(msg.level)
        self.alignment = max(numbers) if numbers and level < 2 else None
        self.seen["alignment"] = time.monotonic()

    def on_recorder(self, msg) -> None:
        self.recorder = messages.diagnostic_values(msg)

    def on_diagnostics(self, msg) -> None:
        for status in msg.status:
            self.ready_nodes[status.name] = messages.diagnostic_values(status).get("ready") == "true"

    def waiting_for(self) -> str:
        """What is not up yet, empty when all is."""
        missing = []
        if self.sim is None or time.monotonic() - self.seen["sim"] > STALE_S:
            missing.append(topics.SIM_STATE.name)
        if self.mode is None:
            missing.append(topics.MODE.name)
        if self.wait_recorder and self.recorder.get("ready") != "true":
            missing.append("the recorder")
        if self.wait_policy and not self.ready_nodes.get("policy"):
            missing.append("the policy")
        if self.supervision.kind == "demonstration" or self.supervision.intervene:
            fresh = self.alignment is not None and time.monotonic() - self.seen["alignment"] < STALE_S
            missing += [] if fresh else ["an operator"]
        start = Trigger.START_ROLLOUT if self.kind == "rollout" else Trigger.START_DEMONSTRATION
        if not self.services_by_action[start].service_is_ready():
            missing.append(topics.SUPERVISOR_SERVICES[start])
        return ", ".join(missing)

    def tick(self) -> None:
        supervision, now = self.supervision, time.monotonic()
        if self.pending is not None:
            action, future, asked = self.pending
            if future.done():
                self.answered(action, future.result())
            elif now - asked > 3.0:
                self.get_logger().warning(
                    f"no answer from {getattr(action, 'service', action)} within 3 s; asking again"
                )
                self.pending = None
            return
        waiting = self.waiting_for()
        if self.sim is None or self.mode is None:
            self.wait(waiting, now)
            return
        fresh_alignment = now - self.seen.get("alignment", float("-inf")) < STALE_S
        closed = not self.wait_recorder or self.recorder.get("recording") != "true"
        view = View(now, self.mode, self.sim, self.alignment if fresh_alignment else None, waiting, closed)
        action = supervision.update(view)
        if supervision.done and self.mode is Mode.IDLE and closed:
            self.finish(0)
        elif action is not None:
            self.get_logger().info(f"{self.mode.name}: {getattr(action, 'service', action)} ({supervision.reason})")
            self.pending = (action, self.services_by_action[action].call_async(TriggerService.Request()), now)
        elif self.mode is Mode.IDLE:
            self.wait(supervision.waiting, now)
        else:
            self.begin = now

    def answered(self, action, response) -> None:
        if not response.success:
            self.get_logger().warning(f"{getattr(action, 'service', action)} refused: {response.message}")
        self.pending = None

    def wait(self, waiting: str, now: float) -> None:
        """Say every 10 s what is missing; give up after ready_timeout_s."""
        if now - self.begin > self.ready_timeout:
            self.get_logger().error(f"gave up after {self.ready_timeout:g} s of waiting for {waiting}")
            self.finish(1)
        elif waiting and now - self.last_wait > 10.0:
            self.last_wait = now
            self.get_logger().info(f"waiting for {waiting}")

    def finish(self, code: int) -> None:
        """Print the summary and end the process."""
        self.exit_code = code
        tally = dataclasses.asdict(self.supervision.tally)
        print(json.dumps({"scripted_supervisor": tally | {"kind": self.kind, "complete": code == 0}}), flush=True)
        self.timer.cancel()
        rclpy.shutdown()

    def report(self):
        """(level, message, values) for /diagnostics."""
        tally = self.supervision.tally
        return (
            0,
            self.supervision.reason,
            {"episodes": tally.episodes, "interventions": tally.interventions, "success": tally.success},
        )


def main() -> int:
    nodes: list[ScriptedSupervisorNode] = []

    def make() -> ScriptedSupervisorNode:
        nodes.append(ScriptedSupervisorNode())
        return nodes[0]

    code = ros.spin(make, sys.argv)
    return nodes[0].exit_code if nodes and code == 0 else code


if __name__ == "__main__":
    sys.exit(main())
