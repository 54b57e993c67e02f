# SPDX-License-Identifier: Apache-2.0
"""The world of "erase the whiteboard": an eraser held by friction, ink that pressed felt wears off.

Done when at least 98 % of the trial's ink is gone and the eraser, in the hand, is lifted off the board.
"""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from rove_description import mjcf
from rove_description.kinematics import Kinematics, reach_columns, solve
from rove_sim.tasks.erase_whiteboard import grasp
from rove_sim.tasks.erase_whiteboard.board import FACE, Board
from rove_sim.tasks.erase_whiteboard.ink import POSITIONS, Ink, draw_strokes
from rove_sim.tasks.task import ERASE_WHITEBOARD
from rove_sim.world import World

CLEAN = 0.02  # share of the trial's ink that may be left
LIFTED = 0.035  # m, felt above the board
HELD_N = 0.3  # N, thumb or palm on one side and a finger on the other carry the eraser
COLOURS = np.array([(0.06, 0.10, 0.55), (0.05, 0.05, 0.06), (0.62, 0.06, 0.08), (0.04, 0.38, 0.16)])  # of pens
PAINTS = np.array([(0.95, 0.45, 0.08), (0.15, 0.55, 0.25), (0.20, 0.35, 0.80), (0.80, 0.20, 0.25), (0.85, 0.75, 0.15)])
TRAY_X, TRAY_Y = (-0.08, 0.24), (-0.085, -0.065)  # m, tray frame: where the eraser may lie
TRAY_YAW = 0.30  # rad
GRASPABLE = 0.55  # rad: an eraser that lies flatter on its back or side than this cannot be taken


class WhiteboardWorld(World):
    """See `World` and this module's text."""

    name = ERASE_WHITEBOARD.name
    scene = Path(__file__).with_name("scene.xml")
    start_stages = ERASE_WHITEBOARD.start_stages
    milestones = ERASE_WHITEBOARD.milestones

    # ---- the scene

    def build(self) -> mujoco.MjSpec:
        """Camera `third` stands behind the robot's right shoulder: board, tray and hand are in view."""
        spec = super().build()
        camera = spec.camera("third")
        camera.pos = (-0.35, -1.0, 1.85)
        camera.alt.type = mujoco.mjtOrientation.mjORIENTATION_XYAXES
        camera.alt.xyaxes = (0.74, -0.67, 0.0, 0.32, 0.35, 0.88)
        camera.fovy = 38.0
        return spec

    def setup(self) -> None:
        """Ids of eraser, felt, board and tray; the ink's grid and texture."""
        model = self.model
        self.felt, self.surface = frozenset({model.geom("felt").id}), frozenset({model.geom("board").id})
        self.eraser = self.geoms_of("eraser")
        self.furniture = self.geoms_of("board") | self.geoms_of("tray")
        texture = model.texture("ink").id
        height, width, start = model.tex_height[texture], model.tex_width[texture], model.tex_adr[texture]
        self.pixels = model.tex_data[start : start + height * width * 3].reshape(height, width, 3)
        self.texture = texture
        self.ink = Ink(model.geom_size[model.geom("ink").id, :2])
        self._painted = -1
        self.camera.before_drawing = self._paint
        self._kinematics = Kinematics(self.table)

    def vary(self, rng: np.random.Generator) -> None:
        """Sizes, masses, colours, frictions, pose of the board; then strokes."""
        super().vary(rng)
        model = self.model
        board = model.body("board").id
        model.body_pos[board] += rng.uniform(-0.012, 0.012, 3)
        half = model.geom_size[model.geom("felt").id] * [rng.uniform(0.92, 1.08), rng.uniform(0.95, 1.08), 1.0]
        self.resize("felt", half)
        self.resize("plate", np.array([half[0], half[1], 0.005]))
        bar = model.geom_size[model.geom("bar").id] * [rng.uniform(0.95, 1.1), rng.uniform(0.94, 1.06), 1.0]
        self.resize("bar", bar)
        self.felt_half = half
        self.set_mass("eraser", rng.uniform(0.11, 0.22))
        model.geom_friction[model.geom("felt").id, 0] = rng.uniform(0.28, 0.42)
        paint = PAINTS[int(rng.integers(len(PAINTS)))] * rng.uniform(0.85, 1.0)
        model.geom_rgba[model.geom("plate").id, :3] = paint
        model.geom_rgba[model.geom("bar").id, :3] = paint * rng.uniform(0.6, 1.0)
        white = np.array([0.96, 0.96, 0.95]) * rng.uniform(0.93, 1.02)
        self.colour = np.clip(white + rng.uniform(-0.015, 0.015, 3), 0.0, 1.0)
        model.geom_rgba[model.geom("board").id, :3] = 0.94 * self.colour
        strokes = draw_strokes(self.ink, rng)
        self.pens = COLOURS[rng.integers(len(COLOURS), size=strokes)]

    def place(self, rng: np.random.Generator, start_stage: str) -> None:
        mujoco.mj_kinematics(self.model, self.data)
        centre, axes = self.pose_of("board")
        self.board = Board(centre, axes)
        tray, tray_axes = self.pose_of("tray")
        crooked = 2.0 if start_stage == "dropped" else 1.0
        for _ in range(50):  # not where a hand is
            at = np.array([rng.uniform(*TRAY_X), rng.uniform(*TRAY_Y), 0.0205])
            yaw = rng.uniform(-TRAY_YAW, TRAY_YAW) * crooked
            c, s = np.cos(yaw), np.sin(yaw)
            turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
            self.place_body("eraser", tray + tray_axes @ at, tray_axes @ turn)
            mujoco.mj_forward(self.model, self.data)
            if not any(sum(self.grip(self.eraser, side).values()) > 0.0 for side in mjcf.SIDES):
                break
        if start_stage in ("half_erased", "dropped"):
            self._wipe_half(rng)
        if start_stage in ("grasped", "half_erased"):
            self._take(tray + tray_axes @ (at + [0.0, 0.0, rng.uniform(0.06, 0.12)]), tray_axes)
        else:
            self.settle(0.2)
        self.wiped = 1.0 - self.ink.left

    def _wipe_half(self, rng: np.random.Generator) -> None:
        """Strokes of the right half gone, one partly: what a pass of the eraser leaves."""
        order = np.argsort([-self.ink.u[np.nonzero(self.ink.stroke == i)[1]].mean() for i in range(len(self.pens))])
        for i in order[: len(order) // 2]:
            self.ink.amount[self.ink.stroke == i] = 0.0
        part = self.ink.stroke == order[len(order) // 2]
        rows = np.nonzero(part.any(axis=1))[0]
        cut = rows[0] + int(len(rows) * rng.uniform(0.2, 0.6))
        self.ink.amount[:cut][part[:cut]] *= rng.uniform(0.0, 0.3)
        self.ink.version += 1

    def _take(self, position: np.ndarray, rotation: np.ndarray) -> None:
        """The eraser in the closed hand at a place above the tray. The fingers close on it while it is weightless."""
        hand = grasp.hand_rotation(rotation, np.array([1.0, 0.0, 0.0]))
        columns, cost = reach_columns(self.table)
        home = mjcf.home(self.table)
        wrist = position - hand @ grasp.ERASER_IN_HAND
        q = solve(self._kinematics, home, "right_wrist", wrist, hand, columns, home, iterations=60, joint_cost=cost)
        shapes = [self._with_fingers(q, shape) for shape in (grasp.OPEN_HAND, grasp.CLOSED_HAND)]
        self.data.qpos[self._qpos] = shapes[0]
        self._kinematics.forward(q)
        hand = self._kinematics.rotation("right_wrist")
        self.place_body("eraser", self._kinematics.position("right_wrist") + hand @ grasp.ERASER_IN_HAND, rotation)
        gravity = self.model.opt.gravity.copy()
        self.model.opt.gravity[:] = 0.0
        for share in np.linspace(0.0, 1.0, 21):
            self.data.ctrl[:] = shapes[0] + share * (shapes[1] - shapes[0])
            self.settle(0.015)
        self.model.opt.gravity[:] = gravity
        self.settle(0.2)

    def _with_fingers(self, q: np.ndarray, shape: dict[str, float]) -> np.ndarray:
        q = q.copy()
        for joint, value in shape.items():
            q[self.table.index[f"right_{joint}"]] = value
        return q

    # ---- rules

    def after_step(self) -> None:
        pressed = self.touch(self.felt, self.surface)
        if pressed > 0.0:
            centre, axes, velocity, spin = self._felt_motion()
            if axes[2, 2] > 0.8 and self.ink.wear(centre, axes, self.felt_half[:2], pressed, velocity, spin, 0.01):
                self.wiped = 1.0 - self.ink.left

    def _felt_motion(self):
        """Middle of the felt's face, its axes, velocity and spin, all in the board frame."""
        position, rotation = self.pose_of("eraser")
        face = position - rotation[:, 2] * FACE
        motion = np.empty(6)
        body = self.model.body("eraser").id
        mujoco.mj_objectVelocity(self.model, self.data, mujoco.mjtObj.mjOBJ_XBODY, body, motion, 0)
        velocity = motion[3:] + np.cross(motion[:3], face - position)
        turn = self.board.axes.T
        return self.board.coordinates(face), turn @ rotation, turn @ velocity, turn @ motion[:3]

    def _paint(self) -> None:
        if self._painted != self.ink.version:
            self.ink.paint(self.pixels, self.colour, self.pens)
            self._painted = self.ink.version
            self.camera.texture_versions[self.texture] = self.ink.version

    @property
    def success(self) -> bool:
        """See `World.success`; without the cost of the whole state."""
        return self.ink.left <= CLEAN and self._lifted()

    def _lifted(self) -> bool:
        position, rotation = self.pose_of("eraser")
        off = self.board.coordinates(position - rotation[:, 2] * FACE)[2] > LIFTED
        return bool(off and self._clasped(self.grip(self.eraser)) and not self._supported())

    @staticmethod
    def _clasped(forces: dict[str, float]) -> bool:
        fingers = sum(forces[finger] for finger in mjcf.FINGERS[1:])
        return min(forces["thumb"] + forces["palm"], fingers) > HELD_N

    def _supported(self) -> bool:
        return self.touch(self.eraser, self.furniture) > 0.0

    def task_state(self) -> dict:
        """Besides the common keys: board (centre, u, v; nine numbers, m), eraser_pos (3,) m and eraser_quat, felt
        (half length, half width, m), held, forces (N by finger), pressed (N of the felt on the board), felt_height (m
        above the board), ink_left (share of the trial's ink), ink (see `Ink.cells`).
        """
        position, rotation = self.pose_of("eraser")
        forces = self.grip(self.eraser)
        supported, clasped = self._supported(), self._clasped(forces)
        height = float(self.board.coordinates(position - rotation[:, 2] * FACE)[2])
        left = self.ink.left
        clean, lifted = left <= CLEAN, clasped and not supported and height > LIFTED
        gone = min(1.0, self.wiped / (1.0 - CLEAN))
        success = clean and lifted
        if success or clean:
            milestone = 5 if success else 4
        elif self.wiped > 0.02:
            milestone = 3 if self.wiped >= 0.5 else 2
        else:
            milestone = int(clasped and not supported)
        return {
            "board": np.round(np.concatenate([self.board.centre, *self.board.axes.T[:2]]), 5).tolist(),
            "eraser_pos": np.round(position, 4).tolist(),
            "eraser_quat": np.round(self.data.body("eraser").xquat, 5).tolist(),
            "felt": np.round(self.felt_half[:2], 4).tolist(),
            "held": bool(clasped),
            "resting": bool(supported),
            "forces": {finger: round(force, 2) for finger, force in forces.items()},
            "pressed": round(self.touch(self.felt, self.surface), 2),
            "felt_height": round(height, 4),
            "ink_left": round(left, 4),
            "ink": self.ink.cells(),
            "success": bool(success),
            "recoverable": bool(success or clasped or self._reachable(position, rotation)),
            "milestone": milestone,
            "progress": 0.15 * (clasped or gone > 0.02) + 0.75 * gone + 0.10 * success,
        }

    def task_landmarks(self) -> tuple[np.ndarray, np.ndarray]:
        """Points: middle and two edges of the board; of the eraser the middle, its bar's top and an end. Amounts:
        progress, held, pressed (10 N), felt over the board (dm), and the ink left at each of the twenty positions as a
        share of a stroke.
        """
        state = self.task_state()
        board = [self.board.point(u, v) for u, v in ((0.0, 0.0), (0.24, 0.0), (0.0, 0.165))]
        position, rotation = self.pose_of("eraser")
        eraser = position + np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.05], [0.06, 0.0, 0.0]]) @ rotation.T
        ink = np.zeros(len(POSITIONS))
        for _, u, v, amount in state["ink"]:
            ink[np.argmin(np.abs(POSITIONS - (u, v)).sum(axis=1))] += 3.0 * amount  # a trial has two to four strokes
        held, pressed = float(state["held"]), state["pressed"] / 10.0
        amounts = [state["progress"], held, pressed, min(3.0, 10.0 * state["felt_height"]), *ink]
        return np.concatenate([board, eraser]), np.array(amounts)

    def _reachable(self, position: np.ndarray, rotation: np.ndarray) -> bool:
        """Whether the eraser lies on tray or board, bar outwards, where the right hand can take it."""
        u, v, n = self.board.coordinates(position)
        up = np.array([0.0, 0.0, 1.0])
        outwards = max(rotation[:, 2] @ up, rotation[:, 2] @ self.board.axes[:, 2])
        return bool(-0.30 <= u <= 0.34 and v >= -0.56 and n < 0.25 and outwards >= np.cos(GRASPABLE))
