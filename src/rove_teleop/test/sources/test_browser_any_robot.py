# SPDX-License-Identifier: Apache-2.0
"""The drag page's puppet of robots that are not the default one: other arms, fingers, grippers, one arm, no waist."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from rove_contract.joint_error import JointError
from rove_description import robot
from rove_teleop.retargeting import any_robot, gripper, skeleton
from rove_teleop.retargeting.alignment import alignment
from rove_teleop.sources import RobotView
from rove_teleop.sources.browser import DragMessage, Puppet, pack, parse
from rove_teleop.sources.webxr import Scene

ROBIN = robot.load("robin_h1")


@pytest.fixture(scope="module")
def gripping(tmp_path_factory):
    """Robin whose hands are taken for grippers."""
    folder = shutil.copytree(robot.ROBOTS / "robin_h1", tmp_path_factory.mktemp("robots") / "gripping")
    text = (folder / "robot.yaml").read_text()
    begin, end = text.index("  fingers:"), text.index("  open:")
    (folder / "robot.yaml").write_text(text[:begin] + text[end:])
    return robot.load(folder)


@pytest.fixture(scope="module")
def one_armed(tmp_path_factory):
    """A robot with one arm, no waist, no head, no camera and no hand, whose model is turned away from its zero pose."""
    folder = tmp_path_factory.mktemp("robots") / "one"
    folder.mkdir()
    (folder / "one.xml").write_text("""<mujoco><compiler angle="radian"/><worldbody><body name="base" pos="0 0 0.7">
<geom type="box" size="0.1 0.1 0.1"/>
<body name="upper" pos="0 -0.2 0.3"><joint name="a" axis="0 1 0"/><joint name="b" axis="1 0 0"/>
<geom type="capsule" size="0.04" fromto="0 0 -0.05 0 0 -0.25"/>
<body name="fore" pos="0 0 -0.3"><joint name="c" axis="0 -1 0"/><joint name="d" axis="0 0 1"/>
<geom type="capsule" size="0.04" fromto="0 0 -0.05 0 0 -0.2"/>
<body name="tool" pos="0 0 -0.25"><joint name="e" axis="0 1 0"/><joint name="f" axis="1 0 0"/>
<geom type="box" size="0.03 0.03 0.05" pos="0 0 -0.05"/></body></body></body></body></worldbody></mujoco>""")
    (folder / "joints.csv").write_text("".join(f"{name},arm,-2,2,2,8,160,right\n" for name in "abcdef"))
    (folder / "robot.yaml").write_text(
        "model: one.xml\nbase: base\narms: {elbow: fore, wrist: tool, palm: tool}\nhome: {c: 1.2}\n"
    )
    return robot.load(folder)


def at(described, q):
    puppet = Puppet(described)
    puppet.show(RobotView(q, "PAUSED"))
    return puppet


def message_of(puppet, seq=0, **changes):
    """What the page sends when its puppet stands as `Puppet.describe` says, through the wire."""
    pose = puppet.describe()["pose"]
    wrists = {side: np.array(wrist) for side, wrist in pose["wrists"].items()}
    message = DragMessage(seq, 0.02 * seq, np.array(pose["waist"]), np.array(pose["head"]), pose["closure"], wrists)
    return parse(pack(replace(message, **changes)))


def worst(described, retargeter, q):
    values = alignment(described.table, retargeter.solution, q)
    return max(JointError.parse(values[block]).in_rad for block in described.table.blocks_present())


def somewhere(described, seed):
    """(J,) near home, within the limits; hands between open and closed."""
    rng, limits = np.random.default_rng(seed), described.table.limits
    q = described.home + rng.uniform(-0.25, 0.25, len(described.table))
    for arm in described.arms.values():
        q[arm.hand] = arm.open + rng.uniform(0.1, 0.9) * (arm.closed - arm.open)
    return np.clip(q, limits.lower, limits.upper)


@pytest.fixture(params=["robin_h1", "gripping", "one_armed"])
def described(request):
    return ROBIN if request.param == "robin_h1" else request.getfixturevalue(request.param)


@pytest.mark.parametrize("seed", range(3))
def test_an_untouched_puppet_is_the_robot_and_retargeting_gives_its_pose_back(described, seed):
    q = somewhere(described, seed)
    puppet, retargeter = at(described, q), any_robot.make(described, smoothing=False)
    retargeter.reset(q)
    for seq in range(40):
        frame = puppet.frame(message_of(puppet, seq, follows=seq < 20), "x")
        assert set(frame.parts) - {"left_elbow", "right_elbow"} == puppet.parts
        retargeter.retarget(frame)
    # One hand of three fingers is posed to a hundredth of a radian or two; arms exactly.
    assert worst(described, retargeter, q) < 0.05
    held = {part: state for part, state in retargeter.report.items() if part in puppet.parts and state != "ok"}
    assert not held, held


def test_a_dragged_wrist_is_reached_and_the_rest_of_the_robot_stays(described):
    q = somewhere(described, 0)
    puppet, retargeter = at(described, q), any_robot.make(described, smoothing=False)
    retargeter.reset(q)
    message = message_of(puppet)
    moved = message.wrists["right"] + np.array([0.02, 0.01, 0.03, 0, 0, 0, 0])
    for seq in range(60):
        asked = replace(message, seq=seq, t=0.02 * seq, wrists=message.wrists | {"right": moved})
        reached = retargeter.retarget(puppet.frame(asked, "x"))
    kinematics = skeleton.make(described).kinematics
    kinematics.forward(reached)
    np.testing.assert_allclose(kinematics.position(described.arms["right"].wrist), moved[:3], atol=5e-3)
    if "left" in described.arms:
        still = described.arms["left"].joints
        np.testing.assert_allclose(reached[still], q[still], atol=0.02)


@pytest.mark.parametrize("name", ["robin_h1", "gripping"])
def test_the_slider_closes_the_hand_to_the_descriptions_pose(name, request):
    described = ROBIN if name == "robin_h1" else request.getfixturevalue(name)
    q = described.home
    puppet, retargeter = at(described, q), any_robot.make(described, smoothing=False)
    retargeter.reset(q)
    message = message_of(puppet)
    for seq in range(200):
        share = min(1.0, 0.01 * seq)
        asked = replace(message, seq=seq, t=0.02 * seq, closure={"left": 0.0, "right": share})
        reached = retargeter.retarget(puppet.frame(asked, "x"))
    arm = described.arms["right"]
    assert np.abs(reached[arm.hand] - arm.closed).max() < 0.15
    np.testing.assert_allclose(reached[described.arms["left"].hand], described.arms["left"].open, atol=0.1)


def test_waist_and_head_turn_about_the_axes_that_the_robot_has(described):
    puppet = at(described, described.home)
    message = message_of(puppet)
    asked = replace(message, waist=np.array([0.3, 0.3, 0.3]), head=np.array([0.2, 0.2, 0.7]))
    before, after = (puppet.frame(m, "x").parts for m in (message, asked))
    if described is ROBIN or "gripping" in str(described.folder):
        assert puppet.geometry()["waist"][1] == [0.0, 0.0] != puppet.geometry()["waist"][0], "it only turns"
        angle = 2 * np.arccos(min(1.0, abs(before["chest"][3:] @ after["chest"][3:])))
        assert angle == pytest.approx(0.3, abs=1e-6)
        assert not np.allclose(before["head"], after["head"])
    else:
        assert puppet.parts == {"right_wrist"}


def test_the_page_gets_shapes_wrists_and_camera_of_the_robot(described):
    puppet = at(described, described.home)
    constants, state = puppet.geometry(), puppet.describe()
    kinds = {kind for _, kind, *_ in constants["geoms"]}
    assert kinds <= {"box", "sphere", "capsule", "ellipsoid", "cylinder"} and len(constants["geoms"]) >= 4
    assert len(state["bodies"]) == described.model.nbody + len(described.arms)
    for side in ("left", "right"):
        own = constants["hands"][side]
        assert bool(own) == (side in described.arms)
        if own:  # what is asked for is drawn from the wrist's own frame
            np.testing.assert_allclose(state["bodies"][own[0]], state["pose"]["wrists"][side], atol=1e-4)
    assert constants["sides"] == list(described.arms)


def test_a_mesh_is_drawn_as_the_box_around_it(tmp_path):
    corners = "0 0 0  0.4 0 0  0 0.2 0  0.4 0.2 0  0 0 0.1  0.4 0 0.1  0 0.2 0.1  0.4 0.2 0.1"
    (tmp_path / "m.xml").write_text(f"""<mujoco><asset><mesh name="m" vertex="{corners}"/></asset><worldbody>
<body name="base"><geom type="mesh" mesh="m"/><body name="arm" pos="0 0 0.5"><joint name="a" axis="0 1 0"/>
<geom type="sphere" size="0.05" group="3"/></body></body></worldbody></mujoco>""")
    (tmp_path / "joints.csv").write_text("a,arm,-1,1,2,8,160,right\n")
    (tmp_path / "robot.yaml").write_text("model: m.xml\nbase: base\narms: {wrist: arm, palm: arm}\n")
    (geom,) = Puppet(robot.load(tmp_path)).geometry()["geoms"]
    assert geom[1] == "box"
    assert sorted(np.round(geom[2:5], 3)) == [0.05, 0.1, 0.2]
    np.testing.assert_allclose(geom[5:8], [0.2, 0.1, 0.05], atol=1e-3)


def test_a_made_up_hand_is_closed_as_far_as_it_is_asked_for():
    for share in (0.0, 0.3, 1.0):
        assert gripper.closure(skeleton.grasping(share)) == pytest.approx(share, abs=1e-6)


def test_a_headset_shows_the_hands_where_the_operators_must_be_to_match(described):
    """What the headset draws of the robot is what it would be sent by an operator in that pose."""
    scene = Scene(described=described)
    trunk = scene.trunk()
    q = somewhere(described, 1)
    shown, parts = scene.describe(q, trunk), skeleton.make(described).parts(q)
    assert set(shown["hands"]) == set(described.arms) and ("camera" in shown) == bool(described.cameras)
    for side, points in shown["hands"].items():
        wrist = trunk.to_headset(parts[f"{side}_wrist"][:3])
        np.testing.assert_allclose(np.reshape(points, (21, 3))[0], wrist, atol=1e-4)
