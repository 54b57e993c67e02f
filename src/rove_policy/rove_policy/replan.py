# SPDX-License-Identifier: Apache-2.0
"""When to compute the next action chunk: a chunk of 50 steps is predicted, 16 are executed, then the next one takes
over (paper, App. G).

Time is the monotonic clock, seconds. No ROS here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rove_contract import timing
from rove_description.robot import EGO

FROZEN_RAD = 0.1  # a joint that went so far changed what every camera sees


@dataclass(frozen=True)
class Observation:
    """What one chunk is predicted from. images: camera -> (H, W, 3) uint8 RGB or the JPEG message. q: (J,) rad.
    stamp_ns: ns since the epoch. mode_ns: stamp of the transition into the mode it was made in.
    """

    images: dict[str, Any]
    q: np.ndarray
    stamp_ns: int
    mode_ns: int


@dataclass
class _Seen:
    """A camera's newest picture. at: of its arrival. changed_at, q: when it was another one last, and the pose then."""

    image: Any = None
    content: Any = None
    at: float = -np.inf
    changed_at: float = -np.inf
    q: np.ndarray | None = None


class Replanner:
    """Latest observation in, "infer now" out; a chunk planned before the last change of mode is dropped.

    cameras: names of those that the policy sees; the first one to be missing, late or frozen is named. A camera is
    frozen when its picture stays the same for frozen_s while a joint moves by FROZEN_RAD; in_rad: see
    `JointTable.in_rad`. execute_s: time that a chunk runs before the next one should take over, 16 steps at 20 Hz = 0.8
    s. image_timeout_s: 15 frames at 30 Hz; state_timeout_s: 10 samples at 100 Hz.
    """

    def __init__(
        self,
        cameras: Sequence[str] = (EGO,),
        execute_s: float = timing.EXECUTE_STEPS / timing.POLICY_HZ,
        image_timeout_s: float = 0.5,
        state_timeout_s: float = timing.STATE_MISSING_S,
        frozen_s: float = 0.5,
        in_rad: np.ndarray | float = 1.0,
    ):
        self._in_rad = in_rad
        self.look_at(cameras)
        self.frozen_s = frozen_s
        self.execute_s = execute_s
        self.image_timeout_s = image_timeout_s
        self.state_timeout_s = state_timeout_s
        self.mode_ns = 0
        self.active = False
        self._q: np.ndarray | None = None
        self._q_at = -np.inf
        self._due = -np.inf

    def look_at(self, cameras: Sequence[str]) -> None:
        """From now on these cameras are what the policy sees."""
        self._seen = {name: _Seen() for name in cameras}

    def image(self, image, now: float, camera: str = EGO, content: Any = None) -> None:
        """A picture arrived. content: what tells two pictures apart, None: not judged. Other cameras are ignored."""
        seen = self._seen.get(camera)
        if seen is None:
            return
        if content is None or content != seen.content:
            seen.content, seen.changed_at, seen.q = content, now, self._q
        seen.image, seen.at = image, now

    def state(self, q: np.ndarray, now: float) -> None:
        """q: (J,) rad, finite; a state with missing joints is not an observation and is refused with ValueError."""
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
        for name, seen in self._seen.items():
            if now - seen.at > self.image_timeout_s:
                return f"the picture of the camera {name} is missing"
            moved = 0.0 if seen.q is None or self._q is None else float((np.abs(self._q - seen.q) * self._in_rad).max())
            if now - seen.changed_at > self.frozen_s and moved > FROZEN_RAD:
                return f"the camera {name} is frozen: the same picture for {now - seen.changed_at:.1f} s while moving"
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
        images = {name: seen.image for name, seen in self._seen.items()}
        return Observation(images, self._q, stamp_ns, self.mode_ns)

    def current(self, observation: Observation) -> bool:
        """Whether a chunk from `observation` may still be published."""
        return self.active and observation.mode_ns == self.mode_ns
