# SPDX-License-Identifier: Apache-2.0
"""`--help` names a node's parameters without making the node."""

import importlib.util
import sys

import pytest

from rove_contract import node_help

SOURCE = '''
"""A node that listens."""
from dataclasses import dataclass
from rove_contract.parameters import parameter

@dataclass(frozen=True)
class Parameters:
    rate_hz: float = parameter(20.0, "frames per second", unit="Hz", low=1.0, high=60.0)
    stages: list[str] = parameter([""], "where to begin")
    mode: str = parameter("fast", "of listening", choices=("fast", "slow"), live=True)

def make():
    pass
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    def load(source: str):
        path = tmp_path / "ear_node.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location("ear_node", path)
        found = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "ear_node", found)  # dataclasses look their module up there
        spec.loader.exec_module(found)
        return found

    return load


def test_help_says_default_unit_range_and_what_can_be_set(module):
    lines = node_help.describe(module(SOURCE).make).splitlines()
    assert lines[2] == "A node that listens."
    assert lines[5:] == [
        "  rate_hz: frames per second",
        "      default: 20.0 Hz; range: 1 to 60 Hz",
        "  stages: where to begin",
        "      default: ['']",
        "  mode: of listening",
        "      default: 'fast'; range: one of fast, slow; can be set while the node runs",
    ]


def test_help_is_asked_for_before_ros_args_only():
    assert node_help.is_wanted(["robot", "--help"]) and node_help.is_wanted(["robot", "-h", "--ros-args"])
    assert not node_help.is_wanted(["robot"]) and not node_help.is_wanted(["robot", "--ros-args", "-h"])
