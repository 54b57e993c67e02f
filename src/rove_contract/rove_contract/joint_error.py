# SPDX-License-Identifier: Apache-2.0
"""How far one joint is from where it should be, in its own unit, and as text: what /teleop/alignment says per block."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rove_description.joints import METRE, METRES_PER_RAD, RAD, JointTable


@dataclass(frozen=True)
class JointError:
    """amount: rad or m, as `unit` says; inf where nothing is known."""

    amount: float
    unit: str = RAD

    @property
    def in_rad(self) -> float:
        """For thresholds in rad: a length counts as `joints.METRES_PER_RAD` says."""
        return self.amount / METRES_PER_RAD if self.unit == METRE else self.amount

    def limit(self, threshold_rad: float) -> float:
        """A threshold in rad in this error's unit."""
        return threshold_rad * METRES_PER_RAD if self.unit == METRE else threshold_rad

    def words(self) -> str:
        """For people: "0.12 rad", "0.034 m"."""
        return f"{self.amount:.3f} m" if self.unit == METRE else f"{self.amount:.2f} rad"

    def to_text(self) -> str:
        """For messages: a number in rad, or one with its unit."""
        return f"{self.amount:.4f} m" if self.unit == METRE else f"{self.amount:.4f}"

    @classmethod
    def parse(cls, text: str) -> JointError:
        """The inverse of `to_text`; what is no number counts as infinitely far."""
        number, _, unit = text.strip().partition(" ")
        try:
            amount = float(number)
        except ValueError:
            return cls(math.inf)
        if math.isnan(amount) or unit not in ("", RAD, METRE):
            return cls(math.inf)
        return cls(amount, unit or RAD)


def worst(table: JointTable, difference: np.ndarray, among: np.ndarray | None = None) -> tuple[int, JointError]:
    """difference: (J,) rad or m -> (joint, error) of the one that is farthest, in rad; NaN is infinitely far. among:
    indices to choose from; None: all.
    """
    far = np.abs(difference) * table.in_rad
    far = np.where(np.isfinite(far), far, np.inf)
    chosen = np.arange(len(table)) if among is None else among
    i = int(chosen[int(np.argmax(far[chosen]))])
    amount = abs(float(difference[i]))
    return i, JointError(amount if math.isfinite(amount) else math.inf, table.unit(i))
