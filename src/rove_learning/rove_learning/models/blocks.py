# SPDX-License-Identifier: Apache-2.0
"""Attention and transformer layer used by backbone, critic and actor head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class ExactLinear(nn.Linear):
    """The last layer of a head: in its weights' precision, also where autocast computes the layers before it in
    bfloat16.

    bfloat16 has 8 binary digits: a value near -1 would come in steps of 0.004, three control steps of a return of 800.
    """

    def forward(self, x):
        x, device = x.to(self.weight.dtype), x.device.type
        if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
            return super().forward(x)
        with torch.autocast(device, enabled=False):
            return super().forward(x)


class Attention(nn.Module):
    """Multi-head attention. x: (B, N, D) queries; context: (B, M, C) keys and values, default x; mask: (B, M) bool,
    True = visible.
    """

    def __init__(self, width: int, heads: int, context_width: int | None = None):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(context_width or width, 2 * width)
        self.out = nn.Linear(width, width)

    def cache(self, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (B, heads, M, D / heads) of a context that several queries share."""
        b, m, _ = context.shape
        keys, values = self.key_value(context).chunk(2, dim=-1)
        return keys.view(b, m, self.heads, -1).transpose(1, 2), values.view(b, m, self.heads, -1).transpose(1, 2)

    def forward(self, x, context=None, mask=None, cached=None):
        b, n, width = x.shape
        queries = self.query(x).view(b, n, self.heads, -1).transpose(1, 2)
        keys, values = cached if cached is not None else self.cache(x if context is None else context)
        if mask is not None and mask.device.type == "cpu" and bool(mask.all()):
            mask = None  # texts of one length need no mask, and attention without one is twice as fast on a CPU
        bias = None if mask is None else mask[:, None, None, :]
        out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)
        return self.out(out.transpose(1, 2).reshape(b, n, width))


class TransformerLayer(nn.Module):
    """Pre-norm self-attention and MLP. x: (B, N, D), mask: (B, N) bool -> (B, N, D), or only its first `rows` rows (B,
    rows, D).
    """

    def __init__(self, width: int, heads: int, mlp_ratio: int = 2):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_ratio * width), nn.GELU(), nn.Linear(mlp_ratio * width, width))

    def forward(self, x, mask=None, rows: int | None = None):
        normed = self.norm1(x)
        x = x[:, :rows] + self.attention(normed[:, :rows], normed, mask=mask)
        return x + self.mlp(self.norm2(x))
