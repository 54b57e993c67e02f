# SPDX-License-Identifier: Apache-2.0
"""The compact backbone: a small vision-language model trained from scratch, for the simulator and for tests."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from rove_learning.config import BackboneConfig
from rove_learning.models import inputs
from rove_learning.models.backbone import Backbone, Context
from rove_learning.models.blocks import TransformerLayer


def _stem(channels: Sequence[int], width: int) -> nn.Sequential:
    """Convolutions of strides 2, ..., 2, 1 and 3, which together are `BackboneConfig.patch`."""
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(zip((3, *channels), channels)):
        kernel, stride = (5 if i == 0 else 3), (1 if i == len(channels) - 1 else 2)
        layers.append(nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2))
        layers += [nn.GroupNorm(4, after), nn.SiLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(channels[-1], width, 3, stride=3))


class CompactBackbone(Backbone):
    """A convolutional stem cuts the picture into patch tokens, bytes are the text tokens, transformer layers mix both.

    N = C (S / patch)^2 + longest instruction; each of several cameras has an embedding of its own. A text condition
    does not see the picture: its tokens are the embedded bytes.
    """

    def __init__(self, config: BackboneConfig):
        super().__init__(config)
        patch = config.patch
        if config.image_size % patch:
            raise ValueError(f"image_size {config.image_size} is not a multiple of the patch, {patch} px")
        self.width = config.width
        self.stem = _stem(config.channels, config.width).to(memory_format=torch.channels_last)
        side = config.image_size // patch
        self.patch_position = nn.Parameter(
            torch.randn(side * side, config.width) * 0.3
        )  # as large as the content: where matters
        several = len(config.cameras) > 1  # a checkpoint of one camera has no such weights
        self.camera = nn.Parameter(torch.randn(len(config.cameras), config.width) * 0.3) if several else None
        # N(0, 1), torch's default: with 0.02 the two text conditions, alike but for a few letters, were so close
        # together that hundreds of steps of fine-tuning did not tell them apart.
        self.bytes = nn.Embedding(257, config.width)
        self.byte_position = nn.Parameter(torch.randn(config.text_bytes, config.width) * 0.02)
        self.layers = nn.ModuleList(TransformerLayer(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self._encoded: dict[tuple, torch.Tensor] = {}

    def _text(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """B texts -> tokens (B, L, D), mask (B, L)."""
        unique, device = tuple(sorted(set(texts))), self.byte_position.device
        if (unique, device) not in self._encoded:
            self._encoded[unique, device] = torch.from_numpy(inputs.encode_text(unique, self.config.text_bytes)).to(
                device
            )
        ids = self._encoded[unique, device]
        if unique != tuple(texts):  # else nothing is copied to the device, which a CUDA graph could not record
            row = {text: i for i, text in enumerate(unique)}
            ids = ids[torch.tensor([row[text] for text in texts]).to(device)]
        return self.bytes(ids) + self.byte_position[: ids.shape[1]], ids > 0

    def _patches(self, images: torch.Tensor) -> torch.Tensor:
        """(B, ..., S, S, 3) uint8 -> (B, C (S / patch)^2, D)."""
        pixels = (
            self.one_by_one(images).permute(0, 3, 1, 2).float().mul_(1.0 / 127.5).sub_(1.0)
        )  # channels last in memory, as the stem wants it
        patches = self.stem(pixels).flatten(2).transpose(1, 2) + self.patch_position
        if self.camera is not None:
            patches = (patches.unflatten(0, (len(images), -1)) + self.camera[:, None]).flatten(1, 2)
        return patches

    def forward(self, images: torch.Tensor, texts: Sequence[str], conditions: Sequence[Sequence[str]] = ()) -> Context:
        self.check(images, texts, conditions)
        patches = self._patches(images)
        words, visible = self._text(texts)
        tokens = torch.cat([patches, words], dim=1)
        mask = torch.cat([visible.new_ones(patches.shape[:2]), visible], dim=1)
        for layer in self.layers:
            tokens = layer(tokens, mask)
        return Context(self.norm(tokens), mask, tuple(self._text(condition) for condition in conditions))
