# SPDX-License-Identifier: Apache-2.0
"""The page of all parameters says what the nodes say, and a parameter that is read once cannot be set later."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import pytest
import rclpy
from rclpy.parameter import Parameter

from rove_contract import ros
from rove_contract.parameters import parameter

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/parameters.py"


@pytest.mark.skipif(not SCRIPT.exists(), reason="an installed package without its checkout")
def test_the_page_of_parameters_is_that_of_the_nodes():
    spec = importlib.util.spec_from_file_location("parameters", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text() == module.render(), "run: python scripts/parameters.py --write"


@dataclass(frozen=True)
class Ear:
    gain: float = parameter(1.0, "of the ear", unit="dB", low=0.0, high=2.0)
    stage: str = parameter("start", "where", live=True)
    count: int = parameter(3, "of ears", low=1)


@pytest.mark.ros
def test_a_parameter_that_is_read_once_refuses_to_be_set_and_a_live_one_takes_it():
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("ear", context=context)
    try:
        assert ros.read_parameters(node, Ear) == Ear(1.0, "start", 3)
        gain = node.describe_parameter("gain")
        assert (gain.description, gain.additional_constraints) == ("of the ear, dB", "0 to 2 dB")
        assert (gain.floating_point_range[0].from_value, gain.floating_point_range[0].to_value) == (0.0, 2.0)
        assert node.describe_parameter("count").integer_range[0].from_value == 1
        refused, taken = node.set_parameters([Parameter("gain", value=2.0), Parameter("stage", value="end")])
        assert not refused.successful and "read-only" in refused.reason and taken.successful
        assert (node.get_parameter("gain").value, node.get_parameter("stage").value) == (1.0, "end")
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
