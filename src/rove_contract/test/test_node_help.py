# SPDX-License-Identifier: Apache-2.0
"""`--help` names a node's parameters without making the node."""

from rove_contract import node_help

SOURCE = """
class N:
    def __init__(self):
        get = self.declare_parameter
        self.rate = get("rate", 20.0, described("Frames per second, Hz.")).value
        self.declare_parameter("guard", True)
        get(name, 3)
        get("level", list(Config.lower))
"""


def test_declared_parameters_are_found_in_order():
    assert node_help.parameters_of(SOURCE) == [
        node_help.Parameter("rate", "20.0", "Frames per second, Hz."),
        node_help.Parameter("guard", "True", ""),
        node_help.Parameter("level", "list(Config.lower)", ""),
    ]


def test_help_is_asked_for_before_ros_args_only():
    assert node_help.is_wanted(["robot", "--help"]) and node_help.is_wanted(["robot", "-h", "--ros-args"])
    assert not node_help.is_wanted(["robot"]) and not node_help.is_wanted(["robot", "--ros-args", "-h"])
