"""The supervisor without ROS: one lock around mode machine, watch and session log; every request, from a service or a page, comes here.

Thread-safe. `publish` is called under the lock, so that the order of publication is the order of decisions.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from rove_contract.episode import Episode
from rove_contract.modes import ACTIVE, Mode, Refused, Trigger
from rove_supervisor.advice import Advisor
from rove_supervisor.machine import EpisodeSettings, Machine, Transition
from rove_supervisor.session import SessionLog
from rove_supervisor.watch import Alignment, Report, Watch

FORCE_TAKEOVER = "force_takeover"
ACTIONS: dict[str, tuple[Trigger, bool]] = {trigger.service: (trigger, False) for trigger in Trigger}
ACTIONS[FORCE_TAKEOVER] = (Trigger.TAKEOVER, True)  # name -> (trigger, forced)
CAMERA_LATE_S = 0.5  # 15 frames: the picture visibly stands still


@dataclass(frozen=True)
class Session:
    """What holds for the whole session. start_stages: those the task offers."""

    settings: EpisodeSettings = EpisodeSettings()
    start_stages: tuple[str, ...] = ("start",)


class Supervisor:
    """publish: (Transition | Episode) -> None. clock: monotonic s; epoch: ns since the epoch."""

    def __init__(
        self,
        session: Session,
        watch: Watch,
        publish: Callable[[Transition | Episode], None],
        *,
        advisor: Advisor | None = None,
        clock: Callable[[], float] = time.monotonic,
        epoch: Callable[[], int] = time.time_ns,
    ):
        self.session = session
        self.watch = watch
        self.log = SessionLog()
        self.advisor = advisor or Advisor()
        self.lock = threading.RLock()
        self.on_change: Callable[[], None] = lambda: None  # called after a transition, outside the lock
        self._publish = publish
        self._clock, self._epoch = clock, epoch
        self._since = clock()
        self.refused = 0
        self.machine = Machine(epoch())
        publish(self.machine.last)

    @property
    def mode(self) -> Mode:
        return self.machine.mode

    def request(self, action: str, source: str = "", note: str = "") -> tuple[bool, str]:
        """Try an action (name of a service). Returns (accepted, the new mode in words or the reason of the refusal)."""
        if action not in ACTIONS:
            return False, f"unknown action {action!r}; known: {', '.join(ACTIONS)}"
        trigger, force = ACTIONS[action]
        with self.lock:
            now = self._clock()
            previous = self.mode
            try:
                publications = self.machine.request(
                    trigger, self.watch.conditions(now), self.session.settings, self._epoch(), force=force, note=note
                )
            except Refused as error:
                self.refused += 1
                return False, str(error)
            self._since = now
            self.log.transition(previous, self.mode, now)
            if previous not in ACTIVE and self.mode in ACTIVE:
                self.advisor.reset()
            for publication in publications:
                self._publish(publication)
                if isinstance(publication, Episode) and publication.state == "ended":
                    self.log.ended(publication)
            text = f"{previous.name} → {self.mode.name}" + (f" ({source})" if source else "")
        self.on_change()
        return True, text

    def heartbeat(self) -> None:
        """Publish the last transition again: silence means that the supervisor is gone."""
        with self.lock:
            self._publish(self.machine.last)

    def close(self) -> None:
        """End a running episode before the supervisor leaves: nobody would end it afterwards."""
        if self.machine.active:
            self.request(Trigger.ABORT.service, "shutdown", note="the supervisor was stopped")

    def set_start_stage(self, stage: str) -> tuple[bool, str]:
        """Label of the next episodes; refused while one runs or for a stage the task does not have."""
        with self.lock:
            if self.machine.active:
                return False, "the start stage can be changed between episodes only"
            if stage not in self.session.start_stages:
                return False, f"unknown start stage {stage!r}; the task has {', '.join(self.session.start_stages)}"
            self.session = replace(self.session, settings=replace(self.session.settings, start_stage=stage))
        self.on_change()
        return True, f"next episodes start at {stage!r}"

    # -- what comes in -------------------------------------------------------------------------------------------------------

    def saw_robot(self) -> None:
        self.watch.robot.mark(self._clock())

    def saw_camera(self) -> None:
        self.watch.camera.mark(self._clock())

    def saw_operator(self) -> None:
        self.watch.operator.mark(self._clock())

    def saw_alignment(self, level: int, message: str, values: dict[str, str]) -> None:
        alignment = Alignment.read(level, message, values, self._clock())
        with self.lock:
            self.watch.alignment = alignment

    def saw_recorder(self, level: int, message: str, values: dict[str, str]) -> None:
        with self.lock:
            self.watch.recorder = Report(level, message, values, self._clock())

    def saw_report(self, who: str, level: int, message: str, values: dict[str, str]) -> None:
        with self.lock:
            self.watch.reports[who] = Report(level, message, values, self._clock())

    def saw_value(self, value: float) -> None:
        with self.lock:
            if self.machine.active:
                self.advisor.add(self.log.elapsed(self._clock()), value)

    # -- what the panel shows ------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict:
        """Everything the page shows, JSON-able (no infinities: unknown is None). Times in s, `t` since the epoch."""
        with self.lock:
            now = self._clock()
            watch, machine = self.watch, self.machine
            conditions = watch.conditions(now)
            episode = machine.episode
            elapsed = self.log.elapsed(now)
            actions = {
                name: machine.refusal(trigger, conditions, force=force) for name, (trigger, force) in ACTIONS.items()
            }
            settings = self.session.settings
            return {
                "type": "state",
                "t": self._epoch() / 1e9,
                "mode": self.mode.name,
                "trigger": machine.last.trigger.service if machine.last.trigger else "",
                "time_in_mode": round(now - self._since, 2),
                "episode": None if episode is None else {
                    "id": episode.id, "kind": episode.kind, "state": episode.state, "outcome": episode.outcome.name.lower(),
                    "elapsed": round(elapsed, 2), "start_stage": episode.start_stage, "t_r": episode.t_r_ns > 0, "note": episode.note,
                },
                "timeline": [[s.mode.name, round(s.begin, 2), None if s.end is None else round(s.end, 2)] for s in self.log.timeline],
                "actions": actions,
                "links": self._links(now),
                "alignment": {
                    "threshold": watch.threshold,
                    "blocks": {block: _finite(error) for block, error in watch.alignment.errors.items()},
                    "worst_joint": watch.alignment.worst_joint,
                    "why": conditions.operator,
                },
                "value": {
                    "threshold": self.advisor.threshold,
                    "points": [[round(t, 2), round(v, 3)] for t, v in _thin(self.advisor.points, 160)],
                },
                "advice": self.advisor.text(elapsed) if self.mode is Mode.ROLLOUT else "",
                "warnings": watch.warnings(now),
                "session": {
                    "task": settings.task, "instruction": settings.instruction, "operator": settings.operator,
                    "checkpoint": settings.checkpoint, "start_stage": settings.start_stage,
                    "start_stages": list(self.session.start_stages),
                    "proposed_stage": self.log.least_collected(self.session.start_stages),
                    "recording": watch.record, **self.log.numbers(),
                    "recent": [
                        [row.id, row.kind, row.outcome.name.lower(), round(row.length, 1), round(row.intervention, 1)]
                        for row in self.log.rows[-12:][::-1]
                    ],
                },
            }

    def _links(self, now: float) -> dict:
        """Per source: ok (bool), age (s or None), rate (Hz), text (what is wrong, or the essential number)."""
        watch = self.watch

        def link(stream, why):
            return {"ok": not why, "age": _finite(stream.age(now)), "rate": stream.rate(now), "text": why}

        camera_age = watch.camera.age(now)
        camera_why = ""
        if camera_age > CAMERA_LATE_S:
            camera_why = "no picture yet" if camera_age == math.inf else f"no picture for {camera_age:.1f} s"
        operator_age = watch.alignment.age(now)
        operator_why = watch.alignment.refusal(now, math.inf)
        recorder = watch.recorder
        values = recorder.values if recorder else {}
        recorder_why = watch.recorder_refusal(now) if self.mode not in ACTIVE else ""
        if watch.record and recorder is not None and now - recorder.arrived > 3.0:
            recorder_why = watch.recorder_refusal(now)
        return {
            "robot": link(watch.robot, watch.robot_refusal(now)),
            "camera": link(watch.camera, camera_why),
            "operator": {"ok": not operator_why, "age": _finite(operator_age), "rate": watch.operator.rate(now), "text": operator_why},
            "recorder": {
                "ok": not recorder_why, "age": _finite(now - recorder.arrived) if recorder else None, "rate": 0.0, "text": recorder_why,
                "on": watch.record, "recording": values.get("recording") == "true", "episode": values.get("episode", ""),
                "dropped": values.get("dropped"), "disk_free_gb": values.get("disk_free_gb"),
            },
        }


def _finite(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None


def _thin(points, limit: int):
    """At most `limit` of the points, the last one always among them."""
    points = list(points)
    step = max(1, math.ceil(len(points) / limit))
    return points[::-1][::step][::-1]
