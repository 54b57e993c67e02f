# SPDX-License-Identifier: Apache-2.0
"""Where critic and actor get their observations from during training: decoded pictures here; a feature cache has the
same interface.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from rove_learning.config import CONDITIONS
from rove_learning.data.augmentation import augment_images
from rove_learning.data.buffer import Buffer
from rove_learning.models.backbone import Backbone, Context, Pictures


class Observations(Protocol):
    """index: (B,) frames of a buffer. conditions: (B,) numbers of `config.CONDITIONS`, so False is negative and True
    positive, or None where no text condition is wanted.

    gain: (B,) brightness factors or None; shift: (B, 2) px or None (augmentation; a cache of computed features ignores
    both).
    """

    def __call__(
        self, index: np.ndarray, conditions: np.ndarray | None = None, gain=None, shift=None
    ) -> Pictures | Context: ...


class PictureObservations:
    """Pictures of a buffer, augmented where asked; the backbone runs in the training step."""

    def __init__(self, buffer: Buffer, device: str = "cpu"):
        self.buffer, self.device = buffer, device

    def __call__(self, index: np.ndarray, conditions: np.ndarray | None = None, gain=None, shift=None) -> Pictures:
        images = augment_images(self.buffer.images(index), gain, shift)
        words = () if conditions is None else ([CONDITIONS[int(number)] for number in conditions],)
        # A memory map is read-only, which torch does not accept.
        return Pictures(torch.from_numpy(np.array(images, copy=True)).to(self.device), self.buffer.texts(index), words)


class TokenObservations:
    """Tokens of a frozen backbone, computed once and kept in memory (half precision): for critics of a small backbone.

    Without augmentation and text conditions. 84 tokens of 128 numbers are 21 kB a frame.
    """

    def __init__(
        self, buffer: Buffer, backbone: Backbone, device: str = "cpu", batch: int = 128, progress: bool = True
    ):
        pictures = PictureObservations(buffer, device)
        tokens, masks = [], []
        with torch.no_grad():
            for begin in tqdm(range(0, len(buffer), batch), desc="features", unit="batch", disable=not progress):
                context = backbone(*pictures(np.arange(begin, min(begin + batch, len(buffer)))))
                tokens.append(context.tokens.half())
                masks.append(context.mask)
        # Instructions of different length give batches of different length.
        longest = max(part.shape[1] for part in tokens)
        self.tokens = torch.cat([F.pad(part, (0, 0, 0, longest - part.shape[1])) for part in tokens])
        self.mask = torch.cat([F.pad(part, (0, longest - part.shape[1])) for part in masks])

    def __call__(self, index: np.ndarray, conditions: np.ndarray | None = None, gain=None, shift=None) -> Context:
        rows = torch.from_numpy(np.asarray(index)).to(self.tokens.device)
        return Context(self.tokens[rows].float(), self.mask[rows])
