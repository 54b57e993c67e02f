# SPDX-License-Identifier: Apache-2.0
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from rove_contract import domain, topics
from rove_contract.depth import decode
from rove_recorder.bag.recover import read_metadata
from rove_recorder.export.export import export_bags

pytestmark = pytest.mark.ros
DOMAIN = str(domain.reserve())
ROBOT = str(Path(__file__).parents[1] / "fake_robot.py")


def environment(**more):
    return {
        **os.environ,
        **more,
        "ROS_DOMAIN_ID": DOMAIN,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture
def start():
    processes = []

    def run(*command, **more):
        process = subprocess.Popen(
            [sys.executable, *map(str, command)], stdout=subprocess.PIPE, text=True, env=environment(**more)
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        process.stdout.close()


def recorder(start, out_dir, *params):
    return start("-m", "rove_recorder.recorder_node", "--ros-args", "-p", f"out_dir:={out_dir}", *params)


def test_two_episodes_over_ros_are_recorded_whole_and_exported(tmp_path, start):
    node = recorder(start, tmp_path / "bags", "-p", "topics:=['/sim/*', '/extra']")
    output, _ = start(ROBOT, 2.5, 2).communicate(timeout=50)
    assert output, "the fake robot failed; see its error above"
    result = json.loads(output.splitlines()[-1])
    node.send_signal(signal.SIGINT)
    assert node.wait(10) == 0
    driven_s = []  # time in the modes in which somebody drives, from the supervisor's own stamps
    for k, sent in enumerate(result["sent"]):
        folder = tmp_path / "bags" / f"episode-{k}"
        custom = read_metadata(folder)["custom_data"]
        counts = json.loads(custom["counts"])
        assert (custom["dropped"], custom["missed"], custom["outcome"]) == ("0", "0", "success")
        parameters = json.loads(custom["parameters"])
        assert parameters["recorder"]["compression"] == "zstd"
        assert parameters["fake_robot"] == {"scale": 1.0}, "parameters of every node that runs"
        assert 0 <= json.loads(custom["clock_offsets"])["/joint_states"] < 0.1  # one computer, one clock
        for name, number in sent.items():
            if number:  # nobody here publishes the others
                # Everything that was sent within the episode, and the pre-roll's 0.3 s before it.
                assert number <= counts[name]["written"] <= number + 0.51 * 100, name
        with AnyReader([folder]) as reader:
            assert reader.message_count == int(custom["written"]) == sum(1 for _ in reader.messages())
            read = [
                (c.topic, reader.deserialize(raw, c.msgtype))
                for c, _, raw in reader.messages()
                if c.topic in ("/supervisor/mode", "/rosout")
            ]
        modes = [event for topic, event in read if topic == "/supervisor/mode"]
        assert f"episode {k} has begun" in [line.msg for topic, line in read if topic == "/rosout"]
        names = list(dict.fromkeys(event.goal_state.label for event in modes))
        assert names == ["IDLE", "ROLLOUT", "PAUSED", "ADAPTATION", "RECOVERY"]
        assert modes[-1].goal_state.label == "IDLE"
        changes = list({event.timestamp: event.goal_state.label for event in modes}.items())
        driven = [b - a for (a, mode), (b, _) in zip(changes, changes[1:]) if mode not in ("IDLE", "PAUSED")]
        driven_s.append(sum(driven) * 1e-9)
        qos = {
            topic["topic_metadata"]["name"]: topic["topic_metadata"]["offered_qos_profiles"]
            for topic in read_metadata(folder)["topics_with_message_count"]
        }
        # As the publishers offer it, not as the recorder asks for it; the graph tells neither history nor depth.
        (offered,) = qos["/joint_states"]
        assert (offered["reliability"], offered["history"], offered["depth"]) == ("reliable", "unknown", 0)
        assert qos["/joint_command"][0]["deadline"] == {
            "sec": 0,
            "nsec": round(topics.JOINT_COMMAND.qos.deadline_s * 1e9),
        }
        assert qos["/rosout"][0]["lifespan"] == {"sec": 10, "nsec": 0}
    results = export_bags([tmp_path / "bags"], tmp_path / "d", workers=1, progress=False)
    # One frame per 50 ms in each of the three driven stages, each of which may lose or gain one at its edges.
    assert [len(r.episode.frames) for r in results] == [pytest.approx(20 * seconds, abs=3) for seconds in driven_s]
    assert all(r.episode.frames.t_r > r.episode.frames.takeover > 0 for r in results)


SENSORS = """
extends: iron_r01
depth:
  raw: {frame: ego, topic: /head/depth/image_raw, width: 64, height: 48, rate_hz: 30}
  compressed: {frame: ego, topic: /chest/depth/image/compressedDepth, width: 64, height: 48, rate_hz: 30}
tactile:
  palm: {topic: /palm, size: 8, rate_hz: 100}
"""


def test_depth_and_touch_over_ros_are_recorded_and_exported(tmp_path, start):
    folder = tmp_path / "robot"
    folder.mkdir()
    (folder / "robot.yaml").write_text(SENSORS)
    node = recorder(start, tmp_path / "bags", "-p", f"robot:={folder}")
    output, _ = start(ROBOT, 2.0, FAKE_ROBOT=str(folder)).communicate(timeout=50)
    assert output, "the fake robot failed; see its error above"
    (sent,) = json.loads(output.splitlines()[-1])["sent"]
    node.send_signal(signal.SIGINT)
    assert node.wait(10) == 0
    custom = read_metadata(tmp_path / "bags" / "episode-0")["custom_data"]
    counts = json.loads(custom["counts"])
    for name in ("/head/depth/image_raw", "/chest/depth/image/compressedDepth", "/palm"):
        assert sent[name] <= counts[name]["written"] and not counts[name]["dropped"], name
    (result,) = export_bags([tmp_path / "bags"], tmp_path / "d", robot=folder, workers=1, progress=False)
    assert not result.error
    frames = result.episode.frames
    touched = frames.tactile["palm"][10:, 0]  # the first half second may still hold the pre-roll, with its own numbers
    assert (np.diff(touched) >= 0).all() and touched[-1] > 100
    for name in ("raw", "compressed"):
        shown = np.array([decode(png)[0, 0] for png in frames.depth[name][10:]]) - 1.0
        # Sent with every third touch, the last of them not yet received when the tick falls between the two.
        assert (np.abs(shown - touched) <= 6).mean() > 0.9, name


LISTEN = """
import rclpy
from rove_contract import messages, ros, topics
rclpy.init()
node = rclpy.create_node("listener")
got = []
ros.subscription(node, topics.RECORDER_STATUS, got.append)
while not any("waiting for" in msg.message for msg in got):
    rclpy.spin_once(node, timeout_sec=0.1)
print(messages.diagnostic_values(got[-1])["ready"], got[-1].message)
rclpy.try_shutdown()
"""


def test_a_recorder_is_not_ready_before_it_hears_the_robot(tmp_path, start):
    recorder(start, tmp_path)
    output, _ = start("-c", LISTEN).communicate(timeout=30)
    assert output.startswith("false waiting for the publishers of /joint_states, /ego_camera/image/compressed, ")


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("compression:=zip", "compression is 'zip', expected one of zstd, lz4, none"),
        ("out_dir:=/proc/none", "cannot record into /proc/none"),
    ],
)
def test_wrong_parameters_are_refused_with_the_reason(parameter, message):
    command = [sys.executable, "-m", "rove_recorder.recorder_node", "--ros-args", "-p", parameter]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=30, check=False)
    assert done.returncode == 2
    assert message in done.stderr
