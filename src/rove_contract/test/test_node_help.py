# SPDX-License-Identifier: Apache-2.0
"""`--help` names a node's parameters without making the node."""

import importlib.util

import pytest

from rove_contract import node_help

SOURCE = '''
"""A node that listens."""
RATE_HZ = 20.0
PARAMETERS = {"rate_hz": "frames per second, Hz", "guard": "keep links apart", "stages": "where to begin"}

def make(self, known):
    get = ros.parameter_reader(self, PARAMETERS)
    self.rate = get("rate_hz", RATE_HZ).value
    for field in known:
        get(field.name, field.default)
    self.stages = get("stages", [known.first]).value
'''


@pytest.fixture
def module(tmp_path):
    def load(source: str):
        path = tmp_path / "ear_node.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location("ear_node", path)
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
        return found

    return load


def test_parameters_have_their_descriptions_and_the_defaults_that_are_known_before_the_start(module):
    assert node_help.read_parameters(module(SOURCE)) == [
        node_help.Parameter("rate_hz", "20.0", "frames per second, Hz"),
        node_help.Parameter("guard", "", "keep links apart"),
        node_help.Parameter("stages", "", "where to begin"),
    ]


def test_a_parameter_without_description_is_refused(module):
    with pytest.raises(ValueError, match="ear_node declares stages without a line in PARAMETERS"):
        node_help.read_parameters(module(SOURCE.replace(', "stages": "where to begin"', "")))


def test_help_is_asked_for_before_ros_args_only():
    assert node_help.is_wanted(["robot", "--help"]) and node_help.is_wanted(["robot", "-h", "--ros-args"])
    assert not node_help.is_wanted(["robot"]) and not node_help.is_wanted(["robot", "--ros-args", "-h"])
