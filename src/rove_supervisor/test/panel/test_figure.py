# SPDX-License-Identifier: Apache-2.0
"""The ghost's forward kinematics agrees with the physics engine's."""

import numpy as np
import pytest

from rove_description import joints, mjcf
from rove_supervisor.panel.figure import LINES, Skeleton


def test_points_agree_with_mujoco():
    mujoco = pytest.importorskip("mujoco")
    table = joints.load()
    model = mujoco.MjModel.from_xml_string(mjcf.mjcf(table))
    data = mujoco.MjData(model)
    q = np.random.default_rng(0).uniform(table.limits.lower, table.limits.upper)
    for name, value in zip(table.names, q):
        data.qpos[model.joint(name).qposadr[0]] = value
    mujoco.mj_kinematics(model, data)
    points = Skeleton(table).points(q)
    bodies = {model.body(i).name for i in range(model.nbody)}
    for name in {name for line in LINES for name in line}:
        expected = (data.body(name) if name in bodies else data.site(name)).xpos
        np.testing.assert_allclose(points[name], expected - data.body("pelvis").xpos, atol=1e-9, err_msg=name)


def test_unknown_joints_are_drawn_at_zero():
    skeleton = Skeleton()
    assert skeleton.front(np.full(len(skeleton.table), np.nan)) == skeleton.front(np.zeros(len(skeleton.table)))
