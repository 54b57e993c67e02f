# SPDX-License-Identifier: Apache-2.0
"""A picture of any shape in the shape of the dataset's camera."""

from __future__ import annotations

from typing import Literal

import numpy as np

from rove_contract import images

Fit = Literal["crop", "pad", "stretch"]


def fit_picture(rgb: np.ndarray, size: tuple[int, int], fit: Fit) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (*size, 3), size = (H, W) px. Raises images.ImageError.

    fit: "crop" fills the picture and cuts what stands over, in the middle; "pad" shows all with black edges; "stretch"
    distorts.
    """
    rows, columns = size
    if fit == "stretch" or rgb.shape[:2] == (rows, columns):
        return np.ascontiguousarray(images.resize(rgb, size))
    height, width = rgb.shape[:2]
    scale = (max if fit == "crop" else min)(rows / height, columns / width)
    inner = max(1, round(height * scale)), max(1, round(width * scale))
    if fit == "crop":
        inner = max(inner[0], rows), max(inner[1], columns)
        top, left = (inner[0] - rows) // 2, (inner[1] - columns) // 2
        image = images.resize(rgb, inner)[top : top + rows, left : left + columns]
        return np.ascontiguousarray(image)
    top, left = (rows - inner[0]) // 2, (columns - inner[1]) // 2
    canvas = np.zeros((rows, columns, 3), dtype=np.uint8)
    canvas[top : top + inner[0], left : left + inner[1]] = images.resize(rgb, inner)
    return canvas
