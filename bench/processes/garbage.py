# SPDX-License-Identifier: Apache-2.0
"""What a broken neighbour may send on the topics of the command path: messages that no receiver can use."""

from __future__ import annotations

import math

from builtin_interfaces.msg import Duration
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from lifecycle_msgs.msg import TransitionEvent
from sensor_msgs.msg import CompressedImage, JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from rove_contract import topics


def joint_states(names: tuple[str, ...]) -> list:
    """JointStates: not finite, too few values, nobody's joints, joints twice, nothing."""
    names, zeros = list(names), [0.0] * len(names)
    return [
        JointState(name=names, position=[math.nan] * len(names)),
        JointState(name=names, position=[math.inf, *zeros[1:]]),
        JointState(name=names, position=zeros[:3]),
        JointState(name=["nobody"], position=[0.0]),
        JointState(name=[names[0]] * len(names), position=zeros),
        JointState(),
    ]


def chunks(names: tuple[str, ...]) -> list:
    """Action chunks: without points, not finite, too few values, times that do not advance, an unreadable plan."""

    def chunk(*rows, plan="", period_s=0.05):
        points = [
            JointTrajectoryPoint(positions=row, time_from_start=Duration(nanosec=round(i * period_s * 1e9)))
            for i, row in enumerate(rows, 1)
        ]
        msg = JointTrajectory(joint_names=list(names), points=points)
        msg.header.frame_id = plan
        return msg

    zeros = [0.0] * len(names)
    return [
        chunk(),
        chunk([math.nan] * len(names), zeros),
        chunk(zeros[:3], zeros),
        chunk(zeros, zeros, period_s=0.0),
        chunk(zeros, zeros, plan="no plan at all"),
    ]


def modes() -> list:
    """Mode messages with ids that are no mode."""
    found = []
    for number in (7, 99, 207, 255):
        event = TransitionEvent()
        event.goal_state.id = event.transition.id = number
        event.transition.label = "\x1b[2J by \x00"
        found.append(event)
    return found


def pictures() -> list:
    """Pictures that cannot be decoded: no bytes, no JPEG, a JPEG cut off."""
    return [
        CompressedImage(format="jpeg", data=data)
        for data in (b"", b"\x00" * 2000, b"\xff\xd8\xff\xe0" + b"\x12" * 50, b"\x89PNG\r\n\x1a\n" + b"\xff" * 30)
    ]


def recorder_states() -> list:
    """Reports in a recorder's name without any sense."""
    values = [KeyValue(key="ready", value="\x1b[2J"), KeyValue(key="dropped", value="-" * 2000)]
    return [DiagnosticStatus(name="recorder", message="\x1b]0;\x07", values=values), DiagnosticStatus()]


def messages_of(victim: str, names: tuple[str, ...]) -> tuple[topics.Topic, list]:
    """(topic, messages) that `victim` sends when it is broken."""
    return {
        "robot": (topics.JOINT_STATES, joint_states(names)),
        "teleop": (topics.TELEOP_TARGETS, joint_states(names)),
        "policy": (topics.ACTION_CHUNK, chunks(names)),
        "supervisor": (topics.MODE, modes()),
        "camera": (topics.EGO_IMAGE, pictures()),
        "recorder": (topics.RECORDER_STATUS, recorder_states()),
    }[victim]
