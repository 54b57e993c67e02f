# SPDX-License-Identifier: Apache-2.0
"""Which joint target is in force, and if none, why: mode, freshness of every input, one named reason. No ROS.

All times are receipt times by a monotonic clock (s): a step of the system clock cannot make an input look fresh or
stale.
"""

from __future__ import annotations

import numpy as np

from rove_contract import timing
from rove_contract.modes import SOURCE_OF, Mode, Source
from rove_description.joints import Limits
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


class CommandSource:
    """Inputs in, at each period the target in force out.

    limits: of the J joints. `mode` is the mode last heard of, `reason` why the last `target` was what it was.
    """

    def __init__(self, limits: Limits):
        self.chunk = ChunkPlayer()
        self.operator = OperatorTrack(limits)
        self.mode: Mode | None = None
        self.reason = NO_MODE
        self.old_chunks = 0  # refused because their observation is older than the mode
        self._mode_at = self._entered = self._state_at = -np.inf

    @property
    def source(self) -> Source:
        """Who drives the robot in the present mode."""
        return Source.NONE if self.mode is None else SOURCE_OF.get(self.mode, Source.NONE)

    @property
    def level(self) -> int:
        """0 OK, 1 WARN, 2 ERROR for `reason`."""
        if self.reason.startswith("holding"):
            return WARN if self.mode is Mode.ESTOP else OK
        return LEVEL.get(self.reason, ERROR)

    def on_mode(self, mode: Mode, now: float) -> None:
        """A mode message (transition or heartbeat) arrived. A change of the source forgets everything that was received
        before.
        """
        before = self.source
        changed = mode is not self.mode
        self.mode, self._mode_at = mode, now
        if changed and self.source is not before:
            self._entered = now
            self.chunk.clear()
            self.operator.clear()

    def on_state(self, now: float) -> None:
        self._state_at = now

    def on_operator(self, q: np.ndarray, now: float) -> None:
        """A good operator target (J,) rad arrived."""
        if self.source is Source.OPERATOR:
            self.operator.add(q, now)

    def on_chunk(self, positions: np.ndarray, times: np.ndarray, age_s: float, now: float) -> None:
        """An action chunk arrived; see `ChunkPlayer.load`. Outside ROLLOUT, or from before its entry, it is refused and
        never played.
        """
        if self.source is not Source.POLICY:
            self.old_chunks += 1
            return
        if 0.0 <= age_s <= 0.5 and now - age_s < self._entered - ENTRY_TOLERANCE_S:
            self.old_chunks += 1
            return
        self.chunk.load(positions, times, age_s, now)

    def target(self, now: float) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Target (J,) rad and velocity (J,) rad/s in force at now, or (None, None): stop and hold; `reason` says
        why.
        """
        if self.mode is None:
            return self._hold(NO_MODE)
        if self.source is Source.NONE and now - self._mode_at <= timing.SUPERVISOR_SILENT_S:
            return self._hold(
                f"holding in {self.mode.name}" if now - self._state_at <= timing.STATE_MISSING_S else STATE_MISSING
            )
        if now - self._mode_at > timing.SUPERVISOR_SILENT_S:
            return self._hold(SUPERVISOR_SILENT)
        if now - self._state_at > timing.STATE_MISSING_S:
            return self._hold(STATE_MISSING)
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

    def _hold(self, reason: str) -> tuple[None, None]:
        self.reason = reason
        return None, None
