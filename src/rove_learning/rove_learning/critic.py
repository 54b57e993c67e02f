"""State-value critic V(o, l): picture and instruction only, because human videos have no robot state (paper, sec. 2: S = (O, L))."""

from __future__ import annotations

import torch
from torch import nn

from rove_learning.backbone import CompactBackbone
from rove_learning.blocks import TransformerLayer
from rove_learning.config import CriticConfig


class Critic(nn.Module):
    """Backbone and a small transformer value head with one query token.

    images (B, 3, S, S) in [-1, 1], text (B, L) -> (B,) normalised value. The output is linear, so that its gradient does not vanish at
    the ends; targets lie in [-1, 0] and `value` clips to it.
    """

    def __init__(self, config: CriticConfig, backbone: nn.Module | None = None):
        super().__init__()
        self.config = config
        self.backbone = backbone or CompactBackbone(config.backbone)
        if config.freeze_backbone:
            self.backbone.requires_grad_(False)
        self.project = nn.Linear(self.backbone.width, config.width)
        self.query = nn.Parameter(torch.randn(1, 1, config.width) * 0.02)
        self.layers = nn.ModuleList(TransformerLayer(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.constant_(self.out.bias, -0.5)  # the middle of [-1, 0]

    def forward(self, images, text):
        tokens, mask = self.backbone(images, text)
        x = torch.cat([self.query.expand(len(tokens), -1, -1), self.project(tokens)], dim=1)
        mask = torch.cat([mask.new_ones(len(mask), 1), mask], dim=1)
        for layer in self.layers:
            x = layer(x, mask)
        return self.out(self.norm(x[:, 0])).squeeze(-1)

    @torch.no_grad()
    def value(self, images, text):
        """(B,) in [-1, 0], no gradient."""
        return self(images, text).clamp(-1.0, 0.0)


@torch.no_grad()
def ema_update(target: nn.Module, online: nn.Module, rate: float) -> None:
    """target <- (1 - rate) target + rate online: the EMA target critic of eq. 4, also the averaged weights of the actor."""
    torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), rate)
