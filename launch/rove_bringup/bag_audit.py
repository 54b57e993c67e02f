# SPDX-License-Identifier: Apache-2.0
"""What a bag proves: its topics, its mode timeline, and that no joint command broke a limit. Read with the public
`rosbags` reader.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from rove_contract import episode as episodes
from rove_contract import messages, timing, topics
from rove_contract.modes import Mode
from rove_description import joints


@dataclass(frozen=True)
class BagAudit:
    """messages: count per topic. missing: required topics without a message. timeline: (mode, s since the first
    message).

    velocity_ratio: largest |command velocity| / limit; 1 is the limit. worst_joint: where. duration_s: s.
    """

    path: Path
    messages: dict[str, int]
    missing: tuple[str, ...]
    timeline: tuple[tuple[str, float], ...]
    velocity_ratio: float
    worst_joint: str
    duration_s: float
    episode: episodes.Episode | None

    @property
    def intervened(self) -> bool:
        return any(mode == Mode.ADAPTATION.name for mode, _ in self.timeline)


def command_velocity_ratio(commands: np.ndarray, stamps_ns, table: joints.JointTable):
    """commands (N, J) rad with stamps (N,) ns -> (largest |velocity| / limit, joint name). (0, "") for fewer than two.

    The time between two commands is that of their stamps, which the filter keeps at least a period apart; were one lost
    on its way to the recorder, the motion over it spans two periods. Equal stamps (the filter was restarted) count as
    one period.
    """
    if len(commands) < 2:
        return 0.0, ""
    elapsed = np.maximum(np.diff(np.asarray(stamps_ns, dtype=np.int64)) * 1e-9, timing.CONTROL_PERIOD_S)
    ratio = np.abs(np.diff(commands, axis=0)) / (table.limits.velocity * elapsed[:, None])
    worst = np.unravel_index(np.argmax(ratio), ratio.shape)
    return float(ratio[worst]), table.names[worst[1]]


def audit(path: str | Path, table: joints.JointTable | None = None) -> BagAudit:
    """Read the whole bag at `path` (rosbag2 directory). Raises rosbags' AnyReaderError when it cannot be opened."""
    table = table or joints.load()
    reader_of = messages.JointReader(table)
    counts: dict[str, int] = {}
    timeline: list[tuple[str, float]] = []
    commands: list[np.ndarray] = []
    stamps: list[int] = []
    episode = None
    wanted = {topics.MODE.name, topics.JOINT_COMMAND.name, topics.EPISODE.name}
    with AnyReader([Path(path)], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        for connection in reader.connections:
            counts[connection.topic] = counts.get(connection.topic, 0) + connection.msgcount
        start = reader.start_time
        duration_s = reader.duration * 1e-9
        for connection, stamp, raw in reader.messages([c for c in reader.connections if c.topic in wanted]):
            msg: Any = reader.deserialize(raw, connection.msgtype)
            if connection.topic == topics.JOINT_COMMAND.name:
                commands.append(reader_of.position(msg))
                stamps.append(messages.stamp_ns(msg.header.stamp))
            elif connection.topic == topics.MODE.name:
                mode = messages.recorded_mode(msg).name
                if not timeline or timeline[-1][0] != mode:
                    timeline.append((mode, (stamp - start) * 1e-9))
            else:
                episode = episodes.from_status(msg)
    ratio, joint = command_velocity_ratio(np.array(commands), stamps, table)
    missing = tuple(t.name for t in topics.TOPICS if t.required and not counts.get(t.name))
    return BagAudit(Path(path), counts, missing, tuple(timeline), ratio, joint, duration_s, episode)
