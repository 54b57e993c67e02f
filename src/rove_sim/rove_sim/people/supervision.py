# SPDX-License-Identifier: Apache-2.0
"""The person who watches the robot, scripted: when to start, pause, hand over, call recovered, succeed or fail. Core
without ROS.

`Supervision.update` is called at about 20 Hz with what a person would see and says which service to call next, if any.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rove_contract.modes import Mode, Trigger
from rove_contract.thresholds import TAKEOVER_RAD
from rove_sim.tasks.erase_whiteboard.adaptation_end import AdaptationEnd

FORCE = "force_takeover"
RESET = "sim_reset"


@dataclass(frozen=True)
class Patience:
    """When the person acts; s, rad.

    patience_s: without progress before pausing. fist_s: hand closed without eraser. dropped_s: eraser lost.
    autonomous_s: longest rollout. settle_s: paused before the first takeover attempt. retry_s: between attempts.
    force_s: paused before the takeover is forced. intervention_s: longest operator phase. demonstration_s: longest
    demonstration. reset_s: waits for the recorder and the reset between episodes before asking for a reset.
    """

    patience_s: float = 5.0
    fist_s: float = 1.5
    dropped_s: float = 1.0
    autonomous_s: float = 20.0
    settle_s: float = 0.6
    retry_s: float = 0.5
    force_s: float = 15.0
    intervention_s: float = 40.0
    demonstration_s: float = 30.0
    reset_s: float = 6.0
    alignment_rad: float = TAKEOVER_RAD


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
    reasons: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class Supervision:
    """kind: "rollout" or "demonstration". episodes: how many; then on, up to max_episodes, until min_interventions
    happened.

    intervene: False lets rollouts fail by themselves. Attribute `reason`: why the last action was chosen. `done`: all
    episodes ended.
    """

    def __init__(
        self, kind="rollout", episodes=4, patience=None, min_interventions=0, max_episodes=None, intervene=True
    ):
        if kind not in ("rollout", "demonstration"):
            raise ValueError(f"kind is {kind!r}, expected rollout or demonstration")
        self.kind, self.episodes, self.intervene = kind, episodes, intervene
        self.patience = patience or Patience()
        self.min_interventions = min_interventions
        self.max_episodes = max(episodes, max_episodes or episodes)
        self.tally = Tally()
        self.reason = ""
        self.outcome: Trigger | None = None
        self.mode = Mode.IDLE
        self.mode_since: float | None = None
        self.running = False
        self.started = self.attempt = float("-inf")
        self.used_resets: int | None = None
        self.ended_at: float | None = None
        self.intervened = False
        self.best = (0.0, 0.0)
        self.since: dict[str, float] = {}

    @property
    def done(self) -> bool:
        if self.running:
            return False
        count = self.tally.episodes
        return count >= self.max_episodes or (
            count >= self.episodes and self.tally.interventions >= self.min_interventions
        )

    def lasting(self, name: str, condition: bool, now: float) -> float:
        """s for which a condition has held without a gap; 0 when it does not hold."""
        if not condition:
            self.since.pop(name, None)
            return 0.0
        return now - self.since.setdefault(name, now)

    def update(self, view: View) -> Trigger | str | None:
        """The service to call now: a Trigger, FORCE or RESET; None: nothing. The caller reports refusals by calling
        again later.
        """
        if view.mode is not self.mode or self.mode_since is None:
            self.enter(view)
        if view.mode is Mode.IDLE:
            return self.idle(view)
        if view.now - self.attempt < self.patience.retry_s:
            return None
        action = {
            Mode.ROLLOUT: self.rollout,
            Mode.PAUSED: self.paused,
            Mode.ADAPTATION: self.adaptation,
            Mode.RECOVERY: self.recovery,
            Mode.DEMONSTRATION: self.demonstration,
        }.get(view.mode, lambda _view: None)(view)
        if action is not None:
            self.attempt = view.now
        return action

    def enter(self, view: View) -> None:
        """Bookkeeping of a mode change, whoever caused it."""
        before, self.mode, self.mode_since = self.mode, view.mode, view.now
        self.since.clear()
        self.best = (view.sim["progress"], view.now)
        self.grip_best = view.sim["grip_error"]
        if view.mode in (Mode.ROLLOUT, Mode.DEMONSTRATION) and before is Mode.IDLE:
            self.running, self.started, self.intervened = True, view.now, False
            self.used_resets = view.sim["resets"]
            self.outcome = None
            self.held = False
        elif view.mode is Mode.ADAPTATION:
            if not self.intervened:
                self.tally.interventions += 1
            self.intervened = True
            self.adaptation_end = AdaptationEnd(view.sim)
        elif view.mode in (Mode.IDLE, Mode.ESTOP) and self.running:
            self.running = False
            self.ended_at = view.now
            self.tally.episodes += 1
            self.tally.seconds.append(round(view.now - self.started, 2))
            if self.outcome is Trigger.SUCCEED:
                self.tally.success += 1
                self.tally.autonomous_success += self.kind == "rollout" and not self.intervened
            elif self.outcome is Trigger.FAIL:
                self.tally.failure += 1
        self.attempt = float("-inf")

    def end(self, outcome: Trigger, reason: str) -> Trigger:
        self.outcome, self.reason = outcome, reason
        return outcome

    def idle(self, view: View) -> Trigger | str | None:
        """Between episodes: everything up, the last bag closed, the simulator reset and the filter seated on the new
        pose.
        """
        if self.done:
            return None
        sim = view.sim
        fresh = sim["resets"] != self.used_resets and not sim["success"]
        waiting = view.waiting_for or ("" if view.bag_closed else "the recorder to close the bag")
        waiting = (
            waiting
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

    def progressed(self, view: View) -> float:
        """s since the last progress: marks, grasp, or the hand coming closer to the eraser."""
        sim = view.sim
        closer = not sim["eraser_grasped"] and sim["grip_error"] < self.grip_best - 0.02
        if sim["progress"] > self.best[0] + 1e-6 or closer:
            self.best = (max(sim["progress"], self.best[0]), view.now)
            self.grip_best = min(self.grip_best, sim["grip_error"])
        return view.now - self.best[1]

    def trouble(self, view: View) -> str:
        """Why a person would pause now; empty when they would not."""
        sim, p = view.sim, self.patience
        self.held = self.held or sim["eraser_grasped"]
        stalled = self.progressed(view)
        fist = self.lasting("fist", sim["hand_closed"] and not sim["eraser_grasped"], view.now)
        dropped = self.lasting("dropped", self.held and not sim["eraser_grasped"], view.now)
        if dropped > p.dropped_s:
            return "eraser dropped"
        if fist > p.fist_s:
            return "hand closed without the eraser"
        if stalled > p.patience_s:
            return f"no progress for {p.patience_s:g} s"
        if view.now - self.mode_since > p.autonomous_s:
            return f"not done after {p.autonomous_s:g} s"
        return ""

    def rollout(self, view: View) -> Trigger | None:
        if view.sim["success"]:
            return self.end(Trigger.SUCCEED, "all marks are gone")
        if self.lasting("lost", not view.sim["recoverable"], view.now) > self.patience.dropped_s:
            return self.end(Trigger.FAIL, "the eraser is out of reach")
        if not view.sim["recoverable"]:
            return None
        trouble = self.trouble(view)
        if not trouble:
            return None
        if not self.intervene:
            over = view.now - self.mode_since > self.patience.autonomous_s
            return self.end(Trigger.FAIL, trouble) if over else None
        self.reason = trouble
        self.tally.reasons.append(trouble)
        return Trigger.PAUSE

    def paused(self, view: View) -> Trigger | str | None:
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

    def adaptation(self, view: View) -> Trigger | None:
        """Recovered (t_r) when the operator begins to make sustained progress."""
        if self.adaptation_end.over(view.sim, view.now):
            self.reason = "sustained progress"
            return Trigger.RECOVERED
        return self.operator_limit(view)

    def recovery(self, view: View) -> Trigger | None:
        if view.sim["success"]:
            return self.end(Trigger.SUCCEED, "all marks are gone")
        return self.operator_limit(view)

    def operator_limit(self, view: View) -> Trigger | None:
        if self.lasting("lost", not view.sim["recoverable"], view.now) > self.patience.dropped_s:
            return self.end(Trigger.FAIL, "the eraser is out of reach")
        if view.now - self.mode_since > self.patience.intervention_s:
            return self.end(Trigger.FAIL, f"the operator is not done after {self.patience.intervention_s:g} s")
        return None

    def demonstration(self, view: View) -> Trigger | None:
        if view.sim["success"]:
            return self.end(Trigger.SUCCEED, "all marks are gone")
        if self.lasting("lost", not view.sim["recoverable"], view.now) > self.patience.dropped_s:
            return self.end(Trigger.FAIL, "the eraser is out of reach")
        if view.now - self.mode_since > self.patience.demonstration_s:
            return self.end(Trigger.FAIL, f"not done after {self.patience.demonstration_s:g} s")
        return None
