# SPDX-License-Identifier: Apache-2.0
"""Two robots side by side: two whole sessions on one machine and in one ROS domain, each in a namespace, with bags of
its own. One follows an operator while the other follows a policy; neither hears the other.
"""

import os

import psutil
import pytest
import rclpy
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from rove_bringup.bag_audit import audit
from rove_bringup.testing.suit import Suit, free_endpoint
from rove_description import robot
from rove_supervisor.testing.panel_client import Panel

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(240)]
LONG_S = 120.0  # ten processes start at once
SHARED = {"/parameter_events", "/rosout"}  # ROS's own, of every node
JOINTS = ("/joint_states", "/joint_command", "/teleop/joint_targets", "/policy/action_chunk")


@pytest.fixture
def suit():
    suit = Suit(free_endpoint())
    yield suit
    suit.close()


class Witness:
    """A node of neither session that sees who talks about what in their domain."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=int(os.environ["ROS_DOMAIN_ID"]))
        self.node = rclpy.create_node("witness", context=self.context)

    def topics(self) -> set[str]:
        return {name for name, _ in self.node.get_topic_names_and_types()} - SHARED

    def close(self) -> None:
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def witness(own_domain):
    witness = Witness()
    yield witness
    witness.close()


def joint_names(bags) -> dict[str, set[str]]:
    """Topic -> the joints that its messages in the bags are about."""
    found: dict[str, set[str]] = {}
    for bag in bags:
        with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
            for connection, _, raw in reader.messages([c for c in reader.connections if c.topic in JOINTS]):
                message = reader.deserialize(raw, connection.msgtype)
                names = message.name if hasattr(message, "name") else message.joint_names
                found.setdefault(connection.topic, set()).update(names)
    return found


def test_two_sessions_share_a_machine_and_a_domain_and_hear_nothing_of_each_other(
    rove_launch, witness, suit, holding_robin, tmp_path
):
    both = ["task:=free_space", "panel_port:=0", "robot_state:=false"]
    one = [*both, "namespace:=lab/one", "device:=zmq", f"endpoint:={suit.endpoint}", f"bags:={tmp_path / 'one'}"]
    two = [*both, "namespace:=lab/two", "robot:=robin_h1", "device:=none", f"bags:={tmp_path / 'two'}"]
    sessions = [
        rove_launch("session.launch.yaml", *one, cwd=tmp_path),
        rove_launch("session.launch.yaml", *two, f"checkpoint:={holding_robin}", cwd=tmp_path),
    ]
    first, second = (Panel(session.wait_for_word_after("panel: ", timeout_s=LONG_S)) for session in sessions)
    first.wait(lambda state: state["links"]["operator"]["ok"], "an operator")

    # Both at once: one is demonstrated by the operator, who bends an elbow; the policy of the other one holds it still.
    demonstration, rollout = {"IDLE": "start_demonstration"}, {"IDLE": "start_rollout", "PAUSED": "resume"}
    first.reach("DEMONSTRATION", 0.5, demonstration)
    suit.bent.set()
    second.reach("ROLLOUT", 1.5, rollout)
    first.reach("DEMONSTRATION", 1.0, demonstration)
    seen = witness.topics()
    assert seen and all(name.startswith(("/lab/one/", "/lab/two/")) for name in seen), "nothing outside the namespaces"

    second.press("estop")
    second.wait(lambda state: state["mode"] == "ESTOP", "an emergency stop of the second robot")
    first.reach("DEMONSTRATION", 0.5, demonstration)
    first.press("succeed")
    for panel in (first, second):
        panel.wait(lambda state: not state["links"]["recorder"]["recording"], "a closed bag")

    children = [child for session in sessions for child in psutil.Process(session.process.pid).children(recursive=True)]
    for session in sessions:
        session.stop()
    assert [session.end() for session in sessions] == [130, 130], "\n".join(session.output for session in sessions)
    assert len(children) == 10 and not [child for child in children if child.is_running()]

    iron, robin = robot.load(), robot.load("robin_h1")
    # A starved machine ends an episode early, and it is begun again: the last one counts, and the topics of all.
    bags = {name: sorted((tmp_path / name).iterdir()) for name in ("one", "two")}
    demonstrated, rolled = bags["one"][-1], bags["two"][-1]
    found = audit(demonstrated, iron.table)
    modes = {mode for mode, _ in found.timeline}
    assert "DEMONSTRATION" in modes and not modes & {"ROLLOUT", "ESTOP"}, "the other robot's stop stops no other"
    assert found.episode.outcome.name == "SUCCESS" and found.velocity_ratio <= 1.0 + 1e-6
    assert not found.messages.get("/policy/action_chunk"), "no chunk of the other robot's policy"
    names = joint_names(bags["one"])
    assert names.keys() == {"/joint_states", "/joint_command", "/teleop/joint_targets"}
    assert all(joints == set(iron.table.names) for joints in names.values())

    found = audit(rolled, robin.table)
    modes = {mode for mode, _ in found.timeline}
    assert {"ROLLOUT", "ESTOP"} <= modes and "DEMONSTRATION" not in modes
    assert found.velocity_ratio <= 1.0 + 1e-6
    names = joint_names(bags["two"])
    assert names.keys() == {"/joint_states", "/joint_command", "/policy/action_chunk"}, "no target of the operator"
    assert all(joints == set(robin.table.names) for joints in names.values())
