# SPDX-License-Identifier: Apache-2.0
"""Scripted expert of "put the bread into the toaster": pinch a slice, lift, carry, align, insert, release, retract.

Every decision follows from the measured joints and the privileged state, so the expert goes on from any situation: a
grasp that missed, a slice that slipped, one that is stuck in the slot. The held slice is steered, not the hand: its
pose in the hand is measured at every step, so a crooked grasp is corrected.
"""

from __future__ import annotations

import mujoco
import numpy as np

from rove_contract import timing
from rove_description.kinematics import Kinematics, rotation_error
from rove_sim.steering import HandSteering
from rove_sim.tasks.toast_bread import pinch
from rove_sim.tasks.toast_bread.manner import Manner

UP = np.array([0.0, 0.0, 1.0])
APPROACH = 0.09  # m above the slice, along it
CRUISE = 0.20  # m, pelvis frame: height of the empty hand's way to a slice
CLEAR = 0.035  # m between the carried slice and the toaster's rim
HOVER = 0.015  # m above the rim while aligning
ALIGNED = (0.006, 0.0022, 0.03)  # m along, m across the slot, rad
SAG_LIMIT = 0.006  # m: 0.25 kg unknown to the arm make the hand sag by 1-2 mm; more would press a stuck slice harder
GUIDED = 0.02  # m below the rim the slot guides a slice
LOST_S = 0.2  # a held slice whose contact flickers is not lost
WITH_SLICE = ("lift", "carry", "align", "insert", "back_off")
SPEED = {"lift": 0.8, "carry": 1.0, "align": 0.5, "insert": 0.35, "back_off": 0.5}  # share of the steering's speed


def slice_pose(item: dict) -> tuple[np.ndarray, np.ndarray]:
    """(3,) m and rotation (3, 3) of one entry of the state's `slices`."""
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, np.asarray(item["quaternion"], dtype=float))
    return np.asarray(item["position"], dtype=float), matrix.reshape(3, 3)


def slot_frame(slot: dict) -> tuple[np.ndarray, np.ndarray]:
    """Middle of the floor (3,) m and rotation (3, 3) of one entry of the state's `slots`."""
    c, s = np.cos(slot["yaw"]), np.sin(slot["yaw"])
    return np.asarray(slot["position"], dtype=float), np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


class Expert:
    """Joint targets towards a slice in the toaster.

    kinematics: of the robot alone. rng: draws the speed. period_s: time between calls of `target`. phase: what the
    expert is doing. attempts: insertions that jammed since the reset; misses: grasps that closed on nothing.
    """

    def __init__(
        self,
        kinematics: Kinematics,
        rng: np.random.Generator,
        period_s: float = 1.0 / timing.POLICY_HZ,
        manner: Manner | None = None,
    ):
        self.period, self.rng = period_s, rng
        self.manner = manner or Manner()
        self.steering = HandSteering(kinematics, pinch.PINCH, pinch.OPEN_HAND, pinch.CLOSED_HAND, period_s, SAG_LIMIT)
        self.home_pose = self.steering.measure(self.steering.home)
        self.reset(self.steering.home)

    def reset(self, q: np.ndarray) -> None:
        """Begin at the measured joints q (J,) rad."""
        self.steering.reset(q, self._closure(q))
        self.pace = float(self.rng.uniform(0.9, 1.1))
        self.phase, self.phase_s = "start", 0.0
        self.chosen: int | None = None
        self.slot: int | None = None
        self.attempts = self.misses = 0
        self.failures: dict[int, int] = {}  # slice -> grasps that failed
        self.lost_s = self.waiting_s = self.blocked_s = 0.0
        self.lowest = np.inf
        self.retreat: np.ndarray | None = None

    def _closure(self, q: np.ndarray) -> float:
        steering = self.steering
        span = steering.closed_hand - steering.open_hand
        share = (np.asarray(q)[steering.fingers] - steering.open_hand)[span > 0.2] / span[span > 0.2]
        return float(np.clip(share.mean(), 0.0, 1.0))

    # ---- what a model of a person asks for

    def hesitate(self, seconds: float) -> None:
        """Stand still for this long, whatever the situation."""
        self.waiting_s, self.retreat = seconds, None

    def draw_back(self, seconds: float, distance: float = 0.06) -> None:
        """Move up by `distance` m and wait there, then judge the situation anew."""
        self.waiting_s, self.retreat = seconds, self.steering.position + distance * UP

    # ---- one step

    def target(self, q: np.ndarray, state: dict) -> np.ndarray:
        """Joint target (J,) rad for the next period. q (J,): measured.

        state: the world's, or what a person takes for it.
        """
        self.phase_s += self.period
        measured = self.steering.measure(q)
        if self.waiting_s > 0.0:
            self.waiting_s -= self.period
            goal = self.steering.position if self.retreat is None else self.retreat
            plan = goal, self.steering.rotation, self.steering.closure, 0.6
        else:
            plan = self._plan(measured, state)
        goal, turn, closure, speed = plan
        return self.steering.move(goal, turn, closure, measured, speed * self.pace * self.manner.speed, goal)

    def _enter(self, phase: str) -> None:
        if phase != self.phase:
            self.phase, self.phase_s = phase, 0.0

    def _plan(self, measured, state: dict):
        """(goal (3,), turn (3, 3), closure, speed) for the situation."""
        held, done = state["held"], any(item["inserted"] for item in state["slices"])
        if state["success"] or (done and held < 0 and self.phase != "release"):
            return self._retract(measured)
        if self.phase == "release":
            return self._release(measured, done)
        if held >= 0:
            self.lost_s = 0.0
            if self.phase in WITH_SLICE or self.phase != "close" or self.phase_s > 0.35:
                return self._place(held, measured, state)
        elif self.phase in WITH_SLICE:
            self.lost_s += self.period
            if self.lost_s < LOST_S:
                return self.steering.position, self.steering.rotation, self.manner.grip, 1.0
            self._enter("approach")
        return self._fetch(measured, state)

    # ---- without a slice

    def _choose(self, state: dict) -> int | None:
        """The slice to fetch: one in a slot already, else the farthest, whose far side is free for the fingers."""
        best, choice = -np.inf, None
        for i, item in enumerate(state["slices"]):
            if not item["usable"] or item["inserted"]:
                continue
            score = item["position"][0] + (1.0 if item["slot"] >= 0 else 0.0) - item["lean"] - self.failures.get(i, 0)
            if score > best:
                best, choice = score, i
        return choice

    def _fetch(self, measured, state: dict):
        """Above the slice, down around it, close; a miss starts over."""
        if self.phase not in ("approach", "descend", "close"):
            self._enter("approach")
        if self.phase == "approach":
            self.chosen = self._choose(state)
        if self.chosen is None:
            self._enter("rest")
            return (*self.home_pose, 0.0, 0.8)
        self.slot = None
        position, rotation = slice_pose(state["slices"][self.chosen])
        normal, up = pinch.face_axes(rotation)
        turn = pinch.hand_rotation(normal, up)
        half = state["slice_half"]
        point = pinch.pinch_point(position, up, half[2]) + turn @ self.manner.grasp_offset
        around = point - normal * (half[1] + 0.001)  # the thumb's pad clears the near face
        if self.phase == "approach":
            return self._approach(around, up, turn, measured)
        if self.phase == "descend":
            if np.linalg.norm(measured[0] - around) < 0.006 * self.manner.tolerance:
                self._enter("close")
            elif self.phase_s > 2.5:
                self._give_up_grasp()
            return around, turn, 0.0, 0.6
        if self.phase_s > 1.2:
            self.misses += 1
            self._give_up_grasp()
        return point, turn, self.manner.grip, 1.0

    def _give_up_grasp(self) -> None:
        self.failures[self.chosen] = self.failures.get(self.chosen, 0) + 1
        self._enter("approach")

    def _approach(self, around, up, turn, measured):
        above = around + APPROACH * up
        error = measured[0] - around
        aside = np.linalg.norm(error - (error @ up) * up)
        turned = np.linalg.norm(rotation_error(turn, measured[1]))
        tolerance = self.manner.tolerance
        there = aside < 0.008 * tolerance and turned < 0.06 * tolerance and error @ up > -0.02
        if there and self.steering.closure < 0.05:
            self._enter("descend")
        if np.linalg.norm((measured[0] - above)[:2]) > 0.05:
            above = np.array([above[0], above[1], max(above[2], CRUISE)])
        return above, turn, 0.0, 1.0

    # ---- with a slice

    def _place(self, held: int, measured, state: dict):
        """Steer the held slice into a slot."""
        if self.phase not in WITH_SLICE:
            self._enter("lift")
            self.lift_at = np.array(state["slices"][held]["position"][:2])
            self.slot = None
        if self.slot is None:
            self.slot = self._choose_slot(held, state)
        position, rotation = slice_pose(state["slices"][held])
        half = state["slice_half"][2]
        floor, frame = slot_frame(state["slots"][self.slot])
        # A slice is the same turned by half a turn: the nearest of these orientations.
        signs = np.where(np.einsum("ij,ij->j", frame, rotation) >= 0.0, 1.0, -1.0)
        wanted = frame * signs
        local = frame.T @ (position - floor)
        bottom, rim = local[2] - half, state["slot_depth"]
        turned = float(np.linalg.norm(rotation_error(wanted, rotation)))
        self._judge(local, bottom, turned, rim)
        if self.phase == "release":
            return self._release(measured, False)
        if self.phase == "lift":
            goal, upright = np.append(self.lift_at, floor[2] + rim + CLEAR + half), rotation
        else:
            manner = self.manner
            low = bottom - manner.push
            height = {
                "carry": rim + CLEAR,
                "align": rim + HOVER,
                "insert": max(-0.004, low),
                "back_off": rim + 0.03,
            }[self.phase]
            along, across = manner.insertion_offset
            goal = floor + frame @ np.array([along, across, height + half])
            c, s = np.cos(manner.insertion_turn), np.sin(manner.insertion_turn)
            upright = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ wanted
        point, turn = measured
        hand = upright @ (turn.T @ rotation).T  # keeps the slice's pose in the hand
        return goal - hand @ (turn.T @ (position - point)), hand, self.manner.grip, SPEED[self.phase]

    def _choose_slot(self, held: int, state: dict) -> int:
        item = state["slices"][held]
        if item["slot"] >= 0:
            return item["slot"]
        taken = {other["slot"] for i, other in enumerate(state["slices"]) if i != held}
        distance = [
            np.inf if k in taken else float(np.linalg.norm(np.subtract(slot["position"], item["position"])[:2]))
            for k, slot in enumerate(state["slots"])
        ]
        return int(np.argmin(distance))

    def _judge(self, local, bottom: float, turned: float, rim: float) -> None:
        """Change the phase with the slice's pose in the slot's frame."""
        manner = self.manner
        along, across = local[:2] - manner.insertion_offset
        aside = float(np.hypot(along, across))
        if self.phase == "lift":
            if aside < 0.03 and bottom < rim + 0.06:
                if bottom < rim - 0.004 and abs(across) < 0.005:
                    self._start_insertion(bottom)
                else:
                    self._enter("back_off" if bottom < rim + 0.005 else "align")
            elif bottom > rim + CLEAR - 0.012:
                self._enter("carry")
        elif self.phase == "carry" and aside < 0.02:
            self._enter("align")
        elif self.phase == "align":
            limits = np.array(ALIGNED) * manner.tolerance
            if (np.abs([along, across, turned - abs(manner.insertion_turn)]) < limits).all():
                self._start_insertion(bottom)
        elif self.phase == "insert":
            self._judge_insertion(bottom, rim)
        elif self.phase == "back_off" and (bottom > rim + HOVER or self.phase_s > 1.5):
            self._enter("align")

    def _start_insertion(self, bottom: float) -> None:
        self.lowest, self.blocked_s = bottom, 0.0
        self._enter("insert")

    def _judge_insertion(self, bottom: float, rim: float) -> None:
        if bottom < self.lowest - 0.002:
            self.lowest, self.blocked_s = bottom, 0.0
        else:
            self.blocked_s += self.period
        blocked = self.blocked_s > self.manner.patience_s
        # Deep in the slot it is the hand that is stopped, by the toaster: the slice has slid up in it and will drop.
        if bottom < self.manner.release_height or (blocked and bottom < rim - GUIDED):
            self._enter("release")
            self.let_go = self.steering.position.copy()
        elif blocked:
            self.attempts += 1
            self._enter("back_off")

    def _release(self, measured, done: bool):
        """Open; then draw the thumb off the near face."""
        if self.phase_s > 0.55:
            if done:
                return self._retract(measured)
            self.chosen = None
            self._enter("approach")
        goal = self.let_go + (0.006 * self.steering.rotation[:, 2] if self.phase_s > 0.25 else 0.0)
        return goal, self.steering.rotation, 0.0, 0.5

    def _retract(self, measured):
        if self.phase != "retract":
            self._enter("retract")
            self.away = measured[0] + 0.12 * UP
        return self.away, self.steering.rotation, 0.0, 0.8
