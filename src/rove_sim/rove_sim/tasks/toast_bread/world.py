# SPDX-License-Identifier: Apache-2.0
"""The task "put the bread into the toaster" (paper, App. D): grasp a slice, insert it into a slot, let go, retract.

A slice is held by friction between thumb and fingers. Success: a slice is fully inserted and rests there for 1 s
without being touched by the robot.
"""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from rove_contract import timing
from rove_description import mjcf
from rove_sim.tasks.task import TOAST_BREAD
from rove_sim.tasks.toast_bread import furniture, layout, pinch, stages
from rove_sim.tasks.toast_bread.layout import SLICES, SLOTS
from rove_sim.world import World

FULLY_INSERTED = 0.006  # m, lowest corner above the slot's floor: less than a slice leaning in the widest slot keeps
STABLE_S = 1.0  # s without touch and at rest
AT_REST = 0.01  # m/s
UPRIGHT = 0.16  # rad; a slice in the widest slot leans by at most 6 mm / 52 mm = 0.12
REACH_X, REACH_Y = (0.20, 0.62), (-0.55, 0.20)  # m, where the right hand can grasp
HELD_N = 0.05  # N, normal force of thumb and fingers each; 40 g ask for 0.2 N at friction 1
AT_RIM, DRAWN_UP = 0.004, 0.012  # m above the rim: an attempt to insert begins, has been given up
LIFTED = 0.02  # m above its place in the container
NEAR_CM = 3.0  # a slice within this of a slot is about to be inserted: `task_landmarks`

AT_GRASP, AT_LIFT, AT_SLOT, AT_INSERTION = 0.20, 0.35, 0.60, 0.85  # progress at the milestones


class ToastBreadWorld(World):
    """Simulated IRON-R01 before a container with two slices and a two-slot toaster."""

    name = TOAST_BREAD.name
    scene = Path(__file__).with_name("scene.xml")
    start_stages = TOAST_BREAD.start_stages
    milestones = TOAST_BREAD.milestones

    # ---- episode

    def build(self) -> mujoco.MjSpec:
        """Camera `third` stands beside the robot, near the table: a slice is 10 cm wide."""
        spec = super().build()
        camera = spec.camera("third")
        camera.pos = [-0.25, -0.95, 1.50]
        camera.alt.type = mujoco.mjtOrientation.mjORIENTATION_XYAXES
        camera.alt.xyaxes = [0.795, -0.607, 0.0, 0.245, 0.321, 0.915]
        camera.fovy = 44
        return spec

    def setup(self) -> None:
        """Ids of slices and robot."""
        model = self.model
        self._slices = [model.body(f"slice_{i}").id for i in range(SLICES)]
        self._slice_geoms = [model.geom(f"slice_{i}").id for i in range(SLICES)]
        self._velocities = [int(model.joint(f"slice_{i}").dofadr[0]) for i in range(SLICES)]
        # 0 = not the robot, 1 = right thumb, 2 = other right finger, 3 = rest of the robot
        self._part = np.zeros(model.ngeom, dtype=int)
        robot = np.flatnonzero(model.geom_contype == 2)
        self._part[robot] = 3
        for finger, ids in self.pads["right"].items():
            if finger != "palm":
                self._part[sorted(ids)] = 1 if finger == "thumb" else 2

    def vary(self, rng: np.random.Generator) -> None:
        """Sizes, places, masses, friction and colours of the seed's `Layout`."""
        super().vary(rng)
        self.layout = layout.draw(rng)
        furniture.write(self, self.layout)

    def place(self, rng: np.random.Generator, start_stage: str) -> None:
        """Slices upright in the container; in later stages one is in the hand."""
        self.place_in_container(rng)
        self._stable_s = 0.0
        self.insertion_attempts = 0
        self._at_rim = [False] * SLICES
        if start_stage == "start":
            self.settle(0.3)
        else:
            stages.place_in_hand(self, rng, start_stage)

    def place_in_container(self, rng: np.random.Generator) -> None:
        """Put each slice upright into its compartment."""
        container = self.layout.container
        for i in range(SLICES):
            aside = [rng.uniform(-layout.ASIDE, layout.ASIDE), 0.0, 0.0]
            self.place_body(f"slice_{i}", container.point(self.layout.compartment(i) + aside), container.rotation)

    def set_pose(self, q: np.ndarray) -> None:
        """Put the robot at joints q (J,) rad, at rest, and command it to stay there."""
        self.data.qpos[self._qpos] = q
        self.data.qvel[self._dof] = 0.0
        self.data.ctrl[:] = q

    # ---- rules

    def forces(self) -> np.ndarray:
        """(SLICES, 3) N: normal forces of the right thumb, the other right fingers and the rest of the robot."""
        forces, force = np.zeros((SLICES, 4)), np.empty(6)
        pairs = self.data.contact.geom
        for i, slice_geom in enumerate(self._slice_geoms):
            for contact in np.flatnonzero((pairs == slice_geom).any(axis=1)):
                a, b = pairs[contact]
                part = self._part[b if a == slice_geom else a]
                if part:
                    mujoco.mj_contactForce(self.model, self.data, int(contact), force)
                    forces[i, part] += force[0]
        return forces[:, 1:]

    def insertion(self, i: int) -> tuple[int, float]:
        """(slot, m from its floor up to the slice's lowest corner); slot -1 = in none, then the height is not one."""
        edge = self._lower_edge(i)
        if edge[2] > layout.TOASTER_TOP or abs(edge[0]) > 2 * layout.SLOT_SPARE:
            return -1, 1.0
        slot = int(edge[1] > 0.0)
        inside = abs(edge[1] - self.layout.slot_offset(slot)) < self.layout.slot_width / 2
        return (slot, float(edge[2] - layout.SLOT_FLOOR)) if inside else (-1, 1.0)

    def _lower_edge(self, i: int) -> np.ndarray:
        """(3,) m, toaster's frame: middle of the slice's lower edge in x and y, height of its lowest corner in z.

        The lower edge decides in which slot a slice stands: its upper one may lean over the other slot.
        """
        position, rotation = self.pose_of(f"slice_{i}")
        half, toaster = self.layout.slice_half, self.layout.toaster
        edge = toaster.rotation.T @ (position - half[2] * pinch.face_axes(rotation)[1] - toaster.position)
        edge[2] = position[2] - np.abs(rotation[2]) @ half - toaster.position[2]
        return edge

    def inserted(self, i: int) -> bool:
        """Whether slice i stands fully in a slot."""
        slot, height = self.insertion(i)
        return slot >= 0 and height < FULLY_INSERTED and self._lean(i) < UPRIGHT

    def _lean(self, i: int) -> float:
        return float(np.arccos(np.clip(abs(self.data.xmat[self._slices[i]][8]), 0.0, 1.0)))

    def after_step(self) -> None:
        """Count the attempts to insert; measure how long an inserted slice has rested alone."""
        for i in range(SLICES):
            self._count_attempt(i)
        if self._rests_inserted():
            self._stable_s += timing.CONTROL_PERIOD_S
        else:
            self._stable_s = 0.0

    def _count_attempt(self, i: int) -> None:
        """An attempt begins when a held slice comes down to the toaster's rim; the next one after it was drawn up."""
        edge = self._lower_edge(i)
        over = abs(edge[0]) < layout.OVER_TOASTER[0] and abs(edge[1]) < layout.OVER_TOASTER[1]
        if not over or edge[2] > layout.TOASTER_TOP + DRAWN_UP:
            self._at_rim[i] = False
        elif not self._at_rim[i] and edge[2] < layout.TOASTER_TOP + AT_RIM and self._holds(self.forces()[i]):
            self._at_rim[i] = True
            self.insertion_attempts += 1

    @staticmethod
    def _holds(forces: np.ndarray) -> bool:
        return bool(forces[0] > HELD_N and forces[1] > HELD_N)

    def _rests_inserted(self) -> bool:
        for i in range(SLICES):
            if self.inserted(i):
                speed = np.linalg.norm(self.data.qvel[self._velocities[i] : self._velocities[i] + 3])
                if speed < AT_REST and not self.forces()[i].any():
                    return True
        return False

    # ---- observation

    def task_state(self) -> dict:
        """slices: position, quaternion (w x y z), held, touched, lean (rad), slot (-1 = none), height (m above the
        slot's floor), inserted, usable (the hand can still bring it into a slot). held: index of the slice in the hand,
        -1 = none. slots: position of the floor's middle, yaw. slice_half (3,), slot_depth, clearance, forces (thumb,
        fingers, N) on the held slice, insertion_attempts.
        """
        forces = self.forces()
        slices = [self._slice_state(i, forces[i]) for i in range(SLICES)]
        held = next((i for i, item in enumerate(slices) if item["held"]), -1)
        success = self._stable_s >= STABLE_S - 1e-9
        milestone, progress = self._progress(slices, held, success)
        return {
            "success": success,
            "recoverable": success or any(item["usable"] for item in slices),
            "milestone": milestone,
            "progress": progress,
            "slices": slices,
            "held": held,
            "forces": np.round(forces[held, :2], 2).tolist() if held >= 0 else [0.0, 0.0],
            "slots": [
                {"position": np.round(place.position, 4).tolist(), "yaw": round(place.yaw, 4)}
                for place in (self.layout.slot(k) for k in range(SLOTS))
            ],
            "slice_half": np.round(self.layout.slice_half, 5).tolist(),
            "slot_depth": round(self.layout.slot_depth, 4),
            "clearance": round(self.layout.clearance, 5),
            "insertion_attempts": self.insertion_attempts,
        }

    def task_landmarks(self) -> tuple[np.ndarray, np.ndarray]:
        """Points: of the slice nearest the right hand and of the other one both lower corners and the middle; both ends
        of both slots at the rim. Amounts: progress, a slice in the hand, insertion of the nearer slice, thumb and
        fingers pressing (10 N); and for each slot how the nearer slice stands to it, which decides an insertion: middle
        of its lower edge from the middle of the rim along, across and above the slot, cm and at most 3, and the sines
        of its turn and lean.
        """
        state, palm = self.task_state(), self.site("right_palm")
        half = self.layout.slice_half
        corners = np.array([[-half[0], 0.0, -half[2]], [half[0], 0.0, -half[2]], [0.0, 0.0, 0.0]])
        poses = [self.pose_of(f"slice_{i}") for i in range(SLICES)]
        order = sorted(range(SLICES), key=lambda i: float(np.linalg.norm(poses[i][0] - palm)))
        slices = [poses[i][0] + corners @ poses[i][1].T for i in order]
        reach, depth = self.layout.slot_half_length, self.layout.slot_depth
        slots = [self.layout.slot(k).point([side * reach, 0.0, depth]) for k in range(SLOTS) for side in (-1.0, 1.0)]
        near = state["slices"][order[0]]
        inserted = 1.0 - near["height"] / depth if near["slot"] >= 0 else 0.0
        amounts = [state["progress"], float(state["held"] >= 0), inserted, *(f / 10.0 for f in state["forces"])]
        lower, turned = slices[0][:2].mean(axis=0), poses[order[0]][1]
        for k in range(SLOTS):
            slot = self.layout.slot(k)
            away = slot.rotation.T @ (lower - slot.point([0.0, 0.0, depth]))
            axes = slot.rotation.T @ turned
            amounts += [*np.clip(100.0 * away, -NEAR_CM, NEAR_CM), axes[1, 0], axes[1, 2]]
        return np.concatenate([*slices, slots]), np.array(amounts)

    def _slice_state(self, i: int, forces: np.ndarray) -> dict:
        position, _ = self.pose_of(f"slice_{i}")
        slot, height = self.insertion(i)
        item = {
            "position": np.round(position, 5).tolist(),
            "quaternion": np.round(self.data.xquat[self._slices[i]], 5).tolist(),
            "held": self._holds(forces),
            "touched": bool(forces.any()),
            "lean": round(self._lean(i), 4),
            "slot": slot,
            "height": round(height, 4),
            "inserted": self.inserted(i),
        }
        return item | {"usable": self._usable(item)}

    def _usable(self, item: dict) -> bool:
        """Whether the right hand can still bring this slice into a slot."""
        x, y, z = item["position"]
        upright = item["lean"] < pinch.GRASPABLE and z > self.layout.container.position[2]
        near = REACH_X[0] < x < REACH_X[1] and REACH_Y[0] < y < REACH_Y[1]
        return item["held"] or item["inserted"] or (upright and near)

    def _progress(self, slices: list[dict], held: int, success: bool) -> tuple[int, float]:
        """(index of the milestone, progress): the farthest slice counts."""
        if success:
            return 5, 1.0
        if any(item["inserted"] for item in slices):
            return 4, AT_INSERTION + (1.0 - AT_INSERTION) * 0.9 * self._stable_s / STABLE_S
        entered = [item["height"] for item in slices if item["slot"] >= 0]
        if entered:
            share = np.clip(1.0 - min(entered) / self.layout.slot_depth, 0.0, 1.0)
            return 3, AT_SLOT + (AT_INSERTION - AT_SLOT) * float(share)
        if held < 0:
            return 0, AT_GRASP * 0.5 * self._nearness(slices)
        position = np.array(slices[held]["position"])
        rise = position[2] - self.layout.container.point(self.layout.compartment(0))[2]
        if rise < LIFTED:
            return 1, AT_GRASP + (AT_LIFT - AT_GRASP) * float(np.clip(rise / LIFTED, 0.0, 1.0))
        away = min(np.linalg.norm((position - self.layout.slot(k).position)[:2]) for k in range(SLOTS))
        start = np.linalg.norm((self.layout.container.position - self.layout.toaster.position)[:2])
        share = float(np.clip(1.0 - away / start, 0.0, 1.0))
        above = away < 0.02
        return (3 if above else 2), AT_LIFT + (AT_SLOT - AT_LIFT) * share

    def _nearness(self, slices: list[dict]) -> float:
        """1 = the hand is at a slice that it can grasp, 0 = 0.3 m away or farther."""
        palm = self.data.site("right_palm").xpos - [0.0, 0.0, mjcf.PELVIS_HEIGHT]
        usable = [np.array(item["position"]) for item in slices if item["usable"]]
        if not usable:
            return 0.0
        distance = min(np.linalg.norm(point + [0, 0, self.layout.slice_half[2]] - palm) for point in usable)
        return float(np.clip(1.0 - (distance - 0.05) / 0.3, 0.0, 1.0))
