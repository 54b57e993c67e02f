# SPDX-License-Identifier: Apache-2.0
"""An episode's labels as columns of its frames, in the field's names, and the episode's labels from them again.

Tools that edit LeRobot datasets keep the columns of frames and drop those of episodes that they do not know. What
stands in both survives.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rove_contract.modes import Outcome, Stage

# Per frame, bool. The last frame of an episode is `next.done`; of a success also `next.success`; of an episode that
# ended without an outcome also `next.truncated`. `excluded`: not trained on.
FLAGS = ("next.done", "next.success", "next.truncated", "intervention", "excluded")
# Per frame, float32: the sparse reward of the field, 1 in the last frame of a success and 0 elsewhere. ROVE's own
# (eq. 2) is computed when it trains. An episode without an outcome has `next.truncated`: its zeros are no failure.
REWARD = "next.reward"
INTERVENTION = (int(Stage.ADAPTATION), int(Stage.RECOVERY))
KIND_OF = {Stage.DEMONSTRATION: "demonstration", Stage.HUMAN_VIDEO: "human_video"}


def frame_flags(stage: np.ndarray, outcome: int, excluded: bool) -> dict[str, np.ndarray]:
    """stage (T,), the episode's outcome and exclusion -> FLAGS, each (T,) bool."""
    last = np.arange(len(stage)) == len(stage) - 1
    return {
        "next.done": last,
        "next.success": last & (outcome == Outcome.SUCCESS),
        "next.truncated": last & (outcome in (Outcome.NONE, Outcome.ABORTED)),
        "intervention": np.isin(stage, INTERVENTION),
        "excluded": np.full(len(stage), bool(excluded)),
    }


def frame_reward(length: int, outcome: int) -> np.ndarray:
    """REWARD of an episode's frames, (T,) float32."""
    reward = np.zeros(length, dtype=np.float32)
    reward[-1:] = outcome == Outcome.SUCCESS
    return reward


def episode_labels(stage: np.ndarray, flags: Mapping[str, np.ndarray]) -> dict[str, int | bool | str]:
    """The inverse: outcome, t_r, takeover, kind and excluded of the episode with these stages (T,) and flags (T,).

    An episode without an outcome counts as aborted: the two are treated alike.
    """
    success, truncated = bool(flags["next.success"].any()), bool(flags["next.truncated"].any())
    outcome = Outcome.SUCCESS if success else Outcome.ABORTED if truncated else Outcome.FAILURE
    return {
        "outcome": int(outcome),
        "t_r": first_frame(stage, Stage.RECOVERY),
        "takeover": first_frame(stage, Stage.ADAPTATION),
        "kind": KIND_OF.get(int(stage[0]), "rollout"),
        "excluded": bool(flags["excluded"].all()),
    }


def first_frame(stage: np.ndarray, wanted: Stage) -> int:
    """Number of the first frame of a stage in stage (T,); -1: none."""
    found = np.flatnonzero(stage == wanted)
    return int(found[0]) if len(found) else -1
