# SPDX-License-Identifier: Apache-2.0
"""Distances between the links of one robot, and to the edges of its workspace. No ROS.

Links are capsules around the geoms of the MuJoCo model. All guarded pairs are measured in one compiled loop: 1-2 us per
mj_geomDistance call would not fit several hundred pairs at several poses into the period.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import mujoco
import numba
import numpy as np
from numba import njit

from rove_description import collision, joints, mjcf
from rove_description.kinematics import Kinematics
from rove_teleop.command_filter.stop_law import compiled

# A capsule: geom of the model, its column of the rotation matrix that is the axis, half length and radius (m), joints
# that carry it.
CAPSULE = np.dtype([("geom", "i8"), ("column", "i8"), ("half", "f8"), ("radius", "f8")])
# A pair: the two capsules; second < 0 means the workspace. s, t: shares of the two axes at which they are closest.
PAIR = np.dtype([("first", "i8"), ("second", "i8"), ("s", "f8"), ("t", "f8")])
_CAPSULES, _PAIRS = numba.from_dtype(CAPSULE)[::1], numba.from_dtype(PAIR)[::1]
_MATRIX, _VECTOR = numba.float64[:, ::1], numba.float64[::1]


@njit(numba.void(_CAPSULES, _MATRIX, _MATRIX, _MATRIX), **compiled)
def _segments(capsules, xpos, xmat, out):
    """out (n, 6): start and direction of every capsule's axis, m; xpos (ngeom, 3), xmat (ngeom, 9) as in MjData."""
    for n in range(len(capsules)):
        c = capsules[n]
        for k in range(3):
            axis = c.half * xmat[c.geom, 3 * k + c.column]
            out[n, k] = xpos[c.geom, k] - axis
            out[n, 3 + k] = 2.0 * axis


@njit(numba.void(_CAPSULES, _PAIRS, _MATRIX, _VECTOR, _VECTOR, numba.float64, _VECTOR), **compiled)
def _distances(capsules, pairs, segments, lower, upper, enough, out):
    """out (P,): distance of every pair, m; where the spheres around two capsules are more than `enough` apart, the
    distance of these.

    Closest points of two segments: Ericson, Real-Time Collision Detection, 5.1.9.
    """
    for p in range(len(pairs)):
        pair = pairs[p]
        x = segments[pair.first]
        radius = capsules[pair.first].radius
        if pair.second < 0:
            room = math.inf
            for k in range(3):
                near, far = min(x[k], x[k] + x[3 + k]), max(x[k], x[k] + x[3 + k])
                room = min(room, near - radius - lower[k], upper[k] - far - radius)
            out[p] = room
            continue
        y, other = segments[pair.second], capsules[pair.second]
        reach = capsules[pair.first].half + other.half + radius + other.radius
        a = 0.0
        for k in range(3):
            apart = x[k] - y[k] + 0.5 * (x[3 + k] - y[3 + k])
            a += apart * apart
        if a > (reach + enough) * (reach + enough):
            out[p] = math.sqrt(a) - reach
            continue
        a = b = c = e = f = 0.0
        for k in range(3):
            apart = x[k] - y[k]
            a += x[3 + k] * x[3 + k]
            b += x[3 + k] * y[3 + k]
            c += x[3 + k] * apart
            e += y[3 + k] * y[3 + k]
            f += y[3 + k] * apart
        a, e = max(a, 1e-12), max(e, 1e-12)  # spheres have no axis
        s = min(max((b * f - c * e) / max(a * e - b * b, 1e-18), 0.0), 1.0)
        t = min(max((b * s + f) / e, 0.0), 1.0)
        s = min(max((b * t - c) / a, 0.0), 1.0)
        squared = 0.0
        for k in range(3):
            apart = x[k] + s * x[3 + k] - y[k] - t * y[3 + k]
            squared += apart * apart
        pair.s, pair.t = s, t
        out[p] = math.sqrt(squared) - radius - other.radius


@njit(
    numba.void(
        _PAIRS,
        numba.int64,
        _MATRIX,
        numba.boolean[:, ::1],
        numba.int64[::1],
        _MATRIX,
        _MATRIX,
        _VECTOR,
        _VECTOR,
        _VECTOR,
    ),
    **compiled,
)
def _gradient(pairs, index, segments, carries, joint, xanchor, xaxis, lower, upper, out):
    """out (J,): m/rad, change of one pair's distance with the joints. carries (n, J): whether a joint moves a
    capsule.
    """
    pair = pairs[index]
    x, points, normal = segments[pair.first], np.empty((2, 3)), np.zeros(3)
    if pair.second < 0:
        face, room = 0, math.inf
        for k in range(3):
            middle = x[k] + 0.5 * x[3 + k]
            points[0, k] = middle
            if middle - lower[k] < room:
                face, room = k, middle - lower[k]
            if upper[k] - middle < room:
                face, room = 3 + k, upper[k] - middle
        normal[face % 3] = 1.0 if face < 3 else -1.0
    else:
        y = segments[pair.second]
        length = 0.0
        for k in range(3):
            points[0, k], points[1, k] = x[k] + pair.s * x[3 + k], y[k] + pair.t * y[3 + k]
            normal[k] = points[0, k] - points[1, k]
            length += normal[k] * normal[k]
        normal /= max(math.sqrt(length), 1e-9)
    for i in range(len(joint)):
        first = carries[pair.first, i]
        second = pair.second >= 0 and carries[pair.second, i]
        out[i] = 0.0
        if first == second:
            continue  # carried by both or by none: the distance does not change
        # Joints that carry the first link move its point along the normal; those that carry the second move the other
        # one against it.
        point = points[0] if first else points[1]
        ax, at = xaxis[joint[i]], xanchor[joint[i]]
        rx, ry, rz = point[0] - at[0], point[1] - at[1], point[2] - at[2]
        along = (
            normal[0] * (ax[1] * rz - ax[2] * ry)
            + normal[1] * (ax[2] * rx - ax[0] * rz)
            + normal[2] * (ax[0] * ry - ax[1] * rx)
        )
        out[i] = along if first else -along


def _capsule(model: Any, geom: int) -> tuple[int, float, float]:
    """(local axis, half length m, radius m) of a capsule around a geom."""
    kind, size = model.geom_type[geom], model.geom_size[geom]
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        return 2, size[1], size[0]
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return 2, 0.0, size[0]
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return 2, size[1], size[0]
    if kind == mujoco.mjtGeom.mjGEOM_MESH:  # the box around the mesh, widened to be centred on the geom
        size = model.geom_aabb[geom, 3:] + np.abs(model.geom_aabb[geom, :3])
        kind = mujoco.mjtGeom.mjGEOM_BOX
    axis = int(np.argmax(size))
    others = np.delete(size, axis)
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return axis, size[axis], float(np.hypot(*others))
    if kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        return axis, size[axis] - others.max(), others.max()
    name = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_GEOM, geom)
    raise ValueError(
        f"the guard has no capsule for geom {name!r} of type {kind}; use capsules, spheres, boxes, ellipsoids, "
        "cylinders or meshes"
    )


class Clearance:
    """Distances of all guarded pairs of one robot. table: the contract's joints. model: a MuJoCo model with these joint
    names. home: (J,) rad, a pose in which the robot is known to be well; None: the default robot's. ignore: pairs of
    geoms that may touch. base: the model's body that stands still.

    Which pairs are guarded: see `rove_description.collision`. lower, upper: workspace box (m, pelvis frame) of forearms
    and hands. pairs: names of the P guarded pairs (geom, geom) or (geom, "workspace"). affects: (P, J) bool, joints
    that change the distance. at_home: (P,) m. Raises ValueError where no pair of links is left to guard.
    """

    def __init__(
        self,
        table: joints.JointTable,
        lower: Sequence[float],
        upper: Sequence[float],
        model: Any = None,
        home: np.ndarray | None = None,
        ignore: Iterable[tuple[str, str]] = (),
        base: str = "pelvis",
    ) -> None:
        self._kinematics = Kinematics(table, model, base)
        self.model = m = self._kinematics.model
        self._data = self._kinematics.data
        self._joints = self._kinematics.joint_ids
        self._lower = np.array(lower, float) + self._kinematics.origin
        self._upper = np.array(upper, float) + self._kinematics.origin
        home = mjcf.home(table) if home is None else home
        geoms = collision.link_geoms(m, self._kinematics.base)
        at = {geom: n for n, geom in enumerate(geoms)}
        names = [collision.geom_name(m, geom) for geom in geoms]
        self._capsules = np.array([(geom, *_capsule(m, geom)) for geom in geoms], dtype=CAPSULE)
        carries = [collision.carried_by(m, table, geom) for geom in geoms]
        self._carries = np.array(carries).reshape(len(geoms), len(table))
        self._segments = np.zeros((len(geoms), 6))
        # MjData's own arrays; they stay where they are.
        self._xpos, self._xmat = self._data.geom_xpos, self._data.geom_xmat
        self._xanchor, self._xaxis = self._data.xanchor, self._data.xaxis
        blocks = np.array(table.blocks)
        self._guard(names, [(at[a], at[b]) for a, b in collision.guarded_pairs(self._kinematics, home, ignore)])
        # A capsule may be wider than its box: what the capsules of two links already share at home is not guarded.
        away = self(home) > collision.TOUCHING_M
        self._guard(names, [(int(p["first"]), int(p["second"])) for p in self._pairs[away]])
        if not len(self._pairs):
            raise ValueError(
                f"the guard found no two of the robot model's {len(geoms)} links to keep apart; give the model geoms "
                "(capsules, spheres, boxes or ellipsoids) on its links, or switch the guard off by name"
            )
        arm = self._carries[:, blocks == "arm"].sum(axis=1)
        self._guard(
            names,
            [(int(p["first"]), int(p["second"])) for p in self._pairs]
            + [(i, -1) for i in range(len(geoms)) if 2 * arm[i] > max((blocks == "arm").sum() / 2, 1)],
        )
        self.at_home = self(home)

    def _guard(self, names: list[str], pairs: list[tuple[int, int]]) -> None:
        """Measure these pairs of capsules from now on; second -1: the workspace."""
        self._pairs = np.array([(i, k, 0.0, 0.0) for i, k in pairs], dtype=PAIR)
        self.pairs = [(names[i], names[k] if k >= 0 else "workspace") for i, k in pairs]
        self.affects = np.array(
            [self._carries[i] ^ self._carries[k] if k >= 0 else self._carries[i] for i, k in pairs], dtype=bool
        ).reshape(len(pairs), self._carries.shape[1])

    def __call__(self, q: np.ndarray, out: np.ndarray | None = None, enough: float = np.inf) -> np.ndarray:
        """Distances (P,) m at the pose q (J,) rad; negative = overlap of the capsules or outside the workspace.

        out: buffer for them. enough: m; a distance above it may be given too small, but not below it (most pairs are
        far apart, and then a glance is enough).
        """
        if out is None:
            out = np.empty(len(self.pairs))
        self._kinematics.forward(q)
        _segments(self._capsules, self._xpos, self._xmat, self._segments)
        _distances(self._capsules, self._pairs, self._segments, self._lower, self._upper, enough, out)
        return out

    def gradient(self, pair: int) -> np.ndarray:
        """(J,) m/rad: change of one pair's distance with the joints, at the pose of the last call."""
        out = np.empty(self.affects.shape[1])
        _gradient(
            self._pairs,
            pair,
            self._segments,
            self._carries,
            self._joints,
            self._xanchor,
            self._xaxis,
            self._lower,
            self._upper,
            out,
        )
        return out
