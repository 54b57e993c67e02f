# SPDX-License-Identifier: Apache-2.0
"""The tree of links and its URDF say what the kinematics say, for every pose; MuJoCo reads the URDF."""

from xml.etree import ElementTree

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from rove_description import robot, urdf
from rove_description.kinematics import Kinematics
from rove_description.links import LinkTree, poses_of

# Whatever MJCF allows and URDF does not: several joints at one body, anchors beside its origin, angles that count from
# elsewhere, a base that is turned and not the topmost body, a joint that follows another, a slide.
ODD = """<mujoco><compiler angle="radian" autolimits="true"/><worldbody>
<body name="stand" pos="0.3 0 0.2" euler="0 0 0.4"><body name="base" pos="0 0.1 0.5">
<geom type="capsule" size="0.05" fromto="0 0 0 0 0.1 0.1"/>
<body name="link" pos="0.1 0.2 0.3" euler="0.3 -0.2 0.5">
<joint name="a" pos="0.01 0.02 0.03" axis="0 1 0" ref="0.3" range="-1 1"/>
<joint name="b" pos="-0.02 0.01 0" axis="1 0 1" range="-1 1"/>
<geom type="ellipsoid" size="0.02 0.03 0.04"/>
<body name="tool" pos="0 0 -0.2"><joint name="c" type="slide" axis="0 1 1" ref="0.05" range="-0.1 0.1"/>
<geom type="box" size="0.01 0.02 0.03" pos="0 0 0.1" euler="1.5707963267948966 0 0.3"/>
<body name="finger" pos="0 0.1 0" euler="0 1.5707963267948966 0.3"><joint name="d" axis="0 0 1" range="-2 2"/>
<geom type="cylinder" size="0.02 0.03" rgba="1 0 0 1"/><site name="tip" pos="0 0 0.05" euler="0 0.2 0"/>
<camera name="eye" pos="0 0 0.1" euler="0.3 0 0"/></body></body></body></body></body>
</worldbody><equality><joint joint1="d" joint2="a" polycoef="0.1 -0.7 0 0 0"/></equality></mujoco>"""


@pytest.fixture(scope="module")
def odd_robot(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    (folder / "odd.xml").write_text(ODD)
    rows = [
        f"{name},arm,{low},{high},1,5,100,left" for name, low, high in (("a", -1, 1), ("b", -1, 1), ("c", -0.1, 0.1))
    ]
    (folder / "joints.csv").write_text(
        "\n".join(["name,block,lower,upper,velocity,acceleration,jerk,side", *rows]) + "\n"
    )
    (folder / "robot.yaml").write_text(
        "model: odd.xml\nbase: base\narms: {left: {wrist: tool, palm: tip}}\ncameras:\n"
        "  ego: {frame: eye, topic: /ego/image/compressed, width: 64, height: 48, rate_hz: 10}\n"
    )
    return robot.load(folder)


def tree_of(found):
    return LinkTree(found, {name: f"{name}_camera_optical_frame" for name in found.cameras})


def poses(tree, q):
    """{frame: (position, rotation matrix)} in the tree's root, by composing from parent to child."""
    own = dict(zip([link.name for link in tree.moving], zip(*tree.transforms(q))))
    own |= dict(zip([link.name for link in tree.fixed], zip(*poses_of(tree.fixed))))
    found = {tree.root: (np.zeros(3), np.eye(3))}
    for link in tree.links:
        position, quaternion = own[link.name]
        at, turn = found[link.parent]
        found[link.name] = at + turn @ position, turn @ Rotation.from_quat(quaternion, scalar_first=True).as_matrix()
    return found


def check(found, q):
    tree, kinematics = tree_of(found), Kinematics(found.table, found.model, found.base)
    kinematics.forward(q)
    every = poses(tree, q)
    for name, (position, turn) in every.items():
        if mujoco.mj_name2id(found.model, mujoco.mjtObj.mjOBJ_BODY, name) >= 0:
            np.testing.assert_allclose(position, kinematics.body_position(name), atol=1e-9, err_msg=name)
        elif mujoco.mj_name2id(found.model, mujoco.mjtObj.mjOBJ_SITE, site := name.removesuffix("_frame")) >= 0:
            np.testing.assert_allclose(position, kinematics.position(site), atol=1e-9, err_msg=name)
            np.testing.assert_allclose(turn, kinematics.rotation(site), atol=1e-9, err_msg=name)
    for name, camera in found.cameras.items():
        mujoco.mj_camlight(found.model, kinematics.data)
        view = kinematics.data.cam(camera.frame)
        position, turn = every[f"{name}_camera_optical_frame"]
        np.testing.assert_allclose(position, view.xpos - kinematics.origin, atol=1e-9)
        np.testing.assert_allclose(turn[:, 2], -view.xmat.reshape(3, 3)[:, 2], atol=1e-9, err_msg="z looks forward")
        np.testing.assert_allclose(turn[:, 1], -view.xmat.reshape(3, 3)[:, 1], atol=1e-9, err_msg="y points down")


def fraction_of_range(table, fractions):
    lower, upper = table.limits.lower, table.limits.upper
    return lower + (upper - lower) * np.resize(fractions, len(table))


@given(st.lists(st.floats(0, 1), min_size=3, max_size=9))
def test_links_are_where_the_kinematics_say(odd_robot, fractions):
    check(odd_robot, fraction_of_range(odd_robot.table, fractions))


@pytest.mark.parametrize("name", ["iron_r01", "robin_h1"])
def test_every_frame_of_our_robots_is_where_the_kinematics_say(name):
    found = robot.load(name)
    for seed in range(5):
        check(found, fraction_of_range(found.table, np.random.default_rng(seed).random(len(found.table))))


@pytest.mark.parametrize("name", ["iron_r01", "robin_h1", "odd"])
def test_mujoco_reads_the_urdf_and_finds_every_link_in_its_place(name, odd_robot):
    found = odd_robot if name == "odd" else robot.load(name)
    tree = tree_of(found)
    spec = mujoco.MjSpec.from_string(urdf.export(tree))
    spec.compiler.fusestatic = False
    for body in spec.bodies[1:]:
        body.explicitinertial, body.mass, body.inertia = True, 1.0, [1e-2] * 3
    own = Kinematics(found.table, spec.compile(), tree.root)
    q = fraction_of_range(found.table, np.random.default_rng(1).random(len(found.table)))
    own.forward(q)
    for link, (position, turn) in poses(tree, q).items():
        np.testing.assert_allclose(own.body_position(link), position, atol=1e-6, err_msg=link)
        np.testing.assert_allclose(own.data.body(link).xmat.reshape(3, 3), turn, atol=1e-6, err_msg=link)


def test_the_urdf_has_limits_mimics_and_every_visible_shape(odd_robot):
    root = ElementTree.fromstring(urdf.export(tree_of(odd_robot)))
    joints = {joint.get("name"): joint for joint in root.iter("joint")}
    assert joints["c"].get("type") == "prismatic" and float(joints["c"].find("limit").get("upper")) == 0.1
    mimic = joints["d"].find("mimic")
    assert mimic.get("joint") == "a" and float(mimic.get("multiplier")) == -0.7
    kinds = sorted(shape[0].tag for shape in root.iter("geometry"))
    assert kinds == ["box", "cylinder", "cylinder", "sphere", "sphere", "sphere"]
    assert "1 0 0 1" in {colour.get("rgba") for colour in root.iter("color")}


def test_a_robot_that_comes_as_a_urdf_keeps_its_text(tmp_path):
    """Shapes, mimics and materials are the maker's; only frames are added, and meshes get a path that can be opened."""
    text = (
        '<robot name="maker"><link name="stand"><visual><geometry><mesh filename="package://maker/m.obj"/></geometry>'
        '</visual></link><link name="tool"/><joint name="j" type="revolute"><parent link="stand"/><child link="tool"/>'
        '<axis xyz="0 1 0"/><limit lower="-1" upper="1" effort="7" velocity="1"/></joint></robot>'
    )
    (tmp_path / "m.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n")
    (tmp_path / "maker.urdf").write_text(text)
    (tmp_path / "joints.csv").write_text(
        "name,block,lower,upper,velocity,acceleration,jerk,side\nj,arm,-1,1,1,5,100,left\n"
    )
    (tmp_path / "robot.yaml").write_text("model: maker.urdf\nbase: stand\narms: {left: {wrist: tool, palm: tool}}\n")
    root = ElementTree.fromstring(urdf.export(LinkTree(robot.load(tmp_path), {})))
    assert {link.get("name") for link in root.iter("link")} == {"stand", "tool", "base_link"}
    (mesh,) = root.iter("mesh")
    assert mesh.get("filename") == (tmp_path / "m.obj").as_uri()
    (limit,) = root.iter("limit")
    assert limit.get("effort") == "7"
