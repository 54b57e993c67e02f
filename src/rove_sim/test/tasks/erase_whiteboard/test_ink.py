# SPDX-License-Identifier: Apache-2.0
"""Ink goes where felt presses and slides, by pressure and area, and nowhere else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rove_sim.tasks.erase_whiteboard.ink import POSITIONS, STROKES, Ink, draw_strokes

FELT = np.array([0.06, 0.0325])
STROKE = np.stack([np.linspace(-0.04, 0.04, 60), np.zeros(60)], axis=1)  # along u

FLAT = np.eye(3)


def line(width=0.012):
    ink = Ink(np.array([0.30, 0.224]))
    ink.draw(0, STROKE, width)
    return ink


def tilted(angle):
    """Axes of felt turned by `angle` about the board's u."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def slide(ink, pressed, u=0.0, start=-0.06, end=0.06, axes=FLAT, height=0.0, steps=60):
    """One pass along v at 0.1 m/s."""
    step = (end - start) / steps
    for i in range(steps):
        centre = np.array([u, start + step * (i + 0.5), height])
        ink.wear(centre, axes, FELT, pressed, np.array([0.0, 0.1, 0.0]), np.zeros(3), abs(step) / 0.1)


def test_one_firm_pass_wipes_clean_and_a_light_one_leaves_ink():
    firm, light = line(), line()
    slide(firm, 8.0)
    slide(light, 2.0)
    assert firm.left < 0.03
    assert 0.2 < light.left < 0.7


def test_felt_that_does_not_press_or_does_not_slide_wipes_nothing():
    ink = line()
    slide(ink, 0.0)
    for _ in range(100):
        ink.wear(np.zeros(3), np.eye(3), FELT, 20.0, np.zeros(3), np.zeros(3), 0.01)
    assert ink.left == 1.0


def test_felt_that_covers_half_a_stroke_leaves_the_other_half():
    ink = line()
    slide(ink, 20.0, u=-0.06)  # covers u < 0
    left = ink.amount[:, ink.u > 0.002].sum() / ink.total
    assert 0.45 < ink.left < 0.55 and left > 0.45
    assert ink.amount[:, ink.u < -0.002].max() < 0.05


def test_tilted_felt_wipes_with_its_edge_only():
    ink = line()
    ink.wear(np.array([0.0, 0.0, 0.0025]), tilted(0.05), FELT, 8.0, np.array([0.1, 0.0, 0.0]), np.zeros(3), 0.5)
    assert ink.left == 1.0  # the stroke lies under the middle, which does not touch
    ink.wear(np.array([0.0, 0.028, 0.0025]), tilted(0.05), FELT, 8.0, np.array([0.1, 0.0, 0.0]), np.zeros(3), 0.5)
    assert ink.left < 1.0


@settings(max_examples=25, deadline=None)
@given(
    pressed=st.floats(0.0, 30.0),
    more=st.floats(0.1, 30.0),
    u=st.floats(-0.1, 0.1),
    spin=st.floats(-3.0, 3.0),
)
def test_ink_only_goes_and_more_pressure_never_leaves_more(pressed, more, u, spin):
    amounts = []
    for force in (pressed, pressed + more):
        ink = line()
        before = ink.amount.copy()
        for v in np.linspace(-0.05, 0.05, 8):
            ink.wear(
                np.array([u, v, 0.0]), np.eye(3), FELT, force, np.array([0.05, 0.1, 0.0]), np.array([0, 0, spin]), 0.1
            )
            assert (ink.amount <= before).all() and (ink.amount >= 0.0).all()
            before = ink.amount.copy()
        amounts.append(ink.left)
    assert amounts[1] <= amounts[0] + 1e-12


@pytest.mark.parametrize("seed", range(8))
def test_a_trial_has_a_few_continuous_strokes_at_different_positions_inside_the_grid(seed):
    ink = Ink(np.array([0.30, 0.224]))
    count = draw_strokes(ink, np.random.default_rng(seed))
    assert STROKES[0] <= count <= STROKES[1]
    assert not ink.amount[[0, -1]].any() and not ink.amount[:, [0, -1]].any()
    near = set()
    for stroke in range(count):
        rows, columns = np.nonzero(ink.stroke == stroke)
        middle = np.array([ink.u[columns].mean(), ink.v[rows].mean()])
        near.add(int(np.linalg.norm(POSITIONS - middle, axis=1).argmin()))
        cells = set(zip(rows.tolist(), columns.tolist()))
        reached, frontier = set(), [next(iter(cells))]
        while frontier:
            i, j = frontier.pop()
            if (i, j) in cells and (i, j) not in reached:
                reached.add((i, j))
                frontier += [(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
        assert len(reached) > 0.9 * len(cells)  # another stroke may cross it
    assert len(near) == count == len(POSITIONS[list(near)])


def test_cells_sum_up_to_the_ink_that_is_left_and_lie_on_the_strokes():
    ink = line()
    slide(ink, 3.0, end=0.0)
    cells = np.array(ink.cells())
    assert cells[:, 3].sum() == pytest.approx(ink.left, abs=1e-3)
    assert np.abs(cells[:, 2]).max() < 0.01 and np.abs(cells[:, 1]).max() < 0.05


def test_the_picture_shows_what_is_left():
    ink = line()
    pixels = np.empty((*ink.amount.shape, 3), dtype=np.uint8)
    blue, white = np.array([[0.1, 0.1, 0.6]]), np.array([0.95, 0.95, 0.95])
    levels = []
    for _ in range(3):
        ink.paint(pixels, white, blue)
        levels.append(int(pixels[len(ink.v) // 2, len(ink.u) // 2, 0]))
        slide(ink, 1.5)
    assert levels[0] < levels[1] < levels[2] < 243
