# SPDX-License-Identifier: Apache-2.0
"""Real-time chunking: the steps that the robot executes while the next chunk is computed are given, the rest is filled
in to fit them.

Black, Galliker and Levine, *Real-Time Execution of Action Chunking Flow Policies* (arXiv 2506.07339), whose soft mask
this is. Where they steer with the gradient of the network (pseudoinverse guidance, eq. 2 to 4), the velocity of a given
step is replaced here by that of its known path, a - eps: exact for the frozen steps, without a backward pass, and
weaker than theirs for the soft ones.
"""

from __future__ import annotations

import numpy as np
import torch


def soft_mask(chunk: int, delay: int, overlap: int) -> np.ndarray:
    """(chunk,) weights in [0, 1]: 1 for the first `delay` steps, falling to 0 at step `overlap`, the end of the
    previous chunk.

    W_i = c_i (e^c_i - 1) / (e - 1) with c_i = (H - s - i) / (H - s - d + 1) for d <= i < H - s (eq. 5; d = delay, H - s
    = overlap). The authors' code for their Kinetix experiments and LeRobot's `RTCProcessor` ("exp" schedule) have the
    same weights; pushed down likewise where d > H - s.
    """
    delay = min(delay, overlap)
    c = np.clip((overlap - np.arange(chunk)) / (overlap - delay + 1.0), 0.0, 1.0)
    weight = c * np.expm1(c) / np.expm1(1.0)
    weight[:delay] = 1.0
    return weight


def align(previous: np.ndarray, elapsed: float, delay: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The previous chunk (chunk, J) seen from an observation `elapsed` steps after its own, and the weight (chunk,) of
    each step.

    delay: steps that pass until the new chunk can be executed. None when nothing is left of the previous chunk.
    """
    chunk = len(previous)
    if not 0.0 <= elapsed < chunk - 1:
        return None
    at = np.minimum(elapsed + np.arange(chunk), chunk - 1.0)
    low = np.floor(at).astype(int)
    high, part = np.minimum(low + 1, chunk - 1), (at - low)[:, None]
    aligned = (1.0 - part) * previous[low] + part * previous[high]
    return aligned, soft_mask(chunk, delay, int(chunk - 1 - elapsed) + 1)


def inpaint(
    velocity: torch.Tensor, noise: torch.Tensor, known: tuple[torch.Tensor, torch.Tensor] | None
) -> torch.Tensor:
    """(1, chunk, J) velocity with the given steps' own. known: actions (1, chunk, J) normalised and weight (1, chunk,
    1), or None.
    """
    return velocity if known is None else torch.lerp(velocity, known[0] - noise, known[1])
