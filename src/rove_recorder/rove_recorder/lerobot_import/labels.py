# SPDX-License-Identifier: Apache-2.0
"""Stages and outcome of an episode from what LeRobot's users record: `intervention` per frame, success per frame or
episode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rove_contract.modes import STAGE_OF, Mode, Outcome, Source, Stage
from rove_recorder.dataset.flags import INTERVENTION, REWARD

# Columns per frame, the first that is there. The long ones are LeRobot's for human-in-the-loop RL.
INTERVENTIONS = ("intervention", "is_intervention", "complementary_info.is_intervention")
SUCCESSES = ("next.success", "success", "is_success")
EPISODE_SUCCESSES = ("success", "is_success", "episode_success")  # columns of an episode
MODE_OF = {stage: mode for mode, stage in STAGE_OF.items()}


@dataclass(frozen=True)
class Labels:
    """stage, source, mode: (T,) int64. t_r, takeover: frames, -1 = none. kind: demonstration | rollout."""

    stage: np.ndarray
    source: np.ndarray
    mode: np.ndarray
    t_r: int
    takeover: int
    kind: str


def label_stages(length: int, intervention: np.ndarray | None, adaptation: int) -> Labels:
    """length: T. intervention: (T,) bool, who drove; None where it was not recorded: then the episode is a
    demonstration, as it is when the operator drives from the first frame to the last.

    adaptation: frames at the beginning of an intervention that count as initial adaptation. A LeRobot dataset does not
    say when the robot was under control again, so t_r is a guess that review corrects. Not from the paper.
    """
    if intervention is None or intervention.all():
        return _labels(np.full(length, Stage.DEMONSTRATION), "demonstration")
    stage = np.full(length, int(Stage.ROLLOUT))
    begins = np.flatnonzero(intervention & ~np.concatenate([[False], intervention[:-1]]))
    ends = np.flatnonzero(intervention & ~np.concatenate([intervention[1:], [False]])) + 1
    for begin, end in zip(begins, ends, strict=True):
        recovery = begin + adaptation
        stage[begin:end] = Stage.ADAPTATION
        if recovery < end - 1:  # t_r is never the last frame, whose reward is the outcome's
            stage[recovery:end] = Stage.RECOVERY
    return _labels(stage, "rollout")


def keep_stages(stage: np.ndarray) -> Labels:
    """Labels of an episode that has ROVE's own stages (T,)."""
    kinds = {int(Stage.DEMONSTRATION): "demonstration"}
    return _labels(stage, kinds.get(int(stage[0]), "rollout"))


def _labels(stage: np.ndarray, kind: str) -> Labels:
    driven = np.isin(stage, (*INTERVENTION, int(Stage.DEMONSTRATION)))
    marks = [np.flatnonzero(stage == s) for s in (Stage.RECOVERY, Stage.ADAPTATION)]
    t_r, takeover = (int(found[0]) if len(found) else -1 for found in marks)
    return Labels(
        stage.astype(np.int64),
        np.where(driven, Source.OPERATOR, Source.POLICY).astype(np.int64),
        np.array([MODE_OF.get(Stage(s), Mode.IDLE) for s in stage], dtype=np.int64),
        t_r,
        takeover,
        kind,
    )


def find_outcome(frames: Mapping[str, np.ndarray], episode: Mapping[str, object]) -> Outcome | None:
    """The outcome that columns tell; None where none does. frames: column -> (T,). episode: column -> value."""
    for key in SUCCESSES:
        if key in frames:
            return Outcome.SUCCESS if bool(np.any(frames[key])) else Outcome.FAILURE
    for key in EPISODE_SUCCESSES:
        if isinstance(episode.get(key), bool):
            return Outcome.SUCCESS if episode[key] else Outcome.FAILURE
    rewards = np.unique(frames.get(REWARD, np.empty(0)))
    if len(rewards) and np.isin(rewards, (0.0, 1.0)).all():
        return Outcome.SUCCESS if 1.0 in rewards else Outcome.FAILURE
    return None
