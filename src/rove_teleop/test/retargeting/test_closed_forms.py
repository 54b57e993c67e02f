# SPDX-License-Identifier: Apache-2.0
"""The closed forms of the retargeting agree with the robot model's kinematics."""

import numpy as np
import pytest

from rove_description import joints
from rove_description.kinematics import Kinematics
from rove_teleop.retargeting.retarget import Retargeter

TABLE = joints.load()
KINEMATICS = Kinematics(TABLE)


def random_poses(n, seed):
    rng = np.random.default_rng(seed)
    return rng.uniform(TABLE.limits.lower, TABLE.limits.upper, size=(n, len(TABLE)))


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_arm_ends_where_the_model_says(side):
    retargeter = Retargeter(TABLE)
    arm, at = retargeter.arms[side].arm, retargeter.arm_index[side]
    for q in random_poses(40, seed=4):
        q[TABLE.indices("waist")] = 0.0  # then the torso's frame is the pelvis', shifted
        KINEMATICS.forward(q)
        elbow, wrist, rotation, axes = arm.forward(q[at].tolist())
        torso = KINEMATICS.body_position("torso")
        np.testing.assert_allclose(torso + elbow, KINEMATICS.position(f"{side}_elbow"), atol=1e-9)
        np.testing.assert_allclose(torso + wrist, KINEMATICS.position(f"{side}_wrist"), atol=1e-9)
        np.testing.assert_allclose(np.reshape(rotation, (3, 3)), KINEMATICS.rotation(f"{side}_wrist"), atol=1e-9)
        np.testing.assert_allclose(np.transpose(axes), KINEMATICS.jacobian(f"{side}_wrist")[3:, at], atol=1e-9)
