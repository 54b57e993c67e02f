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

# s along the way to rest; at the arm's 4 rad/s and 20 rad/s^2 stopping takes 0.25 s.
AHEAD_S = (0.04, 0.12)


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
        self._joints = np.array([self._joint(name) for name in table.names])
        self._qpos = m.jnt_qposadr[self._joints]
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
        chains = np.array([self._chain(table, geom) for geom in geoms])
        self._chains = chains
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
        n, i, k = len(geoms), self._i, self._k
        rows = np.array([i, k, i, i, k, i, k, n + i])
        columns = np.array([i, k, k, n + i, n + i, n + k, n + k, n + k])
        self._products = rows * 2 * n + columns  # into the Gram matrix of starts (s) and directions (d): ss_ii ... dd_ik
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

    def __call__(self, *poses: np.ndarray) -> np.ndarray:
        """Distances (n P,) m at n poses (J,) rad, pose by pose; negative = overlap of the capsules or outside the workspace."""
        data, n = self._data, len(self._geoms)
        segments, room = np.empty((len(poses), 2 * n, 3)), []
        for q, pose in zip(poses, segments):
            data.qpos[self._qpos] = q
            mujoco.mj_kinematics(self.model, data)
            centre = data.geom_xpos[self._geoms]
            axis = data.geom_xmat[self._geoms][self._rows, self._columns] * self._half
            np.subtract(centre, axis, out=pose[:n])
            np.multiply(axis, 2.0, out=pose[n:])
            inside = centre[self._inside] - self._base
            reach = np.abs(axis[self._inside]) + self._inside_radius
            room.append(np.minimum(inside - reach - self._lower, self._upper - inside - reach).min(axis=1))
        # Closest points start_i + s d_i and start_k + t d_k of two segments (Ericson, Real-Time Collision Detection, 5.1.9). All that
        # is needed are dot products of starts and directions: one Gram matrix per pose.
        gram = np.matmul(segments, segments.transpose(0, 2, 1)).reshape(len(poses), -1)
        ss_ii, ss_kk, ss_ik, sd_ii, sd_ki, sd_ik, sd_kk, b = gram.take(self._products, axis=1).transpose(1, 0, 2)
        c, f = sd_ii - sd_ki, sd_ik - sd_kk
        det = self._i2 * self._k2 - b * b
        s = np.minimum(np.maximum((b * f - c * self._k2) / np.maximum(det, 1e-18), 0.0), 1.0)
        t = np.minimum(np.maximum((b * s + f) / self._k2, 0.0), 1.0)
        s = np.minimum(np.maximum((b * t - c) / self._i2, 0.0), 1.0)
        squared = ss_ii + ss_kk - 2.0 * ss_ik + s * (s * self._i2 + 2.0 * (c - t * b)) + t * (t * self._k2 - 2.0 * f)
        between = np.sqrt(np.maximum(squared, 0.0)) - self._radii
        self._closest = segments[-1], s[-1], t[-1]
        return np.concatenate([part for pair in zip(between, room) for part in pair])

    def gradient(self, pair: int) -> np.ndarray:
        """(J,) m/rad: change of one pair's distance with the joints, at the last pose of the last call."""
        chosen = np.flatnonzero(self.affects[pair])
        data, n = self._data, len(self._geoms)
        if pair < len(self._i):
            segments, s, t = self._closest
            i, k = self._i[pair], self._k[pair]
            on_i, on_k = segments[i] + s[pair] * segments[n + i], segments[k] + t[pair] * segments[n + k]
            normal = (on_i - on_k) / max(float(np.linalg.norm(on_i - on_k)), 1e-9)
            # Joints that carry link i move its point along the normal; those that carry link k move the other one against it.
            carries_i = self._chains[i][chosen][:, None]
            sign, points = np.where(carries_i, 1.0, -1.0), np.where(carries_i, on_i, on_k)
        else:
            centre = data.geom_xpos[self._geoms[self._inside[pair - len(self._i)]]]
            position = centre - self._base
            room = np.concatenate([position - self._lower, self._upper - position])
            face = int(np.argmin(room))
            normal = np.zeros(3)
            normal[face % 3] = 1.0 if face < 3 else -1.0
            sign, points = 1.0, centre[None]
        joint = self._joints[chosen]
        out = np.zeros(self.affects.shape[1])
        out[chosen] = (sign * np.cross(data.xaxis[joint], points - data.xanchor[joint])) @ normal
        return out


class Guard:
    """Scales the steps of a `CommandFilter`. clearance: distances of the robot. period_s: of the filter.

    active: whether the last step was scaled back; `worst`: the pair that did it (or the closest pair) and its distance in m.
    Checked are the resting place and the poses AHEAD_S along the way to it. Every pose of the path was ahead at each of these times,
    so what lies between the samples of one period is looked at in others.
    """

    def __init__(self, clearance: Clearance, period_s: float):
        self.clearance = clearance
        self.config = clearance.config
        self._share = period_s / self.config.slow_s
        self._count = len(clearance.pairs)
        self._looks = 1 + len(AHEAD_S)
        self._before = np.full(self._looks * self._count, np.inf)  # on the way, then at the resting place
        self._allowed = np.empty(self._looks * self._count)
        self._margin = np.full(self._looks * self._count, self.config.margin_m)
        self._known = False  # whether `before` is that of the last period
        self.active = False
        self.interventions = 0
        self._worst = 0

    def reset(self, q: np.ndarray) -> None:
        """The robot is at rest at q (J,) rad."""
        self._before = np.tile(self.clearance(q), self._looks)
        self._worst = int(np.argmin(self._before))
        self.active = False

    @property
    def worst(self) -> tuple[tuple[str, str], float]:
        return self.clearance.pairs[self._worst % self._count], float(self._before[self._worst])

    def step(self, limiter, target, target_velocity=None) -> np.ndarray:
        """One period of the filter under guard; arguments and result as `CommandFilter.step`."""
        if not limiter.propose(target, target_velocity):
            self.active, self._known = False, False  # stopping: the resting place does not change, the way to it does
            return limiter.commit()
        stop, rest = limiter.proposed_stop()
        if not self._known:
            self._before = self._look(limiter.position, limiter.velocity, rest)
            self._known = True
        return limiter.commit(self._scale(limiter.position, limiter.velocity, stop, rest))

    def _scale(self, q: np.ndarray, dq: np.ndarray, stop: np.ndarray, rest: np.ndarray) -> np.ndarray | None:
        """(J,) scale of the step so that no guarded distance falls faster than allowed; None = as proposed."""
        before, allowed = self._before, self._allowed
        # Velocity damper: inside slow_m a distance may lose this share of what is left above the margin, per period.
        damped = np.minimum(before, before - (before - self._margin) * self._share)
        np.copyto(allowed, np.where(before < self.config.slow_m, damped, self._margin))
        after = self._look(q, dq, stop)
        broken = after < allowed - 1e-9
        self.active = bool(broken.any())
        if not self.active:
            self._before = after
            self._worst = int(np.argmin(after))
            return None
        self.interventions += 1
        self._worst = int(np.argmin(np.where(broken, after, np.inf)))
        step, scale = stop - rest, np.ones(len(stop))
        for attempt in range(2):
            for index in np.flatnonzero(broken):
                self._scale_pair(index, step, scale, whole=attempt == 1)
            after = self._look(q, dq, rest + scale * step)
            broken = after < allowed - 1e-9
            if not broken.any():
                self._before = after
                return scale
        scale.fill(0.0)
        self._before = self._look(q, dq, rest)
        return scale

    def _look(self, q: np.ndarray, dq: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """Distances on the way from q, moving with dq, to rest at `stop`, and there. The gradient is then that of the resting place.

        With constant deceleration a joint that needs the distance D to stop has (1 - t dq / 2 D)^2 of it left after the time t.
        """
        left = q - stop
        rate = np.where(left * dq < 0.0, -0.5 * dq / np.where(left == 0.0, 1.0, left), np.inf)
        way = [stop + left * np.square(np.maximum(1.0 - t * rate, 0.0)) for t in AHEAD_S]
        return self.clearance(*way, stop)

    def _scale_pair(self, index: int, step: np.ndarray, scale: np.ndarray, whole: bool) -> None:
        """Scale back what brings the two links together, so that the robot slides along and away freely.

        The gradient is local: what it misjudges is caught by looking again, and then (whole) every joint of the pair follows the stop law.
        """
        pair = index % self._count
        if whole:
            scale[self.clearance.affects[pair]] = 0.0
            return
        share = self.clearance.gradient(pair) * step * scale
        closing = share < 0.0
        loss, gain = -share[closing].sum(), share[~closing].sum()
        room = max(self._before[index] - self._allowed[index], 0.0)
        if loss > room + gain:
            scale[closing] *= 0.9 * (room + gain) / loss
        elif index < (self._looks - 1) * self._count or loss <= 0.0:  # the gradient does not explain it
            scale[self.clearance.affects[pair]] = 0.0
        else:
            scale[closing] *= 0.5
