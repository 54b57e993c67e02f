# SPDX-License-Identifier: Apache-2.0
"""What people do between takeover and productive work: hesitate, draw the hand back, continue what was failing, fumble
(paper, sec. 3.1: "retracting the hand, continuing to manipulate from a near-failure state, or spending a period of time
adapting").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rove_sim.people.gap import Gap

KINDS = ("hesitate", "draw_back", "continue", "fumble")
# Hesitation opens most interventions; the rest of the time is shared by one or two of the others.
CHANCES = {"draw_back": 0.40, "continue": 0.25, "fumble": 0.35}
DRAW_BACK_M = (0.05, 0.12)


@dataclass(frozen=True)
class Behaviour:
    """kind: one of KINDS. seconds: how long. distance: m, of a retraction."""

    kind: str
    seconds: float
    distance: float = 0.0


def draw(rng: np.random.Generator, gap: Gap) -> tuple[Behaviour, ...]:
    """The behaviours of one adaptation, in order; together within the gap's `adaptation_s`. Empty without a gap."""
    total = rng.uniform(*gap.adaptation_s)
    if total <= 0.0:
        return ()
    first = total * rng.uniform(0.2, 0.5)
    kinds = list(rng.choice(list(CHANCES), size=int(rng.integers(1, 3)), replace=False, p=list(CHANCES.values())))
    shares = rng.dirichlet(np.full(len(kinds), 4.0)) * (total - first)
    rest = [
        Behaviour(str(kind), float(share), float(rng.uniform(*DRAW_BACK_M)) if kind == "draw_back" else 0.0)
        for kind, share in zip(kinds, shares)
    ]
    return (Behaviour("hesitate", float(first)), *rest)
