# SPDX-License-Identifier: Apache-2.0
"""State regularisation of the actor, in training only: full-state dropout and Gaussian noise with a scale per block
(paper, App. G).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rove_description.joints import BLOCKS
from rove_learning.config import RegulariseConfig


def noise_scale(blocks: Sequence[str], config: RegulariseConfig) -> np.ndarray:
    """blocks: (J,) of the joints -> (J,) standard deviation in rad of each joint's noise: sigma x the scale of its
    block, 1 for a block of the robot's own.
    """
    return np.array(
        [config.sigma * (getattr(config, f"scale_{block}") if block in BLOCKS else 1.0) for block in blocks]
    )


def regularise_state(
    q: np.ndarray,
    sigma: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    config: RegulariseConfig,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """q (B, J) rad -> (perturbed state (B, J) clipped to [lower, upper] of the data, visible (B,) bool; False = state
    dropped).
    """
    noisy = rng.random(len(q)) < config.noise
    noise = rng.standard_normal(q.shape) * sigma
    perturbed = np.where(noisy[:, None], np.clip(q + noise, lower, upper), q)
    return perturbed, rng.random(len(q)) >= config.dropout


def draw_augmentation(count: int, config: RegulariseConfig, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Of `count` pictures: brightness factors (count,) and shifts (count, 2) px."""
    gain = 1.0 + config.image_gain * rng.uniform(-1.0, 1.0, count)
    return gain, rng.integers(-config.image_shift, config.image_shift + 1, (count, 2))


def augment_images(images: np.ndarray, gain: np.ndarray | None = None, shift: np.ndarray | None = None) -> np.ndarray:
    """(B, S, S, 3) or, of several cameras, (B, C, S, S, 3) uint8 -> the same times gain (B,), moved by shift (B, 2) px
    down and right; edge pixels repeat. What was drawn for a moment counts for all its pictures.
    """
    if images.ndim == 5:
        cameras = images.shape[1]
        gain, shift = (None if x is None else np.repeat(x, cameras, axis=0) for x in (gain, shift))
        return augment_images(images.reshape(-1, *images.shape[2:]), gain, shift).reshape(images.shape)
    out = images
    if gain is not None and np.any(gain != 1.0):
        table = np.clip(np.arange(256)[None] * gain[:, None] + 0.5, 0, 255).astype(np.uint8)  # (B, 256)
        out = np.stack([row[image] for row, image in zip(table, images)])
    if shift is not None and shift.any():
        reach, side = int(np.abs(shift).max()), out.shape[1]
        padded = np.pad(out, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
        corners = reach - shift
        out = np.stack([image[y : y + side, x : x + side] for image, (y, x) in zip(padded, corners)])
    return out
