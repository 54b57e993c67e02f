# SPDX-License-Identifier: Apache-2.0
"""The rotations of the hot path, written out in floats, agree with SciPy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from rove_teleop.retargeting import rotations as rot

rotation = st.integers(0, 2**32 - 1).map(lambda seed: Rotation.random(rng=np.random.default_rng(seed)))
angle = st.floats(-1.5, 1.5)


def floats(r: Rotation):
    return tuple(r.as_matrix().ravel().tolist())


@settings(max_examples=50, deadline=None)
@given(rotation, rotation, st.tuples(angle, angle, angle))
def test_products_transposes_and_application(a, b, v):
    np.testing.assert_allclose(rot.mul(floats(a), floats(b)), floats(a * b), atol=1e-12)
    np.testing.assert_allclose(rot.transpose(floats(a)), floats(a.inv()), atol=1e-12)
    np.testing.assert_allclose(rot.apply(floats(a), v), a.apply(v), atol=1e-12)
    np.testing.assert_allclose(rot.apply_t(floats(a), v), a.inv().apply(v), atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(rotation, st.floats(0.5, 2.0))
def test_quaternions(a, size):
    quaternion = a.as_quat(canonical=True, scalar_first=True)
    np.testing.assert_allclose(rot.from_quaternion(*(size * quaternion)), floats(a), atol=1e-12)
    back = np.array(rot.to_quaternion(floats(a)))
    assert abs(back @ quaternion) == pytest.approx(1.0, abs=1e-12) and back[0] >= 0.0


@settings(max_examples=50, deadline=None)
@given(angle, angle, angle)
def test_euler_angles_of_neck_waist_shoulder_and_wrist(a, b, c):
    """SciPy's capital letters are intrinsic axes, in the order in which the joints follow each other."""
    neck = Rotation.from_euler("ZXY", [a, b, c])
    np.testing.assert_allclose(rot.zxy(a, b, c), floats(neck), atol=1e-12)
    np.testing.assert_allclose(rot.angles_zxy(floats(neck)), (a, b, c), atol=1e-9)
    np.testing.assert_allclose(rot.angles_yxz(floats(Rotation.from_euler("YXZ", [a, b, c]))), (a, b, c), atol=1e-9)
    np.testing.assert_allclose(rot.angles_zyx(floats(Rotation.from_euler("ZYX", [a, b, c]))), (a, b, c), atol=1e-9)
