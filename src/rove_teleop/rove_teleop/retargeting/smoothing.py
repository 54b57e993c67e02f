# SPDX-License-Identifier: Apache-2.0
"""One-Euro filter (Casiez, Roussel and Vogel, CHI 2012): a low-pass whose cut-off rises with speed."""

from __future__ import annotations

import numpy as np


class OneEuro:
    """Vectorised over n signals.

    min_cutoff: Hz at rest. beta: Hz per unit of speed. derivative_cutoff: Hz.
    """

    def __init__(self, n: int, min_cutoff: float = 3.0, beta: float = 40.0, derivative_cutoff: float = 5.0):
        self.min_cutoff, self.beta, self.derivative_cutoff = min_cutoff, beta, derivative_cutoff
        self.x = np.zeros(n)
        self.dx = np.zeros(n)
        self.started = np.zeros(n, dtype=bool)

    def reset(self) -> None:
        """The next sample of every signal passes unchanged."""
        self.started[:] = False

    def step(self, x: np.ndarray, dt: float, valid: np.ndarray) -> np.ndarray:
        """x (n,) now, dt s since the last call, valid (n,) bool -> filtered (n,), own storage.

        A signal that is not valid keeps its value; when it comes back it restarts at the sample, without a transient.
        """
        fresh = valid & ~self.started
        np.copyto(self.x, x, where=fresh)
        self.dx[fresh] = 0.0
        np.copyto(self.started, valid)
        delta = np.where(valid, x - self.x, 0.0)
        gain = 2 * np.pi * self.derivative_cutoff * dt
        self.dx += gain / (1.0 + gain) * (delta / dt - self.dx)
        a = (2 * np.pi * dt) * (self.min_cutoff + self.beta * np.abs(self.dx))
        self.x += a / (1.0 + a) * delta
        return self.x
