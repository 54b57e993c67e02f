# SPDX-License-Identifier: Apache-2.0
"""Scripted expert of "erase the whiteboard": waypoints for the hand, damped-least-squares IK on waist and right arm.

The hand is steered by its grip point (where the held eraser's centre sits). Every decision follows from the measured
pose and the privileged state, so it can go on from any situation: eraser elsewhere on the ledge, fist without eraser,
half-wiped board. It always wipes in the same order (right column upwards, left column downwards), so that what is
imitated has one mode.
"""

from __future__ import annotations

import mujoco
import numpy as np

from rove_contract import timing
from rove_description import joints, mjcf
from rove_description.kinematics import Kinematics, reach_columns, rotation_error, solve
from rove_sim.people import imperfection as imperfections
from rove_sim.tasks.erase_whiteboard import scene

HAND_OPEN, HAND_CLOSED = (
    0.20,
    0.75,
)  # rad, flexion of each finger joint; the environment holds above 0.50, lets go below 0.38
FINGER_SPEED = 2.5  # rad/s, below the joints' 6: a visible, imitable closing of 0.2 s
SPEED, ACCELERATION = 0.28, 1.5  # m/s, m/s^2 of the grip point
STIFFNESS = 5.0  # 1/s of the critically damped set-point
TURN_RATE = 3.0  # 1/s, proportional; at most TURN_SPEED rad/s
TURN_SPEED = 1.8
STANDOFF = 0.085  # m in front of the eraser before the hand closes in: the eraser's 0.05 and the fingers
LIFT = 0.045  # m off the board on the way to the marks
PRESS = 0.010  # m behind the surface: the arm's stiffness turns it into pressure
ARRIVED = 0.016  # m; a third of the grasp tolerance
SWEEP_ARRIVED = 0.022
CORRECTION_GAIN, CORRECTION_LIMIT = 1.6, 0.04  # 1/s, m: integral correction of sag under gravity and contact
STUCK_S = 3.5  # an approach takes 1.5 s
REGROUP_SPEED = 1.2  # rad/s
COLUMN_STEP = 0.085  # m between wiping columns; the felt is 0.12 wide


def close_hand(table: joints.JointTable, q: np.ndarray, closure: float, side: str = "right") -> None:
    """Write the finger joints of one hand into q (J,) for a mean flexion `closure` (rad); thumb follows."""
    grip = np.clip((closure - HAND_OPEN) / (HAND_CLOSED - HAND_OPEN), 0.0, 1.0)
    for finger in mjcf.FINGERS[1:]:
        q[table.index[f"{side}_{finger}_proximal"]] = closure
        q[table.index[f"{side}_{finger}_distal"]] = closure
    for part, full in (("abduction", 0.8), ("proximal", 0.4), ("distal", 0.5)):
        q[table.index[f"{side}_thumb_{part}"]] = full * grip


def wiping_path(marks: np.ndarray) -> list[np.ndarray]:
    """(n, 2) marks in board coordinates -> grip points (u, v) of one zigzag: right column first, upwards, then the next
    downwards.
    """
    half_u, half_v = scene.ERASER_SIZE[0] / 2, scene.ERASER_SIZE[1] / 2
    right, left = marks[:, 0].max(), marks[:, 0].min()
    low = max(marks[:, 1].min() - 0.4 * half_v, scene.ERASER_REST_V + 0.01)
    high = marks[:, 1].max() + 0.4 * half_v
    columns = max(1, int(np.ceil((right - left - 0.6 * half_u) / COLUMN_STEP)))
    middle = (right + left) / 2
    centres = middle + COLUMN_STEP * ((columns - 1) / 2 - np.arange(columns))
    path = []
    for i, u in enumerate(centres):
        path += [np.array([u, v]) for v in ((low, high) if i % 2 == 0 else (high, low))]
    return path


class Expert:
    """Joint targets towards an erased board.

    kinematics: a `Kinematics`, or a WhiteboardEnv (its joint table is used). rng: speed and imperfection are drawn from
    it. imperfection in [0, 1]: see `imperfection.draw`, applied from each `reset`. period_s: time between calls of
    `target`.
    """

    def __init__(
        self, kinematics, rng: np.random.Generator, imperfection: float = 0.0, period_s: float = 1.0 / timing.POLICY_HZ
    ):
        self.kinematics = kinematics if isinstance(kinematics, Kinematics) else Kinematics(kinematics.table)
        self.table = self.kinematics.table
        self.rng = rng
        self.imperfection = imperfection
        self.period = period_s
        self.home = mjcf.home(self.table)
        self._palm = self.kinematics.offset("right_palm")
        self.columns, self.cost = reach_columns(self.table)
        hand = [i for i, block in enumerate(self.table.blocks) if block == "hand"]
        self.others = np.setdiff1d(np.arange(len(self.table)), np.concatenate([self.columns, hand]))
        self.idle_hand = np.array([i for i in hand if self.table.names[i].startswith("left_")])
        self.right_hand = np.array([i for i in hand if self.table.names[i].startswith("right_")])
        self.flexion = np.array(
            [
                i
                for i in self.right_hand
                if self.table.names[i].endswith(("_proximal", "_distal")) and "thumb" not in self.table.names[i]
            ]
        )
        self.wiping = scene.wiping_hand()
        self.reset(self.home)

    # ---- state

    def reset(self, q: np.ndarray) -> None:
        """Begin at the measured pose q (50,) rad; draws speed and imperfection anew."""
        self.q_target = np.asarray(q, dtype=np.float64).copy()
        self.position, self.rotation = self.grip(self.q_target)
        self.start = self.position.copy()
        self.velocity = np.zeros(3)
        self.closure = float(self.q_target[self.flexion].mean())
        self.correction = np.zeros(3)
        self.time = 0.0
        self.phase = "start"
        self.phase_time = 0.0
        self.path: list[np.ndarray] = []
        self.speed = float(self.rng.uniform(0.9, 1.1))
        self.adaptation = imperfections.draw(self.rng, self.imperfection)

    def grip(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Grip point (3,) and hand rotation (3, 3), pelvis frame, of a joint vector."""
        self.kinematics.forward(q)
        rotation = self.kinematics.rotation("right_palm")
        return self.kinematics.position("right_palm") + rotation @ (scene.ERASER_IN_HAND - self._palm), rotation

    # ---- one step

    def target(self, q: np.ndarray, state: dict) -> np.ndarray:
        """Joint target (50,) rad for the next period. q (50,): measured. state: `WhiteboardEnv.state()`."""
        measured, rotation = self.grip(q)
        time = self.time
        self.time += self.period
        self.phase_time += self.period
        adaptation = self.adaptation
        if self.phase == "regroup":
            self.regroup()
            return self.q_target.copy()
        if time < adaptation.idle_s:
            goal, turn, closure = adaptation.idle_goal(time, self.start), self.rotation, self.closure
        else:
            goal, turn, closure = self.plan(measured, rotation, state)
            fade = adaptation.fade(time)
            goal = goal + fade * np.array(adaptation.offset)
            turn = _rotated(turn, fade * np.array(adaptation.turn))
        self.move(goal, turn, closure, measured, self.speed * adaptation.speed(time))
        return self.q_target.copy()

    def enter(self, phase: str) -> None:
        self.phase, self.phase_time = phase, 0.0

    def plan(self, measured: np.ndarray, rotation: np.ndarray, state: dict) -> tuple[np.ndarray, np.ndarray, float]:
        """(goal of the grip point (3,), hand rotation (3, 3), closure) for the situation."""
        if state["success"]:
            return self.retreat(measured)
        if state["eraser_grasped"]:
            return self.wipe(measured, np.array(state["marks"]))
        self.path = []
        if not state["recoverable"]:
            self.enter("rest")
            home, turned = self.grip(self.home)
            return home, turned, HAND_OPEN
        return self.fetch(measured, rotation, np.array(state["eraser_pos"]), state["hand_closure"])

    def fetch(self, measured, rotation, eraser, closure):
        """Open hand before the eraser, close in, close the fingers; a missed grasp starts over."""
        before = eraser + STANDOFF * scene.BOARD_N
        if self.phase not in ("approach", "close_in", "close"):
            self.enter("approach")
        error = measured - eraser
        off = float(error @ scene.BOARD_N)
        aside = float(np.linalg.norm(error - off * scene.BOARD_N))
        turned = float(np.linalg.norm(rotation_error(self.wiping, rotation)))
        if (
            self.phase == "approach"
            and aside < 0.02
            and -0.02 < off < STANDOFF + 0.03
            and turned < 0.25
            and closure < 0.33
        ):
            self.enter("close_in")
        elif self.phase == "close_in":
            if np.linalg.norm(error) < ARRIVED:
                self.enter("close")
            elif aside > 0.05 or self.phase_time > 2.5:
                self.enter("approach")
        elif self.phase == "close" and self.phase_time > 0.9:
            self.enter("approach")
        if self.phase == "approach":
            if self.phase_time > STUCK_S:
                self.enter("regroup")
            return before, self.wiping, HAND_OPEN
        return eraser, self.wiping, HAND_CLOSED if self.phase == "close" else HAND_OPEN

    def regroup(self) -> None:
        """The IK is caught at a joint limit (a twisted arm): back to the home pose joint by joint, hand opening, then
        anew.
        """
        step = np.minimum(0.3 * self.table.limits.velocity, REGROUP_SPEED) * self.period
        self.q_target = self.q_target + np.clip(self.home - self.q_target, -step, step)
        self.closure = float(self.q_target[self.flexion].mean())
        if np.abs(self.home - self.q_target).max() < 0.05:
            self.position, self.rotation = self.grip(self.q_target)
            self.velocity, self.correction = np.zeros(3), np.zeros(3)
            self.enter("approach")

    def wipe(self, measured, marks):
        """Lift, go to the first column of the marks that are left, press and zigzag."""
        surface = scene.ERASER_REST_N
        if self.phase not in ("lift", "press", "sweep") or not self.path:
            self.path = wiping_path(marks)
            self.enter("lift")
        u, v = self.path[0]
        lifted, pressed = scene.board_point(u, v, surface + LIFT), scene.board_point(u, v, surface - PRESS)
        error = scene.BOARD_AXES.T @ (measured - lifted)
        if (
            self.phase == "lift"
            and np.linalg.norm(error[:2]) < SWEEP_ARRIVED
            and (error[2] < SWEEP_ARRIVED or self.phase_time > 3.0)
        ):
            self.enter("press")
        elif self.phase == "press" and (error[2] < 0.004 - LIFT or self.phase_time > 0.8):
            self.enter("sweep")
        elif self.phase == "sweep" and (np.linalg.norm(error[:2]) < SWEEP_ARRIVED or self.phase_time > 2.0):
            self.path.pop(0)
            self.phase_time = 0.0
            if not self.path:  # marks are left: once more over them
                self.path = wiping_path(marks)
                self.enter("lift")
            u, v = self.path[0]
            lifted, pressed = scene.board_point(u, v, surface + LIFT), scene.board_point(u, v, surface - PRESS)
        if self.phase == "lift":
            # straight off the board first: dragging the eraser along the ledge would catch
            rise = scene.board_coordinates(measured)
            if rise[2] < surface + 0.5 * LIFT and np.linalg.norm(error[:2]) > 0.05:
                lifted = lifted - 0.8 * scene.BOARD_AXES[:, :2] @ (scene.board_coordinates(lifted)[:2] - rise[:2])
            return lifted, self.wiping, HAND_CLOSED
        return pressed, self.wiping, HAND_CLOSED

    def retreat(self, measured):
        """Off the board, eraser in the hand."""
        if self.phase != "retreat":
            self.enter("retreat")
            self.rest = measured + 0.10 * scene.BOARD_N
        return self.rest, self.wiping, max(self.closure, HAND_OPEN)

    # ---- motion

    def move(self, goal, turn, closure, measured, speed) -> None:
        """Advance the set-point towards the goal and q_target after it."""
        dt = self.period
        stiffness = STIFFNESS * speed
        wanted = stiffness * (goal - self.position)  # then the velocity follows within the acceleration limit
        wanted *= min(1.0, SPEED * speed / max(np.linalg.norm(wanted), 1e-9))
        change = wanted - self.velocity
        change *= min(1.0, ACCELERATION * dt / max(float(np.linalg.norm(change)), 1e-9))
        self.velocity = self.velocity + change
        self.position = self.position + self.velocity * dt
        spin = TURN_RATE * rotation_error(turn, self.rotation)
        spin *= min(1.0, TURN_SPEED * speed / max(np.linalg.norm(spin), 1e-9))
        self.rotation = _rotated(self.rotation, spin * dt)
        if np.linalg.norm(self.velocity) < 0.15:  # a moving hand lags; that is no sag
            self.correction += CORRECTION_GAIN * dt * (self.position - measured)
            self.correction *= min(1.0, CORRECTION_LIMIT / max(float(np.linalg.norm(self.correction)), 1e-9))
        palm = self.position + self.correction + self.rotation @ (self._palm - scene.ERASER_IN_HAND)
        before = self.q_target
        q = solve(
            self.kinematics, before, "right_palm", palm, self.rotation, self.columns, self.home, joint_cost=self.cost
        )
        limits = self.table.limits
        slow = 0.5 * speed * limits.velocity * dt
        q[self.others] = before[self.others] + np.clip(
            self.home[self.others] - before[self.others], -slow[self.others], slow[self.others]
        )
        self.closure += float(np.clip(closure - self.closure, -FINGER_SPEED * dt, FINGER_SPEED * dt))
        hands = q.copy()
        close_hand(self.table, hands, self.closure)
        splay = [i for i in self.right_hand if self.table.names[i].endswith("_splay")]
        hands[splay] = 0.0
        hands[self.idle_hand] = self.home[self.idle_hand]
        chosen = np.concatenate([self.right_hand, self.idle_hand])
        q[chosen] = before[chosen] + np.clip(hands[chosen] - before[chosen], -FINGER_SPEED * dt, FINGER_SPEED * dt)
        step = 0.9 * limits.velocity * dt
        self.q_target = np.clip(before + np.clip(q - before, -step, step), limits.lower, limits.upper)


def _rotated(rotation: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) turned by a rotation vector (3,), pelvis frame."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-9:
        return rotation.copy()
    quat, matrix = np.empty(4), np.empty(9)
    mujoco.mju_axisAngle2Quat(quat, vector / angle, angle)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3) @ rotation
