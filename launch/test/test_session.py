# SPDX-License-Identifier: Apache-2.0
"""Whole sessions over real ROS with the `rove` runner: separate processes, a scripted operator and supervisor, and what
the bags prove.
"""

import importlib
import socket
import time
from pathlib import Path

import psutil
import pytest
import yaml

from rove_bringup import bag_audit, launch_file, packages
from rove_contract.parameters import declarations

pytestmark = pytest.mark.ros


def session_arguments(tmp_path, **more: str) -> list[str]:
    """Arguments of a session that meets no other on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    values = {"bags": str(tmp_path / "bags"), "panel_port": "0", "endpoint": f"tcp://127.0.0.1:{port}", **more}
    return [f"{name}:={value}" for name, value in values.items()]


@pytest.mark.slow
def test_a_scripted_demonstration_is_recorded_and_the_session_ends(rove_launch, own_domain, tmp_path):
    arguments = session_arguments(tmp_path, device="scripted", kind="demonstration", episodes="1")
    runner = rove_launch("session.launch.yaml", *arguments, cwd=tmp_path)
    runner.wait_for('"complete": true', timeout_s=90.0)
    assert runner.end() == 0, runner.output
    [bag] = [path for path in (tmp_path / "bags").iterdir() if path.is_dir()]
    found = bag_audit.audit(bag)
    assert "DEMONSTRATION" in [mode for mode, _ in found.timeline]
    assert set(found.missing) <= {"/policy/action_chunk", "/policy/value"}, "no policy runs without a checkpoint"
    assert found.velocity_ratio <= 1.0 + 1e-6, found.worst_joint
    assert found.episode.kind == "demonstration" and found.episode.state == "ended"


def test_ctrl_c_ends_the_whole_session_within_five_seconds(rove_launch, own_domain, tmp_path):
    runner = rove_launch("session.launch.yaml", *session_arguments(tmp_path, device="zmq"), cwd=tmp_path)
    runner.wait_for("panel: http://", timeout_s=60.0)
    children = psutil.Process(runner.process.pid).children(recursive=True)
    assert len(children) == 6, "robot, robot_state, command filter, supervisor, recorder, teleop"
    begin = time.monotonic()
    runner.stop()
    assert runner.end() == 130
    assert time.monotonic() - begin < 5.0
    assert not [child for child in children if child.is_running()]


def test_every_parameter_in_the_files_and_in_the_launch_file_is_declared_by_its_node_and_in_its_range():
    checkpoint = {"checkpoint": "runs/x", "device": "scripted", "episodes": "1"}
    path = packages.launch_file("rove_bringup", "session.launch.yaml")
    nodes = {process.name: process for process in launch_file.plan_processes(path, checkpoint)}
    assert len(nodes) == 9
    modules = {
        "robot": "rove_sim.robot_node",
        "robot_state": "rove_bringup.robot_state_node",
        "scripted_operator": "rove_sim.scripted_operator_node",
        "scripted_supervisor": "rove_sim.scripted_supervisor_node",
        "policy": "rove_policy.policy_node",
        "teleop": "rove_teleop.teleop_node",
        "command_filter": "rove_teleop.command_filter_node",
        "supervisor": "rove_supervisor.supervisor_node",
        "recorder": "rove_recorder.recorder_node",
    }
    for name, process in nodes.items():
        declared = declarations(importlib.import_module(modules[name]).Parameters)
        command, given = list(process.command), {}
        for before, word in zip(command, command[1:]):
            if before == "-p":
                key, _, text = word.partition(":=")
                given[key] = yaml.safe_load(text)
            if before == "--params-file":
                given |= yaml.safe_load(Path(word).read_text())["/**"]["ros__parameters"]
        assert given and given.keys() <= declared.keys(), f"{name} declares no {sorted(given.keys() - declared.keys())}"
        for key, value in given.items():
            assert type(value) is type(declared[key].default) and not declared[key].refusal(value), f"{name}: {key}"


def test_the_robot_and_its_namespace_reach_every_node():
    everything = {"checkpoint": "runs/x", "device": "scripted", "episodes": "1"}
    everything |= {"robot": "/home/me/my_robot", "namespace": "left_lab/iron1"}
    path = packages.launch_file("rove_bringup", "session.launch.yaml")
    for process in launch_file.plan_processes(path, everything):
        assert "__ns:=/left_lab/iron1" in process.command, process.name
        told = 'robot:="/home/me/my_robot"' in process.command
        assert told or process.name == "scripted_supervisor", f"{process.name} is not told which robot"


def test_a_namespace_that_is_no_name_is_refused_with_its_line():
    path = packages.launch_file("rove_bringup", "session.launch.yaml")
    with pytest.raises(
        launch_file.LaunchError, match=r"session.launch.yaml:\d+: the namespace 'left lab' is no ROS name"
    ):
        launch_file.plan_processes(path, {"namespace": "left lab"})


def test_what_a_session_is_told_to_leave_out_is_not_started():
    path = packages.launch_file("rove_bringup", "session.launch.yaml")
    arguments = {"device": "none", "record": "false", "driver": "external", "robot_state": "false"}
    names = [process.name for process in launch_file.plan_processes(path, arguments)]
    assert names == ["command_filter", "supervisor"]


ENDPOINTS = [
    ("browser", "browser://127.0.0.1:8768"),
    ("webxr", "https://0.0.0.0:8766"),
    ("zmq", "tcp://127.0.0.1:5591"),
]


@pytest.mark.parametrize("device, endpoint", ENDPOINTS)
def test_teleop_listens_where_the_device_connects(device, endpoint):
    path = packages.launch_file("rove_bringup", "session.launch.yaml")
    processes = {process.name: process for process in launch_file.plan_processes(path, {"device": device})}
    assert any(word.strip("'\"") == endpoint for part in processes["teleop"].command for word in part.split(":=", 1))
