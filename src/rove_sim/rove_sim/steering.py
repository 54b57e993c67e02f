# SPDX-License-Identifier: Apache-2.0
"""Steers one hand by a grip point: a set-point with limited speed, inverse kinematics of waist and arm, fingers, head.

The set-point is what the hand should do; the robot sags and is held back by contact. A slow integral of the difference
corrects the sag, within a bound, so that a hand that is blocked pushes with a bounded force.
"""

from __future__ import annotations

import mujoco
import numpy as np

from rove_description import mjcf
from rove_description.kinematics import Kinematics, reach_columns, rotation_error, solve

SPEED, ACCELERATION = 0.30, 1.5  # m/s, m/s^2 of the grip point
STIFFNESS = 6.0  # 1/s, distance left -> speed
TURN_RATE, TURN_SPEED = 4.0, 1.5  # 1/s, rad/s
SLOW = 0.12  # m/s; a faster hand lags behind its set-point, and that is no sag
SAG_RATE = 2.0  # 1/s
TURN_SAG_RATE, TURN_SAG_LIMIT = 1.5, 0.10  # 1/s, rad
CLOSING_RATE = 3.0  # 1/s: the fingers close in a third of a second
LOOK_SPEED = 0.8  # rad/s of the head
LOOK_DOWN_LIMIT, LOOK_ASIDE_LIMIT = 0.88, 0.8  # rad
EYE = np.array([0.06, 0.0, 0.70])  # m, pelvis frame, the upright robot's head


def rotate(rotation: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) turned by a rotation vector (3,), pelvis frame."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-9:
        return rotation.copy()
    quaternion, matrix = np.empty(4), np.empty(9)
    mujoco.mju_axisAngle2Quat(quaternion, vector / angle, angle)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3) @ rotation


def limit_norm(vector: np.ndarray, limit: float) -> np.ndarray:
    """The vector, scaled down to at most `limit`."""
    norm = float(np.linalg.norm(vector))
    return vector if norm <= limit else vector * (limit / norm)


class HandSteering:
    """Joint targets (J,) that bring the right hand's grip point to a pose.

    grip: (3,) m, the steered point in the wrist's frame. open_hand, closed_hand: finger joint -> rad, names without
    the side; joints that are not named stay at 0. period_s: s between two calls of `move`. sag_limit: m, bound of the
    sag's correction, and so of the force with which a hand that is blocked pushes.
    """

    def __init__(
        self,
        kinematics: Kinematics,
        grip: np.ndarray,
        open_hand: dict[str, float],
        closed_hand: dict[str, float],
        period_s: float,
        sag_limit: float = 0.02,
    ):
        table = kinematics.table
        self.kinematics, self.grip, self.period, self.sag_limit = kinematics, grip, period_s, sag_limit
        self.limits = table.limits
        self.home = mjcf.home(table)
        self.columns, self.cost = reach_columns(table)
        self.fingers = table.indices("hand", "right")
        names = [table.names[i].removeprefix("right_") for i in self.fingers]
        self.open_hand = np.array([open_hand.get(name, 0.0) for name in names])
        self.closed_hand = np.array([closed_hand.get(name, 0.0) for name in names])
        self.yaw, self.pitch = table.index["head_yaw"], table.index["head_pitch"]
        steered = np.concatenate([self.columns, self.fingers])
        self.others = np.setdiff1d(np.arange(len(table)), steered)
        # A command filter needs room to follow: 0.9 of the joints' speed, visible closing of the fingers.
        self.step = 0.9 * table.limits.velocity * period_s
        self.step[self.others] = np.minimum(self.step[self.others], LOOK_SPEED * period_s)

    def measure(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Grip point (3,) m and hand rotation (3, 3), pelvis frame, of joints q (J,)."""
        self.kinematics.forward(q)
        rotation = self.kinematics.rotation("right_wrist")
        return self.kinematics.position("right_wrist") + rotation @ self.grip, rotation

    def reset(self, q: np.ndarray, closure: float = 0.0) -> None:
        """Start at rest at joints q (J,) with the fingers `closure` of the way from open to closed."""
        self.q_target = np.asarray(q, dtype=np.float64).copy()
        self.position, self.rotation = self.measure(self.q_target)
        self.velocity = np.zeros(3)
        self.sag, self.turn_sag = np.zeros(3), np.zeros(3)
        self.closure = closure

    def regrip(self, grip: np.ndarray) -> None:
        """Steer another point (3,) m of the wrist's frame from now on; the hand's set-point stays where it is."""
        self.position = self.position + self.rotation @ (grip - self.grip)
        self.grip = grip

    def move(
        self,
        goal: np.ndarray,
        turn: np.ndarray,
        closure: float,
        measured: tuple[np.ndarray, np.ndarray],
        speed: float,
        look: np.ndarray,
    ) -> np.ndarray:
        """One period. goal (3,) m, turn (3, 3): wanted pose. measured: of `measure`. speed: share of SPEED.

        look: (3,) m, the point that the head turns to. Returns the joint target (J,).
        """
        dt = self.period
        self._advance(goal, turn, speed)
        if np.linalg.norm(self.velocity) < SLOW:
            self.sag = limit_norm(self.sag + SAG_RATE * dt * (self.position - measured[0]), self.sag_limit)
            error = rotation_error(self.rotation, measured[1])
            self.turn_sag = limit_norm(self.turn_sag + TURN_SAG_RATE * dt * error, TURN_SAG_LIMIT)
        rotation = rotate(self.rotation, self.turn_sag)
        wrist = self.position + self.sag - rotation @ self.grip
        before = self.q_target
        q = solve(
            self.kinematics, before, "right_wrist", wrist, rotation, self.columns, self.home, joint_cost=self.cost
        )
        q[self.others] = self.home[self.others]
        self._look_at(q, look)
        self.closure += float(np.clip(closure - self.closure, -CLOSING_RATE * dt, CLOSING_RATE * dt))
        q[self.fingers] = self.open_hand + (self.closed_hand - self.open_hand) * self.closure
        q = before + np.clip(q - before, -self.step, self.step)
        self.q_target = np.clip(q, self.limits.lower, self.limits.upper)
        return self.q_target.copy()

    def _advance(self, goal, turn, speed) -> None:
        """Move the set-point towards the goal."""
        dt = self.period
        wanted = limit_norm(STIFFNESS * np.sqrt(speed) * (goal - self.position), SPEED * speed)
        self.velocity = self.velocity + limit_norm(wanted - self.velocity, ACCELERATION * dt)
        self.position = self.position + self.velocity * dt
        spin = limit_norm(TURN_RATE * rotation_error(turn, self.rotation), TURN_SPEED * speed)
        self.rotation = rotate(self.rotation, spin * dt)

    def _look_at(self, q: np.ndarray, point: np.ndarray) -> None:
        x, y, z = point - EYE
        q[self.yaw] = np.clip(np.arctan2(y, x), -LOOK_ASIDE_LIMIT, LOOK_ASIDE_LIMIT)
        q[self.pitch] = np.clip(np.arctan2(-z, np.hypot(x, y)), 0.0, LOOK_DOWN_LIMIT)
