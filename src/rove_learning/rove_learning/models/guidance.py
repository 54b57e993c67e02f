# SPDX-License-Identifier: Apache-2.0
"""Chunks from the actor: Euler integration of the guided velocity (paper, App. F)."""

from __future__ import annotations

import torch
from torch.nn.utils.rnn import pad_sequence

from rove_learning.config import NEGATIVE, POSITIVE, UNCONDITIONAL, ActorConfig
from rove_learning.models.actor import Actor
from rove_learning.models.backbone import Context, Pictures, encode
from rove_learning.models.realtime import inpaint


def guide(v_negative: torch.Tensor, v_positive: torch.Tensor, beta: float) -> torch.Tensor:
    """v = v_neg + beta (v_pos - v_neg) (App. F); beta = 1 is the positive branch, beta = 0 the negative one."""
    return v_negative + beta * (v_positive - v_negative)


def guidance_conditions(config: ActorConfig) -> tuple[list[str], list[str]]:
    """The two text conditions of guidance, for one picture: from the negative (App. F) or the unconditional branch
    (`actor.guide_from`) to the positive one.
    """
    return [NEGATIVE if config.guide_from == "negative" else UNCONDITIONAL], [POSITIVE]


def branches(beta: float) -> tuple[int, ...]:
    """Which of the conditions (negative, positive) guidance needs: both, or one whose branch has all the weight."""
    return (1,) if beta == 1.0 else (0,) if beta == 0.0 else (0, 1)


def with_branches(observation: Pictures, beta: float) -> Pictures:
    """The observation with the conditions (negative, positive) that guidance needs."""
    return observation._replace(conditions=tuple(observation.conditions[i] for i in branches(beta)))


@torch.no_grad()
def sample(
    actor: Actor, observation: Pictures | Context, state, noise, beta: float, steps: int | None = None, known=None
) -> torch.Tensor:
    """Euler integration from noise (1, chunk, J) at t = 0 to the guided, normalised action chunk (1, chunk, J) at t =
    1.

    observation: one picture with the text conditions (negative, positive), or with those of `with_branches`. It is
    encoded once, its keys and values in the head are computed once; both branches run as one batch of two, and a branch
    whose weight is zero (beta = 0 or 1) is neither encoded nor computed. known: steps that are given, see
    `realtime.inpaint`.
    """
    if isinstance(observation, Pictures) and len(observation.conditions) > len(branches(beta)):
        observation = with_branches(observation, beta)
    context = encode(actor.backbone, observation)
    parts = context.conditions
    if len(parts) > len(branches(beta)):
        parts = tuple(parts[i] for i in branches(beta))
    n = len(parts)
    # The observation is one picture, so each branch has one row; the shorter condition is padded, and its mask with
    # False.
    words, visible_words = (pad_sequence([part[0] for part in side], batch_first=True) for side in zip(*parts))
    prepared = actor.head.prepare(context, (words, visible_words))
    state = state.expand(n, -1)
    visible = torch.ones(n, dtype=torch.bool, device=state.device)
    steps = steps or actor.config.euler_steps
    x = noise
    for i in range(steps):
        t = torch.full((n,), i / steps, device=x.device)
        v = actor.velocity(x.expand(n, -1, -1), t, state, visible, prepared)
        x = x + inpaint(v if n == 1 else guide(v[:1], v[1:], beta), noise, known) / steps
    return x
