# SPDX-License-Identifier: Apache-2.0
"""The compiled chain says what MuJoCo says of poses and Jacobians, wherever it is seen from, and reaches what can be
reached."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from rove_description import robot
from rove_description.kinematics import Kinematics, rotation_error
from rove_teleop.retargeting.chain_ik import ROTATION_WEIGHT, ChainIK, Goal

# Two joints at one body, anchors beside its origin, an angle that counts from elsewhere, a turned base, a slide, a
# joint that follows another by a curve, one that follows the follower, and a joint (z) that moves nothing of the chain.
ODD = """<mujoco><compiler angle="radian" autolimits="true"/><worldbody>
<body name="base" pos="0.3 0.1 0.7" euler="0 0 0.4">
<body name="beside"><joint name="z" axis="0 0 1" range="-1 1"/><geom size="0.02"/></body>
<body name="link" pos="0.1 0.2 0.3" euler="0.3 -0.2 0.5">
<joint name="a" pos="0.01 0.02 0.03" axis="0 1 0" ref="0.3" range="-1 1"/>
<joint name="b" pos="-0.02 0.01 0" axis="1 0 1" range="-1 1"/><geom size="0.02"/><site name="elbow" pos="0 0 -0.1"/>
<body name="tool" pos="0 0 -0.2"><joint name="c" type="slide" axis="0 1 1" ref="0.05" range="-0.1 0.1"/>
<geom size="0.02"/>
<body name="finger" pos="0 0.1 0" euler="0 1.5 0.3"><joint name="d" axis="0 0 1" range="-2 2"/><geom size="0.02"/>
<body name="end" pos="0.1 0 0"><joint name="e" axis="0 1 0" range="-2 2"/><geom size="0.02"/>
<site name="tip" pos="0 0 0.05" euler="0 0.2 0"/><camera name="eye"/></body></body></body></body></body>
</worldbody><equality><joint joint1="d" joint2="a" polycoef="0.1 -0.7 0.3 0.1 -0.2"/>
<joint joint1="e" joint2="d" polycoef="0 0.5 0.2 0 0"/></equality></mujoco>"""
CHAIN = np.array([0, 1, 2])  # a, b, c; z is the fourth joint of the table
LIMITS = np.array([1.0, 1.0, 0.1])
moves = st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=3).map(lambda x: LIMITS * x)


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    (folder / "odd.xml").write_text(ODD)
    rows = [f"{name},arm,-{high},{high},1,5,100,left" for name, high in (("a", 1), ("b", 1), ("c", 0.1), ("z", 1))]
    head = "name,block,lower,upper,velocity,acceleration,jerk,side"
    (folder / "joints.csv").write_text("\n".join([head, *rows]) + "\n")
    (folder / "robot.yaml").write_text(
        "model: odd.xml\nbase: base\narms: {left: {wrist: tip, palm: tip}}\ncameras:\n"
        "  ego: {frame: eye, topic: /ego/image/compressed, width: 64, height: 48, rate_hz: 10}\n"
    )
    found = robot.load(folder)
    return Kinematics(found.table, found.model, found.base)


@settings(deadline=None)
@given(seen=moves, at=moves, beside=st.floats(-1.0, 1.0))
def test_poses_and_jacobians_are_those_of_mujoco_wherever_the_chain_was_seen(odd, seen, at, beside):
    chain = ChainIK(odd, CHAIN)
    facing = Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix()
    goals = [Goal("tip", np.array([0.2, 0.1, 0.3]), facing), Goal("elbow", np.array([0.1, 0.0, 0.2]), None, 0.1)]
    rows, errors, position, rotation = chain.linearise(np.append(seen, beside), at, goals)
    odd.forward(np.append(at, beside))
    for i, (goal, weight) in enumerate(zip(goals, (1.0, 0.1))):
        np.testing.assert_allclose(position[i], odd.position(goal.site), atol=1e-12)
        np.testing.assert_allclose(rotation[i], odd.rotation(goal.site), atol=1e-12)
        jacobian = odd.jacobian(goal.site)[:, CHAIN]
        np.testing.assert_allclose(rows[6 * i : 6 * i + 3], weight * jacobian[:3], atol=1e-12)
        np.testing.assert_allclose(errors[6 * i : 6 * i + 3], weight * (goal.position - position[i]), atol=1e-12)
        turning = ROTATION_WEIGHT if goal.rotation is not None else 0.0
        np.testing.assert_allclose(rows[6 * i + 3 : 6 * i + 6], turning * jacobian[3:], atol=1e-12)
    wanted = ROTATION_WEIGHT * rotation_error(facing, odd.rotation("tip"))
    np.testing.assert_allclose(errors[3:6], wanted, atol=1e-9)
    assert not errors[9:].any(), "the elbow has no rotation to keep"


@settings(deadline=None)
@given(start=moves, goal=moves)
def test_a_step_stays_within_limits_and_reach_and_comes_nearer(odd, start, goal):
    chain, q = ChainIK(odd, CHAIN), np.append(start, 0.2)
    odd.forward(np.append(goal, 0.2))
    goals = [Goal("tip", odd.position("tip"), odd.rotation("tip"))]
    reach = 0.1 * LIMITS
    at, _ = chain.solve(q, goals, reach)
    assert (np.abs(at) <= LIMITS).all() and (np.abs(at - start) <= reach + 1e-12).all()
    before, after = (np.linalg.norm(chain.linearise(q, x, goals)[1]) for x in (start, at))
    assert after <= before
    near = goal + 0.2 * np.clip(start - goal, -reach, reach)
    at, met = chain.solve(np.append(near, 0.2), goals, reach)
    assert met and np.linalg.norm(chain.linearise(q, at, goals)[2][0] - goals[0].position) < 5e-3


def test_a_half_turn_is_measured_as_one(odd):
    chain = ChainIK(odd, CHAIN)
    odd.forward(np.zeros(4))
    now = odd.rotation("tip")
    for axis in np.vstack([np.eye(3), [[0.6, 0.0, 0.8]]]):
        facing = Rotation.from_rotvec((np.pi - 1e-7) * axis).as_matrix() @ now
        errors = chain.linearise(np.zeros(4), np.zeros(3), [Goal("tip", None, facing)])[1]
        np.testing.assert_allclose(errors[3:6] / ROTATION_WEIGHT, (np.pi - 1e-7) * axis, atol=1e-5)
        assert not errors[:3].any()
