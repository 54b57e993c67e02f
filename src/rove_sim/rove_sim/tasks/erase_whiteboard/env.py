# SPDX-License-Identifier: Apache-2.0
"""The task "erase the whiteboard" in MuJoCo: one `step` is one 10 ms control period. Deterministic by seed.

What is simplified: the pelvis is fixed; the robot does not collide with itself, fingers collide with nothing; the grasp
is a weld between hand and eraser that closes by a rule (`_update_grasp`); a mark vanishes when the felt, held by the
hand, covers its centre.
"""

from __future__ import annotations

import mujoco
import numpy as np

from rove_contract import timing
from rove_description import joints, mjcf
from rove_sim.camera import Camera
from rove_sim.tasks import task
from rove_sim.tasks.erase_whiteboard import scene

GRASP_TOLERANCE = 0.045  # m, eraser's centre to its place in the palm; the fingers span about twice that
# the fingers take 0.1-0.4 s from the threshold to their end; a hand closed earlier is a fist and grasps nothing
GRASP_WINDOW_S = 0.5
CLOSED = 0.50  # rad, mean flexion of the fingers at which the hand holds
OPEN = 0.38  # rad, below which it lets go; the gap keeps a trembling hand from dropping the eraser
WIPE_GAP = 0.010  # m between felt and board that still wipes: the felt's own softness
WIPE_MARGIN = 0.015  # m around the felt, half a mark's length: a mark is gone once the felt has touched it
FLOOR_Z = -mjcf.PELVIS_HEIGHT
GRASPED_HAND = 0.75  # rad, finger flexion in the stages that start with the eraser in the hand


def hand_flexion(table: joints.JointTable, side: str = "right") -> np.ndarray:
    """(8,) indices of the proximal and distal joints of the four fingers; their mean is the hand's closure."""
    names = [f"{side}_{finger}_{part}" for finger in mjcf.FINGERS[1:] for part in ("proximal", "distal")]
    return np.array([table.index[name] for name in names], dtype=np.intp)


class WhiteboardEnv:
    """Simulated IRON-R01 in front of the whiteboard.

    image_size: pixels, square (or (H, W)). seed: of the first episode; `reset()` without a seed takes the next one.
    """

    task = task.ERASE_WHITEBOARD

    def __init__(self, image_size: int | tuple[int, int] = 192, seed: int = 0, table: joints.JointTable | None = None):
        self.table = table or joints.load()
        self.model = mujoco.MjModel.from_xml_string(scene.xml(self.table))
        self.data = mujoco.MjData(self.model)
        model = self.model
        joint_ids = [model.joint(name).id for name in self.table.names]
        self._qpos = model.jnt_qposadr[joint_ids]
        self._dof = model.jnt_dofadr[joint_ids]
        self._eraser_qpos = int(model.joint("eraser").qposadr[0])
        self._eraser_dof = int(model.joint("eraser").dofadr[0])
        self._marks = np.array([model.geom(f"mark{i}").id for i in range(scene.MARKS)])
        self._weld = model.equality("grasp").id
        self._palm = model.site("right_palm").id
        self._hand = model.body("right_wrist_link").id
        self._eraser = model.body("eraser").id
        self._flexion = hand_flexion(self.table)
        self._dress_hands()
        self._grasp_rotation = scene.eraser_in_hand()
        self._substeps = round(timing.CONTROL_PERIOD_S / model.opt.timestep)
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        self.camera = Camera(model, size)
        self.seed = seed - 1  # so that the first reset() takes `seed`
        self.reset(seed)

    def _dress_hands(self) -> None:
        """Dark hands (visible before the white board), fingers and legs without collisions."""
        for i in range(self.model.ngeom):
            name = self.model.geom(i).name
            if any(f"_{finger}_" in name for finger in mjcf.FINGERS):
                self.model.geom_rgba[i] = (0.13, 0.15, 0.17, 1)
                self.model.geom_contype[i] = self.model.geom_conaffinity[i] = 0
            elif name.endswith("_palm"):
                self.model.geom_rgba[i] = (0.22, 0.25, 0.28, 1)
            elif name.endswith("_forearm"):
                self.model.geom_rgba[i] = (0.62, 0.66, 0.72, 1)

    # ---- episode

    def reset(self, seed: int | None = None, start_stage: str = "start") -> None:
        """Robot at home, eraser and marks at random places. seed: None = the last one + 1. start_stage: see `tasks`.

        Raises ValueError for an unknown start stage.
        """
        if start_stage not in self.task.start_stages:
            raise ValueError(
                f"unknown start stage {start_stage!r}; {self.task.name} has {', '.join(self.task.start_stages)}"
            )
        self.seed = self.seed + 1 if seed is None else int(seed)
        self.start_stage = start_stage
        rng = np.random.default_rng(self.seed)
        mujoco.mj_resetData(self.model, self.data)
        home = mjcf.home(self.table)
        self.data.qpos[self._qpos] = home
        self.data.ctrl[:] = home
        self._place_marks(rng)
        place = scene.board_point(rng.uniform(-0.16, 0.20), scene.ERASER_REST_V, scene.ERASER_REST_N + 0.001)
        self._place_eraser(place, scene.BOARD_AXES)
        self._closure_before = self._closure()
        self._closing_since = -np.inf
        self._set_grasp(False)
        mujoco.mj_forward(self.model, self.data)
        if start_stage != "start":
            self._start_grasped(rng, home, half=start_stage == "half_erased")
        else:
            for _ in range(20):  # the robot settles under its weight and the eraser on the ledge
                mujoco.mj_step(self.model, self.data, self._substeps)
        self.data.time = 0.0
        self._closing_since = -np.inf

    def _place_marks(self, rng: np.random.Generator) -> None:
        """A handful of strokes scattered over one region of about 15 x 11 cm."""
        self.region = np.array([rng.uniform(-0.12, 0.14), rng.uniform(-0.01, 0.09)])
        points = np.empty((scene.MARKS, 2))
        for i in range(scene.MARKS):
            row, column = divmod(i, 4)
            grid = np.array([(column - 1.5) * 0.040, (row - 1.0) * 0.040])
            points[i] = self.region + grid + rng.uniform(-0.008, 0.008, 2)
        self.marks = points  # (MARKS, 2) board coordinates u, v
        angles = rng.uniform(-0.9, 0.9, scene.MARKS)
        self.model.geom_pos[self._marks] = np.column_stack([points, np.full(scene.MARKS, 0.0007)])
        self.model.geom_quat[self._marks] = np.column_stack(
            [np.cos(angles / 2), np.zeros(scene.MARKS), np.zeros(scene.MARKS), np.sin(angles / 2)]
        )
        self.model.geom_rgba[self._marks, 3] = 1.0
        self.alive = np.ones(scene.MARKS, dtype=bool)

    def _place_eraser(self, position: np.ndarray, rotation: np.ndarray) -> None:
        start = self._eraser_qpos
        self.data.qpos[start : start + 3] = position + [0, 0, mjcf.PELVIS_HEIGHT]
        mujoco.mju_mat2Quat(self.data.qpos[start + 3 : start + 7], np.ascontiguousarray(rotation).ravel())
        self.data.qvel[self._eraser_dof : self._eraser_dof + 6] = 0.0

    def _start_grasped(self, rng: np.random.Generator, home: np.ndarray, half: bool) -> None:
        """Eraser in the closed hand, hand a little off the board near the ledge; `half`: the lower half of the marks is
        gone.
        """
        from rove_description.kinematics import Kinematics
        from rove_sim.tasks.erase_whiteboard.hold import hold_eraser

        if half:
            gone = np.argsort(self.marks[:, 1])[: scene.MARKS // 2]
            self._erase(gone)
        u = rng.uniform(-0.12, 0.16)
        q = hold_eraser(Kinematics(self.table), home, scene.board_point(u, -0.12, 0.10))
        q[self._flexion] = GRASPED_HAND
        self.data.qpos[self._qpos] = q
        self.data.ctrl[:] = q
        mujoco.mj_kinematics(self.model, self.data)
        position, rotation = self._grip()
        self._place_eraser(position, rotation)
        self._set_grasp(True)
        for _ in range(20):
            mujoco.mj_step(self.model, self.data, self._substeps)
        self._closure_before = self._closure()

    # ---- physics

    def step(self, command: np.ndarray) -> None:
        """One control period of 10 ms. command: (50,) rad position targets, contract order; clipped to the joints'
        ranges.

        Raises ValueError on a wrong shape or a value that is not finite.
        """
        command = np.asarray(command, dtype=np.float64)
        if command.shape != (len(self.table),) or not np.isfinite(command).all():
            raise ValueError(
                f"expected {len(self.table)} finite joint targets, got shape {command.shape} with "
                f"{np.count_nonzero(~np.isfinite(command))} values that are not finite"
            )
        self.data.ctrl[:] = command
        mujoco.mj_step(self.model, self.data, self._substeps)
        self._update_grasp()
        self._wipe()

    def _closure(self) -> float:
        return float(self.data.qpos[self._qpos[self._flexion]].mean())

    def _grip(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the eraser sits in the hand: (3,) pelvis frame and (3, 3)."""
        rotation = self.data.xmat[self._hand].reshape(3, 3)
        position = self.data.xpos[self._hand] + rotation @ scene.ERASER_IN_HAND - [0, 0, mjcf.PELVIS_HEIGHT]
        return position, rotation @ self._grasp_rotation

    def _set_grasp(self, held: bool) -> None:
        self.grasped = held
        self.data.eq_active[self._weld] = held

    def _update_grasp(self) -> None:
        closure, now = self._closure(), self.data.time
        if closure >= CLOSED > self._closure_before:
            self._closing_since = now
        self._closure_before = closure
        if self.grasped:
            if closure < OPEN:
                self._set_grasp(False)
        elif (
            closure >= CLOSED and now - self._closing_since <= GRASP_WINDOW_S and self._grip_error() <= GRASP_TOLERANCE
        ):
            self._set_grasp(True)

    def _grip_error(self) -> float:
        return float(np.linalg.norm(self._grip()[0] - self.eraser_pos))

    def _wipe(self) -> None:
        """Marks whose centre lies under the held felt vanish."""
        if not self.grasped or not self.alive.any():
            return
        rotation = self.data.xmat[self._eraser].reshape(3, 3)
        marks = scene.BOARD_CENTRE + self.marks @ scene.BOARD_AXES[:, :2].T
        local = (marks - self.eraser_pos) @ rotation  # (MARKS, 3) in the eraser's frame; felt at n = -half
        half = scene.ERASER_SIZE / 2
        under = (np.abs(local[:, :2]) <= half[:2] + WIPE_MARGIN).all(axis=1) & (
            np.abs(local[:, 2] + half[2]) <= WIPE_GAP
        )
        self._erase(np.flatnonzero(under & self.alive))

    def _erase(self, which: np.ndarray) -> None:
        self.alive[which] = False
        self.model.geom_rgba[self._marks[which], 3] = 0.0

    # ---- observation

    @property
    def q(self) -> np.ndarray:
        """(50,) rad, measured, contract order."""
        return self.data.qpos[self._qpos]

    @property
    def dq(self) -> np.ndarray:
        """(50,) rad/s, measured, contract order."""
        return self.data.qvel[self._dof]

    @property
    def time(self) -> float:
        """s since the reset."""
        return self.data.time

    @property
    def eraser_pos(self) -> np.ndarray:
        """(3,) m, pelvis frame."""
        return self.data.xpos[self._eraser] - [0, 0, mjcf.PELVIS_HEIGHT]

    @property
    def success(self) -> bool:
        """True when no mark is left."""
        return not self.alive.any()

    @property
    def recoverable(self) -> bool:
        """False when the eraser lies where the right hand cannot fetch it (the floor, or far off)."""
        if self.grasped:
            return True
        u, v, n = scene.board_coordinates(self.eraser_pos)
        return bool(-0.27 <= u <= 0.30 and -0.25 <= v <= 0.25 and -0.02 <= n <= 0.15)

    def state(self) -> dict:
        """Privileged state, JSON-able; positions in m, pelvis frame; `marks` are (u, v) of those left, board frame.

        progress in [0, 1]: 0.2 for holding the eraser (or having wiped), the rest by marks gone.
        """
        left = int(self.alive.sum())
        gone = scene.MARKS - left
        return {
            "task": self.task.name,
            "seed": self.seed,
            "start_stage": self.start_stage,
            "time": round(self.time, 4),
            "marks_total": scene.MARKS,
            "marks_left": left,
            "marks": np.round(self.marks[self.alive], 4).tolist(),
            "eraser_pos": np.round(self.eraser_pos, 4).tolist(),
            "eraser_grasped": self.grasped,
            "hand_closure": round(self._closure(), 4),
            "hand_closed": self._closure() >= CLOSED,
            "grip_error": round(self._grip_error(), 4),
            "success": self.success,
            "recoverable": self.success or self.recoverable,
            "progress": round(0.2 * (self.grasped or gone > 0) + 0.8 * gone / scene.MARKS, 4),
        }

    def render(self, camera: str = "ego") -> np.ndarray:
        """(H, W, 3) uint8 RGB of camera "ego" (on the head) or "third" (beside the robot)."""
        return self.camera.render(self.data.qpos, camera)

    def close(self) -> None:
        """Free the GL context."""
        self.camera.close()
