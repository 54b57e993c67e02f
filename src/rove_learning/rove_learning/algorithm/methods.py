# SPDX-License-Identifier: Apache-2.0
"""The methods that can be trained: one line each. A new one is a labelling function and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rove_learning.algorithm.advantage import Frames, Labels, label_rove
from rove_learning.algorithm.baselines import label_filtered_bc, label_hg_dagger, label_recap, label_sft
from rove_learning.algorithm.targets import Floats


@dataclass(frozen=True)
class Method:
    """label(advantage (N,) steps, frames, percentile) -> Labels.

    critic: how the critic that labels is fine-tuned; None: labels need none. conditioned: the actor is trained with
    both text conditions; otherwise it knows the positive one only. human_videos: D^critic has them.
    """

    label: Callable[[Floats, Frames, float], Labels]
    critic: Literal["ove", "mc"] | None
    conditioned: bool
    human_videos: bool = True


METHODS: dict[str, Method] = {
    "rove": Method(label_rove, "ove", conditioned=True),
    # "RECAP uses the same robot data and the same reward-label construction pipeline; the key differences are that its
    # critic training objective differs from OVE and its labeling strategy ..." (App. E): robot data, no human videos.
    "recap": Method(label_recap, "mc", conditioned=True, human_videos=False),
    "filtered_bc": Method(label_filtered_bc, "ove", conditioned=False),
    "hg_dagger": Method(label_hg_dagger, None, conditioned=False),
    "sft": Method(label_sft, None, conditioned=False),
}
