# SPDX-License-Identifier: Apache-2.0
"""What the panel and the console show: the supervisor's state as one JSON-able dict. Read only."""

from __future__ import annotations

import math

from rove_contract.modes import ACTIVE, Mode
from rove_description.joints import METRE
from rove_supervisor.supervisor import ACTIONS, Supervisor
from rove_supervisor.watch import Stream

CAMERA_LATE_S = 0.5  # 15 frames: the picture visibly stands still


def snapshot(supervisor: Supervisor) -> dict:
    """No infinities: unknown is None. Times in s, `t` since the epoch. actions: name -> why it is refused now, "" if it
    is possible.
    """
    s = supervisor
    with s.lock:
        now = s.now()
        episode = s.machine.episode
        elapsed = s.log.elapsed(now)
        conditions = s.watch.conditions(now)
        return {
            "type": "state",
            "t": s.epoch(),
            "mode": s.mode.name,
            "trigger": s.machine.last.trigger.service if s.machine.last.trigger else "",
            "time_in_mode": round(now - s.since, 2),
            "episode": None
            if episode is None
            else {
                "id": episode.id,
                "kind": episode.kind,
                "state": episode.state,
                "outcome": episode.outcome.name.lower(),
                "elapsed": round(elapsed, 2),
                "start_stage": episode.start_stage,
                "t_r": episode.t_r_ns > 0,
                "note": episode.note,
                "milestone": episode.milestone,
            },
            "timeline": [
                [x.mode.name, round(x.begin, 2), None if x.end is None else round(x.end, 2)] for x in s.log.timeline
            ],
            "actions": {
                name: s.refusal(trigger, conditions, force=force) for name, (trigger, force) in ACTIONS.items()
            },
            "links": _links(s, now),
            "alignment": {
                "threshold": s.watch.threshold,
                "names": list(s.watch.blocks),
                "blocks": {block: _finite(error.in_rad) for block, error in s.watch.alignment.errors.items()},
                "lengths": {
                    block: error.words() for block, error in s.watch.alignment.errors.items() if error.unit == METRE
                },
                "worst_joint": s.watch.alignment.worst_joint,
                "why": conditions.operator,
            },
            "latency": s.watch.latency(now),
            "value": {
                "threshold": s.advisor.threshold,
                "points": [[round(t, 2), round(v, 3)] for t, v in _thin(s.advisor.points, 160)],
            },
            "advice": s.advisor.text(elapsed) if s.mode is Mode.ROLLOUT else "",
            "notice": s.notice,
            "dead_man": {"on": s.session.dead_man, "holder": s.lease.holder},
            "auto_pause": s.session.auto_pause,
            "warnings": s.watch.warnings(now),
            "session": _session(s, now),
        }


def _session(s: Supervisor, now: float) -> dict:
    settings, stages, counts = s.session.settings, s.session.start_stages, s.log.collected()
    return {
        "task": settings.task,
        "instruction": settings.instruction,
        "operator": settings.operator,
        "checkpoint": "" if s.evaluation is not None else s.watch.policy_in_force(now) or settings.checkpoint,
        "evaluation": s.evaluation.text() if s.evaluation is not None else "",
        "start_stage": settings.start_stage,
        "start_stages": list(stages),
        "collected": [counts[stage] for stage in stages],
        "proposed_stage": s.log.least_collected(stages),
        "milestones": list(s.session.milestones),
        "milestone": s.milestone,
        "recording": s.watch.record,
        **s.log.numbers(),
        "recent": [
            [row.id, row.kind, row.outcome.name.lower(), round(row.length, 1), round(row.intervention, 1)]
            for row in s.log.rows[-12:][::-1]
        ],
    }


def _links(s: Supervisor, now: float) -> dict:
    """Per source: ok (bool), age (s or None), rate (Hz), text (what is wrong, or the essential number)."""
    watch = s.watch

    def link(stream, why):
        return {"ok": not why, "age": _finite(stream.age(now)), "rate": stream.rate(now), "text": why}

    cameras = {name: _late(stream.age(now)) for name, stream in watch.cameras.items()}
    late = [f"{name}: {why}" if len(cameras) > 1 else why for name, why in cameras.items() if why]
    camera = next(iter(watch.cameras.values()), Stream())
    operator_age = watch.alignment.age(now)
    operator_why = watch.operator_refusal(now, math.inf)
    recorder = watch.recorder
    values = recorder.values if recorder else {}
    recorder_why = watch.recorder_refusal(now) if s.mode not in ACTIVE else ""
    if watch.record and recorder is not None and now - recorder.arrived > 3.0:
        recorder_why = watch.recorder_refusal(now)
    return {
        "robot": link(watch.robot, watch.robot_refusal(now)),
        "camera": link(camera, late[0] if late else "") | {"cameras": cameras},
        "operator": {
            "ok": not operator_why,
            "age": _finite(operator_age),
            "rate": watch.operator.rate(now),
            "text": operator_why,
        },
        "recorder": {
            "ok": not recorder_why,
            "age": _finite(now - recorder.arrived) if recorder else None,
            "rate": 0.0,
            "text": recorder_why,
            "on": watch.record,
            "recording": values.get("recording") == "true",
            "episode": values.get("episode", ""),
            "dropped": values.get("dropped"),
            "disk_free_gb": values.get("disk_free_gb"),
        },
    }


def _late(age: float) -> str:
    """What is wrong with a camera whose last picture came age s ago; "" if nothing is."""
    if age <= CAMERA_LATE_S:
        return ""
    return "no picture yet" if age == math.inf else f"no picture for {age:.1f} s"


def _finite(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None


def _thin(points, limit: int):
    """At most `limit` of the points, the last one always among them."""
    points = list(points)
    step = max(1, math.ceil(len(points) / limit))
    return points[::-1][::step][::-1]
