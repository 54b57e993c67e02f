# SPDX-License-Identifier: Apache-2.0
"""The pinch of a slice: palm down, fingers over its far face, thumb against the near face.

Wrist frame of the right hand: x towards the thumb's side, y out of the palm, -z along the fingers; metres and radians.
"""

from __future__ import annotations

import numpy as np

# Where the middle of the pinched slice lies: between the tip of the opposed thumb and the pads of the fingers.
PINCH = np.array([0.022, 0.068, -0.1073])
OVERLAP = 0.018  # m from the slice's upper edge down to the pinch: fingertips end 40 mm below that edge
GRASPABLE = 0.60  # rad of lean up to which the hand comes around a slice from above

# Proximal and distal flexion (rad) at which the last phalanx of a finger lies flat on the far face: they add up to 90°,
# and the phalanx is 6 + 8 mm (half a slice, the finger's radius) behind the pinch; longer fingers bend more.
_FLAT = {"index": (0.80, 0.77), "middle": (0.89, 0.68), "ring": (0.82, 0.75), "little": (0.60, 0.97)}
_OPENING = 0.65  # rad of the knuckle: a gap of 47 mm between thumb and fingers
_PRESS = 0.08  # rad, set-point behind the contact: thumb and fingers then press with about 10 N


def _hand(knuckle: float, thumb: float) -> dict[str, float]:
    """Finger joint -> rad, with the knuckles turned by `knuckle` from where the fingers lie flat on the slice."""
    shape = {"thumb_abduction": 1.4, "thumb_proximal": thumb, "thumb_distal": thumb}
    for finger, (proximal, distal) in _FLAT.items():
        shape |= {f"{finger}_proximal": proximal + knuckle, f"{finger}_distal": distal}
    return shape


OPEN_HAND = _hand(-_OPENING, 0.20)
CLOSED_HAND = _hand(_PRESS, 0.20)


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
