"""Self-collision and workspace guard: the robot may only move so that it can always stop before its links touch. No ROS.

The command filter says where the robot would come to rest if it stopped after the proposed step. The guard computes the distances
there, and scales the step back where a distance would fall too fast (velocity damper) or below the margin. The stop law's own step
(scale 0) leaves the resting place, and so every distance, unchanged; hence the guard is never forced to accept a smaller one.
Links are capsules around the geoms of the MuJoCo model, all pairs at once in numpy: 1-2 us per mj_geomDistance call would not
fit several hundred pairs into the period.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from rove_contract import joints, robot


@dataclass(frozen=True)
class GuardConfig:
    """margin_m: distance kept between links. slow_m: from here on approaching slows down. slow_s: time constant of that approach.

    lower, upper: box (m, pelvis frame) that hands and forearms must stay `margin_m` inside of; the default only keeps off the floor and
    out of reach of nothing else. Pairs of fingers of the two hands are not guarded (hands work together), nor fingers of one hand.
    """

    margin_m: float = 0.015
    slow_m: float = 0.06
    slow_s: float = 0.10
    lower: tuple[float, float, float] = (-0.8, -1.3, -0.90)
    upper: tuple[float, float, float] = (1.5, 1.3, 1.6)


def _capsule(model, geom: int) -> tuple[int, float, float]:
    """(local axis, half length m, radius m) of a capsule around a geom."""
    kind, size = model.geom_type[geom], model.geom_size[geom]
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        return 2, size[1], size[0]
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return 2, 0.0, size[0]
    axis = int(np.argmax(size))
    others = np.delete(size, axis)
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return axis, size[axis], float(np.hypot(*others))
    if kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        return axis, size[axis] - others.max(), others.max()
    name = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_GEOM, geom)
    raise ValueError(f"the guard has no capsule for geom {name!r} of type {kind}; use capsules, spheres, boxes or ellipsoids")


def _side(name: str) -> str:
    """"left" | "right" for links of an arm, "" for the body (legs belong to the body)."""
    side = name.partition("_")[0]
    return side if side in robot.SIDES and not name.endswith("_leg") else ""


def _is_finger(name: str) -> bool:
    return any(f"_{finger}_" in f"{name}_" for finger in robot.FINGERS)


class Clearance:
    """Distances of all guarded pairs of one robot. table: the contract's joints. model: a MuJoCo model with these joint names.

    pairs: names of the P guarded pairs (geom, geom) or (geom, "workspace"). affects: (P, J) bool, joints that change the distance.
    """

    def __init__(self, table: joints.JointTable, config: GuardConfig | None = None, model=None):
        self.config = config or GuardConfig()
        self.model = model if model is not None else mujoco.MjModel.from_xml_string(robot.mjcf(table))
        self._data = mujoco.MjData(self.model)
        m = self.model
        self._qpos = np.array([m.jnt_qposadr[self._joint(name)] for name in table.names])
        pelvis = mujoco.mj_name2id(m, mujoco.mjtObj.mjOBJ_BODY, "pelvis")
        self._base = m.body_pos[pelvis].copy()
        names, geoms = [], []
        for geom in range(m.ngeom):
            name = mujoco.mj_id2name(m, mujoco.mjtObj.mjOBJ_GEOM, geom) or ""
            if m.body_rootid[m.geom_bodyid[geom]] == pelvis and name and name != "visor":
                names.append(name)
                geoms.append(geom)
        self._geoms = np.array(geoms)
        shapes = [_capsule(m, geom) for geom in geoms]
        self._columns = np.array([[axis, axis + 3, axis + 6] for axis, _, _ in shapes])
        self._half = np.array([half for _, half, _ in shapes])[:, None]
        self._rows = np.arange(len(geoms))[:, None]
        radius = np.array([r for _, _, r in shapes])
        chains = [self._chain(table, geom) for geom in geoms]
        pairs = [(i, k) for i in range(len(geoms)) for k in range(i) if self._guarded(names, i, k)]
        self._i, self._k = (np.array(column, dtype=np.intp) for column in zip(*pairs))
        self._radii = radius[self._i] + radius[self._k]
        inside = [i for i, name in enumerate(names) if _side(name) and "shoulder" not in name and "upper_arm" not in name]
        self._inside = np.array(inside, dtype=np.intp)
        self._inside_radius = radius[self._inside][:, None]
        self._lower, self._upper = np.array(self.config.lower), np.array(self.config.upper)
        self.pairs = [(names[i], names[k]) for i, k in pairs] + [(names[i], "workspace") for i in inside]
        self.affects = np.array([chains[i] ^ chains[k] for i, k in pairs] + [chains[i] for i in inside])
        i2 = 4.0 * self._half[self._i, 0] ** 2
        k2 = 4.0 * self._half[self._k, 0] ** 2
        self._i2, self._k2 = np.maximum(i2, 1e-12), np.maximum(k2, 1e-12)  # squared lengths; spheres have none

    def _joint(self, name: str) -> int:
        joint = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_JOINT, name)
        if joint < 0:
            raise ValueError(f"the robot model has no joint {name!r} of the joint table")
        return joint

    def _chain(self, table, geom: int) -> np.ndarray:
        """(J,) bool: joints between the pelvis and a geom."""
        m = self.model
        chain = np.zeros(len(table), dtype=bool)
        body = m.geom_bodyid[geom]
        while body > 0:
            for joint in range(m.body_jntadr[body], m.body_jntadr[body] + m.body_jntnum[body]):
                name = mujoco.mj_id2name(m, mujoco.mjtObj.mjOBJ_JOINT, joint)
                if name in table.index:
                    chain[table.index[name]] = True
            body = m.body_parentid[body]
        return chain

    def _guarded(self, names: list[str], i: int, k: int) -> bool:
        """Whether two links should not touch: arm against body and arm against arm, but not neighbours in the kinematic tree."""
        a, b = names[i], names[k]
        if not _side(a) and not _side(b):
            return False  # pelvis, waist, torso and neck overlap by construction
        if _side(a) == _side(b):
            # A hand can reach its own upper arm and shoulder; everything else of one arm is adjacent or a hand closing.
            hand, other = (a, b) if _is_finger(a) or a.endswith("palm") else (b, a)
            return (_is_finger(hand) or hand.endswith("palm")) and other.endswith(("upper_arm", "shoulder"))
        if _is_finger(a) and _is_finger(b):
            return False
        return self._tree_distance(self.model.geom_bodyid[self._geoms[i]], self.model.geom_bodyid[self._geoms[k]]) > 2

    def _tree_distance(self, a: int, b: int) -> int:
        up = {}
        steps = 0
        while True:
            up[int(a)] = steps
            if a == 0:
                break
            a, steps = self.model.body_parentid[a], steps + 1
        steps = 0
        while int(b) not in up:
            b, steps = self.model.body_parentid[b], steps + 1
        return steps + up[int(b)]

    def __call__(self, q: np.ndarray) -> np.ndarray:
        """Distances (P,) m at the pose q (J,) rad; negative = overlap of the capsules or outside the workspace."""
        data = self._data
        data.qpos[self._qpos] = q
        mujoco.mj_kinematics(self.model, data)
        centre = data.geom_xpos[self._geoms]
        axis = data.geom_xmat[self._geoms][self._rows, self._columns] * self._half
        start, length = centre - axis, 2.0 * axis
        d1, d2 = length[self._i], length[self._k]
        r = start[self._i] - start[self._k]
        # Closest points of two segments (Ericson, Real-Time Collision Detection, 5.1.9), all pairs at once.
        b = np.einsum("ij,ij->i", d1, d2)
        c = np.einsum("ij,ij->i", d1, r)
        f = np.einsum("ij,ij->i", d2, r)
        det = self._i2 * self._k2 - b * b
        s = np.minimum(np.maximum((b * f - c * self._k2) / np.maximum(det, 1e-12), 0.0), 1.0)
        t = (b * s + f) / self._k2
        clipped = np.minimum(np.maximum(t, 0.0), 1.0)
        s = np.where(t == clipped, s, np.minimum(np.maximum((b * clipped - c) / self._i2, 0.0), 1.0))
        gap = r + d1 * s[:, None] - d2 * clipped[:, None]
        between = np.sqrt(np.einsum("ij,ij->i", gap, gap)) - self._radii
        points = centre[self._inside] - self._base
        reach = np.abs(axis[self._inside]) + self._inside_radius
        room = np.minimum(points - reach - self._lower, self._upper - points - reach).min(axis=1)
        return np.concatenate([between, room])


class Guard:
    """Scales the steps of a `CommandFilter`. clearance: distances of the robot. period_s: of the filter.

    active: whether the last step was scaled back; worst: the pair that did it (or the closest pair) and its distance in m.
    """

    def __init__(self, clearance: Clearance, period_s: float):
        self.clearance = clearance
        self.config = clearance.config
        self._share = period_s / self.config.slow_s
        self._distance: np.ndarray | None = None
        self.active = False
        self.interventions = 0
        self._worst = 0

    def reset(self, q: np.ndarray) -> None:
        """The robot is at rest at q (J,) rad."""
        self._distance = self.clearance(q)
        self._worst = int(np.argmin(self._distance))
        self.active = False

    @property
    def worst(self) -> tuple[tuple[str, str], float]:
        return self.clearance.pairs[self._worst], float(self._distance[self._worst])

    def step(self, limiter, target, target_velocity=None) -> np.ndarray:
        """One period of the filter under guard; arguments and result as `CommandFilter.step`."""
        if not limiter.propose(target, target_velocity):
            self.active = False  # stopping: the resting place does not change
            return limiter.commit()
        stop, rest = limiter.proposed_stop()
        scale = self._scale(stop, rest)
        return limiter.commit(scale)

    def _scale(self, stop: np.ndarray, rest: np.ndarray) -> np.ndarray | None:
        """(J,) scale of the step so that no guarded distance falls faster than allowed; None = as proposed."""
        before = self._distance
        room = before - self.config.margin_m
        # Velocity damper: inside slow_m a distance may lose this share of what is left above the margin, per period.
        allowed = np.where(before < self.config.slow_m, np.minimum(before, before - room * self._share), self.config.margin_m)
        after = self.clearance(stop)
        broken = after < allowed - 1e-9
        self.active = bool(broken.any())
        if not self.active:
            self._distance = after
            self._worst = int(np.argmin(after))
            return None
        self.interventions += 1
        self._worst = int(np.argmin(np.where(broken, after, np.inf)))
        scale = np.ones(len(stop))
        for _ in range(2):
            for pair in np.flatnonzero(broken):
                loss = before[pair] - after[pair]
                share = max(0.0, before[pair] - allowed[pair]) / loss * 0.9 if loss > 0.0 else 0.0
                chosen = self.clearance.affects[pair]
                scale[chosen] = np.minimum(scale[chosen], scale[chosen] * share)
            after = self.clearance(rest + scale * (stop - rest))
            broken = after < allowed - 1e-9
            if not broken.any():
                self._distance = after
                return scale
        scale.fill(0.0)
        return scale
