# SPDX-License-Identifier: Apache-2.0
"""Self-collision and workspace guard: the robot may only move so that it can always stop before its links touch. No
ROS.

The command filter says where the robot would come to rest if it stopped after the proposed step. The guard measures the
distances there, and scales the step back where a distance would fall too fast (velocity damper) or below the margin.
The stop law's own step (scale 0) leaves the resting place, and so every distance, unchanged; hence the guard is never
forced to accept a smaller one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numba import njit

from rove_description.joints import JointTable
from rove_description.robot import Robot
from rove_teleop.command_filter.clearance import Clearance
from rove_teleop.command_filter.stop_law import compiled

# s along the way to rest; at the arm's 4 rad/s and 20 rad/s^2 stopping takes 0.25 s.
AHEAD_S = (0.03, 0.06, 0.10, 0.15, 0.21)
_IN = numba.types.Array(numba.float64, 1, "C", readonly=True)


@dataclass(frozen=True)
class GuardConfig:
    """margin_m: distance kept between links. slow_m: from here on approaching slows down. slow_s: time constant of that
    approach.

    lower, upper: box (m, pelvis frame) that hands and forearms must stay `margin_m` inside of; the default only keeps
    off the floor and out of reach of nothing else. Pairs of fingers of the two hands are not guarded (hands work
    together), nor fingers of one hand.
    """

    margin_m: float = 0.015
    slow_m: float = 0.06
    slow_s: float = 0.10
    lower: tuple[float, float, float] = (-0.8, -1.3, -0.90)
    upper: tuple[float, float, float] = (1.5, 1.3, 1.6)


class Guard:
    """Scales the steps of a `CommandFilter`. table: the contract's joints. period_s: of the filter. model: of MuJoCo,
    None: the contract's. robot: a description, whose model, home and pairs to ignore count then.

    active: whether the last step was scaled back; `worst`: the pair that did it (or the closest pair) and its distance
    in m (beyond 2 slow_m at least that). Checked are the resting place and the poses AHEAD_S along the way to it. Every
    pose of the path was ahead at each of these times, so what lies between the samples of one period is looked at in
    others.
    """

    def __init__(
        self,
        table: JointTable,
        period_s: float,
        config: GuardConfig | None = None,
        model: Any = None,
        robot: Robot | None = None,
    ) -> None:
        self.config = config or GuardConfig()
        lower, upper = self.config.lower, self.config.upper
        if robot is None:
            self.clearance = Clearance(table, lower, upper, model)
        else:
            self.clearance = Clearance(table, lower, upper, robot.model, robot.home, robot.guard_ignore, robot.base)
        # Links that are near each other at home, as a thumb's base and the forearm, are free to be so.
        self._margin = np.minimum(self.config.margin_m, 0.5 * self.clearance.at_home)
        self._slow = np.minimum(self.config.slow_m, 0.9 * self.clearance.at_home)
        self._share = period_s / self.config.slow_s
        self._count = len(self.clearance.pairs)
        looks = 1 + len(AHEAD_S)
        self._enough = 2.0 * self.config.slow_m  # beyond slow_m a distance slows nothing
        self._ahead = np.array(AHEAD_S)
        self._poses = np.empty((looks, len(table)))
        # (looks, P): on the way, then at the resting place; of the last period and of the step under consideration.
        self._before, self._after = np.full((looks, self._count), np.inf), np.empty((looks, self._count))
        self._known = False  # whether `before` is that of the last period
        self.active = False
        self.interventions = 0
        self._worst = 0

    def reset(self, q: np.ndarray) -> None:
        """The robot is at rest at q (J,) rad."""
        self._before[:] = self.clearance(q)
        self._worst = int(np.argmin(self._before))
        self.active = False

    @property
    def worst(self) -> tuple[tuple[str, str], float]:
        return self.clearance.pairs[self._worst % self._count], float(self._before.flat[self._worst])

    def step(self, limiter: Any, target: np.ndarray | None, target_velocity: np.ndarray | None = None) -> np.ndarray:
        """One period of the filter under guard; arguments and result as `CommandFilter.step`."""
        if not limiter.propose(target, target_velocity):
            self.active, self._known = False, False  # stopping: the resting place does not change, the way to it does
            return limiter.commit()
        stop, rest = limiter.proposed_stop()
        q, dq = limiter.position, limiter.velocity
        if not self._known:
            self._look(q, dq, rest)
            self._accept_look()
            self._known = True
        return limiter.commit(self._scale(q, dq, stop, rest))

    def _scale(self, q: np.ndarray, dq: np.ndarray, stop: np.ndarray, rest: np.ndarray) -> np.ndarray | None:
        """(J,) scale of the step so that no guarded distance falls faster than allowed; None = as proposed."""
        after = self._look(q, dq, stop)
        self.active = bool((after < self._slow).any())
        if self.active:
            # Velocity damper: inside slow_m a distance may lose this share of what is left above the margin, per
            # period.
            before, margin = self._before, self._margin
            damped = np.minimum(before, before - (before - margin) * self._share)
            allowed = np.where(before < self._slow, damped, margin)
            broken = after < allowed - 1e-9
            self.active = bool(broken.any())
        if not self.active:
            self._accept_look()
            self._worst = int(np.argmin(self._before))
            return None
        self.interventions += 1
        self._worst = int(np.argmin(np.where(broken, after, np.inf)))
        step, scale = stop - rest, np.ones(len(stop))
        for attempt in range(2):
            for look, pair in zip(*np.nonzero(broken)):
                self._scale_pair(
                    look, pair, self._before[look, pair] - allowed[look, pair], step, scale, whole=attempt == 1
                )
            broken = self._look(q, dq, rest + scale * step) < allowed - 1e-9
            if not broken.any():
                self._accept_look()
                return scale
        scale.fill(0.0)
        self._look(q, dq, rest)
        self._accept_look()
        return scale

    def _look(self, q: np.ndarray, dq: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """(looks, P) distances on the way from q, moving with dq, to rest at `stop`, and there; the gradient is then
        that of `stop`.
        """
        _way_to_rest(q, dq, stop, self._ahead, self._poses)
        for pose, distances in zip(self._poses, self._after):
            self.clearance(pose, distances, self._enough)
        return self._after

    def _accept_look(self) -> None:
        self._before, self._after = self._after, self._before

    def _scale_pair(self, look: int, pair: int, room: float, step: np.ndarray, scale: np.ndarray, whole: bool) -> None:
        """Scale back what brings the two links together, so that the robot slides along and away freely.

        The gradient is local: what it misjudges is caught by looking again, and then (whole) every joint of the pair
        follows the stop law.
        """
        affects = self.clearance.affects[pair]
        if whole or not _scale_closing(self.clearance.gradient(pair), step, room, look == len(AHEAD_S), scale):
            scale[affects] = 0.0


@njit(numba.void(_IN, _IN, _IN, _IN, numba.float64[:, ::1]), **compiled)
def _way_to_rest(q, dq, stop, ahead, poses):
    """poses (looks, J) rad: where the joints are after the times `ahead` (s) on the way from q, moving with dq, to rest
    at stop; then stop.

    With constant deceleration a joint that needs the distance D to stop has (1 - t dq / 2 D)^2 of it left after the
    time t.
    """
    for j in range(len(q)):
        left = q[j] - stop[j]
        poses[len(ahead), j] = stop[j]
        for look in range(len(ahead)):
            still = max(1.0 + ahead[look] * 0.5 * dq[j] / left, 0.0) if left * dq[j] < 0.0 else 0.0
            poses[look, j] = stop[j] + left * still * still


@njit(numba.boolean(_IN, _IN, numba.float64, numba.boolean, numba.float64[::1]), **compiled)
def _scale_closing(gradient, step, room, at_rest, scale):
    """Scale the joints whose step brings two links together so that their distance falls by `room` (m) at most, less
    for what others gain.

    at_rest: whether the gradient (J,) m/rad is that of the pose looked at. Returns False where the gradient does not
    explain the loss.
    """
    loss = gain = 0.0
    for j in range(len(step)):
        share = gradient[j] * step[j] * scale[j]
        if share < 0.0:
            loss -= share
        else:
            gain += share
    allowed = max(room, 0.0) + gain
    if loss <= allowed and (not at_rest or loss <= 0.0):
        return False
    factor = 0.9 * allowed / loss if loss > allowed else 0.5
    for j in range(len(step)):
        if gradient[j] * step[j] * scale[j] < 0.0:
            scale[j] *= factor
    return True
