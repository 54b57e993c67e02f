# SPDX-License-Identifier: Apache-2.0
"""Advantage-conditioned flow-matching actor: a DiT head over backbone tokens (paper, App. F and G).

Path from noise to action: x_t = (1 - t) eps + t a, t in [0, 1], velocity v = a - eps. Actions are normalised per joint
(see `Actor.stats`).
"""

from __future__ import annotations

import math

import torch
from torch import nn

from rove_learning.config import ActorConfig
from rove_learning.models.backbone import Backbone, Context, Pictures, build, encode
from rove_learning.models.blocks import Attention, ExactLinear

T_MAX = 0.999  # clean-action prediction divides by 1 - t


def time_features(t: torch.Tensor, width: int) -> torch.Tensor:
    """(B,) in [0, 1] -> (B, width) sinusoids, periods from 2 pi / 1000 to 2 pi."""
    frequencies = torch.exp(torch.linspace(0.0, math.log(1000.0), width // 2, device=t.device))
    angles = t[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class DiTBlock(nn.Module):
    """Self-attention over state and action tokens, cross-attention to the context, MLP; each shifted, scaled and gated
    by `modulation`.

    modulation: (B, 9, D) shared by all blocks, to which each block adds its own offset.
    """

    def __init__(self, width: int, heads: int, context_width: int, mlp_ratio: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.self_attention = Attention(width, heads)
        self.cross_attention = Attention(width, heads, context_width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_ratio * width), nn.GELU(), nn.Linear(mlp_ratio * width, width))
        offset = torch.zeros(9, width)
        offset[2::3] = (
            0.5  # gates start half open: a head that trains for a few hundred steps cannot wait for them to open
        )
        self.offset = nn.Parameter(offset)

    def forward(self, x, modulation, cached, mask):
        shift1, scale1, gate1, shift2, scale2, gate2, shift3, scale3, gate3 = (
            (modulation + self.offset).unsqueeze(2).unbind(1)
        )
        a = self.self_attention(torch.addcmul(shift1, self.norm(x), 1 + scale1))
        x = torch.addcmul(x, gate1, a)
        a = self.cross_attention(torch.addcmul(shift2, self.norm(x), 1 + scale2), mask=mask, cached=cached)
        x = torch.addcmul(x, gate2, a)
        return torch.addcmul(x, gate3, self.mlp(torch.addcmul(shift3, self.norm(x), 1 + scale3)))


class FlowHead(nn.Module):
    """DiT head. One token for the state, one for each `token_steps` action steps; text condition and picture tokens
    enter by cross-attention.

    joints: J, number of joints. context_width: D of the backbone.
    """

    def __init__(self, config: ActorConfig, joints: int, context_width: int):
        super().__init__()
        width = config.width
        self.config = config
        self.state = nn.Linear(joints, width)
        self.mask_token = nn.Parameter(torch.randn(width) * 0.02)  # stands for a dropped state (App. G)
        if config.chunk % config.token_steps:
            raise ValueError(f"a chunk of {config.chunk} steps is no multiple of token_steps {config.token_steps}")
        self.action = nn.Linear(joints * config.token_steps, width)
        self.position = nn.Parameter(torch.randn(1 + config.chunk // config.token_steps, width) * 0.3)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = nn.Linear(context_width, width)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 9 * width))
        self.blocks = nn.ModuleList(
            DiTBlock(width, config.heads, context_width, config.mlp_ratio) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.out = ExactLinear(width, joints * config.token_steps)
        nn.init.normal_(self.modulation[1].weight, std=0.01)
        nn.init.zeros_(self.modulation[1].bias)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def prepare(self, context: Context, condition: tuple[torch.Tensor, torch.Tensor]):
        """What does not change over the integration: keys and values of every block, their mask, the pooled text
        condition.

        condition: tokens (B, M, D) and mask (B, M) of the text condition. A context of one row serves several
        conditions: its keys and values are computed once.
        """
        words, visible = condition[0].to(self.position.dtype), condition[1]
        prefix = context.tokens.to(words.dtype)
        weight = visible.to(words.dtype).unsqueeze(-1)
        pooled = self.condition((words * weight).sum(1) / weight.sum(1).clamp(min=1.0))
        mask = torch.cat([context.mask.expand(len(words), -1), visible], dim=1)
        if len(prefix) == len(words):
            tokens = torch.cat([prefix, words], dim=1)
            return [b.cross_attention.cache(tokens) for b in self.blocks], mask, pooled
        caches = []
        for block in self.blocks:
            shared, own = block.cross_attention.cache(prefix), block.cross_attention.cache(words)
            caches.append(tuple(torch.cat([a.expand(len(words), -1, -1, -1), b], dim=2) for a, b in zip(shared, own)))
        return caches, mask, pooled

    def forward(self, x, t, state, visible, prepared):
        """x: (B, chunk, J) noisy actions. t: (B,). state: (B, J) normalised. visible: (B,) bool, False = state dropped.

        -> (B, chunk, J), the clean action or the velocity, as config.predict says.
        """
        caches, mask, pooled = prepared
        if x.shape[1] != self.config.chunk:
            raise ValueError(f"expected chunks of {self.config.chunk} steps, got {x.shape[1]}")
        dtype = self.position.dtype  # the last layer's may be wider
        state_token = torch.where(visible[:, None], self.state(state.to(dtype)), self.mask_token)
        steps = x.unflatten(1, (-1, self.config.token_steps)).flatten(2)
        tokens = torch.cat([state_token[:, None], self.action(steps.to(dtype))], dim=1) + self.position
        modulation = self.modulation(self.time(time_features(t, self.config.width).to(dtype)) + pooled).view(
            len(x), 9, -1
        )
        for block, cached in zip(self.blocks, caches):
            tokens = block(tokens, modulation, cached, mask)
        return self.out(self.norm(tokens[:, 1:])).reshape(x.shape).to(x.dtype)


class Actor(nn.Module):
    """Backbone, head and the normalisation of state and action. All actions inside are normalised; `act` in
    checkpoint.py converts.
    """

    def __init__(self, config: ActorConfig, joints: int = 50, backbone: Backbone | None = None):
        super().__init__()
        self.config = config
        self.joints = joints
        self.backbone = backbone or build(config.backbone)
        if config.freeze_backbone or self.backbone.fingerprint:
            self.backbone.requires_grad_(False)
        self.head = FlowHead(config, joints, self.backbone.width)
        for name in ("state_mean", "action_mean"):
            self.register_buffer(name, torch.zeros(joints))
        for name in ("state_std", "action_std", "loss_weight"):
            self.register_buffer(name, torch.ones(joints))
        self.register_buffer(
            "state_lower", torch.full((joints,), -math.inf)
        )  # range seen in the data: noise is clipped to it
        self.register_buffer("state_upper", torch.full((joints,), math.inf))

    def forward(self, observation: Pictures | Context, x, t, state, visible) -> torch.Tensor:
        """The head's prediction (n B, chunk, J) for n noise samples of each of B observations, which have one text
        condition each.

        x: (n B, chunk, J) noisy actions. t: (n B,). state: (n B, J) normalised. visible: (n B,) bool. Sample i is of
        observation i // n.
        """
        context = encode(self.backbone, observation)
        prepared = self.head.prepare(context, context.conditions[0])
        return self.head(x, t, state, visible, repeat(prepared, len(x) // len(context.tokens)))

    def velocity(self, x, t, state, visible, prepared) -> torch.Tensor:
        """(B, chunk, J): v at (x, t); clean-action prediction a gives v = (a - x) / (1 - t)."""
        out = self.head(x, t, state, visible, prepared)
        if self.config.predict == "velocity":
            return out
        return (out - x) / (1.0 - t.clamp(max=T_MAX))[:, None, None]


def repeat(prepared, n: int):
    """Prepared context of B observations -> of n B samples, n noise draws per observation."""
    if n == 1:
        return prepared
    caches, mask, pooled = prepared
    caches = [tuple(x.repeat_interleave(n, 0) for x in cache) for cache in caches]
    return caches, mask.repeat_interleave(n, 0), pooled.repeat_interleave(n, 0)


def sample_time(uniform_beta: torch.Tensor) -> torch.Tensor:
    """u ~ Beta(1.5, 1) in (0, 1) -> t = 0.999 (1 - u): most training time near the noise end, none at t = 1."""
    return T_MAX * (1.0 - uniform_beta)


def flow_matching_loss(
    model, observation, state, visible, actions, weight, t, noise, predict: str, normaliser=None
) -> torch.Tensor:
    """Weighted squared error of the head's prediction at x_t = (1 - t) noise + t actions (eq. 7 as flow matching).

    model: an `Actor`, bare or wrapped for several processes. actions, noise: (B, chunk, J) normalised. weight: (B,
    chunk, J), 0 where the chunk runs past the episode. t: (B,). predict: "clean" | "velocity". normaliser: what the sum
    is divided by; None: the sum of weights.
    """
    x = torch.lerp(noise, actions, t[:, None, None])
    target = actions if predict == "clean" else actions - noise
    error = (model(observation, x, t, state, visible) - target) ** 2
    return (weight * error).sum() / (weight.sum().clamp(min=1e-6) if normaliser is None else normaliser)
