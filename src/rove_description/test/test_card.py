# SPDX-License-Identifier: Apache-2.0
"""What files say of their robot, and when a file of one robot is refused for another."""

import json
from dataclasses import replace

import pytest

from rove_description import robot
from rove_description.card import RobotCard

IRON, ROBIN = robot.load().card, robot.load("robin_h1").card


def test_a_card_survives_json():
    assert RobotCard.from_dict(json.loads(json.dumps(ROBIN.to_dict()))) == ROBIN
    assert len(ROBIN.joints) == len(ROBIN.blocks) == len(ROBIN.sides) == 29


def test_what_belongs_to_another_robot_is_refused_by_name():
    refusal = ROBIN.refusal(IRON, "the checkpoint runs/a")
    assert refusal == "the checkpoint runs/a belongs to the robot robin_h1 (29 joints), this is iron_r01 (50 joints)"


def test_other_joints_under_the_same_name_are_refused_with_the_first_difference():
    swapped = replace(IRON, joints=(IRON.joints[1], IRON.joints[0], *IRON.joints[2:]))
    assert f"joint 0 is {IRON.joints[1]}, expected {IRON.joints[0]}" in swapped.refusal(IRON, "it")
    assert "29 instead of 50" in replace(ROBIN, name="iron_r01").refusal(IRON, "it")


def test_an_edited_description_and_an_unknown_robot_are_not_refused():
    assert replace(IRON, hash="0" * 12).refusal(IRON, "it") == ""
    assert RobotCard().refusal(IRON, "it") == ""


@pytest.mark.parametrize(
    "values", [{"name": 3}, {"joints": "abc"}, {"joints": [1]}, {"joints": ["a", "b"], "blocks": ["arm"]}]
)
def test_a_damaged_card_is_refused(values):
    with pytest.raises(ValueError, match="the robot"):
        RobotCard.from_dict(values)
