# SPDX-License-Identifier: Apache-2.0
"""State MLPs in place of picture backbones: V(s), Q(s, a), and the flow-matching actor. Inputs are standardised by
`Scale`.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from rove_learning.models.actor import time_features
from rove_learning.models.guidance import guide

TIME_WIDTH = 32


def mlp(inputs: int, width: int, layers: int, outputs: int) -> nn.Sequential:
    sizes = [inputs] + [width] * layers
    hidden = [m for a, b in zip(sizes, sizes[1:]) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(width, outputs))


def waves(state: torch.Tensor) -> torch.Tensor:
    """(B, S) -> (B, 7 S): the state and its sines at three frequencies; plain inputs blur the value through walls that
    are 1 m thin.
    """
    angles = torch.cat(
        [state * (math.pi / 2 * k) for k in (1, 2, 4)], dim=1
    )  # standardised: periods of 4, 2, 1 standard deviations
    return torch.cat([state, angles.sin(), angles.cos()], dim=1)


class Value(nn.Module):
    """V(s) (B,) in [-1, 0]; the interface of `critic.Critic`, so that its losses take either. output starts in the
    middle.
    """

    def __init__(self, inputs: int, width: int, layers: int):
        super().__init__()
        self.net = mlp(inputs, width, layers, 1)
        nn.init.zeros_(self.net[-1].weight)
        nn.init.constant_(self.net[-1].bias, -0.5)

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        return self.net(state).squeeze(-1)

    @torch.no_grad()
    def value(self, state: torch.Tensor) -> torch.Tensor:
        return self(state).clamp(-1.0, 0.0)


class TwinQ(nn.Module):
    """Two action-values Q(s, chunk) -> (2, B): IQL takes the smaller one of the target networks (its sec. 4.4)."""

    def __init__(self, inputs: int, chunk: int, width: int, layers: int):
        super().__init__()
        self.nets = nn.ModuleList(Value(inputs + chunk, width, layers) for _ in range(2))

    def forward(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        x = torch.cat([state, action.flatten(1)], dim=1)
        return torch.stack([net(x) for net in self.nets])

    @torch.no_grad()
    def value(self, state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return self(state, action).amin(0).clamp(-1.0, 0.0)


class FlowActor(nn.Module):
    """Clean action chunk (B, H, A) from a noisy one x (B, H, A) at time t (B,), state (B, S) and condition (B,) bool: A
    > eta.

    The signature is `actor.Actor`'s, so that `actor.flow_matching_loss` trains it (predict="clean"); nothing of the
    state is hidden.
    """

    def __init__(self, inputs: int, horizon: int, actions: int, width: int, layers: int):
        super().__init__()
        self.horizon, self.actions = horizon, actions
        self.condition = nn.Embedding(2, TIME_WIDTH)
        self.net = mlp(inputs + horizon * actions + 2 * TIME_WIDTH, width, layers, horizon * actions)

    def forward(self, condition, x, t, state, visible=None) -> torch.Tensor:
        features = torch.cat(
            [state, x.flatten(1), time_features(t, TIME_WIDTH), self.condition(condition.long())], dim=1
        )
        return self.net(features).view(-1, self.horizon, self.actions)

    @torch.no_grad()
    def sample(self, state: torch.Tensor, noise: torch.Tensor, beta: float, steps: int) -> torch.Tensor:
        """Guided chunks (B, H, A) in [-1, 1]: Euler steps of v = v_neg + beta (v_pos - v_neg) from noise (B, H, A)
        (App. F).
        """
        n, x = len(state), noise
        condition = torch.arange(2).repeat_interleave(n)
        for i in range(steps):
            t = torch.full((2 * n,), i / steps)
            both = x.repeat(2, 1, 1)
            velocity = (self(condition, both, t, state.repeat(2, 1)) - both) / (1.0 - i / steps)
            x = x + guide(velocity[:n], velocity[n:], beta) / steps
        return x.clamp(-1.0, 1.0)
