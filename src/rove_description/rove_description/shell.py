# SPDX-License-Identifier: Apache-2.0
"""The shell of the simulated IRON-R01: what people see of it in pictures that are made for them.

Smooth bodies, each lofted here through rounded sections along its link, over the capsules and boxes of `mjcf`, which
go on to be the physics and what a policy's cameras see. A shell follows the primitive it covers to within millimetres
where something is touched: at the fingers and the palm.
"""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from rove_description import mjcf

SHELL_GROUP, BARE_GROUP = 2, 3  # geom groups: the shells, and the primitives that they cover

# Each material: red, green, blue; specular; shininess.
MATERIALS = {
    "shell": ((0.90, 0.91, 0.93), 0.35, 0.55),
    "joint": ((0.20, 0.22, 0.25), 0.25, 0.35),
    "skin": ((0.34, 0.37, 0.41), 0.15, 0.25),
    "trim": ((0.13, 0.62, 0.58), 0.30, 0.50),
    "visor": ((0.03, 0.04, 0.06), 0.90, 0.90),
}
CAP = 4  # sections of a rounded end

Section = Sequence[float]  # z, x and y of the middle, half-width along x, along y; all m
Part = tuple[str, str, Sequence[Section], float]  # body, material, sections, power


def loft(sections: Sequence[Section], power: float = 2.3) -> tuple[np.ndarray, np.ndarray]:
    """A closed smooth body through sections, from the highest z to the lowest; both ends are rounded.

    power: 2 makes ellipses, more makes rounded rectangles. A finger has fewer vertices around it than the trunk.
    Returns vertices (V, 3) m and triangles (F, 3). Raises ValueError for fewer than two sections, or a z that does not
    fall.
    """
    table = np.asarray(sections, dtype=float)
    if len(table) < 2 or (np.diff(table[:, 0]) >= 0).any():
        raise ValueError("a loft needs two sections or more, from the highest z to the lowest")
    around = int(np.clip(14 + 160 * table[:, 3:].max(), 16, 36))
    rings = np.vstack([_cap(table[0], 1.0)[::-1], _smooth(table), _cap(table[-1], -1.0)])
    angle = np.linspace(0.0, 2 * np.pi, around, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = (np.sign(part) * np.abs(part) ** (2.0 / power) for part in (cos, sin))
    ring = np.stack([np.outer(rings[:, 3], x) + rings[:, 1:2], np.outer(rings[:, 4], y) + rings[:, 2:3]], axis=-1)
    height = np.broadcast_to(rings[:, :1, None], (len(rings), around, 1))
    ends = np.stack([[rings[i, 1], rings[i, 2], rings[i, 0]] for i in (0, -1)])
    vertices = np.vstack([np.concatenate([ring, height], axis=-1).reshape(-1, 3), ends])
    first, after = np.arange(around), (np.arange(around) + 1) % around
    faces = []
    for row in range(len(rings) - 1):
        a, b, c, d = (
            row * around + first,
            row * around + after,
            (row + 1) * around + first,
            (row + 1) * around + after,
        )
        faces += [np.stack([a, c, b], axis=1), np.stack([b, c, d], axis=1)]
    top, bottom, last = len(vertices) - 2, len(vertices) - 1, (len(rings) - 1) * around
    faces.append(np.stack([np.full(around, top), first, after], axis=1))
    faces.append(np.stack([np.full(around, bottom), last + after, last + first], axis=1))
    return vertices, np.concatenate(faces)


def _smooth(table: np.ndarray, between: int = 3) -> np.ndarray:
    """More sections, on a monotone cubic through the given ones (Fritsch and Carlson): no bulge that nobody drew."""
    secant = np.diff(table, axis=0)
    slope = np.vstack([secant[:1], np.zeros((len(table) - 2, table.shape[1])), secant[-1:]])
    product = secant[:-1] * secant[1:]
    rising = product > 0
    slope[1:-1][rising] = 2.0 * product[rising] / (secant[:-1] + secant[1:])[rising]
    t = (np.arange(between) / between)[:, None, None]
    inner = table[:-1] + t * slope[:-1] + t**2 * (3 * secant - 2 * slope[:-1] - slope[1:])
    inner = inner + t**3 * (slope[:-1] + slope[1:] - 2 * secant)
    return np.vstack([inner.transpose(1, 0, 2).reshape(-1, table.shape[1]), table[-1:]])


def _cap(end: np.ndarray, direction: float) -> np.ndarray:
    """A quarter of an ellipse over an end section, half as high as it is wide, without the section itself."""
    height = 0.5 * min(end[3], end[4])
    turn = np.linspace(0.0, np.pi / 2, CAP + 1)[1:] * 0.96
    rings = np.repeat(end[None], CAP, axis=0)
    rings[:, 0] += direction * height * np.sin(turn)
    rings[:, 3:] *= np.cos(turn)[:, None]
    return rings


def _limb(top: float, bottom: float, widths: Sequence[float], flat: float = 1.0) -> list[Section]:
    """Sections equally far apart along z. widths: half-widths along x, m; flat: y to x."""
    heights = np.linspace(top, bottom, len(widths))
    return [(float(z), 0.0, 0.0, w, w * flat) for z, w in zip(heights, widths, strict=True)]


def _bodies() -> list[Part]:
    """(body, material, sections, power) of every shell, each in the frame of its body."""
    parts: list[Part] = [
        (
            "pelvis",
            "shell",
            [(0.075, 0, 0, 0.072, 0.095), (0.03, 0, 0, 0.095, 0.150), (-0.05, 0, 0, 0.092, 0.160)]
            + [(-0.11, 0, 0, 0.070, 0.120)],
            2.6,
        ),
        ("waist", "joint", _limb(0.06, -0.09, (0.078, 0.070, 0.078), 1.25), 2.2),
        (
            "torso",
            "shell",
            [(0.425, -0.01, 0, 0.055, 0.075), (0.40, -0.005, 0, 0.085, 0.150), (0.34, 0, 0, 0.112, 0.185)]
            + [(0.26, 0, 0, 0.118, 0.178), (0.16, 0, 0, 0.100, 0.148), (0.06, 0, 0, 0.078, 0.118)],
            2.7,
        ),
        ("torso", "trim", [(0.315, 0.103, 0, 0.020, 0.050), (0.295, 0.103, 0, 0.020, 0.050)], 3.5),
        ("neck", "joint", _limb(0.075, -0.045, (0.042, 0.038, 0.046)), 2.0),
        (
            "neck",
            "shell",
            [(0.235, -0.008, 0, 0.050, 0.048), (0.205, -0.006, 0, 0.080, 0.074), (0.15, 0, 0, 0.090, 0.082)]
            + [(0.10, 0.002, 0, 0.082, 0.074), (0.06, 0.004, 0, 0.058, 0.056)],
            2.25,
        ),
        ("neck", "visor", [(0.186, 0.040, 0, 0.054, 0.056), (0.122, 0.040, 0, 0.056, 0.058)], 2.4),
    ]
    for sign in (1.0, -1.0):
        y = 0.1 * sign

        def leg(sections, y=y):
            return [(z, x, y + dy, wx, wy) for z, x, dy, wx, wy in sections]

        parts += [
            ("pelvis", "joint", leg(_limb(-0.07, -0.15, (0.068, 0.066))), 2.0),
            ("pelvis", "shell", leg(_limb(-0.13, -0.43, (0.074, 0.082, 0.074, 0.060), 0.95)), 2.3),
            ("pelvis", "joint", leg(_limb(-0.43, -0.51, (0.052, 0.056, 0.052))), 2.0),
            ("pelvis", "shell", leg(_limb(-0.50, -0.83, (0.056, 0.066, 0.056, 0.044), 0.95)), 2.3),
            ("pelvis", "joint", leg(_limb(-0.83, -0.90, (0.040, 0.042))), 2.0),
            ("pelvis", "shell", leg([(-0.885, 0.03, 0, 0.085, 0.044), (-0.925, 0.045, 0, 0.115, 0.052)]), 2.8),
        ]
    for side in mjcf.SIDES:
        parts += _arm(side)
    return parts


def _arm(side: str) -> list[Part]:
    out = 1.0 if side == "left" else -1.0
    thumb = -0.010 * out  # the ball of the thumb lies on the palm's inside
    parts: list[Part] = [
        (f"{side}_shoulder", "shell", _limb(0.042, -0.046, (0.044, 0.060, 0.044)), 2.0),
        (f"{side}_upper_arm", "joint", _limb(-0.035, -0.075, (0.043, 0.043)), 2.0),
        (f"{side}_upper_arm", "shell", _limb(-0.06, -0.245, (0.046, 0.052, 0.047, 0.041)), 2.2),
        (f"{side}_forearm", "joint", _limb(0.026, -0.030, (0.034, 0.042, 0.036)), 2.0),
        (f"{side}_forearm", "shell", _limb(-0.025, -0.215, (0.040, 0.045, 0.038, 0.031)), 2.2),
        (f"{side}_forearm", "trim", _limb(-0.188, -0.200, (0.0362, 0.0352)), 2.2),
        (f"{side}_wrist_link", "joint", _limb(0.040, -0.006, (0.027, 0.028, 0.026)), 2.0),
        (
            f"{side}_wrist_link",
            "skin",
            [(0.002, 0, 0, 0.026, 0.018), (-0.022, 0, 0, 0.038, 0.0165), (-0.055, 0, 0, 0.0425, 0.0150)]
            + [(-0.086, 0, 0, 0.0425, 0.0125)],
            2.9,
        ),
        (
            f"{side}_wrist_link",
            "skin",
            [(-0.012, 0.026, thumb, 0.016, 0.014), (-0.050, 0.034, thumb, 0.014, 0.012)],
            2.2,
        ),
        (f"{side}_thumb_base", "skin", [], 0.0110),
        (f"{side}_thumb_proximal", "skin", _limb(0.003, -0.034, (0.0102, 0.0106, 0.0098)), 2.2),
        (f"{side}_thumb_distal", "skin", _limb(0.002, -0.0335, (0.0092, 0.0096, 0.0084)), 2.2),
    ]
    for finger in mjcf.FINGERS[1:]:
        proximal, distal = mjcf.FINGER_LENGTH[finger]
        base, tip = f"{side}_{finger}_proximal", f"{side}_{finger}_distal"
        parts += [
            (base, "joint", _limb(0.006, -0.006, (0.0090, 0.0090)), 2.0),
            (base, "skin", _limb(0.001, -proximal + 0.003, (0.0092, 0.0093, 0.0086)), 2.3),
            (tip, "joint", _limb(0.005, -0.005, (0.0080, 0.0080)), 2.0),
            (tip, "skin", _limb(0.0, -distal - 0.003, (0.0083, 0.0085, 0.0072)), 2.3),
        ]
    return parts


def dress(spec: mujoco.MjSpec) -> None:
    """Put the shells onto an IRON-R01 in a model that is not compiled yet: geoms without mass and contact, in
    SHELL_GROUP, each the last one of its body; the primitives under them move to BARE_GROUP. Raises ValueError when a
    body is missing.
    """
    covered = {geom.name for geom in spec.geoms if geom.classname.name in ("robot", "pad")}
    for geom in spec.geoms:
        if geom.name in covered:
            geom.group = BARE_GROUP
    for name, ((red, green, blue), specular, shininess) in MATERIALS.items():
        spec.add_material(name=f"iron_{name}", rgba=[red, green, blue, 1.0], specular=specular, shininess=shininess)
    for number, (name, material, sections, shape) in enumerate(_bodies()):
        body = spec.body(name)
        if body is None:
            raise ValueError(f"the model has no body {name!r}: these shells fit IRON-R01 only")
        look = {"material": f"iron_{material}", "group": SHELL_GROUP, "contype": 0, "conaffinity": 0, "mass": 0.0}
        if not sections:  # a slanted link: the capsule is round enough
            body.add_geom(
                type=mujoco.mjtGeom.mjGEOM_CAPSULE, size=[shape, 0, 0], fromto=[0, 0, 0, 0.022, 0, -0.020], **look
            )
            continue
        vertices, faces = loft(sections, shape)
        mesh = spec.add_mesh(
            name=f"shell_{number}", smoothnormal=True, inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
        )
        mesh.uservert, mesh.userface = vertices.ravel().tolist(), faces.ravel().tolist()
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=mesh.name, **look)
