# SPDX-License-Identifier: Apache-2.0
"""`oracle_labels`: would perfect labels teach? Algorithm 1, line 7, on labels that know what the simulator knew.

    rove run rove_learning oracle_labels --dataset runs/demos runs/experience --init runs/base --out runs/oracle
    rove run rove_learning evaluate --checkpoint runs/oracle --task toast_bread --start-stage above_slot

Positive is a chunk of a person that is work (no mistake, no hesitation) for three quarters of its executed steps, in an
episode that succeeded, and a chunk of the policy in an episode that succeeded without a person. What ROVE's own labels
lack beside these is due to the critic; what these do not gain is due to data, actor or conditioning. Options are those
of `rove run rove_learning train_actor`.
"""

from __future__ import annotations

import json
import sys

import numpy as np

from rove_contract.modes import Outcome, Stage
from rove_learning import command_line
from rove_learning.algorithm.advantage import Labels
from rove_learning.config import TrainConfig
from rove_learning.data.buffer import Buffer
from rove_learning.deployment.truth import load_truth
from rove_learning.inference.scoring import condition_effect
from rove_learning.train import run_step
from rove_learning.training import label
from rove_learning.training.buffers import Buffers
from rove_learning.training.plan import Plan
from rove_learning.training.run_folder import RunFolder
from rove_learning.training.train_actor import train_actor

SHARE = 0.75  # of a chunk's executed steps that must be work


def label_by_truth(buffer: Buffer, horizon: int) -> Labels:
    """The labels of the docstring above. Raises ValueError for episodes without what the simulator knew."""
    truth = [load_truth(root, episode.episode_id) for root, episode in zip(buffer.roots, buffer.episodes)]
    if any(known is None for known in truth):
        raise ValueError("expected episodes of `collect` and `interventions`, which know the truth (meta/truth)")
    behaviour = np.concatenate([known["behaviour"] for known in truth if known])
    frames, success = np.arange(len(buffer)), buffer.outcome == Outcome.SUCCESS
    taken_over = np.zeros(len(buffer), dtype=bool)
    for episode in buffer.slices():
        taken_over[episode] = np.isin(buffer.stage[episode], (Stage.ADAPTATION, Stage.RECOVERY)).any()
    work = np.concatenate([[0], np.cumsum(behaviour == "work")])
    end = np.minimum(frames + horizon, buffer.last + 1)
    working = work[end] - work[frames] >= SHARE * (end - frames)
    person = np.isin(buffer.stage, (Stage.DEMONSTRATION, Stage.RECOVERY)) & working
    policy = (behaviour == "") & ~taken_over
    return Labels((person | policy) & success, np.ones(len(buffer), dtype=bool), float("nan"))


def train_on_truth(plan: Plan, buffers: Buffers, folder: RunFolder) -> dict:
    buffer, config = buffers.actor, plan.config
    labels = label_by_truth(buffer, config.critic.horizon)
    folder.claim("label", method=config.method, labels=config.labels, horizon=config.critic.horizon)
    folder.save_labels(buffer, labels, label.unscored(buffer))
    folder.claim("actor", actor=config.actor, regularise=config.regularise, labels=label.digest(labels))
    result = train_actor(plan, buffers, labels)
    folder.save_policy(result.actor, None, buffer)
    folder.add_history(result.history)
    return {
        "out": str(plan.out),
        "frames": len(buffer),
        **label.shares(labels),
        **condition_effect(result.actor, buffer, config.device),
    }


def main() -> int:
    try:
        config = command_line.parse(TrainConfig, None, __doc__, required={"dataset": (), "out": ""})
        print(json.dumps(run_step(train_on_truth, config)))
    except (ValueError, OSError) as error:
        print(f"oracle_labels: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
