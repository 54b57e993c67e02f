# SPDX-License-Identifier: Apache-2.0
"""How the baselines label D^actor (paper, App. E)."""

from __future__ import annotations

import math

import numpy as np

from rove_learning.algorithm.advantage import Frames, Labels, threshold
from rove_learning.algorithm.targets import Floats


def label_recap(advantage: Floats, frames: Frames, percentile: float) -> Labels:
    """App. E: as ROVE with another critic's advantages, and "human intervention segments after the adaptation stage as
    uniformly positive advantages".
    """
    eta = threshold(advantage, percentile)
    return Labels((advantage > eta) | frames.recovery, np.ones(len(frames), dtype=bool), eta)


def label_filtered_bc(advantage: Floats, frames: Frames, percentile: float) -> Labels:
    """App. E: rollout and intervention chunks with A <= eta or from failed episodes are dropped; successful
    demonstrations stay; then plain BC.
    """
    eta = threshold(advantage, percentile)
    good = (advantage > eta) & frames.success
    demonstrated = frames.demonstration & frames.success
    return Labels(np.ones(len(frames), dtype=bool), good | demonstrated, eta)


def label_hg_dagger(advantage: Floats, frames: Frames, percentile: float) -> Labels:
    """App. E: successful demonstrations and "all human-intervention actions as positive supervision", adaptation
    included; the policy's own are dropped.
    """
    demonstrated = frames.demonstration & frames.success
    return Labels(np.ones(len(frames), dtype=bool), frames.intervention | demonstrated, math.nan)


def label_sft(advantage: Floats, frames: Frames, percentile: float) -> Labels:
    """Plain imitation of the demonstrations that succeeded."""
    return Labels(np.ones(len(frames), dtype=bool), frames.demonstration & frames.success, math.nan)
