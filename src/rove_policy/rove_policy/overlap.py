# SPDX-License-Identifier: Apache-2.0
"""How a chunk fits in time to the one before it: what passed during inference, and what is still being executed. No
ROS.
"""

from __future__ import annotations

import math

import numpy as np

from rove_contract import timing

# The command filter skips what passed by the age of the stamp, which it believes up to 0.5 s; 0.1 s of that are for
# transport.
SHIFT_S = 0.4


class TooLate(ValueError):
    """Inference took longer than the chunk lasts."""


def skip_passed(chunk: np.ndarray, stamp_ns: int, took_s: float) -> tuple[np.ndarray, int]:
    """Chunk (H, J) and stamp of its row 0 after an inference of `took_s` s: a slow one loses the steps that passed.
    Raises TooLate.
    """
    if took_s <= SHIFT_S:
        return chunk, stamp_ns
    passed = int(took_s * timing.POLICY_HZ)
    if passed >= len(chunk):
        raise TooLate(
            f"inference took {took_s:.1f} s, longer than a chunk of {len(chunk) / timing.POLICY_HZ:.1f} s; dropped"
        )
    return chunk[passed:], stamp_ns + round(passed / timing.POLICY_HZ * 1e9)


class Overlap:
    """The chunk in force, for real-time chunking: what the robot executes while the next one is computed."""

    def __init__(self):
        self._chunk: np.ndarray | None = None
        self._stamp_ns = 0

    def clear(self) -> None:
        """Autonomy ended: the chunk is not executed any more."""
        self._chunk = None

    def published(self, chunk: np.ndarray, stamp_ns: int) -> None:
        """chunk: (H, J) rad as predicted, row 0 at stamp_ns."""
        self._chunk, self._stamp_ns = chunk, stamp_ns

    def known(self, stamp_ns: int, latency_s: float) -> tuple[np.ndarray, np.ndarray] | None:
        """Given steps (H, J) rad and their weights (H,) of a chunk observed at stamp_ns, or None; latency_s: of an
        inference.
        """
        from rove_learning.models.realtime import align

        if self._chunk is None:
            return None
        delay = (
            math.ceil(latency_s * timing.POLICY_HZ) + 1
        )  # one step for transport and for a slower inference than the last
        return align(self._chunk, (stamp_ns - self._stamp_ns) * 1e-9 * timing.POLICY_HZ, delay)
