# SPDX-License-Identifier: Apache-2.0
"""The ghost of the panel is the robot seen from the front, whichever robot it is."""

import numpy as np
import pytest

from rove_description import robot
from rove_supervisor.panel.figure import TRUNK, Figure

IRON, ROBIN = robot.load(), robot.load("robin_h1")


@pytest.mark.parametrize("described", [IRON, ROBIN], ids=lambda described: described.name)
def test_the_ghost_at_home_stands_upright_between_its_arms(described):
    figure = Figure(described)
    points = figure.points(described.home)
    trunk = [points[name][2] for name in figure.lines[TRUNK]]
    assert trunk[0] == 0.0 and trunk == sorted(trunk)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        assert all(sign * points[name][1] > 0.05 for name in figure.lines[f"{side} arm"])
        assert len(described.arms[side].fingers) == sum(line.startswith(f"{side} ") for line in figure.lines) - 1


def test_raising_an_arm_sideways_raises_its_line_and_leaves_the_line_of_the_other_arm_alone():
    figure, q = Figure(IRON), np.zeros(len(IRON.table))
    before = figure.front(q)
    q[IRON.table.index["left_shoulder_roll"]] = 1.2
    after = figure.front(q)
    left, right = (list(figure.lines).index(f"{side} middle") for side in ("left", "right"))
    assert after[left][-1][1] > before[left][-1][1] + 0.3 and after[left][-1][0] > before[left][-1][0] + 0.3
    assert after[right] == before[right]


def test_unknown_joints_are_drawn_at_zero():
    figure = Figure(IRON)
    assert figure.front(np.full(len(IRON.table), np.nan)) == figure.front(np.zeros(len(IRON.table)))
