# SPDX-License-Identifier: Apache-2.0
"""A robot description is understood as a whole, or refused with each fault named."""

import shutil
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml

from rove_description import check, collision, joints, mjcf, robot
from rove_description.kinematics import Kinematics
from rove_description.robot import RobotError


@pytest.fixture
def folder(tmp_path):
    """A copy of the second robot, to be broken."""
    return shutil.copytree(robot.ROBOTS / "robin_h1", tmp_path / "robin")


def edited(folder, old, new, file="robot.yaml"):
    path = folder / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return folder


def test_the_default_robot_is_the_table_the_model_and_the_home_pose_that_everything_uses():
    found = robot.load()
    assert found.name == "iron_r01" and found.table is joints.load()
    np.testing.assert_array_equal(found.home, mjcf.home())
    for side in ("left", "right"):
        np.testing.assert_array_equal(found.arms[side].joints, found.table.indices("arm", side))
        assert list(found.arms[side].fingers) == ["thumb", "index", "middle", "ring", "little"]


def test_a_robot_with_other_names_other_arms_and_other_hands_is_understood():
    found = robot.load("robin_h1")
    assert len(found.table) == 29 and set(found.cameras) == {"ego", "left_wrist", "right_wrist"}
    for side, letter in (("left", "l"), ("right", "r")):
        arm = found.arms[side]
        assert [found.table.names[i] for i in arm.joints] == [f"arm_{letter}{k}" for k in range(1, 7)]
        assert len(arm.hand) == 7 and len(arm.fingers) == 3
    mirrored = joints.mirror_index(found.table)
    assert found.table.names[mirrored[found.table.index["arm_l4"]]] == "arm_r4"


@pytest.mark.parametrize("name", ["iron_r01", "robin_h1"])
def test_the_robots_of_this_package_stand_free_at_home(name):
    found = robot.load(name)
    kinematics = Kinematics(found.table, found.model)
    pairs = collision.guarded_pairs(kinematics, found.home)
    assert len(pairs) > 100
    kinematics.forward(found.home)
    nearest = min(mujoco.mj_geomDistance(found.model, kinematics.data, a, b, 1.0, None) for a, b in pairs)
    assert nearest > collision.TOUCHING_M


def test_pairs_that_are_to_be_ignored_are_left_out(folder):
    full = robot.load("robin_h1")
    found = robot.load(edited(folder, "ignore: []", "ignore: [[head, palm_l]]"))
    kinematics = Kinematics(full.table, full.model)
    assert len(collision.guarded_pairs(kinematics, full.home, found.guard_ignore)) == (
        len(collision.guarded_pairs(kinematics, full.home)) - 1
    )


def test_a_description_that_extends_another_says_only_what_differs(folder, tmp_path):
    plain, wrist = robot.load("iron_r01"), robot.load("iron_r01_wrist")
    assert list(wrist.cameras) == ["ego", "right_wrist"] and wrist.cameras["ego"] == plain.cameras["ego"]
    assert not wrist.card.refusal(plain.card, "a checkpoint") and wrist.hash != plain.hash
    np.testing.assert_array_equal(wrist.home, plain.home)
    assert robot.variant("iron_r01", wrist.hash) == "iron_r01_wrist"
    assert robot.variant("iron_r01", plain.hash) == robot.variant("iron_r01", "an older one") == "iron_r01"

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "robot.yaml").write_text(
        "extends: ../robin\nguard: {margin_m: 0.03}\nhome: {head_tilt: 0.4}\n"
    )
    mine, basis = robot.load(tmp_path / "mine"), robot.load(folder)
    assert mine.guard_margin_m == 0.03 and mine.guard_ignore == basis.guard_ignore
    tilt = basis.table.index["head_tilt"]
    assert mine.home[tilt] == 0.4 and np.flatnonzero(mine.home != basis.home).tolist() == [tilt]
    before = mine.hash
    edited(folder, "head_tilt: 0.6", "head_tilt: 0.5")
    assert robot.load(tmp_path / "mine").hash != before


@pytest.mark.parametrize("other", ["../nobody", "../mine", "../robin"])
def test_a_description_that_extends_nothing_or_itself_is_refused(folder, tmp_path, other):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "robot.yaml").write_text(f"extends: {other}\n")
    (folder / "robot.yaml").write_text("extends: ../mine\n")
    with pytest.raises(RobotError, match="extends: expected another robot"):
        robot.load(tmp_path / "mine")


def test_a_description_is_known_by_its_contents(folder):
    before = robot.load(folder).hash
    assert before == robot.load("robin_h1").hash
    assert robot.load(edited(folder, "head_tilt: 0.6", "head_tilt: 0.5")).hash != before


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("head_tilt: 0.6", "head_tilt: 6", "home.head_tilt: expected -0.6 to 0.8 rad, got 6"),
        ("head_tilt: 0.6", "head_tilt: much", "home.head_tilt: expected an angle in rad, got 'much'"),
        ("arm_l1: 0.1", "arm_l9: 0.1", "home.arm_l9: expected a joint"),
        ('wrist: "wrist_{s}"', 'wrist: "hand_{s}"', r"arms \(left\).wrist: expected the name of a site.*got 'hand_l'"),
        ("person: ring", "person: toe", "fingers.c.person: expected one of thumb.*got 'toe'"),
        ("base: pelvis", "", "base: expected the name of a body of the model, got nothing"),
        ("rate_hz: 30", "rate_hz: 3000", "cameras.ego.rate_hz: expected a number from 1 to 240, got 3000"),
        ("width: 640", "width: wide", "cameras.ego.width: expected a number"),
        ("topic: /ego", "topic: ego", "cameras.ego.topic: expected a topic that begins with /"),
        ("policy: true", "policy: perhaps", "cameras.ego.policy: expected true or false"),
        ("margin_m: 0.015", "margin_m: 15", "guard.margin_m: expected a number from 0 to 0.1"),
        ("ignore: []", "ignore: [head]", "guard.ignore: expected pairs of names of geoms, got 'head'"),
        ("name: robin_h1", "nmae: robin_h1", "nmae: expected one of the keys"),
        ("model: robin_h1.xml", "model: other.xml", "model: expected a model that MuJoCo compiles, got 'other.xml'"),
        ("joints: joints.csv", "joints: none.csv", "none.csv: cannot read the joint layout"),
    ],
)
def test_each_fault_names_file_key_expectation_and_what_came(folder, old, new, message):
    with pytest.raises(RobotError, match=message) as caught:
        robot.load(edited(folder, old, new))
    assert str(folder) in str(caught.value)


def test_all_faults_of_a_file_are_told_at_once(folder):
    edited(folder, "head_tilt: 0.6", "head_tilt: 6")
    with pytest.raises(RobotError) as caught:
        robot.load(edited(folder, "margin_m: 0.015", "margin_m: 15"))
    assert "head_tilt" in str(caught.value) and "margin_m" in str(caught.value)


def test_a_table_and_a_model_that_do_not_belong_together_are_refused(folder):
    edited(folder, "head_pan,", "head_spin,", "joints.csv")
    with pytest.raises(RobotError, match=r"joint 'head_spin' in the model(.|\n)*row for the model's joint 'head_pan'"):
        robot.load(folder)


def test_a_side_that_is_none_is_refused_with_its_row(folder):
    edited(folder, ",left\n", ",port\n", "joints.csv")
    with pytest.raises(RobotError, match="row 6 .arm_l1.: side is 'port', expected left, right or nothing"):
        robot.load(folder)


def test_a_name_that_is_no_robot_is_answered_with_those_there_are():
    with pytest.raises(RobotError, match="iron_r01, iron_r01_wrist, robin_h1"):
        robot.load("nobody")


def test_check_prints_what_was_understood_draws_it_and_names_what_is_missing(folder, tmp_path, monkeypatch, capsys):
    cv2 = pytest.importorskip("cv2")
    edited(folder, 'elbow: "elbow_{s}", ', "")
    monkeypatch.setattr(sys, "argv", ["check", str(folder), "--picture", str(tmp_path / "home.png")])
    assert check.main() == 0
    text = capsys.readouterr().out
    for line in (
        "robin_h1: 29 joints",
        "arm right: 6 joints: arm_r1",
        "left c: digit_lc_base - digit_lc_middle - digit_lc_tip",
        "camera right_wrist: 320 x 240 at 30 Hz",
        "guard: ",
        "missing: no left elbow frame",
    ):
        assert line in text
    picture = cv2.imread(str(tmp_path / "home.png"))
    assert picture.shape == (720, 960, 3) and picture.std() > 10.0


def test_check_refuses_with_the_faults_and_exit_code_2(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["check", str(edited(folder, "margin_m: 0.015", "margin_m: 15"))])
    with pytest.raises(SystemExit) as caught:
        check.main()
    assert caught.value.code == 2 and "guard.margin_m" in capsys.readouterr().err


def test_the_how_to_names_every_key_of_a_description():
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "connect-a-robot.md").read_text()
    for key in yaml.safe_load((robot.ROBOTS / "robin_h1" / "robot.yaml").read_text()):
        assert f"`{key}" in page
    for column in joints.COLUMNS:
        assert column in page


def test_a_urdf_serves_as_a_model_and_its_links_as_frames(tmp_path):
    inertial = '<inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>'
    solid = '<collision><geometry><cylinder radius="0.03" length="0.2"/></geometry></collision>'
    links = "".join(f'<link name="{name}">{inertial}{solid}</link>' for name in ("trunk", "upper", "fore"))
    joint = '<joint name="{0}" type="revolute"><parent link="{1}"/><child link="{2}"/>{3}</joint>'
    turns = '<origin xyz="0 0 -0.3"/><axis xyz="0 1 0"/><limit lower="-1" upper="1" effort="1" velocity="1"/>'
    fixed = '<joint name="fix" type="fixed"><parent link="fore"/><child link="tool"/><origin xyz="0 0 -0.2"/></joint>'
    (tmp_path / "arm.urdf").write_text(
        f'<robot name="arm">{links}<link name="tool"/>{joint.format("a1", "trunk", "upper", turns)}'
        f"{joint.format('a2', 'upper', 'fore', turns)}{fixed}</robot>"
    )
    (tmp_path / "joints.csv").write_text("a1,arm,-1,1,2,10,200,left\na2,arm,-1,1,2,10,200,left\n")
    (tmp_path / "robot.yaml").write_text(
        "model: arm.urdf\nbase: trunk\narms: {elbow: fore, wrist: tool, palm: tool}\nhome: {a1: 0.3}\n"
    )
    found = robot.load(tmp_path)
    assert found.name == tmp_path.name and list(found.arms) == ["left"]
    kinematics = Kinematics(found.table, found.model, found.base)
    kinematics.forward(np.zeros(2))
    np.testing.assert_allclose(kinematics.position("tool"), [0.0, 0.0, -0.8], atol=1e-9)


FIELD_URDF = """<robot name="field">
<link name="stand"/>
<link name="L_upper"><inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="5" ixy="0" ixz="0" iyz="0"/></inertial>
<collision><geometry><mesh filename="package://field_description/meshes/arm.obj"/></geometry></collision></link>
<link name="L_hand"><collision><geometry><sphere radius="0.04"/></geometry></collision></link>
<link name="optical"/>
<joint name="L_1" type="revolute"><parent link="stand"/><child link="L_upper"/><axis xyz="0 1 0"/>
<limit lower="-2" upper="2" effort="1" velocity="1"/></joint>
<joint name="L_2" type="revolute"><parent link="L_upper"/><child link="L_hand"/><origin xyz="0 0 -0.3"/>
<axis xyz="0 1 0"/>
<limit lower="-2" upper="2" effort="1" velocity="1"/></joint>
<joint name="eye" type="fixed"><parent link="stand"/><child link="optical"/>
<origin xyz="0 0 0.3" rpy="-1.5708 0 -1.5708"/></joint>
</robot>"""
CUBE = (
    "\n".join(f"v {x} {y} {z}" for x in (0, 0.05) for y in (0, 0.05) for z in (0, -0.25))
    + "\n"
    + "\n".join(
        f"f {a} {b} {c}"
        for a, b, c in ((1, 2, 4), (1, 4, 3), (5, 7, 8), (5, 8, 6), (1, 5, 6), (1, 6, 2), (3, 4, 8), (3, 8, 7))
    )
)


def field_robot(folder, arms='{wrist: "{S}_hand", palm: "{S}_hand"}'):
    """As such files come: meshes of a ROS package, an inertia that no body can have, a camera's optical link."""
    (folder / "meshes").mkdir(exist_ok=True)
    (folder / "meshes" / "arm.obj").write_text(CUBE)
    (folder / "field.urdf").write_text(FIELD_URDF)
    (folder / "joints.csv").write_text("L_1,arm,-2,2,1,5,100,left\nL_2,arm,-2,2,1,5,100,left\n")
    (folder / "robot.yaml").write_text(
        f"model: field.urdf\nbase: stand\narms: {arms}\ncameras:\n"
        "  ego: {frame: optical, topic: /a/compressed, width: 64, height: 48, rate_hz: 10}\n"
    )
    return robot.load(folder)


def test_a_urdf_as_cad_programs_and_ros_packages_make_it_is_understood(tmp_path):
    found = field_robot(tmp_path)
    assert found.model.nmesh == 1 and found.arms["left"].wrist == "L_hand" and "right" not in found.arms
    kinematics = Kinematics(found.table, found.model, found.base)
    kinematics.forward(np.zeros(2))
    mujoco.mj_camlight(found.model, kinematics.data)
    ahead = -kinematics.data.cam("optical").xmat.reshape(3, 3)[:, 2]
    np.testing.assert_allclose(ahead, [1, 0, 0], atol=1e-3, err_msg="z of an optical frame looks forward (REP-103)")


def test_what_a_camera_sees_comes_from_the_file_or_the_model_and_is_unknown_for_a_link(tmp_path):
    assert field_robot(tmp_path).cameras["ego"].fovy_deg is None
    edited(tmp_path, "frame: optical,", "frame: optical, fovy_deg: 75,")
    found = robot.load(tmp_path)
    assert found.cameras["ego"].fovy_deg == found.model.camera("optical").fovy[0] == 75.0
    assert robot.load("robin_h1").cameras["left_wrist"].fovy_deg == 80.0
    edited(tmp_path, "fovy_deg: 75", "fovy_deg: wide")
    with pytest.raises(RobotError, match="cameras.ego.fovy_deg: expected a number from 1 to 179"):
        robot.load(tmp_path)


def test_joints_that_follow_others_move_with_them(tmp_path):
    """A URDF's mimic joint: the tip goes where the fingers go together, and the Jacobian knows it."""
    joint = (
        '<joint name="{0}" type="revolute"><parent link="{1}"/><child link="{2}"/><origin xyz="0 0 -0.1"/>'
        '<axis xyz="0 1 0"/><limit lower="-1" upper="1" effort="1" velocity="1"/>{3}</joint>'
    )
    chain = [("a", "stand", "one", ""), ("b", "one", "two", '<mimic joint="a" multiplier="0.5" offset="0.1"/>')]
    chain += [("c", "two", "tip", '<mimic joint="b" multiplier="2"/>')]
    links = "".join(f'<link name="{name}"/>' for name in ("stand", "one", "two", "tip"))
    text = f'<robot name="m">{links}{"".join(joint.format(*entry) for entry in chain)}</robot>'
    (tmp_path / "m.urdf").write_text(text)
    (tmp_path / "joints.csv").write_text(
        "name,block,lower,upper,velocity,acceleration,jerk,side\na,hand,-1,1,1,5,99,left\n"
    )
    (tmp_path / "robot.yaml").write_text("model: m.urdf\nbase: stand\n")
    found = robot.load(tmp_path)
    kinematics = Kinematics(found.table, found.model, found.base)

    def tip(angle):
        kinematics.forward(np.array([angle]))
        return kinematics.position("tip").copy()

    first, second = 0.4, 0.4 + 0.5 * 0.4 + 0.1
    expected = [-0.1 * (np.sin(first) + np.sin(second)), 0.0, -0.1 - 0.1 * (np.cos(first) + np.cos(second))]
    np.testing.assert_allclose(tip(0.4), expected, atol=1e-12)
    turn = kinematics.rotation("tip")
    np.testing.assert_allclose(np.arctan2(turn[0, 2], turn[0, 0]), second + 2 * (0.5 * 0.4 + 0.1), atol=1e-12)
    slope = (tip(0.4 + 1e-6) - tip(0.4 - 1e-6)) / 2e-6
    tip(0.4)
    np.testing.assert_allclose(kinematics.jacobian("tip")[:3, 0], slope, atol=1e-8)


def test_each_side_may_have_its_own_frames(tmp_path):
    found = field_robot(tmp_path, "{left: {wrist: L_hand, palm: L_upper}}")
    assert (found.arms["left"].wrist, found.arms["left"].palm) == ("L_hand", "L_upper")
    with pytest.raises(RobotError, match="arms.elbow: expected left and right, or one pattern for both"):
        field_robot(tmp_path, "{left: {wrist: L_hand, palm: L_upper}, elbow: L_upper}")


def test_without_the_main_camera_a_description_is_refused(folder):
    edited(folder, "  ego: {", "  front: {")
    with pytest.raises(RobotError, match="cameras.ego: expected the main camera"):
        robot.load(folder)
