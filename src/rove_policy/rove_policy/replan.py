# SPDX-License-Identifier: Apache-2.0
"""When to compute the next action chunk: a chunk of 50 steps is predicted, 16 are executed, then the next one takes
over (paper, App. G).

Time is the monotonic clock, seconds. No ROS here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rove_contract import timing


@dataclass(frozen=True)
class Observation:
    """What one chunk is predicted from. image: (H, W, 3) uint8 RGB or the JPEG message. q: (50,) rad. stamp_ns: ns
    since the epoch. mode_ns: stamp of the transition into the mode it was made in.
    """

    image: Any
    q: np.ndarray
    stamp_ns: int
    mode_ns: int


class Replanner:
    """Latest observation in, "infer now" out; a chunk planned before the last change of mode is dropped.

    execute_s: time that a chunk runs before the next one should take over, 16 steps at 20 Hz = 0.8 s.
    image_timeout_s: 15 frames at 30 Hz; state_timeout_s: 10 samples at 100 Hz.
    """

    def __init__(
        self,
        execute_s: float = timing.EXECUTE_STEPS / timing.POLICY_HZ,
        image_timeout_s: float = 0.5,
        state_timeout_s: float = timing.STATE_MISSING_S,
    ):
        self.execute_s = execute_s
        self.image_timeout_s = image_timeout_s
        self.state_timeout_s = state_timeout_s
        self.mode_ns = 0
        self.active = False
        self._image = None
        self._image_at = -np.inf
        self._q: np.ndarray | None = None
        self._q_at = -np.inf
        self._due = -np.inf

    def image(self, image, now: float) -> None:
        self._image, self._image_at = image, now

    def state(self, q: np.ndarray, now: float) -> None:
        """q: (50,) rad, finite; a state with missing joints is not an observation and is refused with ValueError."""
        if not np.all(np.isfinite(q)):
            raise ValueError(f"the robot state misses {int(np.sum(~np.isfinite(q)))} joints")
        self._q, self._q_at = q, now

    def start(self, mode_ns: int) -> None:
        """Autonomy begins or resumes with the transition stamped mode_ns: infer at once."""
        self.active, self.mode_ns = True, mode_ns
        self._due = -np.inf

    def stop(self) -> None:
        """Autonomy ends: the running inference's result will not be published."""
        self.active = False

    def missing(self, now: float) -> str:
        """Named reason why nothing can be inferred now, or ""."""
        if now - self._q_at > self.state_timeout_s:
            return "robot state missing"
        if now - self._image_at > self.image_timeout_s:
            return "ego image missing"
        return ""

    def observation(self, now: float, stamp_ns: int) -> Observation | None:
        """The observation to infer from now, or None if none is due or something is missing. Marks the next due
        time.
        """
        if not self.active or now < self._due or self.missing(now):
            return None
        self._due = now + self.execute_s
        return self.latest(stamp_ns)

    def latest(self, stamp_ns: int) -> Observation:
        """The newest image and state, whether due or not."""
        return Observation(self._image, self._q, stamp_ns, self.mode_ns)

    def current(self, observation: Observation) -> bool:
        """Whether a chunk from `observation` may still be published."""
        return self.active and observation.mode_ns == self.mode_ns
