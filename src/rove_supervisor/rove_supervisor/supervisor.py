# SPDX-License-Identifier: Apache-2.0
"""The supervisor without ROS: one lock around mode machine, watch and session log; every request, from a service or a
page, comes here.

Thread-safe. `publish` is called under the lock, so that the order of publication is the order of decisions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace

from rove_contract.episode import Episode
from rove_contract.modes import ACTIVE, Mode, Refused, Trigger
from rove_supervisor.advice import Advisor
from rove_supervisor.evaluation.trials import Evaluation
from rove_supervisor.lease import LEASE_S, Lease
from rove_supervisor.machine import STARTS, Conditions, EpisodeSettings, Machine, Transition
from rove_supervisor.panel.log import SessionLog
from rove_supervisor.watch import Alignment, Report, Watch, to_printable

COMMAND_FILTER = "command_filter"  # name of its node on /diagnostics
FORCE_TAKEOVER = "force_takeover"
ACTIONS: dict[str, tuple[Trigger, bool]] = {trigger.service: (trigger, False) for trigger in Trigger}
ACTIONS[FORCE_TAKEOVER] = (Trigger.TAKEOVER, True)  # name -> (trigger, forced)
MOVING = frozenset(
    {Mode.ROLLOUT, Mode.ADAPTATION, Mode.RECOVERY, Mode.DEMONSTRATION}
)  # modes in which somebody drives the robot
SETS_IN_MOTION = frozenset({*STARTS, Trigger.TAKEOVER, Trigger.RESUME})
SWITCHES = ("dead_man", "auto_pause")


@dataclass(frozen=True)
class SessionSettings:
    """What holds for the whole session. start_stages, milestones: those the task has.

    dead_man: the page that set the robot in motion must stay alive. auto_pause: advice to pause is acted on. Both can
    be switched.
    """

    settings: EpisodeSettings = EpisodeSettings()
    start_stages: tuple[str, ...] = ("start",)
    _: KW_ONLY
    milestones: tuple[str, ...] = ()
    dead_man: bool = False
    auto_pause: bool = False
    lease_s: float = LEASE_S  # silence of that page after which the robot is paused


@dataclass(frozen=True)
class StartStage:
    """Where the next episode begins: a simulator moves the scene there, a person does it on a robot."""

    name: str


class Supervisor:
    """publish: (Transition | Episode | StartStage) -> None. clock: monotonic s; epoch: ns since the epoch.

    identity: session id under which the others hear this supervisor.
    """

    def __init__(
        self,
        session: SessionSettings,
        watch: Watch,
        publish: Callable[[Transition | Episode | StartStage], None],
        *,
        advisor: Advisor | None = None,
        clock: Callable[[], float] = time.monotonic,
        epoch: Callable[[], int] = time.time_ns,
        identity: str = "",
        evaluation: Evaluation | None = None,
    ):
        self.session = session
        self.identity = identity
        self.evaluation = evaluation
        if evaluation is not None and session.auto_pause:
            raise ValueError("auto_pause and evaluation exclude each other: nobody intervenes in a trial")
        self.watch = watch
        self.log = SessionLog()
        self.advisor = advisor or Advisor()
        self.lock = threading.RLock()
        self.on_change: Callable[[], None] = lambda: None  # called after a transition, outside the lock
        self._publish = publish
        self._clock, self._epoch = clock, epoch
        self.since = clock()
        self._blind = False  # this mode was entered without a camera, by a forced takeover
        self.refused = 0
        self.lease = Lease(session.lease_s)
        self.armed_by = ""  # connected client that switched the dead man on, "" = nobody who is here
        self.notice = ""  # what was done without anybody pressing, until the next transition
        self.milestone = ""  # of the simulated task, now; "" = unknown
        self.machine = Machine(epoch())
        publish(self.machine.last)
        publish(StartStage(session.settings.start_stage))

    def now(self) -> float:
        """Monotonic s, the clock of everything here but stamps."""
        return self._clock()

    def epoch(self) -> float:
        """Unix s."""
        return self._epoch() / 1e9

    @property
    def mode(self) -> Mode:
        return self.machine.mode

    def request(self, action: str, source: str = "", note: str = "", client: str = "") -> tuple[bool, str]:
        """Try an action (name of a service). Returns (accepted, the new mode in words or the reason of the refusal).

        source: who asks, for the log. client: name of a connection that can hold the dead-man lease, "" for one that
        cannot.
        """
        if action not in ACTIONS:
            return False, f"unknown action {action!r}; known: {', '.join(ACTIONS)}"
        trigger, force = ACTIONS[action]
        with self.lock:
            now = self.now()
            previous = self.mode
            if trigger is Trigger.ESTOP and previous is Mode.ESTOP:  # a page that floods must not delay the others
                return True, "already in ESTOP"
            try:
                if self.session.dead_man and not client and trigger in SETS_IN_MOTION:
                    raise Refused(
                        f"dead-man mode is on: {action} needs a panel that stays connected and holds the lease"
                    )
                settings = self.session.settings
                if self.evaluation is not None:
                    if reason := self.evaluation.refusal(trigger):
                        raise Refused(reason)
                    if trigger in STARTS:
                        note = self.evaluation.note()
                        settings = replace(settings, checkpoint=self.evaluation.policy)
                elif in_force := self.watch.policy_in_force(now):  # another may be loaded than the session began with
                    settings = replace(settings, checkpoint=in_force)
                publications = self.machine.request(
                    trigger, self.watch.conditions(now), settings, self._epoch(), force=force, note=note
                )
            except Refused as error:
                self.refused += 1
                return False, str(error)
            self._changed(previous, client, now)
            lost = ""
            for publication in publications:
                self._publish(publication)
                if isinstance(publication, Episode) and publication.state == "ended":
                    self.log.ended(publication)
                    lost = self._keep_trial(publication, trigger)
            if self.evaluation is not None and self.mode is Mode.PAUSED:
                self.evaluation.paused = True
            text = f"{previous.name} → {self.mode.name}" + (f" ({source})" if source else "") + lost
        self.on_change()
        return True, text

    def _keep_trial(self, episode: Episode, trigger: Trigger) -> str:
        """In an evaluation: the trial's outcome. Returns why it is not on the disk, "" if it is."""
        if self.evaluation is None:
            return ""
        try:
            self.evaluation.ended(episode, trigger)
        except OSError as error:
            return f"; the trial is repeated, since its outcome could not be written: {error}"
        return ""

    def refusal(self, trigger: Trigger, conditions: Conditions, *, force: bool = False) -> str:
        """Why `trigger` is refused now, as a sentence; "" if it is possible. Call it under the lock."""
        reason = self.machine.refusal(trigger, conditions, force=force)
        return reason or (self.evaluation.refusal(trigger) if self.evaluation is not None else "")

    def saw_policy_in_force(self, wanted: str, trouble: str) -> None:
        """Whether the policy of the next trial is in force. wanted: its checkpoint. trouble: "" if it is."""
        with self.lock:
            if self.evaluation is not None and not self.machine.active and wanted == self.evaluation.checkpoint:
                self.evaluation.ready, self.evaluation.trouble = bool(wanted) and not trouble, trouble

    def _changed(self, previous: Mode, client: str, now: float) -> None:
        """A transition was made: log, advice and lease go with it."""
        self.since, self.notice = now, ""
        self._blind = bool(self.watch.camera_refusal(now))
        self.log.transition(previous, self.mode, now)
        if previous not in ACTIVE and self.mode in ACTIVE:
            self.advisor.reset()
        if self.mode is Mode.ROLLOUT:
            self.advisor.begin(self.log.elapsed(now))
        if self.mode not in MOVING:
            self.lease.drop()
        elif client and self.session.dead_man:
            self.lease.take(client, now)

    def heartbeat(self) -> str:
        """Publish the last transition again: silence means that the supervisor is gone. Then act where that is switched
        on; returns what was done and why, "" if nothing."""
        with self.lock:
            self._publish(self.machine.last)
            done = self._guard(self.now())
        if done:
            self.notice = done
            self.on_change()
        return done

    def _guard(self, now: float) -> str:
        """Pause for a camera that died, for a holder of the dead-man lease who vanished, or on advice with auto-pause
        on."""
        camera = self.watch.camera_refusal(now)
        self._blind = self._blind and bool(camera)
        if camera and self.mode in MOVING and not self._blind:
            why = camera
        elif self.session.dead_man and self.mode in MOVING and self.lease.expired(now):
            why = f"dead-man: {self.lease.holder} was silent for {self.lease.duration:.1f} s"
        elif why := self._overtime(now):
            ok, text = self.request(Trigger.FAIL.service, note=why)
            return f"{text} ({why})" if ok else ""
        elif self.session.auto_pause and self.mode is Mode.ROLLOUT:
            why = self.advisor.text(self.log.elapsed(now))
            why = f"auto-pause: {why.partition(':')[0]}" if why else ""
        else:
            return ""
        if not why:
            return ""
        # The table has no pause in a demonstration: nobody could take over from whom. It ends, aborted.
        trigger = Trigger.ABORT if self.mode is Mode.DEMONSTRATION else Trigger.PAUSE
        ok, text = self.request(trigger.service, note=why)
        return f"{text} ({why})" if ok else ""

    def _overtime(self, now: float) -> str:
        """Why a trial that takes too long ends in failure; "" while it may go on."""
        limit = self.evaluation.plan.max_seconds if self.evaluation is not None else 0.0
        late = limit > 0.0 and self.mode is Mode.ROLLOUT and self.log.elapsed(now) > limit
        return f"the trial took more than {limit:g} s" if late else ""

    def alive(self, client: str) -> None:
        """A sign of life of a page."""
        with self.lock:
            self.lease.renew(client, self.now())

    def left(self, client: str) -> None:
        """A page is gone; what it armed may be switched off by others. A lease it holds runs out as for silence."""
        with self.lock:
            if client == self.armed_by:
                self.armed_by = ""

    def switch(self, name: str, on: bool, client: str = "") -> tuple[bool, str]:
        """Switch `dead_man` or `auto_pause`; whoever switches the dead man on while the robot moves holds the lease.

        A dead man is switched off by who armed it, or by anybody when that page is gone; while the robot moves, by the
        holder of the lease only.
        """
        if name not in SWITCHES:
            return False, f"unknown switch {name!r}; known: {', '.join(SWITCHES)}"
        if name == "auto_pause" and on and self.evaluation is not None:
            return False, "nobody intervenes in an evaluation, the value neither"
        with self.lock:
            if name == "dead_man" and on and not client and self.mode in MOVING:
                return False, "the dead-man lease needs a panel that stays connected"
            if name == "dead_man" and self.session.dead_man:
                owner = (self.mode in MOVING and self.lease.holder) or self.armed_by
                if owner and owner != client:
                    return (
                        False,
                        f"{owner} relies on the dead man: it is switched off there, or when that page is closed",
                    )
            self.session = replace(self.session, **{name: on})  # type: ignore[arg-type]
            if name == "dead_man":
                self.armed_by = client if on else ""
                self.lease.drop()
                if on and self.mode in MOVING:
                    self.lease.take(client, self.now())
        self.on_change()
        return True, f"{name.replace('_', '-')} is {'on' if on else 'off'}"

    def close(self) -> None:
        """End a running episode before the supervisor leaves: nobody would end it afterwards."""
        if self.machine.active:
            self.request(Trigger.ABORT.service, "shutdown", note="the supervisor was stopped")

    def set_start_stage(self, stage: str) -> tuple[bool, str]:
        """Where the next episodes begin; refused while one runs or for a stage the task does not have."""
        with self.lock:
            if self.machine.active:
                return False, "the start stage can be changed between episodes only"
            if stage not in self.session.start_stages:
                return False, f"unknown start stage {stage!r}; the task has {', '.join(self.session.start_stages)}"
            self.session = replace(self.session, settings=replace(self.session.settings, start_stage=stage))
            self._publish(StartStage(stage))
        self.on_change()
        return True, f"next episodes start at {stage!r}"

    def learn_task(
        self, name: str, instruction: str, start_stages: tuple[str, ...], milestones: tuple[str, ...]
    ) -> None:
        """The robot says the words of the task that it is before: instruction and stages (empty: keep those given) and
        milestones in the order of progress. Another task than the session's is left alone.
        """
        with self.lock:
            if name != self.session.settings.task:
                return
            settings = self.session.settings
            if instruction:
                settings = replace(settings, instruction=instruction)
            stages = start_stages or self.session.start_stages
            self.session = replace(self.session, settings=settings, start_stages=stages, milestones=milestones)
        self.on_change()

    def saw_milestone(self, task: str, milestone: str) -> None:
        """How far the simulated task is; the episode keeps the farthest one it was seen at. Another task than the
        session's, or a milestone that it has not, is left alone.
        """
        with self.lock:
            names = self.session.milestones
            if task != self.session.settings.task or milestone not in names:
                return
            self.milestone = milestone
            episode = self.machine.episode
            reached = names.index(episode.milestone) if episode is not None and episode.milestone in names else -1
            if names.index(milestone) > reached:
                self.machine.reach(milestone)

    # -- what comes in
    # -------------------------------------------------------------------------------------------------------

    def saw_robot(self) -> None:
        self.watch.robot.mark(self.now())

    def saw_camera(self, name: str = "ego") -> None:
        self.watch.cameras[name].mark(self.now())

    def saw_operator(self) -> None:
        self.watch.operator.mark(self.now())

    def saw_alignment(self, level: int, message: str, values: dict[str, str]) -> None:
        alignment = Alignment.read(level, message, values, self.now())
        with self.lock:
            self.watch.alignment = alignment

    def saw_recorder(self, level: int, message: str, values: dict[str, str]) -> None:
        with self.lock:
            self.watch.recorder = Report.read(level, message, values, self.now())

    def saw_report(self, who: str, level: int, message: str, values: dict[str, str]) -> None:
        report = Report.read(level, message, values, self.now())
        with self.lock:
            self.watch.reports[to_printable(who)] = report
            emergency = who == COMMAND_FILTER and self._is_left_in_emergency(report)
        if emergency:
            # The supervisor before this one left an emergency stop, or an episode that nobody ended.
            self.request(Trigger.ESTOP.service, COMMAND_FILTER, note=f"command filter: {report.values.get('reason')}")

    def _is_left_in_emergency(self, report: Report) -> bool:
        """Whether the command filter holds an emergency stop although it has heard this supervisor's present mode."""
        values = report.values
        heard = values.get("supervisor") == self.identity and values.get("mode_ns") == str(self.machine.last.stamp_ns)
        return heard and values.get("mode") == Mode.ESTOP.name and self.mode is not Mode.ESTOP

    def saw_value(self, value: float) -> None:
        with self.lock:
            if self.machine.active:
                self.advisor.add(self.log.elapsed(self.now()), value)
