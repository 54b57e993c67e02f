# SPDX-License-Identifier: Apache-2.0
"""The pinch of a slice: palm down, fingers over its far face, thumb against the near face.

Wrist frame of the right hand: x towards the thumb's side, y out of the palm, -z along the fingers; metres and radians.
"""

from __future__ import annotations

import numpy as np

# Where the middle of the pinched slice lies: between the tip of the opposed thumb and the pads of the fingers.
PINCH = np.array([0.022, 0.068, -0.107])
OVERLAP = 0.018  # m from the slice's upper edge down to the pinch: fingertips end 45 mm below that edge

_FINGERS = ("index", "middle", "ring", "little")


def _hand(proximal: float, distal: float, thumb: float) -> dict[str, float]:
    shape = {"thumb_abduction": 1.4, "thumb_proximal": thumb, "thumb_distal": thumb}
    for finger in _FINGERS:
        shape |= {f"{finger}_proximal": proximal, f"{finger}_distal": distal}
    return shape


# A gap of about 40 mm between thumb and fingers.
OPEN_HAND = _hand(0.60, 0.45, 0.15)
# The set-point lies behind the slice; the distance to where the fingers are stopped is what presses.
CLOSED_HAND = _hand(1.12, 0.32, 0.25)


def face_axes(rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(normal away from the robot (3,), up (3,)) of a slice with rotation (3, 3), which looks alike from both sides."""
    normal, up = rotation[:, 1], rotation[:, 2]
    return normal * (1.0 if normal[0] >= 0.0 else -1.0), up * (1.0 if up[2] >= 0.0 else -1.0)


def hand_rotation(normal: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(3, 3) wrist frame -> pelvis frame of the hand that pinches a slice with these axes."""
    return np.stack([np.cross(up, normal), -up, -normal], axis=1)


def pinch_point(position: np.ndarray, up: np.ndarray, half_height: float) -> np.ndarray:
    """(3,) m where to pinch a slice whose middle is at `position`."""
    return position + up * (half_height - OVERLAP)
