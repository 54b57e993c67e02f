# SPDX-License-Identifier: Apache-2.0
"""The person who watches the robot: when to start, pause, hand over, call recovered, succeed or fail. Core without ROS.

`Supervision.update` is called at about 20 Hz with what a person would see and says which service to call next, if any.
The same object supervises a session over ROS and an episode in-process. What counts as trouble is the task's
(`watching`); people notice it late, sometimes not at all, and sometimes pause though nothing is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rove_contract import thresholds
from rove_contract.modes import Mode, Trigger
from rove_sim.people.watching import AdaptationEnd, Attention

FORCE = "force_takeover"
RESET = "sim_reset"


@dataclass(frozen=True)
class Patience:
    """When the person acts; s, rad.

    patience_s: without advance before pausing. lost_s: the task cannot be done any more, before it is called failed.
    autonomous_s: longest rollout. settle_s: paused before the first takeover attempt. retry_s: between attempts.
    force_s: paused before the takeover is forced. intervention_s: longest operator phase. demonstration_s: longest
    demonstration. reset_s: waits for the recorder and the reset between episodes before asking for a reset.
    """

    patience_s: float = 4.0
    lost_s: float = 1.0
    autonomous_s: float = 30.0
    settle_s: float = 0.6
    retry_s: float = 0.5
    force_s: float = 15.0
    intervention_s: float = 40.0
    demonstration_s: float = 45.0
    reset_s: float = 6.0
    alignment_rad: float = thresholds.TAKEOVER_RAD


@dataclass(frozen=True)
class View:
    """What is visible at one instant. sim: /sim/state. alignment: worst error, rad, None when stale. waiting_for: empty
    when all is up.
    """

    now: float
    mode: Mode
    sim: dict
    alignment: float | None = None
    waiting_for: str = ""
    bag_closed: bool = True


@dataclass
class Tally:
    """Counts of a session."""

    episodes: int = 0
    success: int = 0
    failure: int = 0
    interventions: int = 0
    forced: int = 0
    autonomous_success: int = 0
    mistaken: int = 0
    reasons: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class Supervision:
    """kind: "rollout" or "demonstration". episodes: how many; then on, up to max_episodes, until min_interventions
    happened. task: of `rove_sim.tasks`. rng: of the person.

    intervene: False lets rollouts fail by themselves. Attribute `reason`: why the last action was chosen. `done`: all
    episodes ended. `mistaken`: whether the pause of this episode was a false alarm.
    """

    def __init__(
        self,
        task,
        kind="rollout",
        episodes=4,
        patience: Patience | None = None,
        min_interventions=0,
        max_episodes=None,
        intervene=True,
        attention: Attention | None = None,
        rng: np.random.Generator | None = None,
    ):
        if kind not in ("rollout", "demonstration"):
            raise ValueError(f"kind is {kind!r}, expected rollout or demonstration")
        self.task, self.kind, self.episodes, self.intervene = task, kind, episodes, intervene
        self.patience = patience or Patience()
        self.attention = attention or Attention()
        self.rng = rng or np.random.default_rng(0)
        self.min_interventions = min_interventions
        self.max_episodes = max(episodes, max_episodes or episodes)
        self.tally = Tally()
        self.reason = self.waiting = ""
        self.mode = Mode.IDLE
        self.mode_since: float | None = None
        self.running = self.intervened = self.mistaken = False
        self.started = self.attempt = float("-inf")
        self.used_resets: int | None = None
        self.ended_at: float | None = None
        self.outcome: Trigger | None = None

    @property
    def done(self) -> bool:
        if self.running:
            return False
        count = self.tally.episodes
        return count >= self.max_episodes or (
            count >= self.episodes and self.tally.interventions >= self.min_interventions
        )

    def update(self, view: View) -> Trigger | str | None:
        """The service to call now: a Trigger, FORCE or RESET; None: nothing. The caller reports refusals by calling
        again later.
        """
        if view.mode is not self.mode or self.mode_since is None:
            self._enter(view)
        if view.mode is Mode.IDLE:
            return self._start_next(view)
        if view.now - self.attempt < self.patience.retry_s:
            return None
        decide = {
            Mode.ROLLOUT: self._watch_rollout,
            Mode.PAUSED: self._hand_over,
            Mode.ADAPTATION: self._watch_adaptation,
            Mode.RECOVERY: self._watch_work,
            Mode.DEMONSTRATION: self._watch_work,
        }.get(view.mode)
        action = decide(view) if decide else None
        if action is not None:
            self.attempt = view.now
        return action

    # ---- mode changes

    def _enter(self, view: View) -> None:
        """Bookkeeping of a mode change, whoever caused it."""
        before, self.mode, self.mode_since = self.mode, view.mode, view.now
        self.attempt = float("-inf")
        if view.mode in (Mode.ROLLOUT, Mode.DEMONSTRATION):
            self._watch_anew(view)
            if before is Mode.IDLE:
                self.running, self.started, self.intervened, self.mistaken = True, view.now, False, False
                self.used_resets = view.sim["resets"]
                self.outcome = None
        elif view.mode is Mode.ADAPTATION:
            self.tally.interventions += not self.intervened
            self.intervened = True
            self._watch_anew(view)
            self.adaptation_end = AdaptationEnd(self.watch, view.sim, self.attention.mark(self.rng))
        elif view.mode in (Mode.IDLE, Mode.ESTOP) and self.running:
            self._close(view)

    def _watch_anew(self, view: View) -> None:
        self.watch = self.task.make_watch(view.sim, self.rng)
        self.best = (self.watch.advance(view.sim), view.now)
        self.noticed: tuple[str, float] | None = None
        self.lost_since: float | None = None
        rate = self.attention.false_alarm_hz
        self.alarm_at = view.now + (float(self.rng.exponential(1.0 / rate)) if rate > 0 else float("inf"))

    def _close(self, view: View) -> None:
        self.running, self.ended_at = False, view.now
        self.tally.episodes += 1
        self.tally.seconds.append(round(view.now - self.started, 2))
        if self.outcome is Trigger.SUCCEED:
            self.tally.success += 1
            self.tally.autonomous_success += self.kind == "rollout" and not self.intervened
        elif self.outcome is Trigger.FAIL:
            self.tally.failure += 1

    def _end(self, outcome: Trigger, reason: str) -> Trigger:
        self.outcome, self.reason = outcome, reason
        return outcome

    # ---- what to do in each mode

    def _start_next(self, view: View) -> Trigger | str | None:
        """Between episodes: everything up, the last bag closed, the simulator reset and the filter seated on the new
        pose.
        """
        if self.done:
            return None
        sim = view.sim
        fresh = sim["resets"] != self.used_resets and not sim["success"]
        waiting = (
            view.waiting_for
            or ("" if view.bag_closed else "the recorder to close the bag")
            or ("" if fresh else "the simulator's reset")
            or ("" if sim["seated"] else "the command filter at the start pose")
        )
        self.waiting = waiting
        if view.now - self.attempt < self.patience.retry_s:
            return None
        if waiting:
            overdue = self.ended_at is not None and view.now - self.ended_at > self.patience.reset_s
            if overdue and not fresh and view.bag_closed and not view.waiting_for:
                self.attempt, self.reason = view.now, "no automatic reset came"
                return RESET
            return None
        self.attempt, self.reason = view.now, "ready"
        return Trigger.START_ROLLOUT if self.kind == "rollout" else Trigger.START_DEMONSTRATION

    def _is_lost(self, view: View) -> bool:
        if view.sim["recoverable"]:
            self.lost_since = None
            return False
        self.lost_since = view.now if self.lost_since is None else self.lost_since
        return view.now - self.lost_since > self.patience.lost_s

    def _trouble(self, view: View) -> str:
        """What is going wrong: the task's own troubles, a stall, or a rollout that takes too long."""
        advance = self.watch.advance(view.sim)
        if advance > self.best[0] + 1e-3:
            self.best = (advance, view.now)
        trouble = self.watch.trouble(view.sim, view.now)
        if trouble:
            return trouble
        if view.now - self.best[1] > self.patience.patience_s:
            return f"no progress for {self.patience.patience_s:g} s"
        if view.now - self.mode_since > self.patience.autonomous_s:
            return f"not done after {self.patience.autonomous_s:g} s"
        return ""

    def _notice(self, trouble: str, view: View) -> str:
        """The trouble that the person acts on now: a while after it began; it may have passed by itself before that."""
        if not trouble:
            self.noticed = None
            return ""
        if self.noticed is None:
            self.noticed = (trouble, view.now + self.attention.react(self.rng))
        return trouble if view.now >= self.noticed[1] else ""

    def _watch_rollout(self, view: View) -> Trigger | None:
        if view.sim["success"]:
            return self._end(Trigger.SUCCEED, "the task is done")
        if self._is_lost(view):
            return self._end(Trigger.FAIL, "the task cannot be done any more")
        trouble = self._notice(self._trouble(view), view)
        if not self.intervene:
            over = view.now - self.mode_since > self.patience.autonomous_s
            return self._end(Trigger.FAIL, trouble or "time is up") if over else None
        if not trouble and view.now >= self.alarm_at:
            trouble, self.mistaken = "a mistaken alarm", True
            self.tally.mistaken += 1
        if not trouble or not view.sim["recoverable"]:
            return None
        self.reason = trouble
        self.tally.reasons.append(trouble)
        return Trigger.PAUSE

    def _hand_over(self, view: View) -> Trigger | str | None:
        p, waited = self.patience, view.now - self.mode_since
        if waited < p.settle_s:
            return None
        if view.alignment is not None and view.alignment < p.alignment_rad:
            self.reason = f"operator aligned within {view.alignment:.2f} rad"
            return Trigger.TAKEOVER
        if waited > p.force_s:
            self.reason = f"not aligned after {p.force_s:g} s (worst {view.alignment})"
            self.tally.forced += 1
            return FORCE
        return None

    def _watch_adaptation(self, view: View) -> Trigger | None:
        """Recovered (t_r) when the operator begins to make sustained progress."""
        if self.adaptation_end.over(view.sim, view.now):
            self.reason = "sustained progress"
            return Trigger.RECOVERED
        return self._watch_work(view, succeed=False)

    def _watch_work(self, view: View, succeed: bool = True) -> Trigger | None:
        """The operator's work, until it is done, lost or takes too long."""
        if succeed and view.sim["success"]:
            return self._end(Trigger.SUCCEED, "the task is done")
        if self._is_lost(view):
            return self._end(Trigger.FAIL, "the task cannot be done any more")
        limit = self.patience.demonstration_s if view.mode is Mode.DEMONSTRATION else self.patience.intervention_s
        if view.now - self.mode_since > limit:
            return self._end(Trigger.FAIL, f"the operator is not done after {limit:g} s")
        return None
