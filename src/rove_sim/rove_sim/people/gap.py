# SPDX-License-Identifier: Apache-2.0
"""The teleoperation gap: what lies between a person's intention and the humanoid's motion (paper, sec. 3.1).

The paper names its causes: another body, no force or touch, imperfect retargeting, differing skill, joint limits. Each
is one number here and grows linearly from the most skilled person (skill 1) to the least skilled one (skill 0). The
same gap is there in demonstrations and in interventions. docs/explanation/people.md gives the model and what it
produces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Gap:
    """One person's gap. Standard deviations unless said otherwise.

    delay_s: from seeing to the robot's doing: reaction, headset, network. perception_m: where a person takes a thing to
    be, per axis, through a headset; it wanders with the time constant perception_s. tracking_rad: error of suit and
    retargeting per joint of arms and waist, with the time constant tracking_s. speed: share of the expert's. tolerance:
    how much less exactly a pose is reached before going on. force: of the logarithm of every force (pressing, gripping,
    pushing), which nobody feels. mistakes: factor on the chances of a task's mistakes. residual_rad: misalignment per
    arm joint at takeover. adaptation_s: shortest and longest time until the person works again after takeover.
    """

    delay_s: float
    perception_m: float
    tracking_rad: float
    speed: float
    tolerance: float
    force: float
    mistakes: float
    residual_rad: float
    adaptation_s: tuple[float, float]
    perception_s: float = 2.0
    tracking_s: float = 1.5

    @classmethod
    def of(cls, skill: float) -> Gap:
        """skill in [0, 1]. Raises ValueError outside."""
        if not 0.0 <= skill <= 1.0:
            raise ValueError(f"skill is {skill:g}, expected a number from 0 to 1")
        lack = 1.0 - skill
        return cls(
            # 0.15 s is a fast visual reaction, 0.4 s that of a beginner through a headset
            delay_s=0.15 + 0.25 * lack,
            perception_m=0.002 + 0.006 * lack,
            # 0.01 rad in each joint of an outstretched arm is about 1 cm at the hand
            tracking_rad=0.002 + 0.008 * lack,
            speed=0.90 - 0.35 * lack,
            tolerance=1.2 + 0.8 * lack,
            force=0.08 + 0.30 * lack,
            mistakes=lack,
            residual_rad=0.03 + 0.07 * lack,
            adaptation_s=(1.0 + 0.5 * lack, 2.5 + 2.5 * lack),
        )


NO_GAP = Gap(0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, (0.0, 0.0))  # the expert: imperfection 0


class Wander:
    """First-order noise: wanders around 0 with a standard deviation and a time constant, smooth from step to step."""

    def __init__(self, rng: np.random.Generator, shape, deviation, time_constant_s: float):
        self.rng, self.deviation, self.time_constant = rng, deviation, time_constant_s
        self.value = np.asarray(deviation) * rng.normal(size=shape)

    def advance(self, period_s: float) -> np.ndarray:
        """The value after another period."""
        keep = np.exp(-period_s / self.time_constant)
        fresh = self.rng.normal(size=self.value.shape)
        self.value = keep * self.value + np.sqrt(1.0 - keep**2) * self.deviation * fresh
        return self.value
