# SPDX-License-Identifier: Apache-2.0
"""How the bread is put into the toaster: what a model of a person changes in the expert."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Manner:
    """How the work is done; the defaults are the expert's own. A model of a person changes the fields at any time.

    speed: factor on all speeds. tolerance: factor on how well hand and slice are aligned before going on.
    grasp_offset: (3,) m, error of the pinch in the hand's frame. insertion_offset: m along and across the slot, and
    insertion_turn: rad, error of where the slice is brought. grip: share of the way from the open to the closed
    hand; 1 presses with about 10 N, at 0.89 the fingers just touch the slice.
    push: m, how far the set-point runs ahead of a blocked slice; the arm then presses with about 4 N per mm.
    patience_s: s of pushing on a jammed slice before it is drawn back. release_height: m above the slot's floor at
    which the hand lets go.
    """

    speed: float = 1.0
    tolerance: float = 1.0
    grasp_offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    insertion_offset: np.ndarray = field(default_factory=lambda: np.zeros(2))
    insertion_turn: float = 0.0
    grip: float = 1.0
    push: float = 0.008
    patience_s: float = 0.8
    release_height: float = 0.004
