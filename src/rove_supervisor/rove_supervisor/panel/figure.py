# SPDX-License-Identifier: Apache-2.0
"""Forward kinematics of the robot's upper body for the panel's ghost: the MJCF's body tree, walked with numpy. Pure.

No physics engine here: 30 bodies at 10 Hz need none, and the supervisor should start on a robot that has none.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np

from rove_description import joints, mjcf

# Polylines of the front view: names of bodies or sites, from the middle outwards.
LINES = (
    ("pelvis", "torso", "neck", "head"),
    *(
        (f"{side}_shoulder", f"{side}_forearm", f"{side}_wrist_link", f"{side}_middle_mcp", f"{side}_middle_tip")
        for side in mjcf.SIDES
    ),
    *((f"{side}_wrist_link", f"{side}_thumb_mcp", f"{side}_thumb_tip") for side in mjcf.SIDES),
    ("left_shoulder", "neck", "right_shoulder"),
)


def _vector(text: str | None) -> np.ndarray:
    return np.array([float(x) for x in (text or "0 0 0").split()])


def _rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    """(3,) unit axis, rad -> (3, 3) (Rodrigues)."""
    x, y, z = axis
    k = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * k + (1.0 - np.cos(angle)) * (k @ k)


class Skeleton:
    """Body tree of the robot model of `table`, reduced to what LINES need."""

    def __init__(self, table: joints.JointTable | None = None):
        self.table = table or joints.load()
        wanted = {name for line in LINES for name in line}
        root = ElementTree.fromstring(mjcf.body_xml(self.table))
        self._tree = self._read(root, wanted)

    def _read(self, body, wanted):
        """(name, position, rotation, [(joint index, axis)], [(site, position)], children), or None when nothing in it
        is wanted.
        """
        children = [child for child in (self._read(b, wanted) for b in body.findall("body")) if child is not None]
        sites = [(s.get("name"), _vector(s.get("pos"))) for s in body.findall("site") if s.get("name") in wanted]
        if body.get("name") not in wanted and not children and not sites:
            return None
        turn = np.eye(3)
        for axis, angle in zip(np.eye(3), _vector(body.get("euler"))):  # MuJoCo's default sequence: intrinsic x, y, z
            turn = turn @ _rotation(axis, angle)
        axes = [(self.table.index[j.get("name")], _vector(j.get("axis"))) for j in body.findall("joint")]
        return body.get("name"), _vector(body.get("pos")), turn, axes, sites, children

    def points(self, q: np.ndarray) -> dict[str, np.ndarray]:
        """q: (J,) rad, contract order -> name: (3,) m, pelvis frame."""
        found: dict[str, np.ndarray] = {}

        def walk(node, origin, turn):
            name, offset, own, axes, sites, children = node
            origin, turn = origin + turn @ offset, turn @ own
            for index, axis in axes:
                turn = turn @ _rotation(axis, q[index])
            found[name] = origin
            for site, position in sites:
                found[site] = origin + turn @ position
            for child in children:
                walk(child, origin, turn)

        walk(self._tree, -self._tree[1], np.eye(3))
        return found

    def front(self, q: np.ndarray) -> list[list[list[float]]]:
        """q: (J,) rad -> polylines of [y, z] in m, pelvis frame, rounded to mm; NaN joints (not in the message) count
        as 0.
        """
        points = self.points(np.nan_to_num(q))
        return [
            [[round(float(points[name][1]), 3), round(float(points[name][2]), 3)] for name in line] for line in LINES
        ]
