# SPDX-License-Identifier: Apache-2.0
"""Which links of a robot must not touch each other, derived from its model: what the command filter's guard keeps
apart.
"""

from __future__ import annotations

from collections.abc import Iterable

import mujoco
import numpy as np

from rove_description.joints import JointTable
from rove_description.kinematics import Kinematics

# m. Pairs that are nearer at home are taken to be joined there, as the shoulder's end of an upper arm and the torso.
TOUCHING_M = 0.02


def link_geoms(model: mujoco.MjModel, base: str = "pelvis") -> list[int]:
    """The geoms of a robot's links: those that have a volume and hang on its base body."""
    root = int(model.body(base).rootid[0])
    flat = (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_HFIELD)
    return [
        g
        for g in range(model.ngeom)
        if model.body_rootid[model.geom_bodyid[g]] == root and model.geom_type[g] not in flat
    ]


def geom_name(model: mujoco.MjModel, geom: int) -> str:
    return model.geom(geom).name or f"{model.body(model.geom_bodyid[geom]).name} #{geom}"


def carried_by(model: mujoco.MjModel, table: JointTable, geom: int) -> np.ndarray:
    """(J,) bool: joints between the base and a geom."""
    chain = np.zeros(len(table), dtype=bool)
    body = int(model.geom_bodyid[geom])
    while body > 0:
        for joint in range(model.body_jntadr[body], model.body_jntadr[body] + model.body_jntnum[body]):
            name = model.joint(joint).name
            if name in table.index:
                chain[table.index[name]] = True
        body = int(model.body_parentid[body])
    return chain


def guarded_pairs(
    kinematics: Kinematics, home: np.ndarray, ignore: Iterable[tuple[str, str]] = ()
) -> list[tuple[int, int]]:
    """Pairs of geoms to keep apart: all that are not neighbours in the kinematic tree, whose distance a joint changes,
    and that do not touch at home (J,) rad, where what touches belongs together; but not the fingers among each other
    and against their own palm (a hand that closes is a grasp), and not the pairs of names in `ignore`.
    """
    model, table = kinematics.model, kinematics.table
    geoms, blocks = link_geoms(model, kinematics.base), np.array(table.blocks)
    carries = {geom: carried_by(model, table, geom) for geom in geoms}
    left_out = {frozenset(pair) for pair in ignore}
    kinematics.forward(home)
    pairs = []
    for n, a in enumerate(geoms):
        for b in geoms[:n]:
            between = blocks[carries[a] ^ carries[b]]
            if not len(between) or (between == "hand").all():
                continue
            if (blocks[carries[a]] == "hand").any() and (blocks[carries[b]] == "hand").any():
                continue  # fingers of both hands: hands work together
            one, other = int(model.geom_bodyid[a]), int(model.geom_bodyid[b])
            if other in (one, _moving_parent(model, one)) or one == _moving_parent(model, other):
                continue
            if frozenset((geom_name(model, a), geom_name(model, b))) in left_out:
                continue
            if mujoco.mj_geomDistance(model, kinematics.data, a, b, 1.0, None) > TOUCHING_M:
                pairs.append((a, b))
    return pairs


def _moving_parent(model: mujoco.MjModel, body: int) -> int:
    """The body that a body's joints move it against; bodies without joints count as part of their parents."""
    while body and model.body_jntnum[body] == 0:
        body = int(model.body_parentid[body])
    body = int(model.body_parentid[body])
    while body and model.body_jntnum[body] == 0 and model.body_parentid[body]:
        body = int(model.body_parentid[body])
    return body
