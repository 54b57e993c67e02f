# SPDX-License-Identifier: Apache-2.0
"""The URDF of a robot, which ROS tools read from /robot_description.

A robot whose model is a URDF keeps its text, with meshes by absolute path and the frames that ROVE adds; of an MJCF the
links, limits and shapes are written: capsules as cylinders with two spheres, an ellipsoid as the sphere of its volume.
Masses and collision shapes are left out: nothing that reads /robot_description here needs them.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import mujoco
import numpy as np

from rove_description.coupling import couplings
from rove_description.links import IDENTITY, Link, LinkTree, multiply, rotate
from rove_description.robot import find_mesh

VISIBLE_GROUPS = 3  # MuJoCo's viewers show geoms of groups 0 to 2
Geom = mujoco.mjtGeom


def export(tree: LinkTree) -> str:
    """The URDF's text."""
    file = tree.robot.model_file
    if file is not None and file.suffix == ".urdf":
        root = ElementTree.fromstring(file.read_text(encoding="utf-8"))
        _resolve_meshes(root, file)
    else:
        root = Element("robot", name=tree.robot.name)
    names = {link.get("name") for link in root.iter("link")}
    SubElement(root, "link", name=tree.root)
    for link in tree.links:
        if link.name not in names:
            element = SubElement(root, "link", name=link.name)
            for shape in _shapes(tree, link):
                element.append(shape)
            root.append(_joint(tree, link))
        elif link.parent == tree.root:
            root.append(_joint(tree, link))
    ElementTree.indent(root)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _resolve_meshes(root: Element, file: Path) -> None:
    for mesh in root.iter("mesh"):
        name = mesh.get("filename", "")
        package = re.fullmatch(r'package://([^/"]+)/([^"]+)', name)
        path = Path(find_mesh(file, *package.groups()) if package else file.parent / name)
        if "://" not in str(path) and path.is_file():
            mesh.set("filename", path.resolve().as_uri())


def _joint(tree: LinkTree, link: Link) -> Element:
    model = tree.model
    name = model.joint(link.joint).name if link.joint >= 0 else f"{link.name}_fixed"
    joint = Element("joint", name=name, type=link.kind)
    SubElement(joint, "parent", link=link.parent)
    SubElement(joint, "child", link=link.name)
    joint.append(_origin(link.position, link.quaternion))
    if link.joint < 0:
        return joint
    SubElement(joint, "axis", xyz=_text(link.axis))
    table = tree.robot.table
    if name in table.index:
        i = table.index[name]
        lower, upper, velocity = (
            values[i] for values in (table.limits.lower, table.limits.upper, table.limits.velocity)
        )
    else:
        (lower, upper), velocity = model.jnt_range[link.joint], 0.0
    limits = {"lower": lower, "upper": upper, "velocity": velocity, "effort": 0.0}
    SubElement(joint, "limit", {key: f"{value:.9g}" for key, value in limits.items()})
    for coupling in couplings(model):
        if coupling.follower == link.joint and coupling.leader >= 0:
            multiplier = coupling.slope(coupling.leader_zero)
            offset = coupling.angle(coupling.leader_zero) - multiplier * coupling.leader_zero
            leader = model.joint(coupling.leader).name
            SubElement(joint, "mimic", joint=leader, multiplier=f"{multiplier:.9g}", offset=f"{offset:.9g}")
    return joint


def _shapes(tree: LinkTree, link: Link) -> list[Element]:
    """The visible geoms of a body as <visual> elements."""
    model, shapes = tree.model, []
    if link.body < 0:
        return []
    first = int(model.body_geomadr[link.body])
    for geom in range(first, first + model.body_geomnum[link.body]):
        colour = model.geom_rgba[geom] if model.geom_matid[geom] < 0 else model.mat_rgba[model.geom_matid[geom]]
        if model.geom_group[geom] >= VISIBLE_GROUPS or colour[3] == 0:
            continue
        for position, quaternion, name, values in _primitives(tree, geom):
            visual = Element("visual")
            visual.append(_origin(position, quaternion))
            SubElement(SubElement(visual, "geometry"), name, values)
            text = _text(colour)
            SubElement(SubElement(visual, "material", name=text.replace(" ", "_")), "color", rgba=text)
            shapes.append(visual)
    return shapes


Primitive = tuple[np.ndarray, np.ndarray, str, dict[str, str]]


def _primitives(tree: LinkTree, geom: int) -> list[Primitive]:
    """(position, quaternion, URDF's element, its attributes) that make a geom."""
    model = tree.model
    kind, size = int(model.geom_type[geom]), model.geom_size[geom]
    position, quaternion = np.array(model.geom_pos[geom]), np.array(model.geom_quat[geom])

    def sphere(radius: float, centre: np.ndarray = position) -> Primitive:
        return centre, IDENTITY, "sphere", {"radius": f"{radius:.9g}"}

    cylinder = position, quaternion, "cylinder", {"radius": f"{size[0]:.9g}", "length": f"{2 * size[1]:.9g}"}
    if kind == Geom.mjGEOM_SPHERE:
        return [sphere(size[0])]
    if kind == Geom.mjGEOM_ELLIPSOID:
        return [sphere(float(np.cbrt(np.prod(size))))]
    if kind == Geom.mjGEOM_CYLINDER:
        return [cylinder]
    if kind == Geom.mjGEOM_CAPSULE:
        end = rotate(quaternion, np.array([0.0, 0.0, size[1]]))
        return [cylinder, sphere(size[0], position + end), sphere(size[0], position - end)]
    if kind == Geom.mjGEOM_BOX:
        return [(position, quaternion, "box", {"size": _text(2 * size)})]
    if kind == Geom.mjGEOM_MESH:
        return [_mesh(tree, geom, position, quaternion)]
    return []


def _mesh(tree: LinkTree, geom: int, position: np.ndarray, quaternion: np.ndarray) -> Primitive:
    """The mesh's file where there is one; else the box around it."""
    model = tree.model
    mesh = int(model.geom_dataid[geom])
    at = int(model.mesh_pathadr[mesh])
    name = model.paths[at:].split(b"\0", 1)[0].decode() if at >= 0 else ""
    folder = tree.robot.model_file.parent if tree.robot.model_file is not None else tree.robot.folder
    file = folder / name
    if name and file.is_file():  # MuJoCo moved the mesh into its principal axes: its file's frame is the inverse
        back = model.mesh_quat[mesh] * [1, -1, -1, -1]
        turned = multiply(quaternion, back)
        attributes = {"filename": file.resolve().as_uri(), "scale": _text(model.mesh_scale[mesh])}
        return position - rotate(turned, model.mesh_pos[mesh]), turned, "mesh", attributes
    box = model.geom_aabb[geom]
    return position + rotate(quaternion, box[:3]), quaternion, "box", {"size": _text(2 * box[3:])}


def _origin(position: np.ndarray, quaternion: np.ndarray) -> Element:
    return Element("origin", xyz=_text(position), rpy=_text(_roll_pitch_yaw(quaternion)))


def _roll_pitch_yaw(quaternion: np.ndarray) -> np.ndarray:
    """(3,) rad about the fixed axes x, y, z, in this order."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    sine = 2 * (w * y - z * x)
    if abs(sine) > 1 - 1e-12:  # pitch of a right angle: roll and yaw turn about one axis
        return np.array([0.0, np.copysign(np.pi / 2, sine), -2 * np.copysign(np.arctan2(x, w), sine)])
    roll = np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    return np.array([roll, np.arcsin(sine), yaw])


def _text(values: np.ndarray) -> str:
    return " ".join(f"{value:.9g}" for value in np.where(np.abs(values) < 1e-12, 0.0, values))
