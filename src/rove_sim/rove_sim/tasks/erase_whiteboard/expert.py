# SPDX-License-Identifier: Apache-2.0
"""Scripted expert of "erase the whiteboard": take the eraser by its bar, wipe stroke after stroke, lift off.

Every decision follows from the measured joints and the privileged state, so the expert goes on from any situation: a
missed grasp, a dropped eraser, a half-wiped board. Once held, the felt is steered, not the hand: where it sits in the
hand is measured at every step, so a crooked grasp is corrected. Strokes are wiped from right to left, so that what is
imitated has one mode.
"""

from __future__ import annotations

import mujoco
import numpy as np

from rove_contract import timing
from rove_description.kinematics import Kinematics, rotation_error
from rove_sim.steering import HandSteering, rotate
from rove_sim.tasks.erase_whiteboard import grasp
from rove_sim.tasks.erase_whiteboard.board import FACE, Board
from rove_sim.tasks.erase_whiteboard.manner import Manner
from rove_sim.tasks.erase_whiteboard.sweep import Sweep, choose_stroke

APPROACH = 0.075  # m, open hand over the bar before it goes down
AJAR = np.array([0.0, 0.0, 0.005])  # m, hand frame: the open hand leaves this gap between bar and thumb
RAISED = 0.10  # m above the home pose, where a hand that waits does not lie on the tray
HOPELESS_S = 1.0  # an eraser that tips over under the hand may come down well
CLOSE_S = 0.45  # the fingers need 0.35 s to close
CLOSED_LONG_S = 1.2  # closed for so long without holding: missed
LOST_S = 0.25  # a contact that flickers is not a lost eraser
STUCK_S = 4.0  # an approach takes 2 s; longer: back to the home pose and anew
SETTLE_S = 2.5  # a carry takes 1-2 s
# The hand answers 0.12 s after its target (interpolation and command filter), and arm and felt give by about 0.25
# mm/N: an integral gain of 0.0015 m/(s N) crosses over at 6 rad/s, below the 8 rad/s of that delay.
PRESS_RATE = 0.0015  # m/s of the set-point per newton that is lacking
PRESS_SPEED = (-0.05, 0.03)  # m/s, off and towards the board
DOWN_SPEED, SEARCH_SPEED = 0.10, 0.03  # m/s towards the board before contact, and where contact was expected
PRESS_DEPTH = 0.04  # m, farthest set-point behind the surface
# The left arm is drawn back: hanging at home it meets the tray when the waist leans, and holds the body off the board.
LEFT_ARM = {"left_shoulder_pitch": 0.9, "left_elbow": -2.1}
SWEEP_SPEED = 0.55  # share of the steering speed: faster, and the felt skips
RETREAT = 0.09  # m off the clean board


class Expert:
    """Joint targets towards an erased board.

    kinematics: of the robot alone. rng: draws the pace. period_s: time between calls of `target`. phase: what the
    expert is doing. misses: grasps that closed on nothing since the reset; passes: sweeps over strokes.
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
        self.steering = HandSteering(kinematics, grasp.ERASER_IN_HAND, grasp.OPEN_HAND, grasp.CLOSED_HAND, period_s)
        for joint, value in LEFT_ARM.items():
            self.steering.home[kinematics.table.index[joint]] = value
        at, turn = self.steering.measure(self.steering.home)
        self.rest_pose = at + [0.0, 0.0, RAISED], turn
        self.reset(self.steering.home)

    def reset(self, q: np.ndarray) -> None:
        """Begin at the measured joints q (J,) rad."""
        self.steering.grip = grasp.ERASER_IN_HAND
        self.steering.reset(q, self._closure(q))
        self.pace = float(self.rng.uniform(0.9, 1.1))
        self.phase, self.phase_s = "start", 0.0
        self.misses = self.passes = 0
        self.lost_s = self.waiting_s = self.hopeless_s = 0.0
        self.retreat: np.ndarray | None = None
        self.tool: tuple[np.ndarray, np.ndarray] | None = None  # eraser in the hand: (3,) m, (3, 3)
        self.sweep: Sweep | None = None
        self.depth = 0.0

    def _closure(self, q: np.ndarray) -> float:
        steering = self.steering
        span = steering.closed_hand - steering.open_hand
        moving = span > 0.2
        share = (np.asarray(q)[steering.fingers] - steering.open_hand)[moving] / span[moving]
        return float(np.clip(share.mean() * 1.1, 0.0, 1.0))

    # ---- what a model of a person asks for

    def hesitate(self, seconds: float) -> None:
        """Stand still for this long, whatever the situation."""
        self.waiting_s, self.retreat = seconds, None

    def draw_back(self, seconds: float, distance: float = 0.06) -> None:
        """Move `distance` m away from what the palm faces and wait there, then judge the situation anew."""
        self.waiting_s = seconds
        self.retreat = self.steering.position - distance * self.steering.rotation[:, 1]

    # ---- one step

    def target(self, q: np.ndarray, state: dict) -> np.ndarray:
        """Joint target (J,) rad for the next period.

        q (J,): measured. state: the world's, or what a person takes for it.
        """
        self.phase_s += self.period
        self.board = Board.from_state(state)
        eraser = _pose(state)
        self._measure_tool(q, state, eraser)
        measured = self.steering.measure(q)
        if self.waiting_s > 0.0:
            self.waiting_s -= self.period
            goal = self.steering.position if self.retreat is None else self.retreat
            plan = goal, self.steering.rotation, self.steering.closure, 0.6, goal
        else:
            plan = self._plan(measured, state, eraser)
        goal, turn, closure, speed, look = plan
        if self.phase in ("press", "wipe"):  # contact, not sag, keeps the felt from the set-point: see `_press`
            n = self.board.axes[:, 2]
            measured = measured[0] + n * (n @ (self.steering.position - measured[0])), measured[1]
        closure *= self.manner.grip if closure > 0.5 else 1.0
        return self.steering.move(goal, turn, closure, measured, speed * self.pace * self.manner.speed, look)

    def _enter(self, phase: str) -> None:
        if phase != self.phase:
            self.phase, self.phase_s = phase, 0.0

    def _measure_tool(self, q: np.ndarray, state: dict, eraser) -> None:
        """Where the felt's face sits in the hand; it is steered, not the nominal grasp point, while the hand holds."""
        self.lost_s = 0.0 if state["held"] else self.lost_s + self.period
        if self.lost_s > LOST_S or self.steering.closure < 0.6:
            if self.tool is not None:
                self._steer_by(grasp.ERASER_IN_HAND)
            self.tool = None
            return
        if not state["held"] or (self.tool is None and (self.phase == "close" and self.phase_s < CLOSE_S)):
            return
        self.steering.measure(q)
        kinematics = self.steering.kinematics
        wrist, hand = kinematics.position("right_wrist"), kinematics.rotation("right_wrist")
        face = hand.T @ (eraser[0] - FACE * eraser[1][:, 2] - wrist)
        turn = hand.T @ eraser[1]
        if self.tool is None:
            self.tool = face, turn
            self._steer_by(face)
        else:  # a slow average: the eraser tilts a little while it is dragged
            share = min(1.0, 3.0 * self.period)
            turn = rotate(self.tool[1], share * rotation_error(turn, self.tool[1]))
            self.tool = self.tool[0] + share * (face - self.tool[0]), turn
            self._steer_by(self.tool[0])

    def _steer_by(self, grip: np.ndarray) -> None:
        """Change the steered point; the set-point moves with it so that the hand stands still."""
        self.steering.position = self.steering.position + self.steering.rotation @ (grip - self.steering.grip)
        self.steering.grip = grip

    # ---- what to do

    def _plan(self, measured, state: dict, eraser):
        """(goal (3,), hand rotation (3, 3), closure, speed, point to look at (3,)) for the situation."""
        if state["success"]:
            return self._lift_off(measured)
        if self.tool is not None:
            return self._erase(measured, state)
        self.sweep = None
        self.hopeless_s = 0.0 if state["recoverable"] else self.hopeless_s + self.period
        if self.hopeless_s > HOPELESS_S:
            self._enter("rest")
            return *self.rest_pose, 0.0, 0.5, eraser[0]
        return self._fetch(measured, state, eraser)

    def _fetch(self, measured, state: dict, eraser):
        """Open hand over the bar, down, close; a missed grasp starts over."""
        position, rotation = eraser
        m = self.manner
        turn = grasp.hand_rotation(rotation, np.array([1.0, 0.0, 0.0]))
        turn = rotate(turn, m.grasp_turn * turn[:, 1])
        goal = position + turn @ (AJAR + m.grasp_offset)
        out = -turn[:, 1]
        error = turn.T @ (measured[0] - goal)
        aside = float(np.hypot(error[0], error[2]))
        turned = float(np.linalg.norm(rotation_error(turn, measured[1])))
        open_hand = self.steering.closure < 0.1
        if self.phase not in ("approach", "descend", "close", "regroup"):
            self._enter("approach")
        if self.phase == "regroup":
            if self.phase_s > 1.5:
                self._enter("approach")
            return *self.rest_pose, 0.0, 1.0, position
        if self.phase == "approach":
            aligned = aside < 0.008 * m.tolerance and turned < 0.10 * m.tolerance
            if aligned and open_hand and error[1] > -APPROACH - 0.03:
                self._enter("descend")
            elif self.phase_s > STUCK_S:
                self._enter("regroup")
        elif self.phase == "descend":
            if aside > 0.03 * m.tolerance:
                self._enter("approach")
            elif abs(error[1]) < 0.005 * m.tolerance or self.phase_s > 1.6:
                self._enter("close")
        elif self.phase == "close" and self.phase_s > CLOSED_LONG_S:
            self.misses += 1
            self._enter("approach")
        if self.phase == "approach":
            # up first where the hand is low, and open: across the bar it would knock the eraser over
            low = error[1] > -0.05 and aside > 0.02
            over = goal + APPROACH * out
            if low:
                over = over + turn @ (np.array([error[0], 0.0, error[2]]) * 0.9)
            return over, turn, 0.0, 1.0, position
        return goal, turn, float(self.phase == "close"), 0.5, position

    def _erase(self, measured, state: dict):
        """Carry to the next stroke, press, sweep over it until it is gone."""
        board, m = self.board, self.manner
        cells = np.asarray(state["ink"], dtype=float).reshape(-1, 4)
        if len(cells):
            cells[:, 1:3] += m.wipe_offset
        where = board.coordinates(measured[0])
        if not len(cells) or state["ink_left"] <= 0.015:
            return self._lift_off(measured)
        stroke = choose_stroke(cells, self.sweep.stroke if self.sweep else None)
        if self.sweep is None or stroke != self.sweep.stroke or self.phase not in ("carry", "press", "wipe"):
            self.sweep = Sweep.over(cells, stroke, m.overrun, where)
            self._enter("carry")
        turn = self._hand_for(self.sweep.psi)
        spot = self.sweep.point
        off = where[:2] - spot
        turned = float(np.linalg.norm(rotation_error(turn, measured[1])))
        if self.phase == "carry":
            # the wrist cannot lay the felt flat everywhere: after a while the board's own push has to do
            near = 0.02 * m.tolerance if self.phase_s < SETTLE_S else 0.04
            flat = 0.12 if self.phase_s < SETTLE_S else 0.45
            if np.linalg.norm(off) < near and turned < flat and where[2] < m.lift + 0.03:
                self._enter("press")
                self.depth = -float(where[2])
        elif self.phase == "press":
            if state["pressed"] > 0.6 * m.press or self.phase_s > 1.2:
                self._enter("wipe")
        elif np.linalg.norm(off) < 0.015 or self.phase_s > 2.0:
            self.passes += 1
            self.phase_s = 0.0
            self.sweep = self.sweep.onwards(cells, m.overrun, where)
            spot = self.sweep.point
            if self.sweep.passes > 8:  # the way it is held does not wipe: lift, and press anew
                self.sweep = None
                self._enter("anew")
                return board.point(where[0], where[1], m.lift), turn, 1.0, 1.0, measured[0]
        look = board.point(*spot)
        if self.phase == "carry":
            if where[1] < -0.29 and where[2] < 0.5 * m.lift + 0.02:  # out of the tray first: straight up, then over
                return measured[0] + np.array([0.0, 0.0, 0.06]), turn, 1.0, 1.0, look
            if where[2] < 0.5 * m.lift:
                spot = where[:2] + 0.2 * (spot - where[:2])
            return board.point(*spot, m.lift), turn, 1.0, 1.0, look  # type: ignore[call-arg]
        self._press(state["pressed"])
        return board.point(*spot, -self.depth), turn, 1.0, 0.6 if self.phase == "press" else SWEEP_SPEED, look  # type: ignore[call-arg]

    def _press(self, pressed: float) -> None:
        """Move the set-point along the board's normal: down to contact, then by what the force lacks."""
        speed = self.manner.speed
        if pressed > 0.0:
            rate = float(np.clip(PRESS_RATE * (self.manner.press - pressed), *PRESS_SPEED))
        else:
            rate = float(np.clip(-4.0 * self.depth, SEARCH_SPEED, DOWN_SPEED * speed))
        self.depth = min(self.depth + rate * self.period, PRESS_DEPTH)
        steering, n = self.steering, self.board.axes[:, 2]
        height = self.board.coordinates(steering.position)[2]
        steering.position = steering.position - n * (height + self.depth)
        steering.velocity = steering.velocity - n * (n @ steering.velocity)

    def _hand_for(self, psi: float) -> np.ndarray:
        """(3, 3) hand rotation that lays the felt flat on the board, the bar turned by psi from u."""
        u, v, n = self.board.axes.T
        across = np.cos(psi) * v - np.sin(psi) * u
        felt = np.stack([np.cross(across, n), across, n], axis=1)
        if self.tool[1][:, 1] @ np.array([0.0, 0.0, -1.0]) < 0.0:  # held the other way round
            felt[:, :2] *= -1.0
        return felt @ self.tool[1].T

    def _lift_off(self, measured):
        """Off the board, eraser in the hand."""
        if self.phase != "lift_off":
            self._enter("lift_off")
            self.off = measured[0] + RETREAT * self.board.axes[:, 2]
        return self.off, self.steering.rotation, 1.0, 0.8, measured[0]


def _pose(state: dict) -> tuple[np.ndarray, np.ndarray]:
    """The eraser's (3,) m and (3, 3), pelvis frame."""
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, np.asarray(state["eraser_quat"], dtype=float))
    return np.asarray(state["eraser_pos"], dtype=float), matrix.reshape(3, 3)
