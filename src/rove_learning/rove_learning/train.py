# SPDX-License-Identifier: Apache-2.0
"""`train`: one iteration of Algorithm 1: critic -> labels -> actor -> checkpoint and report.

Killed, the same command goes on where it was. On several processes: `torchrun --nproc-per-node N -m rove_learning.train
...`.

    rove run rove_learning train --dataset runs/demonstrations --out runs/base --method sft
    rove run rove_learning train --dataset runs/demonstrations runs/session --out runs/policy --init runs/base
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

from rove_learning import command_line
from rove_learning.config import TrainConfig
from rove_learning.training import processes
from rove_learning.training.buffers import Buffers
from rove_learning.training.iteration import run_actor, run_critic, run_iteration, run_label
from rove_learning.training.plan import Plan, never, resolve
from rove_learning.training.run_folder import RunFolder, lock
from rove_recorder.dataset import label_formats

Step = Callable[[Plan, Buffers, RunFolder], dict]

TRAIN_CRITIC = """`train_critic`: critic training (Algorithm 1, line 3).

    rove run rove_learning train_critic --dataset runs/demonstrations runs/session --init runs/base --out runs/policy

Writes critic.safetensors into --out; `label` and `train_actor` go on from there. Killed, the same command resumes.
"""
LABEL = """`label`: advantages and improvement labels of D^actor (Algorithm 1, lines 4-6).

    rove run rove_learning label --dataset runs/demonstrations runs/session --init runs/base --out runs/policy

Needs the critic that `train_critic` left in --out (or --critic-checkpoint). Writes labels.npz there, and value,
advantage and label of every frame beside each dataset (meta/scores/<name of --out>.parquet), where `rove run
rove_recorder review` shows them. --format writes them for the training code of others, too: rlinf beside each dataset,
lerobot, evo-rl and parquet into OUT/labelled.
"""
TRAIN_ACTOR = """`train_actor`: actor training (Algorithm 1, line 7) on the labelled chunks.

    rove run rove_learning train_actor --dataset runs/demonstrations runs/session --init runs/base --out runs/policy

Needs the labels that `label` left in --out; writes the checkpoint there. Killed, the same command resumes.
"""


def train(config: TrainConfig, progress: bool = True, stop: Callable[[], bool] = never) -> dict:
    """Run the iteration. Returns its summary, which also stands in OUT/train.json. Raises before the first step for
    unusable data.
    """
    return run_step(run_iteration, config, progress, stop)


def run_step(step: Step, config: TrainConfig, progress: bool = True, stop: Callable[[], bool] = never) -> dict:
    """Run one step, or the iteration, of this configuration."""
    plan = resolve(config, progress, stop)
    with (
        lock(plan.out) if processes.main_process() else contextlib.nullcontext(),
        contextlib.closing(plan.tracking),
    ):
        return step(plan, Buffers(plan), RunFolder(plan))


def _run_and_report(plan: Plan, buffers: Buffers, folder: RunFolder) -> dict:
    from rove_learning.report.run_report import ReportConfig, write_report

    summary = run_iteration(plan, buffers, folder)
    if processes.main_process():
        summary["report"] = str(write_report(ReportConfig(str(plan.out))))
    return summary


def run_command(name: str, step: Step, description: str | None, arguments: list[str] | None = None) -> int:
    """Parse, print the configuration, run the step; errors become one line and status 2."""
    try:
        config = command_line.parse(TrainConfig, arguments, description, required={"dataset": (), "out": ""})
        if processes.main_process():
            print(command_line.text(config), flush=True)
        summary = run_step(step, config)
        if processes.main_process():
            print(json.dumps(summary))
    except (ValueError, FloatingPointError, OSError) as error:  # OSError: e.g. no space left, with the file's name
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command resumes", file=sys.stderr)
        return 130
    return 0


def main() -> int:
    return run_command("train", _run_and_report, __doc__)


def train_critic() -> int:
    return run_command("train_critic", run_critic, TRAIN_CRITIC)


def label() -> int:
    try:
        arguments, layout = command_line.take(sys.argv[1:], "--format", label_formats.FORMATS)
    except ValueError as error:
        print(f"label: {error}", file=sys.stderr)
        return 2

    def run_label_and_export(plan: Plan, buffers: Buffers, folder: RunFolder) -> dict:
        summary = run_label(plan, buffers, folder)
        if layout is not None and processes.main_process():
            summary["labelled"] = export_labels(summary.get("scores", []), layout, plan.out)
        return summary

    return run_command("label", run_label_and_export, LABEL, arguments)


def export_labels(scores: list[str], layout: str, out: Path) -> list[str]:
    """Write score files (DATASET/meta/scores/NAME.parquet) in the layout of others. Returns what was written. Raises
    DatasetError.
    """
    written: list[Path] = []
    for file in map(Path, scores):
        dataset = file.parents[2]
        place = {"rlinf": None, "parquet": out / "labelled" / f"{dataset.name}.parquet"}
        target = place.get(layout, out / "labelled" / dataset.name)
        written += label_formats.write_labels(dataset, file.stem, layout, target)
    return [str(path) for path in written]


def train_actor() -> int:
    return run_command("train_actor", run_actor, TRAIN_ACTOR)


if __name__ == "__main__":
    sys.exit(main())
