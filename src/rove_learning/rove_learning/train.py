# SPDX-License-Identifier: Apache-2.0
"""`train`: one iteration of Algorithm 1: critic -> labels -> actor -> checkpoint and report.

Killed, the same command goes on where it was. On several processes: `torchrun --nproc-per-node N -m rove_learning.train
...`.

    rove run rove_learning train --dataset runs/demonstrations --out runs/base --method sft
    rove run rove_learning train --dataset runs/demonstrations runs/session --out runs/policy --init runs/base
"""

from __future__ import annotations

import sys

from rove_learning.config import TrainConfig
from rove_learning.data.dataset import DatasetError
from rove_learning.training import label, train_actor, train_critic
from rove_learning.training.run import Run, command


def train(config: TrainConfig, progress: bool = True, stop=lambda: False) -> dict:
    """Run the iteration. Returns its summary, which also stands in OUT/train.json. Raises before the first step for
    unusable data.
    """
    return steps(Run(config, progress, stop))


def steps(run: Run) -> dict:
    """Algorithm 1, lines 3 to 7."""
    if not any(e.trainable and e.has_robot for dataset in run.datasets for e in dataset.episodes):
        raise DatasetError(
            f"nothing for the actor in {', '.join(run.config.dataset)}: its episodes are human videos, aborted or "
            f"excluded"
        )
    train_critic.step(run)
    label.step(run)
    return train_actor.step(run)


def main() -> int:
    from rove_learning.report.report import ReportConfig, report

    def both(run: Run) -> dict:
        summary = steps(run)
        if run.main:
            summary["report"] = str(report(ReportConfig(str(run.out))))
        return summary

    return command("train", both, __doc__)


if __name__ == "__main__":
    sys.exit(main())
