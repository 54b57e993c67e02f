# SPDX-License-Identifier: Apache-2.0
"""One robot as its description says: a folder with `robot.yaml`, a joint table and a model, loaded and checked as a
whole.

`load("iron_r01")` takes a robot of this package, `load("path/to/folder")` any other. A process loads its robot once and
passes it on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from rove_description import joints
from rove_description.card import RobotCard
from rove_description.description_file import SIDES, Node, RobotError, of_side, read
from rove_description.sensors import (
    EGO,
    FOVY_DEG,
    KINDS,
    Camera,
    ModelNames,
    Sensors,
    one_each,
    read_cameras,
    read_sensors,
)

__all__ = [
    "DEFAULT",
    "EGO",
    "FOVY_DEG",
    "Arm",
    "Camera",
    "Finger",
    "Robot",
    "RobotError",
    "find_mesh",
    "load",
    "shipped",
    "spec",
]

ROBOTS = Path(__file__).parent / "robots"
DEFAULT = "iron_r01"
MODEL_FILES = (".xml", ".urdf")
# Digits of a person: keypoints of the base, of the joint before the robot's last link, and of the tip.
PERSON = {"thumb": (1, 3, 4), "index": (5, 6, 8), "middle": (9, 10, 12), "ring": (13, 14, 16), "little": (17, 18, 20)}


@dataclass(frozen=True)
class Finger:
    """A digit's sites in the model, from the palm outwards, and the person's digit that it follows."""

    base: str
    middle: str
    tip: str
    person: str


@dataclass(frozen=True)
class Arm:
    """One arm's sites (elbow "" where it has none), its joints (n,) int and its hand's (m,) int in the table's order;
    fingers: name -> Finger, none for a gripper. open, closed: (m,) rad, the hand's.
    """

    elbow: str
    wrist: str
    palm: str
    joints: np.ndarray
    hand: np.ndarray
    fingers: dict[str, Finger]
    open: np.ndarray
    closed: np.ndarray


@dataclass(frozen=True)
class Robot:
    """A robot. table: its joints. model: compiled MuJoCo model. home: (J,) rad. base: body that everything is measured
    from. head, chest: sites, "" where there is none. arms: side -> Arm. hash: of all files of the folder. model_file:
    None where a `module` makes the model.
    """

    name: str
    folder: Path
    hash: str
    table: joints.JointTable
    model: mujoco.MjModel = field(repr=False)
    home: np.ndarray = field(repr=False)
    base: str
    head: str
    chest: str
    arms: dict[str, Arm]
    cameras: dict[str, Camera]
    sensors: Sensors
    guard_margin_m: float
    guard_ignore: tuple[tuple[str, str], ...]
    model_file: Path | None = None
    module: str = ""

    @property
    def card(self) -> RobotCard:
        """What files that belong to this robot say of it."""
        table = self.table
        units = tuple(table.unit(i) for i in range(len(table))) if table.slides else ()
        return RobotCard(self.name, self.hash, table.names, table.blocks, table.sides, units)


def shipped() -> tuple[str, ...]:
    """Names of the robots of this package: what a file may name without a path being opened for it."""
    return tuple(sorted(entry.name for entry in ROBOTS.iterdir() if (entry / "robot.yaml").is_file()))


def variant(name: str, hash: str) -> str:
    """What to load for files that say name and hash: robots of this package may extend one another and share a name,
    and the hash tells which it was. Of an older description: the one that bears the name.
    """
    for own in (name, *(own for own in shipped() if own != name)):
        found = load(own)
        if found.name == name and found.hash == hash:
            return own
    return name


def load(robot: str | Path = DEFAULT) -> Robot:
    """A robot of this package by name, or any by its folder. Raises RobotError with one line per fault."""
    own = shipped()
    folder = ROBOTS / str(robot) if str(robot) in own else Path(robot).expanduser()
    if not os.path.isdir(folder):  # False also for what cannot be a path, where Path.is_dir raises
        raise RobotError(
            f"robot {str(robot)!r}: expected a folder with robot.yaml or one of {', '.join(own)}, got no such folder"
        )
    folder = folder.resolve()
    root, folders = _read(folder)
    table_file = root.values.get("joints", "joints.csv")
    margin, ignore = _guard(root)
    try:
        blocks = tuple(root.take("blocks", list, "a list of block names", []))
        table = joints.load(folder / root.take("joints", str, "a file name", "joints.csv"), blocks)
    except joints.LayoutError as error:
        raise RobotError(str(error)) from error
    model = _model(root, folder, table)
    _check_joints(root, table, model)
    table = _with_slides(table, model)
    check = ModelNames(model)
    base = check.name(root, "base", "body")
    frames = root.node("frames", needed=False)
    head, chest = (check.name(frames, key, "site", needed=False) for key in ("head", "chest"))
    frames.close()
    cameras, sensors = read_cameras(root, check), read_sensors(root, check)
    one_each(root, cameras, sensors)
    found = Robot(
        name=root.take("name", str, "a name", folder.name),
        folder=folder,
        hash=_hash(folders, table_file),
        table=table,
        model=model,
        home=_pose(root, "home", table, np.arange(len(table))),
        base=base,
        head=head,
        chest=chest,
        arms={side: arm for side in SIDES if (arm := _arm(root, check, table, side)) is not None},
        cameras=cameras,
        sensors=sensors,
        guard_margin_m=margin,
        guard_ignore=ignore,
        model_file=folder / text if (text := root.values["model"]).endswith(MODEL_FILES) else None,
        module="" if text.endswith(MODEL_FILES) else text,
    )
    root.close()
    if root.faults:
        raise RobotError("\n".join(dict.fromkeys(root.faults)))
    return found


def _read(folder: Path, extending: tuple[Path, ...] = ()) -> tuple[Node, tuple[Path, ...]]:
    """robot.yaml, what it `extends` included; and all folders that say something, this one first."""
    root = read(folder / "robot.yaml")
    if "extends" not in root.values:
        return root, (folder,)
    other, begun = str(root.values.pop("extends")), (*extending, folder)
    parent = (ROBOTS / other if other in shipped() else folder / other).resolve()
    if not (parent / "robot.yaml").is_file() or parent in begun:
        root.fault("extends", f"another robot, one of {', '.join(shipped())} or a folder", repr(other))
        raise RobotError("\n".join(root.faults))
    inherited, folders = _read(parent, begun)
    values = dict(inherited.values)
    values.setdefault("name", parent.name)
    values["joints"] = str(parent / str(values.get("joints", "joints.csv")))
    if str(values.get("model")).endswith(MODEL_FILES):
        values["model"] = str(parent / str(values["model"]))
    return Node(root.file, _merged(values, root.values)), (folder, *folders)


def _merged(values: dict, changes: dict) -> dict:
    """Mappings within mappings, those of `changes` over those of `values`."""
    both = {key for key in changes if isinstance(changes[key], dict) and isinstance(values.get(key), dict)}
    return values | {key: _merged(values[key], new) if key in both else new for key, new in changes.items()}


def _model(root: Node, folder: Path, table: joints.JointTable) -> mujoco.MjModel:
    text = root.take("model", str, "a model file (.xml, .urdf) or a module with mjcf(table)", "")
    try:
        if text.endswith(MODEL_FILES):
            views = [*root.node("cameras", False).values.values(), *root.node("depth", False).values.values()]
            fovy = {str(view.get("frame")): view.get("fovy_deg", FOVY_DEG) for view in views if isinstance(view, dict)}
            return _spec(folder / text, fovy).compile()
        return mujoco.MjModel.from_xml_string(importlib.import_module(text).mjcf(table))
    except (ValueError, ImportError, AttributeError, OSError) as error:
        root.fault("model", "a model that MuJoCo compiles", f"{text!r}: {error}")
        raise RobotError("\n".join(root.faults)) from error


def spec(described: Robot) -> mujoco.MjSpec:
    """The robot's model before it is compiled, for those who put it into a scene of their own."""
    if described.model_file is None:
        return mujoco.MjSpec.from_string(importlib.import_module(described.module).mjcf(described.table))
    frames = [camera.frame for camera in described.cameras.values()]
    frames += [camera.frame for camera in described.sensors.depth.values()]
    return _spec(described.model_file, {frame: float(described.model.camera(frame).fovy[0]) for frame in frames})


def _spec(file: Path, fovy_deg: dict[str, Any]) -> mujoco.MjSpec:
    """MJCF or URDF; links without joints stay bodies, and every body without a site of its name gets one, so that a
    URDF's links serve as frames. fovy_deg: field of view by the cameras' frames; a body of that name, which a URDF has
    instead of a camera, is an optical frame (REP-103: z forward, y down) and gets a camera.
    """
    text = file.read_text(encoding="utf-8")
    if "package://" in text:
        model = mujoco.MjSpec.from_string(
            re.sub(r'package://([^/"]+)/([^"]+)', lambda uri: find_mesh(file, *uri.groups()), text)
        )
        model.modelfiledir = str(file.parent)
    else:
        model = mujoco.MjSpec.from_file(str(file))
    model.compiler.fusestatic = False
    if file.suffix == ".urdf":  # CAD exports have inertias that no body can have, and nothing here needs them
        for body in model.bodies[1:]:
            body.explicitinertial, body.mass, body.inertia = True, 1.0, [1e-2] * 3
            body.fullinertia = [np.nan] * 6
    sites = {site.name for site in model.sites}
    for body in model.bodies:
        if body.name and body.name != "world" and body.name not in sites:
            body.add_site(name=body.name, group=4, size=[0.004, 0.004, 0.004])
    cameras = {camera.name for camera in model.cameras}
    for body in model.bodies:
        if body.name in fovy_deg and body.name not in cameras:  # MuJoCo's cameras look along -z, y up
            angle = fovy_deg[body.name]
            fovy = angle if isinstance(angle, (int, float)) else FOVY_DEG
            body.add_camera(name=body.name, quat=[0.0, 1.0, 0.0, 0.0], fovy=fovy)
    return model


def find_mesh(file: Path, package: str, rest: str) -> str:
    """Where a file of a ROS package is (package://PACKAGE/REST in `file`): in this folder or one above it, with or
    without the package's name; else as it would be here.
    """
    for root in (file.parent, *file.parent.parents):
        for place in (root / rest, root / package / rest, root / rest.partition("/")[2]):
            if place.is_file():
                return str(place)
    return rest


def _check_joints(root: Node, table: joints.JointTable, model: mujoco.MjModel) -> None:
    """Every joint of the table is one of the model; those of the model that are not in the table follow others."""
    own = {model.joint(i).name for i in range(model.njnt)}
    for name in table.names:
        if name not in own:
            root.fault("joints", f"joint {name!r} in the model", "a model without it")
    coupled = {
        model.joint(model.eq_obj1id[i]).name for i in range(model.neq) if model.eq_type[i] == mujoco.mjtEq.mjEQ_JOINT
    }
    for name in sorted(own - set(table.names) - coupled):
        root.fault("joints", f"a row for the model's joint {name!r}, or an equality that couples it", "neither")


def _with_slides(table: joints.JointTable, model: mujoco.MjModel) -> joints.JointTable:
    """The table, knowing which of its joints slide in the model; the same one where none does."""
    ids = [mujoco.mj_name2id(model, KINDS["joint"], name) for name in table.names]
    slides = frozenset(
        i for i, number in enumerate(ids) if number >= 0 and model.jnt_type[number] == mujoco.mjtJoint.mjJNT_SLIDE
    )
    return dataclasses.replace(table, slides=slides) if slides else table


def _pose(node: Node, key: str, table: joints.JointTable, allowed: np.ndarray) -> np.ndarray:
    """(len(allowed),) rad or m: joints by name, 0 (or the nearest limit) for the rest."""
    values = node.node(key, needed=False)
    q = np.zeros(len(table))
    names = {table.names[i] for i in allowed}
    for name in values.values:
        unit = table.unit(table.index[name]) if name in names else joints.RAD
        angle = values.take(name, (int, float), "a length in m" if unit == joints.METRE else "an angle in rad", 0.0)
        if name not in names:
            values.fault(name, "a joint of this block and side", f"{name!r}")
            continue
        i = table.index[name]
        if not table.limits.lower[i] <= angle <= table.limits.upper[i]:
            values.fault(name, f"{table.limits.lower[i]:g} to {table.limits.upper[i]:g} {unit}", angle)
        q[i] = angle
    return np.clip(q, table.limits.lower, table.limits.upper)[allowed]


def _arm(root: Node, check: ModelNames, table: joints.JointTable, side: str) -> Arm | None:
    """The arm of a side; None where the table has no arm joint there."""
    arms, hands = (_of_side(root, key, side) for key in ("arms", "hands"))
    at, hand = table.indices("arm", side), table.indices("hand", side)
    if not len(at):
        return None
    found = Arm(
        elbow=check.name(arms, "elbow", "site", needed=False),
        wrist=check.name(arms, "wrist", "site"),
        palm=check.name(arms, "palm", "site"),
        joints=at,
        hand=hand,
        fingers=_fingers(hands, check),
        open=_pose(hands, "open", table, hand),
        closed=_pose(hands, "closed", table, hand),
    )
    arms.close()
    hands.close()
    return found


def _of_side(root: Node, key: str, side: str) -> Node:
    """What a key says of one side: what stands under `left` or `right` where it has these, else one pattern of both."""
    node = root.node(key, needed=False)
    if node.values.keys() & set(SIDES):
        own = node.node(side, needed=False)
        for other in node.values.keys() - set(SIDES):
            node.fault(str(other), "left and right, or one pattern for both", "an unknown key")
        return Node(root.file, own.values, f"{key}.{side}", root.faults)
    return Node(root.file, of_side(node.values, side), f"{key} ({side})", root.faults)


def _fingers(hands: Node, check: ModelNames) -> dict[str, Finger]:
    fingers = {}
    node = hands.node("fingers", needed=False)
    for name in node.values:
        entry = node.node(name)
        sites = {key: check.name(entry, key, "site") for key in ("base", "middle", "tip")}
        person = entry.take("person", str, f"one of {', '.join(PERSON)}", "")
        if person not in PERSON:
            entry.fault("person", f"one of {', '.join(PERSON)}", repr(person))
        entry.close()
        fingers[name] = Finger(**sites, person=person)
    return fingers


def _guard(root: Node) -> tuple[float, tuple[tuple[str, str], ...]]:
    node = root.node("guard", needed=False)
    margin = node.number("margin_m", 0.0, 0.1, 0.015)
    pairs = []
    for pair in node.take("ignore", list, "a list of pairs of geoms", []):
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(name, str) for name in pair):
            pairs.append((pair[0], pair[1]))
        else:
            node.fault("ignore", "pairs of names of geoms", repr(pair))
    node.close()
    return margin, tuple(pairs)


def _hash(folders: tuple[Path, ...], table_file: str) -> str:
    """12 hex digits of the folders' files, names and contents, and of a joint table that lies elsewhere."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    if ".." in Path(table_file).parts or Path(table_file).is_absolute():
        digest.update((folders[0] / table_file).read_bytes())
    return digest.hexdigest()[:12]
