# SPDX-License-Identifier: Apache-2.0
"""Which joint target is in force, and if none, why: mode, freshness of every input, one named reason. No ROS.

All times are receipt times by a monotonic clock (s): a step of the system clock cannot make an input look fresh or
stale.
"""

from __future__ import annotations

import numpy as np

from rove_contract import timing
from rove_contract.claim import Claim
from rove_contract.messages import Plan
from rove_contract.modes import ACTIVE, SOURCE_OF, Mode, Source
from rove_description.joints import Limits
from rove_teleop.command_filter import state_check
from rove_teleop.command_filter.chunk_player import ChunkPlayer
from rove_teleop.command_filter.operator_track import OperatorTrack

OK, WARN, ERROR = 0, 1, 2

# Reasons why the robot stops or holds; they stand as they are on /diagnostics.
NO_MODE = "no supervisor mode yet"
SUPERVISOR_SILENT = "supervisor silent"
STATE_MISSING = "robot state missing"
TELEOP_WAITING = "waiting for teleop targets"
TELEOP_STALE = "teleop targets stale"
CHUNK_WAITING = "waiting for an action chunk"
CHUNK_EXHAUSTED = "action chunk exhausted"
STARTED_LATE = "waiting for a pause: the command filter started in the middle of"
TRACKING = "tracking"
LEVEL = {
    TRACKING: OK,
    TELEOP_WAITING: WARN,
    CHUNK_WAITING: WARN,
    NO_MODE: WARN,
}  # holding by mode is OK, everything else ERROR

# After entering ROLLOUT a chunk counts only if its observation was made after the entry; the policy may have heard of
# the mode one executor cycle earlier than we did.
ENTRY_TOLERANCE_S = 0.05


class EmergencyStop:
    """ESTOP is latched here, not only where it was pressed: it ends with the reset of the supervisor that pressed it.

    A supervisor that is gone cannot reset it: then its successor must announce ESTOP itself and reset that. One that is
    replaced in the middle of an episode left an emergency behind as well. live: session -> whether it still speaks.
    """

    def __init__(self):
        self.held = False
        self.owner = ""  # session that must reset it; "" = none yet, since the one before is gone

    def on_mode(self, mode: Mode, session: str, before: Mode | None, replaced: bool, owner_lives: bool) -> None:
        """A mode message of `session`; before: mode in force; replaced: another supervisor spoke until now."""
        if self.held:
            if mode is Mode.ESTOP and not owner_lives:
                self.owner = session
            elif mode is not Mode.ESTOP and self.owner == session:
                self.held = False
        elif mode is Mode.ESTOP:
            self.held, self.owner = True, session
        elif replaced and before in ACTIVE:
            self.held, self.owner = True, ""


class CommandSource:
    """Inputs in, at each period the target in force out.

    limits: of the J joints. `mode` is the mode in force, `reason` why the last `target` was what it was.
    """

    def __init__(self, limits: Limits):
        self.chunk = ChunkPlayer()
        self.operator = OperatorTrack(limits)
        self.mode: Mode | None = None
        self.mode_ns = 0  # stamp of the transition into the announced mode: which mode message this is
        self.supervisor = ""  # session that is heard
        self.reason = NO_MODE
        self.refused_chunks: dict[str, int] = {}  # by name
        self.estop = EmergencyStop()
        self._supervisors = Claim("supervisor", timing.SUPERVISOR_GONE_S)
        self._operators = Claim("teleop node", timing.TELEOP_GONE_S)
        self._policies = Claim("policy", timing.POLICY_GONE_S)
        self._mode_at = self._entered = self._state_at = self._sample_at = -np.inf
        self._state_fault = ""
        self._awaits_pause = False

    @property
    def source(self) -> Source:
        """Who drives the robot in the present mode."""
        return Source.NONE if self.mode is None else SOURCE_OF.get(self.mode, Source.NONE)

    @property
    def level(self) -> int:
        """0 OK, 1 WARN, 2 ERROR for `reason`."""
        if self.reason.startswith("holding"):
            return WARN if self.mode is Mode.ESTOP else OK
        if self.reason.startswith(STARTED_LATE):
            return WARN
        return LEVEL.get(self.reason, ERROR)

    @property
    def old_chunks(self) -> int:
        return sum(self.refused_chunks.values())

    def on_mode(self, mode: Mode, now: float, stamp_ns: int = 0, session: str = "") -> None:
        """A mode message (transition or heartbeat) arrived. A change of the source forgets everything that was received
        before.

        stamp_ns: of the transition. session: id of the supervisor.
        """
        self._supervisors.hear(session, now)
        before, before_source = self.mode, self.source
        replaced = before is not None and session != self.supervisor
        owner_lives = bool(self.estop.owner) and self._supervisors.is_live(self.estop.owner, now)
        self.estop.on_mode(mode, session, before, replaced, owner_lives)
        if before is None:
            self._awaits_pause = mode in SOURCE_OF
        elif mode not in SOURCE_OF:
            self._awaits_pause = False
        if stamp_ns != self.mode_ns:
            self._state_fault = ""  # a person has acted since
        self.supervisor, self.mode_ns, self._mode_at = session, stamp_ns, now
        self.mode = Mode.ESTOP if self.estop.held else mode
        if self.source is not before_source:
            self._entered = now
            self.chunk.clear()
            self.operator.clear()

    def on_state(self, now: float, fault: str = "") -> None:
        """A sample of the robot's state that is news; fault: why it cannot be true (`StateCheck`), "" if it can.

        What was true only before a jump may have been a moment of nonsense: where the robot is driven it stays a stop
        until the mode changes, elsewhere the new place counts.
        """
        self._sample_at = now
        if fault.startswith(state_check.JUMPED) and self.source is Source.NONE:
            fault = ""
        if fault and not self._state_fault:
            self._state_fault = fault
        elif not fault and not self._state_fault.startswith(state_check.JUMPED):
            self._state_fault = ""
        if not fault:
            self._state_at = now

    def on_repeated_state(self, now: float) -> None:
        """A sample with the stamp of the one before."""
        self._sample_at = now

    def on_operator(self, q: np.ndarray, now: float, session: str = "") -> None:
        """A good operator target (J,) rad arrived from the teleop node `session`."""
        self._operators.hear(session, now)
        if self.source is Source.OPERATOR:
            self.operator.add(q, now)

    def on_chunk(
        self, positions: np.ndarray, times: np.ndarray, age_s: float, now: float, plan: Plan | None = None
    ) -> str:
        """An action chunk arrived; see `ChunkPlayer.load`. Returns the name of the refusal, "" if it is played.

        Refused and never played: outside ROLLOUT, planned before the last change of mode, older than its own horizon.
        Without a plan the chunk's age says whether it was planned before the entry.
        """
        self._policies.hear("" if plan is None else plan.session, now)
        if plan is not None:
            before = plan.mode_ns != self.mode_ns
        else:
            before = age_s >= 0.0 and now - age_s < self._entered - ENTRY_TOLERANCE_S
        refusal = ""
        if self.source is not Source.POLICY:
            refusal = f"an action chunk in {'no mode' if self.mode is None else self.mode.name}"
        elif before:
            refusal = "an action chunk planned before the last change of mode"
        elif len(times) and age_s > times[-1]:
            refusal = "an action chunk older than its own horizon"
        if refusal:
            self.refused_chunks[refusal] = self.refused_chunks.get(refusal, 0) + 1
            return refusal
        self.chunk.load(positions, times, age_s, now)
        return ""

    def target(self, now: float) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Target (J,) rad and velocity (J,) rad/s in force at now, or (None, None): stop and hold; `reason` says
        why.
        """
        if stop := self._stop(now):
            return self._hold(stop)
        if self.source is Source.OPERATOR:
            if self.operator.q is None:
                return self._hold(TELEOP_WAITING if now - self._entered <= timing.TELEOP_STALE_S else TELEOP_STALE)
            if now - self.operator.at > timing.TELEOP_STALE_S:
                return self._hold(TELEOP_STALE)
            self.reason = TRACKING
            return self.operator.target(now)
        if not self.chunk.loaded:
            return self._hold(CHUNK_WAITING)
        target = self.chunk.target(now)
        if target is None:
            return self._hold(CHUNK_EXHAUSTED)
        self.reason = TRACKING
        return target

    def _stop(self, now: float) -> str:
        """Why nobody may drive the robot now, whatever the sources say; "" = somebody may."""
        if self.mode is None:
            return NO_MODE
        if rivals := self._supervisors.rivals(now):
            return rivals
        if now - self._mode_at > timing.SUPERVISOR_SILENT_S:
            return SUPERVISOR_SILENT
        if self._state_fault:
            return self._state_fault
        if now - self._state_at > timing.STATE_MISSING_S:
            return state_check.FROZEN if now - self._sample_at <= timing.STATE_MISSING_S else STATE_MISSING
        if self.source is Source.NONE:
            return f"holding in {self.mode.name}" + self._who_resets()
        if self._awaits_pause:
            return f"{STARTED_LATE} {self.mode.name}"
        return (self._operators if self.source is Source.OPERATOR else self._policies).rivals(now)

    def _who_resets(self) -> str:
        if not self.estop.held or self.estop.owner == self.supervisor:
            return ""
        return f": {self.estop.owner} must reset it" if self.estop.owner else ": the supervisor was replaced"

    def _hold(self, reason: str) -> tuple[None, None]:
        self.reason = reason
        return None, None
