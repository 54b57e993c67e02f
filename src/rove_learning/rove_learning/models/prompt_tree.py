# SPDX-License-Identifier: Apache-2.0
"""A prompt and K alternative endings in one sequence: the prefix runs once, no ending sees another (App. F).

    [prefix, padded to P][ending 1, padded to M] ... [ending K, padded to M]          L = P + K M

Endings continue the prefix: each starts at the position after the prefix's last one and attends to prefix and itself.
So every token gets what it would get in a pass of prefix + its ending alone, and the prefix, being causal, is the same
for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rove_learning.models.backbone import Context


@dataclass(frozen=True)
class Tree:
    """ids: (B, L). positions: (A, B, L), A axes of the rotary embedding. attention: (B, 1, L, L) bool, True = query row
    sees key column.

    visible: (B, L) bool, False = padding. prefix: P. endings: K.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    attention: torch.Tensor
    visible: torch.Tensor
    prefix: int
    endings: int

    def rows(self, index: Sequence[int]) -> Tree:
        """The tree of a batch that repeats and reorders these rows."""
        if list(index) == list(range(len(self.ids))):
            return self
        i = torch.tensor(index, device=self.ids.device)
        return Tree(self.ids[i], self.positions[:, i], self.attention[i], self.visible[i], self.prefix, self.endings)

    def split(self, hidden: torch.Tensor) -> Context:
        """(B, L, D) -> prefix tokens (B, P, D) and one condition (B, M, D) per ending, with their masks."""
        p, k = self.prefix, self.endings
        if not k:
            return Context(hidden, self.visible)
        tails = zip(hidden[:, p:].chunk(k, dim=1), self.visible[:, p:].chunk(k, dim=1))
        return Context(hidden[:, :p], self.visible[:, :p], tuple(tails))


def grow(
    prefixes: Sequence[Sequence[int]], endings: Sequence[Sequence[Sequence[int]]], positions: Sequence[torch.Tensor]
) -> Tree:
    """B prefixes, K endings of each (endings[k][b], token ids), and the rotary positions (A, n_b) of each prefix + its
    longest ending.
    """
    rows, k = len(prefixes), len(endings)
    p = max(map(len, prefixes))
    m = max((len(ids) for ending in endings for ids in ending), default=0)
    ids = torch.zeros(rows, p + k * m, dtype=torch.long)
    visible = torch.zeros(rows, p + k * m, dtype=torch.bool)
    where = torch.zeros(positions[0].shape[0], rows, p + k * m, dtype=torch.long)
    for b, prefix in enumerate(prefixes):
        n = len(prefix)
        parts = [(0, prefix, positions[b][:, :n])]
        parts += [(p + j * m, ending[b], positions[b][:, n : n + len(ending[b])]) for j, ending in enumerate(endings)]
        for start, part, place in parts:
            ids[b, start : start + len(part)] = torch.tensor(part)
            visible[b, start : start + len(part)] = True
            where[:, b, start : start + len(part)] = place
    branch = torch.cat([torch.zeros(p, dtype=torch.long), torch.arange(1, k + 1).repeat_interleave(m)])
    same = (branch[:, None] == branch[None, :]) | (branch[None, :] == 0)
    causal = torch.ones(p + k * m, p + k * m, dtype=torch.bool).tril()
    attention = (same & causal)[None] & visible[:, None, :]
    attention = attention | torch.eye(
        p + k * m, dtype=torch.bool
    )  # a padded row sees itself: softmax over nothing is NaN
    return Tree(ids, where, attention[:, None], visible, p, k)


def to(tree: Tree, device) -> Tree:
    ids, positions, attention, visible = (
        x.to(device) for x in (tree.ids, tree.positions, tree.attention, tree.visible)
    )
    return Tree(ids, positions, attention, visible, tree.prefix, tree.endings)
