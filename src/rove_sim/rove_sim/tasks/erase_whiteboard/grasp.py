# SPDX-License-Identifier: Apache-2.0
"""How the right hand holds the grip bar: two hand shapes and where the eraser sits between them.

The palm lies on the bar, the thumb along its near side, four curled fingertips press on its far side. Numbers were
found on the model: finger targets 0.1 rad behind the contact press with 15-20 N each.
"""

from __future__ import annotations

import numpy as np

from rove_description import mjcf

_FINGERS = mjcf.FINGERS[1:]
_THUMB = {"thumb_abduction": 1.2, "thumb_proximal": 1.2, "thumb_distal": 0.5}
OPEN_HAND = _THUMB | {f"{f}_proximal": 0.05 for f in _FINGERS} | {f"{f}_distal": 0.9 for f in _FINGERS}
CLOSED_HAND = _THUMB | {f"{f}_proximal": 0.78 for f in _FINGERS} | {f"{f}_distal": 1.8 for f in _FINGERS}

# Middle of the eraser's plate in the wrist's frame (palm normal +y, fingers -z) when it is held well.
ERASER_IN_HAND = np.array([0.0, 0.072, -0.078])


def hand_rotation(eraser: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """(3, 3) hand -> pelvis frame for an eraser's rotation (3, 3): palm towards the plate, fingers across the bar.

    ahead: (3,) direction, pelvis frame; of the two ways to hold the bar the one whose fingers point more that way.
    """
    across = eraser[:, 1] if eraser[:, 1] @ ahead >= 0.0 else -eraser[:, 1]
    y, z = -eraser[:, 2], -across
    return np.stack([np.cross(y, z), y, z], axis=1)
