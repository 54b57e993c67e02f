# SPDX-License-Identifier: Apache-2.0
"""Message definitions and type hashes of ROS types, and QoS in rosbag2's notation; no rclpy."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from rove_contract import topics

FOREVER = {"sec": 9223372036, "nsec": 854775807}  # rmw's infinite duration


class UnknownType(ValueError):
    """No definition of a message type can be found."""


@cache
def typestore():
    """The Jazzy type store; types found in the ament index are added as they are met."""
    return get_typestore(Stores.ROS2_JAZZY)


@dataclass(frozen=True)
class Schema:
    """definition: ros2msg text with its dependencies. type_hash: "RIHS01_..."."""

    name: str
    definition: bytes
    type_hash: str


@cache
def schema(type_name: str) -> Schema:
    """ "pkg/msg/Type" -> Schema. Raises UnknownType when neither the Jazzy store nor the ament index knows it."""
    store = typestore()
    if type_name not in store.fielddefs:
        _learn(type_name)
    definition, _ = store.generate_msgdef(type_name, ros_version=2)
    return Schema(type_name, definition.encode(), store.hash_rihs01(type_name))


def _learn(type_name: str) -> None:
    """Read `type_name` and what it contains from <prefix>/share/<pkg>/msg/<Type>.msg."""
    store = typestore()
    package, _, name = type_name.partition("/msg/")
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        path = Path(prefix) / "share" / package / "msg" / f"{name}.msg"
        if prefix and path.is_file():
            types = get_types_from_msg(path.read_text(), type_name)
            for _, fields in types.values():
                for _, (kind, detail) in fields:
                    inner = (
                        detail if kind.name == "NAME" else detail[0][1] if kind.name in ("ARRAY", "SEQUENCE") else None
                    )
                    if isinstance(inner, str) and "/" in inner and inner not in store.fielddefs:
                        _learn(inner)
            store.register(types)
            return
    raise UnknownType(
        f"no definition of {type_name} found; source the workspace that holds package {package!r} before recording it"
    )


def qos_dict(qos: topics.Qos) -> dict:
    """Qos -> rosbag2 v9's offered_qos_profiles entry (enums as words)."""
    deadline = FOREVER
    if qos.deadline_s is not None:
        sec, nsec = divmod(round(qos.deadline_s * 1e9), 1_000_000_000)
        deadline = {"sec": sec, "nsec": nsec}
    return {
        "history": "keep_last",
        "depth": qos.depth,
        "reliability": qos.reliability,
        "durability": qos.durability,
        "deadline": dict(deadline),
        "lifespan": dict(FOREVER),
        "liveliness": "automatic",
        "liveliness_lease_duration": dict(FOREVER),
        "avoid_ros_namespace_conventions": False,
    }


def qos_yaml(profiles: list[dict]) -> str:
    """offered_qos_profiles as the text that stands in an MCAP channel's metadata."""
    return yaml.safe_dump(profiles, sort_keys=False).strip()
