"""Where critic and actor get their observations from during training: decoded pictures here; a feature cache has the same interface."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from rove_learning.backbone import Context, Pictures
from rove_learning.buffer import Buffer


class Source(Protocol):
    """index: (B,) frames of a buffer. conditions: (B,) bool, the improvement label of each, or None where no text condition is wanted.

    gain: (B,) brightness factors or None; shift: (B, 2) px or None (augmentation; a cache of computed features ignores both).
    """

    def __call__(self, index: np.ndarray, conditions: np.ndarray | None = None, gain=None, shift=None) -> Pictures | Context: ...


class PictureSource:
    """Pictures of a buffer, augmented where asked; the backbone runs in the training step."""

    def __init__(self, buffer: Buffer, device: str = "cpu"):
        self.buffer, self.device = buffer, device

    def __call__(self, index: np.ndarray, conditions: np.ndarray | None = None, gain=None, shift=None) -> Pictures:
        from rove_learning.config import NEGATIVE, POSITIVE
        from rove_learning.regularise import augment_images

        images = augment_images(self.buffer.images(index), gain, shift)
        words = () if conditions is None else ([POSITIVE if positive else NEGATIVE for positive in conditions],)
        # A memory map is read-only, which torch does not accept.
        return Pictures(torch.from_numpy(np.array(images, copy=True)).to(self.device), self.buffer.texts(index), words)
