# SPDX-License-Identifier: Apache-2.0
"""What the supervisor sees of the others: freshness and rate of each stream, alignment, recorder, warnings. Pure; times
are monotonic s.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from rove_contract import latency, timing, topics
from rove_contract.joint_error import JointError
from rove_supervisor.machine import ROBOT_GONE_S, Conditions

OK, WARN, ERROR, STALE = range(4)  # levels of diagnostic_msgs/DiagnosticStatus
NO_ERROR = {"worst_joint", "age_s", "held"}  # what /teleop/alignment says beside one error per block
TEXT_LENGTH = 500  # characters of a foreign text that are kept
OPERATOR_SILENT_S = 5 * timing.TELEOP_STALE_S  # /teleop/alignment may come at a tenth of the input rate
CAMERA_GONE_S = 1.0  # 30 pictures; the export leaves out what has none for so long
REPORT_SILENT_S = 3.0  # nodes report at 1 Hz; 3 lost reports in a row is a silent node


class Stream:
    """Arrival times of a topic over the last second."""

    def __init__(self):
        self._arrivals: deque[float] = deque(maxlen=256)

    def mark(self, now: float) -> None:
        self._arrivals.append(now)

    def age(self, now: float) -> float:
        """s since the last message; inf before the first."""
        return now - self._arrivals[-1] if self._arrivals else math.inf

    def rate(self, now: float) -> float:
        """Messages in the last second."""
        return float(sum(1 for t in self._arrivals if now - t <= 1.0))


@dataclass
class Alignment:
    """Last /teleop/alignment. errors: of the joint of each block that is farthest off. age_s: age of the operator's
    frame at arrival.
    """

    errors: dict[str, JointError] = field(default_factory=dict)
    worst_joint: str = ""
    stale: bool = True
    age_s: float = math.inf
    message: str = ""
    arrived: float = -math.inf

    @classmethod
    def read(cls, level: int, message: str, values: Mapping[str, str], now: float) -> Alignment:
        """From the plain content of the DiagnosticStatus; a value that is not a number counts as infinitely
        misaligned.
        """
        errors = {to_printable(key): JointError.parse(values[key]) for key in values if key not in NO_ERROR}
        age = _number(values.get("age_s", "0"))
        worst_joint = to_printable(values.get("worst_joint", ""))
        return cls(errors, worst_joint, level == STALE, age, to_printable(message), now)

    def age(self, now: float) -> float:
        """Age of the operator's last frame, s."""
        return self.age_s + (now - self.arrived)

    def refusal(self, now: float, threshold: float, blocks: Sequence[str]) -> str:
        """Why the operator cannot take over; "" if aligned. threshold: rad. blocks: of the robot's joints, all of
        which must be aligned.
        """
        if self.arrived == -math.inf:
            return "no operator: nothing has come on /teleop/alignment"
        silent = now - self.arrived
        if silent > OPERATOR_SILENT_S:
            return f"the operator is stale: no alignment for {silent:.1f} s"
        if self.stale:
            return f"the operator is stale: {self.message or 'tracking lost'}"
        if not self.errors:
            return f"the alignment of no block is known; expected {', '.join(blocks)} on /teleop/alignment"
        if unlike := set(self.errors) ^ set(blocks):
            return (
                f"the alignment is of other joints than the robot's: it has {', '.join(self.errors)}, the joint table "
                f"{', '.join(blocks)}; they differ in {', '.join(sorted(unlike))}"
            )
        block = max(self.errors, key=lambda name: self.errors[name].in_rad)
        worst = self.errors[block]
        if worst.in_rad > threshold:
            where = f"{self.worst_joint} ({block})" if self.worst_joint else f"the {block}"
            return f"misaligned: {where} is {worst.words()} off, limit {worst.limit(threshold):.3g}"
        return ""


def to_printable(text: str) -> str:
    """A text of another node for people to read: no control characters (they would steer a terminal), not endless."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:TEXT_LENGTH])


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.inf
    return math.inf if math.isnan(value) else value


@dataclass(frozen=True)
class Report:
    """Last status of one node on /diagnostics."""

    level: int
    message: str
    values: dict[str, str]
    arrived: float

    @classmethod
    def read(cls, level: int, message: str, values: Mapping[str, str], now: float) -> Report:
        """From the plain content of a DiagnosticStatus."""
        shown = {to_printable(key): to_printable(value) for key, value in values.items()}
        return cls(level, to_printable(message), shown, now)


class Watch:
    """Everything a decision depends on beside the mode. threshold: rad; record: an episode needs a ready recorder;
    blocks: of the robot's joints; needs_camera: an episode needs pictures. cameras: name -> topic, the main one first.
    """

    def __init__(
        self,
        threshold: float,
        record: bool,
        blocks: Sequence[str],
        needs_camera: bool = True,
        cameras: Mapping[str, str] = MappingProxyType({"ego": topics.EGO_IMAGE.name}),
    ):
        self.topics = dict(cameras)
        self.cameras = {name: Stream() for name in cameras}
        self.threshold, self.blocks = threshold, tuple(blocks)
        self.record = record
        self.needs_camera = needs_camera
        self.robot, self.operator = Stream(), Stream()
        self.alignment = Alignment()
        self.recorder: Report | None = None
        self.policies = 0  # publishers of /policy/action_chunk
        self.reports: dict[str, Report] = {}

    def robot_refusal(self, now: float) -> str:
        age = self.robot.age(now)
        if age == math.inf:
            return "no robot: nothing has come on /joint_states"
        if age > ROBOT_GONE_S:
            return f"the robot's state is missing: last /joint_states {age:.1f} s ago"
        return ""

    def operator_refusal(self, now: float, threshold: float) -> str:
        """See `Alignment.refusal`; threshold: rad."""
        return self.alignment.refusal(now, threshold, self.blocks)

    def camera_refusal(self, now: float) -> str:
        if not self.needs_camera:
            return ""
        for name, stream in self.cameras.items():
            age = stream.age(now)
            if age == math.inf:
                return f"no camera {name}: nothing has come on {self.topics[name]}"
            if age > CAMERA_GONE_S:
                return f"the camera {name} is silent: last picture {age:.1f} s ago"
        return ""

    def recorder_refusal(self, now: float) -> str:
        if not self.record:
            return ""
        if self.recorder is None:
            return "no recorder: recording is on (record:=true), but nothing has come on /recorder/status"
        age = now - self.recorder.arrived
        if age > REPORT_SILENT_S:
            return f"the recorder is silent: last /recorder/status {age:.1f} s ago"
        if self.recorder.values.get("ready") != "true":
            return f"the recorder is not ready: {self.recorder.message or 'no reason given'}"
        return ""

    def policy_refusal(self, now: float) -> str:
        """A policy publishes chunks; one that also reports on /diagnostics, as rove_policy does, must be heard and
        ready.
        """
        if self.policies == 0:
            return "no policy: nobody publishes /policy/action_chunk; start the session with checkpoint:=DIRECTORY"
        report = self.reports.get("policy")
        if report is None:
            return ""
        age = now - report.arrived
        if age > REPORT_SILENT_S:
            return f"the policy is silent: last report {age:.1f} s ago"
        if report.values.get("ready") == "false":
            return f"the policy is not ready: {report.message or 'no reason given'}"
        return ""

    def policy_in_force(self, now: float) -> str:
        """Folder or address of the checkpoint that the policy reports to drive with; "" where it does not report."""
        report = self.reports.get("policy")
        if report is None or now - report.arrived > REPORT_SILENT_S:
            return ""
        return report.values.get("in_force", "")

    def conditions(self, now: float) -> Conditions:
        return Conditions(
            self.robot_refusal(now),
            self.recorder_refusal(now),
            self.operator_refusal(now, self.threshold),
            self.policy_refusal(now),
            self.camera_refusal(now),
        )

    def latency(self, now: float) -> dict[str, tuple[float, float, float]]:
        """Stage of the command path -> (p50, p99, worst) of the last seconds, ms, from nodes that still report."""
        found = {}
        for report in self.reports.values():
            if now - report.arrived <= REPORT_SILENT_S:
                found |= latency.read(report.values)
        return {stage: found[stage] for stage in latency.STAGES if stage in found}

    def warnings(self, now: float) -> list[dict]:
        """[{who, level, text}], worst first: what nodes warn of, and nodes that went silent."""
        rows = []
        for who, report in self.reports.items():
            silent = now - report.arrived
            if silent > REPORT_SILENT_S:
                rows.append({"who": who, "level": STALE, "text": f"has not reported for {silent:.0f} s"})
            elif report.level != OK:
                rows.append(
                    {"who": who, "level": report.level, "text": report.message or "reports a problem without words"}
                )
        rank = {ERROR: 0, STALE: 1, WARN: 2}
        return sorted(rows, key=lambda row: (rank.get(row["level"], 3), row["who"]))
