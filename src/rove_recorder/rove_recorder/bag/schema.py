# SPDX-License-Identifier: Apache-2.0
"""Message definitions and type hashes of ROS types, and QoS in rosbag2's notation; no rclpy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from rove_contract import topics

FOREVER = {"sec": 9223372036, "nsec": 854775807}  # rmw's infinite duration, 292 years
YEAR_S = 3.15e7  # who says longer means for ever


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


@dataclass(frozen=True)
class OfferedQos(topics.Qos):
    """What one publisher offers, as far as the graph tells: it says history "unknown" and depth 0 of those of other
    processes. history: "keep_last" | "keep_all" | "unknown". liveliness: "automatic" | "manual_by_topic". Times in s,
    None: for ever.
    """

    history: str = "keep_last"
    lifespan_s: float | None = None
    liveliness: str = "automatic"
    lease_s: float | None = None

    @classmethod
    def of(cls, qos: topics.Qos) -> OfferedQos:
        """What the contract says of a publisher."""
        return cls(qos.reliability, qos.durability, qos.depth, qos.deadline_s)

    @classmethod
    def of_profile(cls, profile: Any) -> OfferedQos:
        """rclpy's QoSProfile, as a graph query gives it."""

        def word(policy: Any) -> str:
            return policy.name.lower()

        def seconds(duration: Any) -> float | None:
            return None if duration.nanoseconds * 1e-9 > YEAR_S else duration.nanoseconds * 1e-9

        return cls(
            word(profile.reliability),
            word(profile.durability),
            profile.depth,
            seconds(profile.deadline),
            word(profile.history),
            seconds(profile.lifespan),
            word(profile.liveliness),
            seconds(profile.liveliness_lease_duration),
        )

    @classmethod
    def of_dict(cls, entry: Mapping[str, Any]) -> OfferedQos:
        """The inverse of `qos_dict`. Raises KeyError, TypeError or ValueError for what is no such entry."""

        def seconds(name: str) -> float | None:
            value = entry[name]["sec"] + entry[name]["nsec"] * 1e-9
            return None if value > YEAR_S else value

        return cls(
            str(entry["reliability"]),
            str(entry["durability"]),
            int(entry["depth"]),
            seconds("deadline"),
            str(entry["history"]),
            seconds("lifespan"),
            str(entry["liveliness"]),
            seconds("liveliness_lease_duration"),
        )


def qos_dict(qos: OfferedQos) -> dict:
    """OfferedQos -> rosbag2 v9's offered_qos_profiles entry (enums as words)."""

    def duration(seconds: float | None) -> dict[str, int]:
        if seconds is None:
            return dict(FOREVER)
        sec, nsec = divmod(round(seconds * 1e9), 1_000_000_000)
        return {"sec": sec, "nsec": nsec}

    return {
        "history": qos.history,
        "depth": qos.depth,
        "reliability": qos.reliability,
        "durability": qos.durability,
        "deadline": duration(qos.deadline_s),
        "lifespan": duration(qos.lifespan_s),
        "liveliness": qos.liveliness,
        "liveliness_lease_duration": duration(qos.lease_s),
        "avoid_ros_namespace_conventions": False,
    }


def qos_yaml(profiles: list[dict]) -> str:
    """offered_qos_profiles as the text that stands in an MCAP channel's metadata."""
    return yaml.safe_dump(profiles, sort_keys=False).strip()
