# SPDX-License-Identifier: Apache-2.0
"""An evaluation with real processes: policies change between trials, and a killed supervisor goes on with the next."""

import json
import shutil
import subprocess
import sys
import time

import pytest
import rclpy
from std_srvs.srv import Trigger

from rove_contract import domain, ros, topics
from rove_contract import episode as episodes
from rove_learning.report.compare import CompareConfig, compare
from rove_supervisor.evaluation import trials

domain.isolate()
pytestmark = pytest.mark.ros


@pytest.fixture
def start():
    processes = []

    def run(module, **parameters):
        words = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
        processes.append(subprocess.Popen([sys.executable, "-m", module, "--ros-args", *words]))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def panel():
    rclpy.init()
    node = rclpy.create_node("panel")
    seen = []
    ros.subscription(node, topics.EPISODE, lambda msg: seen.append(episodes.from_status(msg)))

    class Panel:
        def press(self, action):
            """Until it is accepted: the processes find each other, and a policy is loaded, in their own time."""
            client = node.create_client(Trigger, f"supervisor/{action}")
            end, text = time.monotonic() + 120.0, "no supervisor"  # a hang guard
            while time.monotonic() < end:
                if client.wait_for_service(timeout_sec=1.0):
                    future = client.call_async(Trigger.Request())
                    rclpy.spin_until_future_complete(node, future, timeout_sec=5.0)
                    if future.done() and future.result().success:
                        return
                    text = future.result().message if future.done() else "no answer"
                rclpy.spin_once(node, timeout_sec=0.1)
            raise AssertionError(f"{action}: {text}")

        def episode(self, before=""):
            """The one that runs, and is not `before`."""
            end = time.monotonic() + 60.0
            while not seen or seen[-1].state != "active" or seen[-1].id == before:
                assert time.monotonic() < end, seen
                rclpy.spin_once(node, timeout_sec=1.0)
            return seen[-1]

    yield Panel()
    node.destroy_node()
    rclpy.try_shutdown()


def test_trials_over_ros_survive_a_killed_supervisor_and_compare_reads_them(start, panel, motionless_policy, tmp_path):
    paths = {"base": str(motionless_policy), "new": str(shutil.copytree(motionless_policy, tmp_path / "new"))}
    folder = tmp_path / "trials"
    trials.begin(folder, trials.draw(paths, 1, "erase_whiteboard"))
    start("rove_sim.robot_node", image_size=32, camera_hz=10.0)
    start("rove_policy.policy_node", checkpoint=paths["base"])
    supervisor = start("rove_supervisor.supervisor_node", evaluation=folder, panel_port=-1)
    panel.press("start_rollout")
    first = panel.episode()
    panel.press("succeed")
    supervisor.kill()
    supervisor.wait()
    again = start("rove_supervisor.supervisor_node", evaluation=folder, panel_port=-1)
    panel.press("start_rollout")
    assert {first.checkpoint, panel.episode(first.id).checkpoint} == {"A", "B"}
    panel.press("fail")
    assert again.poll() is None
    rows = [json.loads(line) for line in (folder / trials.TRIALS).read_text().splitlines()]
    assert [(row["trial"], row["outcome"]) for row in rows] == [(1, "success"), (2, "failure")]
    found = compare(CompareConfig(tuple(f"{name}={folder / name}.json" for name in paths)))
    assert found["pairs"][0]["pairs"] == 1 and abs(found["pairs"][0]["difference"]) == 1.0
