# SPDX-License-Identifier: Apache-2.0
"""The supervisor's node: services and topics in, mode and episode out. Decisions are in `supervisor`, the page in
`panel`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from rove_contract import messages, ros, timing, topics
from rove_contract.modes import Trigger
from rove_contract.parameters import parameter
from rove_contract.thresholds import TAKEOVER_RAD
from rove_contract.web.access import Access
from rove_description import robot
from rove_supervisor.advice import Advisor
from rove_supervisor.evaluation.trials import Evaluation
from rove_supervisor.lease import LEASE_S
from rove_supervisor.machine import EpisodeSettings, Transition
from rove_supervisor.panel.figure import Figure
from rove_supervisor.panel.log import collected_before
from rove_supervisor.panel.server import PanelServer
from rove_supervisor.panel.snapshot import snapshot
from rove_supervisor.supervisor import FORCE_TAKEOVER, SessionSettings, StartStage, Supervisor
from rove_supervisor.watch import REPORT_SILENT_S, Watch, to_printable

TOKEN_VARIABLE = "ROVE_PANEL_TOKEN"  # a parameter can be read by everybody on the machine and in the graph
SET_AGAIN_S = 3.0  # three reports of the policy at 1 Hz: by then it says that it is loading
POLICY_LOOK = 5  # heartbeats between two looks for a policy, 0.25 s


def level_of(status) -> int:
    """Level of a DiagnosticStatus, which rclpy gives as one byte."""
    return status.level[0] if isinstance(status.level, bytes) else int(status.level)


@dataclass(frozen=True)
class Parameters:
    """Of the node."""

    robot: str = parameter(robot.DEFAULT, "the robot: a name, or a folder with robot.yaml")
    task: str = parameter("erase_whiteboard", "name of the task, in every episode")
    instruction: str = parameter("", "what the policy is told; empty: the simulated task's words, else the task's name")
    operator: str = parameter("", "who takes over, in every episode")
    checkpoint: str = parameter("", "directory of the policy, in every episode; empty: no rollouts")
    start_stage: str = parameter("start", "where the first episode begins")
    start_stages: list[str] = parameter(
        [""], "where an episode may begin, as the panel offers it; empty: those of the simulated task"
    )
    dead_man: bool = parameter(
        False, "pause when the page that set the robot in motion is silent; the panel switches it too"
    )
    auto_pause: bool = parameter(False, "pause by itself when the online value advises to; the panel switches it too")
    dead_man_lease_s: float = parameter(LEASE_S, "how long that page may be silent", unit="s", low=0.05, high=60.0)
    alignment_threshold_rad: float = parameter(
        TAKEOVER_RAD,
        "a takeover is refused beyond this difference of a joint, unless forced",
        unit="rad",
        low=1e-3,
        high=10.0,
    )
    record: bool = parameter(False, "an episode needs a recorder that is ready")
    camera: bool = parameter(True, "an episode needs pictures of each of the robot's cameras")
    panel_port: int = parameter(8765, "TCP port of the panel; 0: any free one, -1: no panel", low=-1, high=65535)
    panel_host: str = parameter("127.0.0.1", "address the panel is bound to")
    panel_token: str = parameter(
        "", "access token; ROVE_PANEL_TOKEN is better, a parameter can be read by everybody in the graph"
    )
    panel_cert: str = parameter("", "certificate of the panel (PEM); with it the panel speaks https")
    panel_key: str = parameter("", "private key of panel_cert (PEM)")
    panel_names: list[str] = parameter([""], "host names the panel is reached under, beside its addresses")
    advice_threshold: float = parameter(-0.6, "V(s) below which the panel advises to pause", low=-1.0, high=0.0)
    discovery: float = parameter(
        0.5, "how long it looks for another supervisor before it starts", unit="s", low=0.0, high=60.0
    )
    evaluation: str = parameter(
        "", "folder of trials that `rove run rove_supervisor evaluation` planned; empty: a session as always"
    )
    bags: str = parameter("", "directory whose episodes count as collected; empty: none")


class SupervisorNode(Node):
    """See Parameters."""

    def __init__(self):
        super().__init__("supervisor")
        p = ros.read_parameters(self, Parameters)
        task = p.task
        settings = EpisodeSettings(
            task=task,
            instruction=p.instruction or task.replace("_", " "),
            operator=p.operator,
            checkpoint=p.checkpoint,
            start_stage=p.start_stage,
        )
        stages = [stage for stage in p.start_stages if stage]
        self._given = {"instruction": bool(p.instruction), "start_stages": bool(stages)}
        if settings.start_stage not in stages:
            stages.insert(0, settings.start_stage)
        session = SessionSettings(
            settings,
            tuple(stages),
            dead_man=p.dead_man,
            auto_pause=p.auto_pause,
            lease_s=p.dead_man_lease_s,
        )
        described = robot.load(p.robot)
        blocks = described.table.blocks_present()
        seen = {name: view.topic for name, view in described.cameras.items()}
        watch = Watch(p.alignment_threshold_rad, p.record, blocks, p.camera and bool(seen), seen)
        access = Access(
            p.panel_host,
            p.panel_token or os.environ.get(TOKEN_VARIABLE, ""),
            p.panel_cert,
            p.panel_key,
            tuple(name for name in p.panel_names if name),
            parameters="panel_",
        )
        evaluation = Evaluation(Path(p.evaluation)) if p.evaluation else None
        if evaluation is not None and evaluation.plan.task != task:
            raise ValueError(f"the evaluation {p.evaluation} is of {evaluation.plan.task}, the session of {task}")
        advisor = Advisor(threshold=p.advice_threshold)

        self._heart = time.monotonic()
        self._stopping = False
        self._beats = 0
        self._poses: dict[str, bytes] = {}
        self._figure = Figure(described)
        self._reader = messages.JointReader(self._figure.table)
        self.url = ""
        ros.claim_role(self, topics.MODE, "supervisor", p.discovery)
        self.session = ros.session_id(self)
        self.mode_pub = ros.publisher(self, topics.MODE)
        self.episode_pub = ros.publisher(self, topics.EPISODE)
        self.stage_pub = ros.publisher(self, topics.START_STAGE)
        self.supervisor = Supervisor(
            session, watch, self.publish, advisor=advisor, identity=self.session, evaluation=evaluation
        )
        self.policy_parameters = AsyncParameterClient(self, "policy") if evaluation is not None else None
        self._set_at, self._setting = -float("inf"), None
        if p.bags:
            self.supervisor.log.before = collected_before(Path(p.bags), task)
        self.panel = (
            PanelServer(self.supervisor, self.snapshot, self.request, self.heart, p.panel_port, access)
            if p.panel_port >= 0
            else None
        )
        if self.panel is not None:
            self.url = self.panel.start()
            self.supervisor.on_change = self.panel.changed
        for trigger in Trigger:
            ros.service(self, topics.SUPERVISOR_SERVICES[trigger], partial(self.serve, trigger.service))
        ros.service(self, topics.FORCE_TAKEOVER_SERVICE, partial(self.serve, FORCE_TAKEOVER))
        # 100 Hz streams stay undecoded: their arrival matters, their content only to an open page (ghost, 10 Hz).
        ros.subscription(self, topics.JOINT_STATES, self.on_robot, raw=True)
        ros.subscription(self, topics.TELEOP_TARGETS, self.on_operator, raw=True)
        for number, (name, topic) in enumerate(seen.items()):
            ros.subscription(self, topics.picture(topic), partial(self.on_image, number, name))
        ros.subscription(self, topics.TELEOP_ALIGNMENT, partial(self.on_status, self.supervisor.saw_alignment))
        ros.subscription(self, topics.RECORDER_STATUS, partial(self.on_status, self.supervisor.saw_recorder))
        ros.subscription(self, topics.POLICY_VALUE, lambda msg: self.supervisor.saw_value(msg.data))
        ros.subscription(self, topics.DIAGNOSTICS, self.on_diagnostics)
        ros.subscription(self, topics.SIM_TASK, self.on_task)
        ros.subscription(self, topics.SIM_STATE, self.on_sim_state)
        # Steady clock: with the node's own a step of the system clock would stop the heartbeat, and with it the robot.
        ros.timer(self, timing.SUPERVISOR_HEARTBEAT_S, self.beat)
        self.diagnostics = ros.Diagnostics(self, self.report)
        self.get_logger().info(f"supervisor ready; panel: {self.url or 'off'}")

    # -- out
    # -----------------------------------------------------------------------------------------------------------------

    def publish(self, publication) -> None:
        """Called by the core, under its lock, from the executor's or the panel's thread."""
        if isinstance(publication, Transition):
            p = publication
            self.mode_pub.publish(ros.mode_event(p.previous, p.trigger, p.mode, p.stamp_ns, self.session))
        elif isinstance(publication, StartStage):
            self.stage_pub.publish(String(data=publication.name))
        else:
            self.episode_pub.publish(ros.episode_status(publication))

    def beat(self) -> None:
        self._heart = time.monotonic()
        if self._stopping:
            raise KeyboardInterrupt  # leaves the executor with the context still valid, so that close() can publish
        done = self.supervisor.heartbeat()
        if done:
            self.get_logger().warning(done)
        self._beats += 1
        if self._beats % POLICY_LOOK == 0:
            self.supervisor.watch.policies = self.count_publishers(ros.resolved(self, topics.ACTION_CHUNK))
            self.prepare_trial()

    def prepare_trial(self) -> None:
        """In an evaluation: have the policy of the next trial loaded, and learn from its report whether it is."""
        evaluation = self.supervisor.evaluation
        if evaluation is None or self.supervisor.machine.active or not (wanted := evaluation.checkpoint):
            return
        report = self.supervisor.watch.reports.get("policy")
        fresh = report is not None and self.supervisor.now() - report.arrived <= REPORT_SILENT_S
        values = report.values if fresh else {}
        trouble = "no policy reports" if not fresh else ""
        if fresh and values.get("in_force") != to_printable(wanted):
            trouble = "its policy is being loaded"
            if self._setting is not None and self._setting.done():
                (result,) = self._setting.result().results
                # The reason may name the checkpoint; only the log has it.
                trouble = trouble if result.successful else "its policy cannot be loaded, see the log"
            if not values.get("loading") and time.monotonic() - self._set_at > SET_AGAIN_S:
                self.ask_for_policy(wanted)
        self.supervisor.saw_policy_in_force(wanted, trouble)

    def ask_for_policy(self, wanted: str) -> None:
        self._set_at = time.monotonic()

        def say(future) -> None:
            (result,) = future.result().results
            if not result.successful:
                self.get_logger().error(f"the policy of the next trial is not loaded: {result.reason}")

        self._setting = self.policy_parameters.set_parameters([Parameter("checkpoint", value=wanted)])
        self._setting.add_done_callback(say)

    # -- in
    # ------------------------------------------------------------------------------------------------------------------

    def serve(self, action: str, request, response):
        response.success, response.message = self.request(action, "service")
        return response

    def request(self, action: str, source: str, client: str = "") -> tuple[bool, str]:
        """One action, from a service or the panel (its thread)."""
        ok, text = self.supervisor.request(action, source, client=client)
        if ok:  # two calls: rclpy ties the severity to the calling line
            self.get_logger().info(f"{action} from {source}: {text}")
        else:
            self.get_logger().warning(f"{action} from {source}: {text}")
        return ok, text

    def on_robot(self, data: bytes) -> None:
        self.supervisor.saw_robot()
        self._poses["robot"] = data

    def on_operator(self, data: bytes) -> None:
        self.supervisor.saw_operator()
        self._poses["operator"] = data

    def on_image(self, number: int, name: str, msg) -> None:
        """number: of the camera, in the order of the description."""
        self.supervisor.saw_camera(name)
        if self.panel is not None:
            self.panel.show(bytes(msg.data), messages.stamp_ns(msg.header.stamp) * 1e-9, number)

    def on_status(self, sink, msg) -> None:
        sink(level_of(msg), msg.message, messages.diagnostic_values(msg))

    def on_task(self, msg) -> None:
        """A simulator says its task's words; what a parameter gives stays."""
        words = json.loads(msg.data)
        instruction = "" if self._given["instruction"] else words["instruction"]
        stages = () if self._given["start_stages"] else tuple(words["start_stages"])
        self.supervisor.learn_task(words["name"], instruction, stages, tuple(words["milestones"]))

    def on_sim_state(self, msg) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # another simulator's: nothing is shown
            state = json.loads(msg.data)
            self.supervisor.saw_milestone(state["task"], state["milestone"])

    def on_diagnostics(self, msg) -> None:
        for status in msg.status:
            if status.name != self.get_name():
                self.supervisor.saw_report(
                    status.name, level_of(status), status.message, messages.diagnostic_values(status)
                )

    # -- what the panel asks
    # -------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict:
        """Called in the panel's thread."""
        state = snapshot(self.supervisor)
        state["ghost"] = {who: self._ghost(self._poses[who]) for who in self._poses if state["links"][who]["ok"]}
        return state

    def _ghost(self, data: bytes):
        """Front view of a serialized JointState; None when it cannot be read."""
        try:
            return self._figure.front(self._reader.position(deserialize_message(data, JointState)))
        except ValueError:
            return None

    def heart(self) -> float:
        return time.monotonic() - self._heart

    # -- life
    # ----------------------------------------------------------------------------------------------------------------

    def report(self):
        """(level, message, values) for /diagnostics."""
        values = {
            "mode": self.supervisor.mode.name,
            "refused": self.supervisor.refused,
            "notice": self.supervisor.notice,
            "panel": self.url,
            "ready": "true",
        }
        if self.panel is not None:
            values |= {"clients": len(self.panel.clients), **self.panel.totals()}
        return 0, self.supervisor.mode.name.lower(), values

    def stop_on_signals(self) -> None:
        """SIGTERM and Ctrl-C end a running episode before the node leaves; rclpy's own handler would close the context
        first.
        """

        def stop(signum, stack):
            self._stopping = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)

    def close(self) -> None:
        self.supervisor.close()
        if self.panel is not None:
            self.panel.stop()
        for publisher in (self.mode_pub, self.episode_pub):
            if self.context.ok():
                publisher.wait_for_all_acked(Duration(seconds=0.3))


def make() -> SupervisorNode:
    node = SupervisorNode()
    node.stop_on_signals()
    return node


def main() -> int:
    return ros.spin(make, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
