"""Vision-language backbone: pictures and text in, tokens out. The compact one is trained from scratch; large ones fit its interface."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from rove_learning.blocks import TransformerLayer
from rove_learning.config import BackboneConfig


class Backbone(Protocol):
    """What critic and actor need of a backbone; `width` is D."""

    width: int

    def __call__(self, images: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """images: (B, 3, S, S) in [-1, 1]; text: (B, L) int64 -> tokens (B, N, D), mask (B, N) bool, True = a real token."""

    def text(self, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """text: (B, L) int64 -> tokens (B, L, D), mask (B, L): the text condition, so that its branches share one picture."""


class CompactBackbone(nn.Module):
    """A convolutional stem cuts the picture into patch tokens, bytes are the text tokens, transformer layers mix both.

    images (B, 3, S, S) in [-1, 1], text (B, L) int64 (bytes + 1, 0 = padding) -> tokens (B, (S / 12)^2 + L, width) and their mask.
    """

    PATCH = 12  # px: strides 2 * 2 * 3

    def __init__(self, config: BackboneConfig):
        super().__init__()
        if config.image_size % self.PATCH:
            raise ValueError(f"image_size {config.image_size} is not a multiple of the patch, {self.PATCH} px")
        self.config = config
        self.width = config.width
        a, b, c = config.channels
        self.stem = nn.Sequential(
            nn.Conv2d(3, a, 5, stride=2, padding=2),
            nn.GroupNorm(4, a),
            nn.SiLU(inplace=True),
            nn.Conv2d(a, b, 3, stride=2, padding=1),
            nn.GroupNorm(4, b),
            nn.SiLU(inplace=True),
            nn.Conv2d(b, c, 3, padding=1),
            nn.GroupNorm(4, c),
            nn.SiLU(inplace=True),
            nn.Conv2d(c, config.width, 3, stride=3),
        ).to(memory_format=torch.channels_last)
        side = config.image_size // self.PATCH
        self.patch_position = nn.Parameter(torch.randn(side * side, config.width) * 0.3)  # as large as the content: where matters
        self.bytes = nn.Embedding(257, config.width)
        self.byte_position = nn.Parameter(torch.randn(config.text_bytes, config.width) * 0.02)
        self.layers = nn.ModuleList(TransformerLayer(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.bytes.weight, std=0.02)

    def text(self, text):
        return self.bytes(text) + self.byte_position[: text.shape[1]], text > 0

    def forward(self, images, text):
        size = self.config.image_size
        if images.shape[1:] != (3, size, size):
            raise ValueError(f"expected pictures (B, 3, {size}, {size}), got {tuple(images.shape)}")
        patches = self.stem(images.contiguous(memory_format=torch.channels_last)).flatten(2).transpose(1, 2) + self.patch_position
        words, visible = self.text(text)
        tokens = torch.cat([patches, words], dim=1)
        mask = torch.cat([visible.new_ones(patches.shape[:2]), visible], dim=1)
        for layer in self.layers:
            tokens = layer(tokens, mask)
        return self.norm(tokens), mask
