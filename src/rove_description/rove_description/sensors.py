# SPDX-License-Identifier: Apache-2.0
"""What a robot's description says of its sensors: cameras, depth cameras and tactile arrays."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import mujoco

from rove_description.description_file import Node

EGO = "ego"  # the main camera
FOVY_DEG = 60.0  # of a link that serves as a camera and of which nothing says what it sees
TACTILE_TYPES = tuple(
    f"std_msgs/msg/{kind}MultiArray"
    for kind in ("Float32", "Float64", "UInt8", "Int8", "UInt16", "Int16", "UInt32", "Int32")
)
KINDS = {
    "body": mujoco.mjtObj.mjOBJ_BODY,
    "site": mujoco.mjtObj.mjOBJ_SITE,
    "camera": mujoco.mjtObj.mjOBJ_CAMERA,
    "joint": mujoco.mjtObj.mjOBJ_JOINT,
    "geom": mujoco.mjtObj.mjOBJ_GEOM,
}


@dataclass(frozen=True)
class Camera:
    """frame: the model's camera. width, height: pixels. policy, critic: who sees it. fovy_deg: vertical field of view,
    None where nothing says it.
    """

    frame: str
    topic: str
    width: int
    height: int
    rate_hz: float
    policy: bool
    critic: bool
    fovy_deg: float | None = None


@dataclass(frozen=True)
class Depth:
    """A depth camera. frame: the model's camera. width, height: pixels, each 16 bits of mm (REP-118), 0 = nothing
    measured. type: of its messages, sensor_msgs/msg/Image or CompressedImage.
    """

    frame: str
    topic: str
    width: int
    height: int
    rate_hz: float

    @property
    def type(self) -> str:
        """As image_transport names topics: those of compressed pictures end in /compressedDepth."""
        compressed = self.topic.rpartition("/")[2].startswith("compressed")
        return f"sensor_msgs/msg/{'CompressedImage' if compressed else 'Image'}"


@dataclass(frozen=True)
class Tactile:
    """An array of `size` touch sensors in one message, in the sensor's own unit. type: one of TACTILE_TYPES."""

    topic: str
    size: int
    rate_hz: float
    type: str = TACTILE_TYPES[0]


@dataclass(frozen=True)
class Sensors:
    """What is recorded and exported beside cameras and joints, and is no input of a policy yet; by name."""

    depth: dict[str, Depth] = field(default_factory=dict)
    tactile: dict[str, Tactile] = field(default_factory=dict)

    @property
    def by_name(self) -> dict[str, Depth | Tactile]:
        return {**self.depth, **self.tactile}

    def only(self, names: Iterable[str]) -> Sensors:
        """Those of them with these names."""
        chosen = set(names)
        return Sensors(
            {name: sensor for name, sensor in self.depth.items() if name in chosen},
            {name: sensor for name, sensor in self.tactile.items() if name in chosen},
        )


class ModelNames:
    """Names in the file that must be the model's."""

    def __init__(self, model: mujoco.MjModel):
        self.model = model

    def name(self, node: Node, key: str, kind: str, needed: bool = True) -> str:
        """The name under a key, a fault where the model has no such `kind` (of KINDS); "" where it is not needed."""
        value = node.take(key, str, f"the name of a {kind} of the model", None if needed else "")
        if value and mujoco.mj_name2id(self.model, KINDS[kind], value) < 0:
            node.fault(key, f"the name of a {kind} of the model", repr(value))
        return value or ""


def read_cameras(root: Node, check: ModelNames) -> dict[str, Camera]:
    """What stands under `cameras`; faults are noted in `root`."""
    cameras = {}
    node = root.node("cameras", needed=False)
    for name in node.values:
        entry = node.node(name)
        cameras[name] = Camera(
            frame=check.name(entry, "frame", "camera"),
            topic=_topic(node, name, entry),
            width=int(entry.number("width", 16, 8192)),
            height=int(entry.number("height", 16, 8192)),
            rate_hz=entry.number("rate_hz", 1.0, 240.0),
            policy=entry.take("policy", bool, "true or false", True),
            critic=entry.take("critic", bool, "true or false", False),
            fovy_deg=_fovy(entry, check.model),
        )
        entry.close()
    if cameras and EGO not in cameras:
        node.fault(EGO, "the main camera, which panel and critic see first, under this name", ", ".join(cameras))
    return cameras


def read_sensors(root: Node, check: ModelNames) -> Sensors:
    """What stands under `depth` and `tactile`; faults are noted in `root`."""
    depth, tactile = {}, {}
    node = root.node("depth", needed=False)
    for name in node.values:
        entry = node.node(name)
        depth[name] = Depth(
            frame=check.name(entry, "frame", "camera"),
            topic=_topic(node, name, entry),
            width=int(entry.number("width", 16, 8192)),
            height=int(entry.number("height", 16, 8192)),
            rate_hz=entry.number("rate_hz", 1.0, 240.0),
        )
        entry.close()
    node = root.node("tactile", needed=False)
    for name in node.values:
        entry = node.node(name)
        kind = entry.take("type", str, f"one of {', '.join(TACTILE_TYPES)}", TACTILE_TYPES[0])
        if kind not in TACTILE_TYPES:
            entry.fault("type", f"one of {', '.join(TACTILE_TYPES)}", repr(kind))
        topic = _topic(node, name, entry)
        tactile[name] = Tactile(
            topic, int(entry.number("size", 1, 100_000)), entry.number("rate_hz", 1.0, 2000.0, 100.0), kind
        )
        if name in depth:
            node.fault(name, "a name that no depth camera has", repr(name))
        entry.close()
    return Sensors(depth, tactile)


def one_each(root: Node, cameras: dict[str, Camera], sensors: Sensors) -> None:
    """Note a topic that two of them name."""
    seen: dict[str, str] = {}
    for name, sensor in (*cameras.items(), *sensors.by_name.items()):
        if sensor.topic and sensor.topic in seen:
            root.fault(name, "a topic of its own", f"{sensor.topic}, which {seen[sensor.topic]} has")
        seen[sensor.topic] = name


def _topic(node: Node, name: str, entry: Node) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", str(name)):
        node.fault(str(name), "a name of lower-case letters, digits and _", repr(name))
    topic = entry.take("topic", str, "a topic", "")
    if not topic.startswith("/"):
        entry.fault("topic", "a topic that begins with /", repr(topic))
    return topic


def _fovy(entry: Node, model: mujoco.MjModel) -> float | None:
    """deg: what the file says, else the model's camera; None for a link that only serves as one."""
    if "fovy_deg" in entry.values:
        return entry.number("fovy_deg", 1.0, 179.0)
    frame = str(entry.values.get("frame"))
    if mujoco.mj_name2id(model, KINDS["camera"], frame) < 0:
        return None  # a fault already
    fovy = float(model.camera(frame).fovy[0])
    is_link = mujoco.mj_name2id(model, KINDS["body"], frame) >= 0
    return None if is_link and fovy == FOVY_DEG else fovy
