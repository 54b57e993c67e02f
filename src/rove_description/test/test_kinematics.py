# SPDX-License-Identifier: Apache-2.0
"""The robot's kinematics: known places, derivatives, and inverse kinematics that reaches what it is given."""

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from rove_description import joints, mjcf
from rove_description.kinematics import Kinematics, reach_columns, rotation_error, solve

TABLE = joints.load()
KINEMATICS = Kinematics(TABLE)
HOME = mjcf.home(TABLE)


def test_hanging_arms_end_below_the_shoulders():
    """By hand, from the lengths in the model: shoulder 0.48 m above the pelvis, arm 0.28 + 0.25 m."""
    KINEMATICS.forward(np.zeros(len(TABLE)))
    np.testing.assert_allclose(KINEMATICS.position("left_wrist"), [0.0, 0.23, 0.48 - 0.53], atol=1e-12)
    np.testing.assert_allclose(KINEMATICS.rotation("left_wrist"), np.eye(3), atol=1e-12)


@pytest.mark.parametrize("site", ["left_palm", "right_index_tip", "head"])
def test_the_jacobian_is_the_derivative_of_the_pose(site):
    step = 1e-6
    KINEMATICS.forward(HOME)
    position, rotation, jacobian = KINEMATICS.position(site), KINEMATICS.rotation(site), KINEMATICS.jacobian(site)
    for j in range(len(TABLE)):
        q = HOME.copy()
        q[j] += step
        KINEMATICS.forward(q)
        turned = Rotation.from_matrix(KINEMATICS.rotation(site) @ rotation.T).as_rotvec()
        np.testing.assert_allclose((KINEMATICS.position(site) - position) / step, jacobian[:3, j], atol=1e-5)
        np.testing.assert_allclose(turned / step, jacobian[3:, j], atol=1e-5)


def test_rotation_error_is_the_rotation_vector_between_two_rotations():
    rng = np.random.default_rng(0)
    a, b = Rotation.random(20, rng=rng), Rotation.random(20, rng=rng)
    for one, two in zip(a, b):
        expected = (one * two.inv()).as_rotvec()
        np.testing.assert_allclose(rotation_error(one.as_matrix(), two.as_matrix()), expected, atol=1e-9)


def test_inverse_kinematics_reaches_a_pose_of_the_palm_within_the_limits():
    columns, cost = reach_columns(TABLE)
    goal = HOME.copy()
    goal[columns[3:]] += [-0.3, -0.2, 0.2, -0.2, 0.3, 0.1, -0.1]
    KINEMATICS.forward(goal)
    position, rotation = KINEMATICS.position("right_palm"), KINEMATICS.rotation("right_palm")
    q = solve(
        KINEMATICS,
        HOME,
        "right_palm",
        position,
        rotation,
        columns,
        HOME,
        iterations=60,
        joint_cost=cost,
        posture_gain=0.0,
    )
    KINEMATICS.forward(q)
    np.testing.assert_allclose(KINEMATICS.position("right_palm"), position, atol=1e-3)
    assert np.linalg.norm(rotation_error(rotation, KINEMATICS.rotation("right_palm"))) < 5e-3
    assert ((q >= TABLE.limits.lower) & (q <= TABLE.limits.upper)).all()


def test_a_model_without_a_joint_of_the_table_is_refused_by_name():
    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><body name='pelvis'/></worldbody></mujoco>")
    with pytest.raises(ValueError, match="lacks joints.*waist_yaw"):
        Kinematics(TABLE, model)
