# SPDX-License-Identifier: Apache-2.0
"""The ghost of the panel is the robot seen from the front."""

import numpy as np

from rove_description import joints, mjcf
from rove_supervisor.panel.figure import LINES, Figure

TABLE = joints.load()


def test_the_ghost_at_home_stands_upright_between_its_arms():
    points = Figure(TABLE).points(mjcf.home(TABLE))
    assert points["head"][2] > points["neck"][2] > points["torso"][2] > points["pelvis"][2] == 0.0
    for name in ("shoulder", "forearm", "wrist_link", "thumb_tip"):
        assert points[f"left_{name}"][1] > 0.05 and points[f"right_{name}"][1] < -0.05


def test_raising_an_arm_sideways_raises_its_line_and_leaves_the_line_of_the_raised_arm_alone():
    figure, q = Figure(TABLE), np.zeros(len(TABLE))
    before = figure.front(q)
    q[TABLE.index["left_shoulder_roll"]] = 1.2
    after = figure.front(q)
    left, right = 1, 2  # LINES: trunk, left arm, right arm, ...
    assert LINES[left][-1] == "left_middle_tip" and LINES[right][-1] == "right_middle_tip"
    assert after[left][-1][1] > before[left][-1][1] + 0.3 and after[left][-1][0] > before[left][-1][0] + 0.3
    assert after[right] == before[right]


def test_unknown_joints_are_drawn_at_zero():
    figure = Figure(TABLE)
    assert figure.front(np.full(len(TABLE), np.nan)) == figure.front(np.zeros(len(TABLE)))
