# SPDX-License-Identifier: Apache-2.0
"""What leaves through the publisher thread has exactly the bytes of the message: strict readers of bags take it."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Vector3Stamped, Wrench
from hypothesis import given
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import JointState, NavSatFix

from rove_contract import cdr, ros

STORE = get_typestore(Stores.ROS2_JAZZY)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9)  # ROS cuts a text at a zero
numbers = st.floats(allow_nan=False, width=64)


def check(message, kind: str) -> None:
    data = ros.serialize(message)
    again = STORE.serialize_cdr(STORE.deserialize_cdr(data, kind), kind)  # refuses what is too long or too short
    assert len(again) == len(data)


@given(names, st.lists(names, max_size=7), st.lists(numbers, max_size=7), st.lists(numbers, max_size=7))
def test_joint_states_of_any_lengths_are_exact(frame, joints, position, velocity):
    message = JointState(name=joints, position=position, velocity=velocity)
    message.header.frame_id = frame
    check(message, "sensor_msgs/msg/JointState")


@given(st.lists(st.tuples(names, names, st.dictionaries(names, names, max_size=3)), max_size=3))
def test_diagnostics_of_any_lengths_are_exact(rows):
    status = [ros.status(name, text, values, level=1) for name, text, values in rows]
    check(DiagnosticArray(status=status), "diagnostic_msgs/msg/DiagnosticArray")


def test_other_messages_are_exact_and_a_kind_of_field_without_a_rule_is_refused():
    check(Vector3Stamped(), "geometry_msgs/msg/Vector3Stamped")
    check(Wrench(), "geometry_msgs/msg/Wrench")
    with pytest.raises(KeyError):
        cdr.serialized_size(NavSatFix(position_covariance=np.zeros(9)))
