# SPDX-License-Identifier: Apache-2.0
"""The robot node over real ROS: rates, following commands by name, success, reset in IDLE only, clean end."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from lifecycle_msgs.msg import TransitionEvent  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger as TriggerService  # noqa: E402

from rove_contract import domain, images, messages, ros, topics  # noqa: E402
from rove_contract.modes import Mode, Trigger, to_wire  # noqa: E402
from rove_description import joints, mjcf  # noqa: E402

pytestmark = pytest.mark.ros
DOMAIN = str(domain.reserve())


@pytest.fixture(scope="module")
def context():
    before = {key: os.environ.get(key) for key in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE")}
    os.environ.update(ROS_DOMAIN_ID=DOMAIN, ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST")
    process = subprocess.Popen(
        [sys.executable, "-m", "rove_sim.robot_node", "--ros-args", "-p", "seed:=5", "-p", "image_size:=96"],
        env=os.environ.copy(),
    )
    rclpy.init()
    node = rclpy.create_node("robot_test")
    yield process, node
    node.destroy_node()
    rclpy.shutdown()
    if process.poll() is None:
        process.kill()
        process.wait()
    for key, value in before.items():
        os.environ.pop(key) if value is None else os.environ.update({key: value})


def until(node, condition, seconds=30.0, each=None):
    """Spin until the condition holds; the limit is a hang guard, not a timing claim."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the event did not come"
        if each is not None:
            each()
        rclpy.spin_once(node, timeout_sec=0.02)


def test_the_robot_node_over_real_ros(context):
    process, node = context
    table = joints.load()
    reader = messages.JointReader(table)
    got = {"q": None, "states": [], "sim": None, "image": None, "success": None}
    ros.subscription(
        node,
        topics.JOINT_STATES,
        lambda m: (got["states"].append(messages.stamp_ns(m.header.stamp)), got.update(q=reader.position(m))),
        depth=200,
    )
    ros.subscription(node, topics.SIM_STATE, lambda m: got.update(sim=json.loads(m.data)))
    ros.subscription(node, topics.EGO_IMAGE, lambda m: got.update(image=m))
    infos = {}
    camera_info = topics.camera_info(topics.EGO_IMAGE.name)
    ros.subscription(node, camera_info, lambda m: infos.update({messages.stamp_ns(m.header.stamp): m}))
    ros.subscription(node, topics.SIM_SUCCESS, lambda m: got.update(success=m.data))
    command_pub = ros.publisher(node, topics.JOINT_COMMAND)
    mode_pub = ros.publisher(node, topics.MODE)
    reset = node.create_client(TriggerService, topics.SIM_RESET_SERVICE)

    until(
        node,
        lambda: (
            got["q"] is not None and got["sim"] is not None and got["image"] is not None and got["success"] is not None
        ),
    )
    assert np.abs(got["q"] - mjcf.home(table)).max() < 0.1
    assert images.decode(got["image"].data).shape == (96, 96, 3)
    until(node, lambda: messages.stamp_ns(got["image"].header.stamp) in infos)  # tools match them by stamp
    info = infos[messages.stamp_ns(got["image"].header.stamp)]
    assert (info.width, info.height, info.header.frame_id) == (96, 96, got["image"].header.frame_id) and info.k[0] > 0
    assert got["success"] is False and got["sim"]["seed"] == 5 and got["sim"]["ink_left"] == 1.0

    # the state goes on while pictures are drawn, and its stamps advance
    got["states"].clear()
    until(node, lambda: len(got["states"]) >= 200)
    assert (np.diff(got["states"]) > 0).all()

    # a command in reversed joint order arrives at the right joints
    goal = mjcf.home(table)
    goal[table.index["left_elbow"]] = -0.9
    message = JointState(name=list(table.names[::-1]), position=goal[::-1].tolist())
    until(
        node, lambda: abs(got["q"][table.index["left_elbow"]] + 0.9) < 0.05, each=lambda: command_pub.publish(message)
    )

    def call():
        future = reset.call_async(TriggerService.Request())
        until(node, future.done)
        return future.result()

    def mode(value):
        event = TransitionEvent()
        event.goal_state.id = to_wire(value)
        return ros.mode_event(Mode.IDLE, Trigger.START_ROLLOUT, value, ros.now_ns())

    assert reset.wait_for_service(10.0)
    mode_pub.publish(mode(Mode.ROLLOUT))
    answers = []
    until(node, lambda: answers and not answers[-1].success, each=lambda: answers.append(call()))
    assert "IDLE" in answers[-1].message
    mode_pub.publish(mode(Mode.IDLE))
    until(node, lambda: answers[-1].success, each=lambda: answers.append(call()))
    resets = got["sim"]["resets"]
    until(node, lambda: got["sim"]["seed"] > 5 and got["sim"]["resets"] >= resets and not got["sim"]["seated"])
    # the old pose is not followed after a reset until the commander has re-seated
    for _ in range(20):
        command_pub.publish(message)
        rclpy.spin_once(node, timeout_sec=0.02)
    assert abs(got["q"][table.index["left_elbow"]] + 1.5) < 0.1 and not got["sim"]["seated"]
    home = messages.fill_joint_state(JointState(), table, ros.now_ns(), mjcf.home(table))
    until(node, lambda: got["sim"]["seated"], each=lambda: command_pub.publish(home))

    # a chosen start stage moves the scene in IDLE, at once, and not during an episode
    stage_pub = ros.publisher(node, topics.START_STAGE)
    until(node, lambda: got["sim"]["held"], each=lambda: stage_pub.publish(String(data="grasped")))
    assert got["sim"]["ink_left"] == 1.0
    mode_pub.publish(mode(Mode.ROLLOUT))
    until(node, lambda: not call().success)
    resets = got["sim"]["resets"]
    for _ in range(20):
        stage_pub.publish(String(data="half_erased"))
        rclpy.spin_once(node, timeout_sec=0.02)
    assert got["sim"]["resets"] == resets and got["sim"]["ink_left"] == 1.0
    mode_pub.publish(mode(Mode.IDLE))
    until(node, lambda: got["sim"]["ink_left"] < 0.8, each=lambda: stage_pub.publish(String(data="half_erased")))

    # a broken neighbour's messages are counted, and end nothing
    bad = {}

    def on_diagnostics(msg):
        bad.update({s.name: messages.diagnostic_values(s).get("bad_messages") for s in msg.status})

    ros.subscription(node, topics.DIAGNOSTICS, on_diagnostics)
    episode_pub = ros.publisher(node, topics.EPISODE)
    nonsense = TransitionEvent()
    nonsense.goal_state.id = 99

    def send_nonsense():
        mode_pub.publish(nonsense)
        episode_pub.publish(ros.status("episode/x", "active", {"outcome": "no number"}))
        command_pub.publish(JointState())

    until(node, lambda: int(bad.get("robot") or 0) >= 3, each=send_nonsense)
    assert process.poll() is None

    process.send_signal(signal.SIGINT)
    assert process.wait(10.0) == 0
