# SPDX-License-Identifier: Apache-2.0
"""`ros2 param set` on every parameter of every node: it takes effect, or it is refused and changes nothing."""

import importlib
import time

import pytest
import rclpy
from rcl_interfaces.msg import ParameterType
from rclpy.parameter import Parameter

from rove_contract import domain, parameters

domain.isolate()
pytestmark = pytest.mark.ros
NODES = {
    "command_filter": ("rove_teleop.command_filter_node", "CommandFilterNode"),
    "policy": ("rove_policy.policy_node", "PolicyNode"),
    "recorder": ("rove_recorder.recorder_node", "RecorderNode"),
    "robot": ("rove_sim.robot_node", "RobotNode"),
    "scripted_operator": ("rove_sim.scripted_operator_node", "OperatorNode"),
    "scripted_supervisor": ("rove_sim.scripted_supervisor_node", "ScriptedSupervisorNode"),
    "supervisor": ("rove_supervisor.supervisor_node", "SupervisorNode"),
    "teleop": ("rove_teleop.teleop_node", "TeleopNode"),
}
LIVE = {"policy": {"checkpoint"}, "robot": {"start_stage"}}  # what `checkpoint` does is tested beside the policy
QUIET = ["realtime:=0", "nice:=0", "discovery:=0.0", "panel_port:=0", "image_size:=32"]
OTHER = {
    ParameterType.PARAMETER_BOOL: lambda value: not value,
    ParameterType.PARAMETER_INTEGER: lambda value: value + 1,
    ParameterType.PARAMETER_DOUBLE: lambda value: value + 1.5 if value == value else 1.5,
    ParameterType.PARAMETER_STRING: lambda value: value + "_other",
    ParameterType.PARAMETER_STRING_ARRAY: lambda value: [*value, "other"],
    ParameterType.PARAMETER_DOUBLE_ARRAY: lambda value: [*value[:-1], value[-1] + 0.1],
}


@pytest.fixture
def make(monkeypatch, tmp_path):
    made = []

    def start(name, *changed):
        words = [f"{name}:{text}" for text in (*QUIET, f"out_dir:={tmp_path}", *changed)]
        rclpy.init(args=["--ros-args", *(word for text in words for word in ("-p", text))])
        module, class_name = NODES[name]
        made.append(getattr(importlib.import_module(module), class_name)())
        return made[-1]

    yield start
    for node in made:
        while getattr(node, "images", 1) == 0:  # the robot's camera thread ends between two pictures
            time.sleep(0.01)
        if close := getattr(node, "close", None):
            close()
        node.destroy_node()
    rclpy.try_shutdown()


@pytest.mark.parametrize("name", NODES)
def test_a_parameter_takes_effect_or_is_refused(name, make, request):
    more = [f"checkpoint:={request.getfixturevalue('motionless_policy')}"] if name == "policy" else []
    node = make(name, *more)
    module = importlib.import_module(NODES[name][0])
    declared = parameters.declarations(module.Parameters)
    names = declared.keys()
    assert names <= node._parameters.keys(), "described, but not declared"
    live = {parameter for parameter in names if not node.describe_parameter(parameter).read_only}
    assert live == LIVE.get(name, set())
    for parameter in names:
        descriptor = node.describe_parameter(parameter)
        assert descriptor.description.startswith(declared[parameter].description)
        assert descriptor.additional_constraints == declared[parameter].range()
        before = node.get_parameter(parameter)
        other = OTHER[before.type_.value](before.value)
        (result,) = node.set_parameters([Parameter(parameter, value=other)])
        assert not result.successful and result.reason, f"{parameter} was {before.value}, and {other} was taken"
        after = node.get_parameter(parameter).value
        assert after == before.value or before.value != before.value, parameter


@pytest.mark.parametrize(
    "name, parameter, expected",
    [
        ("command_filter", "guard_margin:=-0.1", "parameter guard_margin is -0.1, expected 0 to 0.5 m"),
        ("command_filter", "workspace_upper:=[1.0, 99.0, 1.0]", "expected -10 to 10 m"),
        ("command_filter", "realtime:=200", "parameter realtime is 200, expected 0 to 99"),
        ("recorder", "compression:=bzip9", "parameter compression is 'bzip9', expected one of zstd, lz4, none"),
        ("recorder", "preroll_s:=five", "parameter preroll_s: .*expected float, e.g. 0.5"),
        ("supervisor", "advice_threshold:=-3.0", "parameter advice_threshold is -3.0, expected -1 to 0"),
        ("robot", "camera_hz:=.inf", "parameter camera_hz is inf, expected 0.1 to 240 Hz"),
    ],
)
def test_a_wrong_value_is_refused_at_the_start_with_its_range(name, parameter, expected, make):
    with pytest.raises(ValueError, match=expected):
        make(name, parameter)


def test_a_start_stage_that_is_set_moves_the_scene_at_once_and_one_that_is_unknown_is_refused(make):
    node = make("robot")
    (result,) = node.set_parameters([Parameter("start_stage", value="grasped")])
    assert result.successful and node.env.start_stage == "grasped"
    (result,) = node.set_parameters([Parameter("start_stage", value="asleep")])
    assert result.reason.startswith("unknown start stage 'asleep'; the task has start, ")
    assert (node.get_parameter("start_stage").value, node.env.start_stage) == ("grasped", "grasped")


def test_a_start_stage_that_the_task_does_not_have_is_refused_at_the_start(make):
    with pytest.raises(ValueError, match="unknown start stage 'asleep'"):
        make("robot", "start_stage:=asleep")
