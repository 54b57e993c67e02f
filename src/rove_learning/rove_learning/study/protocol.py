# SPDX-License-Identifier: Apache-2.0
"""What the study compares, and on how much: arms, profiles and seeds, fixed beforehand (docs/explanation/study.md).

Settings are chosen on development seeds (700,000 to 899,999). The seeds below are played by `reproduce` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DEMONSTRATIONS, MORE, VIDEOS, EXPERIENCE, EVALUATION = 1_000_000, 1_200_000, 1_400_000, 1_600_000, 3_000_000
SEED_STRIDE = 20_000  # between the training seeds of one kind of data
ITERATION_STRIDE = 2_000  # between the iterations of one training seed


@dataclass(frozen=True)
class Arm:
    """One policy of the study.

    title: in figures. method: of `rove_learning.algorithm.methods`. data: "demonstrations", "more" (as many further
    demonstrations as there are episodes of experience) or "experience" (the episodes of rollout and intervention that
    ROVE's policies brought until `iteration`, the same for every arm). start: arm whose policy it continues. iteration:
    k; every arm that starts from the base policy gets k times an iteration's steps, so that arms of one k had the same.
    change: dotted fields of `TrainConfig`. critic_of: arm whose critic labels instead of an own one. paper: success in
    % of the paper by task, where it gives one.
    """

    name: str
    title: str
    method: str
    data: str = "demonstrations"
    start: str = "base"
    iteration: int = 0
    change: Mapping[str, object] = field(default_factory=dict)
    critic_of: str = ""
    videos: bool = True
    paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Profile:
    """How much of everything. arms: names; empty: all. data_from: start stages of all data, in turn; empty: all of the
    task. evaluate_from: start stage of every evaluation. config: settings, as of `train --config`. change: dotted
    fields of them.
    """

    tasks: tuple[str, ...]
    seeds: tuple[int, ...]  # of training, one after the other
    iterations: int  # K
    demonstrations: int
    videos: int
    experience: int  # episodes of rollout and intervention per iteration
    evaluation: int  # episodes per arm, task and training seed, the same for all arms
    arms: tuple[str, ...] = ()
    data_from: tuple[str, ...] = ()
    evaluate_from: str = "start"
    config: str = "study"
    change: Mapping[str, object] = field(default_factory=dict)


BASE = "base"
_WHITEBOARD, _TOASTER = "erase_whiteboard", "toast_bread"


def arms(iterations: int) -> tuple[Arm, ...]:
    """All arms of a study of K iterations (Fig. 4, Table 1), in an order in which each finds what it starts from."""
    k = iterations
    chain = tuple(
        Arm(
            f"rove_{i}",
            f"ROVE, iteration {i}",
            "rove",
            "experience",
            start=f"rove_{i - 1}" if i > 1 else BASE,
            iteration=i,
        )
        for i in range(1, k + 1)
    )
    return (
        Arm(BASE, "base policy", "sft", start="", paper={_WHITEBOARD: 45.0, _TOASTER: 56.7}),
        Arm("sft", "SFT, as many steps", "sft", iteration=k),
        Arm("sft_more", "SFT, as many more demonstrations", "sft", "more", iteration=k),
        Arm("rove_demonstrations", "ROVE on demonstrations", "rove", iteration=k),
        *chain,
        Arm("hg_dagger", "HG-DAgger", "hg_dagger", "experience", iteration=k),
        Arm("filtered_bc", "Filtered BC", "filtered_bc", "experience", iteration=k, critic_of=f"rove_{k}"),
        Arm("recap", "RECAP", "recap", "experience", iteration=k),
        Arm("rove_h50", "ROVE, H = 50", "rove", "experience", iteration=k, change={"critic.horizon": 50}),
        Arm(
            "rove_takeover",
            "ROVE, penalty at takeover",
            "rove",
            "experience",
            iteration=k,
            change={"reward.penalty_at": "takeover"},
        ),
        Arm("rove_no_videos", "ROVE without human videos", "rove", "experience", iteration=k, videos=False),
        # from the base policy in one go, as the three above it: what they are compared with
        Arm("rove_once", "ROVE, in one go", "rove", "experience", iteration=k),
    )


PROFILES = {
    # a part of a task that 2 cores learn in minutes: the slice is held above a slot, align, insert and let go
    "small": Profile(
        (_TOASTER,),
        seeds=(0,),
        iterations=1,
        demonstrations=120,
        videos=0,
        experience=100,
        evaluation=300,
        arms=(BASE, "sft", "rove_1", "hg_dagger"),
        data_from=("above_slot", "misaligned"),
        evaluate_from="above_slot",
        config="scene",
        # C_fail of the order of an episode, as in the paper, whose episodes are longer; labels by critics that do not
        # know the episode
        change={"reward.c_fail": -150.0, "labels.folds": 2},
    ),
    "full": Profile((_WHITEBOARD, _TOASTER), (0, 1, 2), 3, 120, 60, 60, 300),
}
