# SPDX-License-Identifier: Apache-2.0
"""How "erase the whiteboard" is done: the knobs by which a model of a person errs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

PRESS_N = 8.0  # N of the felt on the board: 1 kPa, one pass wipes clean
LIFT = 0.045  # m off the board between strokes


@dataclass
class Manner:
    """How the work is done; the defaults are the expert's own. A model of a person changes the fields at any time.

    speed: factor on all speeds. tolerance: factor on how well the hand is aligned before going on. grasp_offset: (3,)
    m, error of the grasp in the hand's frame; grasp_turn: rad about the palm's normal. grip: 1 = the expert's closed
    hand, less = weaker. press: N on the board. wipe_offset: (2,) m, board frame, where the strokes are taken to be
    too far. overrun: m of felt beyond each end of a stroke. lift: m between board and felt on the way to the next
    stroke.
    """

    speed: float = 1.0
    tolerance: float = 1.0
    grasp_offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    grasp_turn: float = 0.0
    grip: float = 1.0
    press: float = PRESS_N
    wipe_offset: np.ndarray = field(default_factory=lambda: np.zeros(2))
    overrun: float = 0.030
    lift: float = LIFT
