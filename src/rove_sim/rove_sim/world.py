# SPDX-License-Identifier: Apache-2.0
"""`World`: the robot and one task's scene in MuJoCo. One `step` is one 10 ms control period; a seed fixes an episode
to the last bit on one machine.

Physics: fingers carry the contact. Objects are held by friction alone; no collision between hand and objects is
switched off and nothing is welded. Simplified: the pelvis is fixed, the robot does not collide with itself, gravity of
the robot's own links is compensated as low-level controllers do.

A task subclasses `World` and gives: `scene` (its MJCF file), `place`, `after_step`, `task_state` and the class
attributes below. All lengths are metres, in the pelvis frame unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from rove_contract import timing
from rove_description import joints, mjcf
from rove_sim.camera import Camera

SCENERY = Path(__file__).with_name("assets") / "scenery.xml"
CAMERAS = ("ego", "left_wrist", "right_wrist", "third")
TIMESTEP_S = 0.0025  # four steps per control period, and per time constant of the skin's contact (10 ms)


@dataclass(frozen=True)
class Variation:
    """Half-widths of what each seed draws uniformly around the nominal scene; `NO_VARIATION` draws nothing.

    camera_m, camera_rad: mounting error of each camera of the robot. light: relative brightness of each lamp and of
    the ambient light. light_m: position of the lamps. friction: relative friction of the hand's skin. payload_kg:
    largest mass at a wrist that gravity compensation does not know. surfaces: whether floor and wall change their
    material.
    """

    camera_m: float = 0.006
    camera_rad: float = 0.02
    light: float = 0.25
    light_m: float = 0.5
    friction: float = 0.10
    payload_kg: float = 0.25
    surfaces: bool = True


NO_VARIATION = Variation(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, False)


class World:
    """Simulated IRON-R01 before one task's scene.

    image_size: pixels, square, or (H, W). seed: of the first episode; `reset()` without a seed takes the next one.
    """

    name: str  # of the task
    scene: Path  # MJCF file of the task, world frame
    start_stages: tuple[str, ...]
    milestones: tuple[str, ...]  # names in words, in the order of progress
    surfaces: dict[str, tuple[str, ...]] = {  # geom -> materials of which a seed takes one
        "floor": ("floor_tiles", "floor_planks", "floor_carpet"),
        "wall": ("wall_plaster", "wall_brick", "wall_paint"),
    }

    def __init__(
        self,
        image_size: int | tuple[int, int] = 192,
        seed: int = 0,
        table: joints.JointTable | None = None,
        *,
        variation: Variation = Variation(),
    ):
        self.table = table or joints.load()
        self.variation = variation
        self.embodiment = None  # (world, rng) -> None: another body, applied to the varied model at each reset
        self.model = self.build().compile()
        self.data = mujoco.MjData(self.model)
        model = self.model
        joint_ids = [model.joint(name).id for name in self.table.names]
        self._qpos, self._dof = model.jnt_qposadr[joint_ids], model.jnt_dofadr[joint_ids]
        self._flexion = _flexion(self.table)
        self._substeps = round(timing.CONTROL_PERIOD_S / model.opt.timestep)
        self._nominal = {field: getattr(model, field).copy() for field in _VARIED}
        self._ambient = model.vis.headlight.ambient.copy()
        self.pads = {
            side: {finger: self._pad_ids(side, finger) for finger in (*mjcf.FINGERS, "palm")} for side in mjcf.SIDES
        }
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        self.camera = Camera(model, size)
        self.setup()
        self.seed = seed - 1  # so that the first reset() takes `seed`
        self.reset(seed)

    def _pad_ids(self, side: str, finger: str) -> frozenset[int]:
        parts = ("palm",) if finger == "palm" else [f"{finger}_{part}" for part in ("base", "proximal", "distal")]
        names = [f"{side}_{part}" for part in parts]
        ids = (mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_GEOM, name) for name in names)
        return frozenset(i for i in ids if i >= 0)

    # ---- hooks of a task

    def build(self) -> mujoco.MjSpec:
        """The model before compilation: robot, scenery and the task's scene, with the drawing quality set."""
        files = "".join(f'<include file="{path}"/>' for path in (SCENERY, self.scene))
        spec = mujoco.MjSpec.from_string(mjcf.mjcf(self.table, model=self.name, extra=files, timestep=TIMESTEP_S))
        quality, map_ = spec.visual.quality, spec.visual.map
        quality.shadowsize = quality.offsamples = 0
        quality.numslices, quality.numstacks, quality.numquads = 10, 6, 1
        map_.znear, map_.zfar = 0.02, 20.0
        spec.stat.extent = 1.0  # m; the clipping planes are multiples of it
        spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 960
        spec.stat.extent = 1.0  # near and far plane are multiples of it: 2 cm and 20 m
        spec.visual.headlight.ambient[:] = 0.38
        spec.visual.headlight.diffuse[:] = 0.30
        spec.visual.headlight.specular[:] = 0.0
        return spec

    def setup(self) -> None:
        """Look up ids once, after compilation."""

    def place(self, rng: np.random.Generator, start_stage: str) -> None:
        """Put objects and robot where an episode of this stage begins; `data.qpos` is at home, the model is varied."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Rules of the task, once per control period."""

    def task_state(self) -> dict:
        """The task's part of `state`: at least progress, milestone (index into `milestones`), success, recoverable."""
        raise NotImplementedError

    # ---- episode

    def reset(self, seed: int | None = None, start_stage: str | None = None) -> None:
        """Robot and scene as this seed draws them. seed: None = the last one + 1. start_stage: None = the first one.

        Raises ValueError for an unknown start stage.
        """
        start_stage = self.start_stages[0] if start_stage is None else start_stage
        if start_stage not in self.start_stages:
            raise ValueError(f"unknown start stage {start_stage!r}; {self.name} has {', '.join(self.start_stages)}")
        self.seed = self.seed + 1 if seed is None else int(seed)
        self.start_stage = start_stage
        rng = np.random.default_rng(self.seed)
        for field, value in self._nominal.items():
            getattr(self.model, field)[:] = value
        self.vary(rng)
        if self.embodiment is not None:
            self.embodiment(self, rng)
        mujoco.mj_setConst(self.model, self.data)  # masses have changed
        mujoco.mj_resetData(self.model, self.data)
        home = mjcf.home(self.table)
        self.data.qpos[self._qpos] = home
        self.data.ctrl[:] = home
        self.place(rng, start_stage)
        self.data.time = 0.0

    def vary(self, rng: np.random.Generator) -> None:
        """Draw what is common to all tasks: lamps, surfaces, camera mounting, friction of the skin, unknown payload.

        A task extends it with its own sizes, masses, colours and frictions (fields of `_VARIED`).
        """
        model, v = self.model, self.variation
        model.vis.headlight.ambient[:] = self._ambient * (1.0 + rng.uniform(-v.light, v.light))
        for i in range(model.nlight):
            tint = 1.0 + rng.uniform(-0.1, 0.1, 3) * (v.light > 0)
            model.light_diffuse[i] *= tint * (1.0 + rng.uniform(-v.light, v.light))
            model.light_pos[i] += rng.uniform(-v.light_m, v.light_m, 3)
        for geom, materials in self.surfaces.items():
            choice = materials[int(rng.integers(len(materials)))]
            if v.surfaces:
                model.geom_matid[model.geom(geom).id] = model.material(choice).id
        for camera in CAMERAS[:3]:
            i = model.camera(camera).id
            model.cam_pos[i] += rng.uniform(-v.camera_m, v.camera_m, 3)
            _turn(model.cam_quat[i], rng.uniform(-v.camera_rad, v.camera_rad, 3))
        skin = 1.0 + rng.uniform(-v.friction, v.friction)
        for side in mjcf.SIDES:
            model.geom_friction[sorted(frozenset.union(*self.pads[side].values())), 0] *= skin
            wrist, payload = model.body(f"{side}_wrist_link").id, rng.uniform(0.0, v.payload_kg)
            model.body_gravcomp[wrist] *= model.body_mass[wrist] / (model.body_mass[wrist] + payload)
            model.body_mass[wrist] += payload

    def step(self, command: np.ndarray) -> None:
        """One control period (10 ms) with joint targets (J,) rad. Raises ValueError for a wrong shape or NaN/Inf."""
        command = np.asarray(command, dtype=np.float64)
        if command.shape != (len(self.table),):
            raise ValueError(f"command has shape {command.shape}, expected ({len(self.table)},)")
        if not np.all(np.isfinite(command)):
            raise ValueError("command is not finite")
        self.data.ctrl[:] = command
        mujoco.mj_step(self.model, self.data, self._substeps)
        self.after_step()

    def settle(self, seconds: float) -> None:
        """Let the scene come to rest under its present commands; no rule of the task runs."""
        mujoco.mj_step(self.model, self.data, round(seconds / self.model.opt.timestep))

    # ---- contact

    def touch(self, geoms: frozenset[int] | set[int], others: frozenset[int] | set[int]) -> float:
        """N, sum of the normal forces between two sets of geom ids."""
        return sum(force for a, b, force in self._contacts(geoms) if (b if a in geoms else a) in others)

    def grip(self, body_geoms: frozenset[int], side: str = "right") -> dict[str, float]:
        """N by finger (and "palm"): the normal force of a hand on an object."""
        totals = dict.fromkeys(self.pads[side], 0.0)
        for a, b, force in self._contacts(body_geoms):
            hand = b if a in body_geoms else a
            for finger, ids in self.pads[side].items():
                if hand in ids:
                    totals[finger] += force
        return totals

    def _contacts(self, geoms: frozenset[int] | set[int]):
        """(geom, geom, normal force in N) of each contact of one of these geoms with another."""
        force = np.empty(6)
        for i, (a, b) in enumerate(self.data.contact.geom.tolist()):
            if (a in geoms) != (b in geoms):
                mujoco.mj_contactForce(self.model, self.data, i, force)
                yield a, b, float(force[0])

    def geoms_of(self, body: str) -> frozenset[int]:
        """Ids of the geoms of one body."""
        i = self.model.body(body).id
        return frozenset(np.flatnonzero(self.model.geom_bodyid == i).tolist())

    def resize(self, geom: str, size: np.ndarray, position: np.ndarray | None = None) -> None:
        """Set half-sizes (3,) and position of a box geom in its body; the next reset restores them.

        Broad-phase bounds follow. Masses and inertias are the caller's: see `set_mass`.
        """
        i, size = self.model.geom(geom).id, np.asarray(size, dtype=float)
        self.model.geom_size[i] = size
        self.model.geom_rbound[i] = float(np.linalg.norm(size))
        self.model.geom_aabb[i, 3:] = size
        if position is not None:
            self.model.geom_pos[i] = position

    def set_mass(self, body: str, mass: float) -> None:
        """Scale mass and inertia of a body to `mass` kg; call it in `vary`."""
        i = self.model.body(body).id
        self.model.body_inertia[i] *= mass / self.model.body_mass[i]
        self.model.body_mass[i] = mass

    def place_body(self, body: str, position: np.ndarray, rotation: np.ndarray) -> None:
        """Put a free body at (3,) m, pelvis frame, with rotation (3, 3), at rest."""
        joint = self.model.joint(int(self.model.body(body).jntadr[0]))
        start, dof = int(joint.qposadr[0]), int(joint.dofadr[0])
        self.data.qpos[start : start + 3] = np.asarray(position) + [0, 0, mjcf.PELVIS_HEIGHT]
        mujoco.mju_mat2Quat(self.data.qpos[start + 3 : start + 7], np.ascontiguousarray(rotation, dtype=float).ravel())
        self.data.qvel[dof : dof + 6] = 0.0

    # ---- observation

    @property
    def q(self) -> np.ndarray:
        """(J,) rad, measured, contract order."""
        return self.data.qpos[self._qpos]

    @property
    def dq(self) -> np.ndarray:
        """(J,) rad/s, measured, contract order."""
        return self.data.qvel[self._dof]

    @property
    def qpos(self) -> np.ndarray:
        """(nq,) of the model: robot and objects, for `camera.render`."""
        return self.data.qpos

    @property
    def command(self) -> np.ndarray:
        """(J,) rad, in force."""
        return self.data.ctrl

    @property
    def time(self) -> float:
        """s since the reset."""
        return self.data.time

    def pose_of(self, body: str) -> tuple[np.ndarray, np.ndarray]:
        """(3,) m and rotation (3, 3) of a body, pelvis frame; copies."""
        body_data = self.data.body(body)
        return body_data.xpos - [0.0, 0.0, mjcf.PELVIS_HEIGHT], body_data.xmat.reshape(3, 3).copy()

    @property
    def success(self) -> bool:
        """Whether the task is done."""
        return bool(self.task_state()["success"])

    def state(self) -> dict:
        """Privileged state, JSON-able: task, seed, start_stage, time (s), hand_pos (3,) of the right palm, hand_closure
        (rad, mean flexion of the right hand's four fingers), progress in [0, 1], milestone (a name of
        `milestones`), success, recoverable, and the task's own keys; lengths in m, pelvis frame.
        """
        own = self.task_state()
        return {
            "task": self.name,
            "seed": self.seed,
            "start_stage": self.start_stage,
            "time": round(self.time, 4),
            "hand_pos": np.round(self.data.site("right_palm").xpos - [0.0, 0.0, mjcf.PELVIS_HEIGHT], 4).tolist(),
            "hand_closure": round(float(self.data.qpos[self._qpos[self._flexion]].mean()), 3),
            **own,
            "milestone": self.milestones[own["milestone"]],
            "progress": round(float(own["progress"]), 4),
        }

    def landmarks(self) -> tuple[np.ndarray, np.ndarray]:
        """What a picture of the task shows, for pretraining a backbone: points (K, 3) m, pelvis frame, and amounts
        (M,) of the order of 1. A task adds to both hands' palms.
        """
        points, amounts = self.task_landmarks()
        return np.concatenate([[self.site(f"{side}_palm") for side in mjcf.SIDES], points]), np.asarray(amounts)

    def task_landmarks(self) -> tuple[np.ndarray, np.ndarray]:
        """The task's own part of `landmarks`: here none."""
        return np.zeros((0, 3)), np.zeros(0)

    def site(self, name: str) -> np.ndarray:
        """(3,) m of a site, pelvis frame."""
        return self.data.site(name).xpos - [0.0, 0.0, mjcf.PELVIS_HEIGHT]

    def camera_pose(self, camera: str = "ego") -> tuple[np.ndarray, np.ndarray]:
        """(3,) m and rotation (3, 3) of a camera as it is mounted in this trial, pelvis frame; it looks along -z."""
        seen = self.data.camera(camera)
        return seen.xpos - [0.0, 0.0, mjcf.PELVIS_HEIGHT], seen.xmat.reshape(3, 3).copy()

    def render(self, camera: str = "ego") -> np.ndarray:
        """(H, W, 3) uint8 RGB of a camera of `CAMERAS`."""
        return self.camera.render(self.data.qpos, camera)

    def close(self) -> None:
        """Free the GL context."""
        self.camera.close()


# Fields of the model that a reset restores before a seed varies them.
_GEOM = ("friction", "matid", "rgba", "size", "pos", "rbound", "aabb")
_BODY = ("pos", "quat", "mass", "inertia", "ipos", "gravcomp")
_VARIED = (
    *(f"geom_{field}" for field in _GEOM),
    *(f"body_{field}" for field in _BODY),
    *("light_diffuse", "light_pos", "cam_pos", "cam_quat"),
)


def _flexion(table: joints.JointTable, side: str = "right") -> np.ndarray:
    """(8,) indices of the proximal and distal joints of the four fingers; their mean is the hand's closure."""
    names = [f"{side}_{finger}_{part}" for finger in mjcf.FINGERS[1:] for part in ("proximal", "distal")]
    return np.array([table.index[name] for name in names], dtype=np.intp)


def _turn(quat: np.ndarray, vector: np.ndarray) -> None:
    """Turn a quaternion (4,) in place by a small rotation vector (3,) rad in its own frame."""
    before = quat.copy()
    turn = np.concatenate([[1.0], 0.5 * vector])
    mujoco.mju_mulQuat(quat, before, turn / np.linalg.norm(turn))
