# SPDX-License-Identifier: Apache-2.0
"""The mode machine: the contract's transition table, the conditions of a start and of a takeover, and the episode that
goes with them.

Pure: time comes in as ns stamps, the world as `Conditions`; what has to be published comes out in the order it has to
be published.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace

from rove_contract import timing
from rove_contract.episode import Episode
from rove_contract.modes import ACTIVE, OUTCOME_OF, Mode, Refused, Trigger, next_mode

STARTS = {Trigger.START_ROLLOUT: "rollout", Trigger.START_DEMONSTRATION: "demonstration"}
# A start asks whether a robot is connected at all, the command filter whether each sample came: five times its
# time-out, so that one scheduling gap of a busy computer does not refuse a start.
ROBOT_GONE_S = 5 * timing.STATE_MISSING_S


@dataclass(frozen=True)
class Conditions:
    """What the world looked like at a request; "" means nothing speaks against it.

    robot: why no episode may start on this robot. recorder: why no episode could be recorded ("" also when recording is
    off). operator: why the operator cannot take over (stale or misaligned). policy: why no policy can drive.
    camera: why nobody would see what the robot does.
    """

    robot: str = ""
    recorder: str = ""
    operator: str = ""
    policy: str = ""
    camera: str = ""


@dataclass(frozen=True)
class Transition:
    """One change of mode; stamp_ns: ns since the epoch. trigger None: the start of the supervisor."""

    previous: Mode
    trigger: Trigger | None
    mode: Mode
    stamp_ns: int


@dataclass(frozen=True)
class EpisodeSettings:
    """What a new episode is labelled with."""

    task: str = "erase_whiteboard"
    instruction: str = "erase the whiteboard"  # the words the policy gets
    operator: str = ""
    checkpoint: str = ""
    start_stage: str = "start"


def episode_id(task: str, stamp_ns: int, number: int) -> str:
    """Name of an episode and of its bag directory: task, UTC second, count within the session."""
    clean = re.sub(r"[^A-Za-z0-9_-]+", "_", task).strip("_") or "episode"
    return f"{clean}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime(stamp_ns // 1_000_000_000))}-{number:03d}"


class Machine:
    """Mode and episode of a session. Stamps of transitions strictly increase, also when the clock steps back."""

    def __init__(self, stamp_ns: int):
        self.last = Transition(Mode.IDLE, None, Mode.IDLE, stamp_ns)
        self.episode: Episode | None = None  # the running one, or the last one
        self.count = 0

    @property
    def mode(self) -> Mode:
        return self.last.mode

    @property
    def active(self) -> bool:
        """An episode is running."""
        return self.mode in ACTIVE

    def reach(self, milestone: str) -> None:
        """The running episode has got this far, in the task's words."""
        if self.active and self.episode is not None:
            self.episode = replace(self.episode, milestone=milestone)

    def refusal(self, trigger: Trigger, conditions: Conditions, *, force: bool = False) -> str:
        """Why `trigger` is refused now, as a sentence; "" if it is possible. force: skip those of a takeover."""
        try:
            next_mode(self.mode, trigger)
        except Refused as error:
            return str(error)
        if trigger in STARTS:
            return (
                conditions.robot
                or (conditions.policy if trigger is Trigger.START_ROLLOUT else "")
                or conditions.camera
                or conditions.recorder
            )
        if trigger is Trigger.RESUME:
            return conditions.policy or conditions.camera
        if trigger is Trigger.TAKEOVER and not force:
            return conditions.operator or conditions.camera
        return ""

    def request(
        self,
        trigger: Trigger,
        conditions: Conditions,
        settings: EpisodeSettings,
        stamp_ns: int,
        *,
        force: bool = False,
        note: str = "",
    ) -> tuple[Transition | Episode, ...]:
        """Make a transition. Returns what to publish, in order; raises Refused with the reason.

        A start announces the episode before the mode, so that the recorder is open when the mode changes; an end leaves
        the active mode first, so that the bag still holds the transition. t_r is the first `recovered` (paper, sec.
        3.1).
        """
        reason = self.refusal(trigger, conditions, force=force)
        if reason:
            raise Refused(reason)
        stamp_ns = max(stamp_ns, self.last.stamp_ns + 1)
        was_active = self.active
        self.last = Transition(self.mode, trigger, next_mode(self.mode, trigger), stamp_ns)
        if trigger in STARTS:
            self.count += 1
            self.episode = Episode(
                id=episode_id(settings.task, stamp_ns, self.count),
                task=settings.task,
                instruction=settings.instruction,
                start_stage=settings.start_stage,
                operator=settings.operator,
                kind=STARTS[trigger],
                checkpoint=settings.checkpoint if trigger is Trigger.START_ROLLOUT else "",
                started_ns=stamp_ns,
                note=note,
            )
            return self.episode, self.last
        if was_active and not self.active:
            why = note or ("e-stop" if trigger is Trigger.ESTOP else self.episode.note)
            self.episode = replace(self.episode.ended(OUTCOME_OF[trigger], stamp_ns), note=why)
            return self.last, self.episode
        if trigger is Trigger.RECOVERED and self.episode.t_r_ns == 0:
            self.episode = replace(self.episode, t_r_ns=stamp_ns)
            return self.last, self.episode
        return (self.last,)
