# SPDX-License-Identifier: Apache-2.0
"""State-value critic V(o, l): picture and instruction only, because human videos have no robot state (paper, sec. 2: S
= (O, L)).
"""

from __future__ import annotations

import functools
import math

import torch
from torch import nn

from rove_learning.algorithm.histogram import Histogram
from rove_learning.config import CriticConfig
from rove_learning.models.backbone import Backbone, Context, Pictures, build, encode
from rove_learning.models.blocks import ExactLinear, TransformerLayer


class ValueHead(nn.Module):
    """Small transformer over the backbone's tokens with one query token. tokens (B, N, D), mask (B, N) -> (B,)
    normalised value, or the logits (B, bins) of its histogram.

    The output is linear, so that its gradient does not vanish at the ends of [-1, 0].
    """

    def __init__(self, config: CriticConfig, context_width: int):
        super().__init__()
        self.project = nn.Linear(context_width, config.width)
        self.query = nn.Parameter(torch.randn(1, 1, config.width) * 0.02)
        self.layers = nn.ModuleList(TransformerLayer(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.out = ExactLinear(config.width, config.bins or 1)
        nn.init.zeros_(self.out.weight)
        nn.init.constant_(self.out.bias, 0.0 if config.bins else -0.5)  # both: the middle of [-1, 0]

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = torch.cat(
            [self.query.expand(len(tokens), -1, -1), self.project(tokens.to(self.project.weight.dtype))], dim=1
        )
        mask = torch.cat([mask.new_ones(len(mask), 1), mask], dim=1)
        for layer in self.layers[:-1]:
            x = layer(x, mask)
        if len(self.layers):  # nobody reads the last layer's other rows
            x = self.layers[-1](x, mask, rows=1)
        out = self.out(self.norm(x[:, 0]))
        return out if out.shape[-1] > 1 else out.squeeze(-1)


class Critic(nn.Module):
    """Backbone and value head. Called with `Pictures` or, when the backbone ran before, their `Context` -> what the
    losses take: (B,) normalised value, or logits (B, bins) of a critic with a histogram. `value` gives the value.

    scale: steps that a value of -1 means (`rewards.Normaliser`), stored with the weights; NaN before training.
    """

    def __init__(self, config: CriticConfig, backbone: Backbone | None = None):
        super().__init__()
        self.config = config
        self.backbone = backbone or build(config.backbone)
        if config.freeze_backbone or self.backbone.fingerprint:
            self.backbone.requires_grad_(False)
        self.head = ValueHead(config, self.backbone.width)
        self.register_buffer("scale", torch.tensor(math.nan, dtype=torch.float64))

    def forward(self, observation: Pictures | Context) -> torch.Tensor:
        context = encode(self.backbone, observation)
        return self.head(context.tokens, context.mask)

    @torch.no_grad()
    def value(self, observation: Pictures | Context) -> torch.Tensor:
        """(B,) in [-1, 0], no gradient."""
        out, histogram = self(observation), self.histogram
        return (out if histogram is None else histogram.mean(out)).clamp(-1.0, 0.0)

    @functools.cached_property
    def histogram(self) -> Histogram | None:
        """What the logits mean; None for a scalar. Made on the device where the weights are when first asked for."""
        return Histogram(self.config.bins, self.head.query.device) if self.config.bins else None

    @property
    def can_rescale(self) -> bool:
        """`set_scale` can go to another scale: a scalar's output is linear, the bins of a histogram are fixed."""
        return not self.config.bins

    @torch.no_grad()
    def set_scale(self, scale: float) -> None:
        """Bring the values to another normalisation: they mean the same steps as before, exactly."""
        if torch.isfinite(self.scale) and float(self.scale) != scale:
            if not self.can_rescale:
                raise ValueError(f"a histogram of values over {float(self.scale):g} steps cannot mean {scale:g} steps")
            factor = float(self.scale) / scale
            self.head.out.weight.mul_(factor)
            self.head.out.bias.mul_(factor)
        self.scale.fill_(scale)


@torch.no_grad()
def ema_update(target: nn.Module, online: nn.Module, rate: float) -> None:
    """target <- (1 - rate) target + rate online: the EMA target critic of eq. 4, also the averaged weights of the
    actor.
    """
    pairs = [(a, b) for a, b in zip(target.parameters(), online.parameters()) if a is not b and b.requires_grad]
    torch._foreach_lerp_([a for a, _ in pairs], [b for _, b in pairs], rate)
