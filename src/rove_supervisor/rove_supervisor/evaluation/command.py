# SPDX-License-Identifier: Apache-2.0
"""`evaluation`: plan trials of policies on a robot, see how far they are, and get the results.

rove run rove_supervisor evaluation runs/trials base=runs/base new=runs/new --starts 20 --max-seconds 60
rove launch session.launch.yaml evaluation:=runs/trials checkpoint:=runs/base device:=none ...
rove run rove_supervisor evaluation runs/trials                 # how far it is
rove run rove_supervisor evaluation runs/trials --results       # before all trials are done; ends the blindness
rove run rove_learning compare base=runs/trials/base.json new=runs/trials/new.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rove_supervisor.evaluation import trials


def named(policies: list[str]) -> dict[str, str]:
    """["NAME=CHECKPOINT", ...] -> {name: checkpoint}. Raises ValueError."""
    found: dict[str, str] = {}
    for item in policies:
        name, _, checkpoint = item.partition("=")
        if not name or not checkpoint or name in found:
            raise ValueError(f"{item!r}: expected NAME=CHECKPOINT, every name once")
        if "://" not in checkpoint and not (Path(checkpoint) / "config.json").is_file():
            raise ValueError(f"{name}: no checkpoint at {checkpoint}")
        found[name] = checkpoint
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="rove run rove_supervisor evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="of the evaluation")
    parser.add_argument("policies", nargs="*", metavar="NAME=CHECKPOINT", help="two or more: plan a new evaluation")
    parser.add_argument("--starts", type=int, default=20, help="places of the objects, each with a number (20)")
    parser.add_argument("--task", default="erase_whiteboard", help="of the session (erase_whiteboard)")
    parser.add_argument("--max-seconds", type=float, default=0.0, help="a longer trial has failed; 0: no limit")
    parser.add_argument("--seed", type=int, help="for the same order again; else nobody can know it")
    parser.add_argument("--results", action="store_true", help="write NAME.json of each policy now")
    options = parser.parse_args(argv)
    try:
        if options.policies:
            policies = named(options.policies)
            plan = trials.draw(policies, options.starts, options.task, options.max_seconds, options.seed)
            trials.begin(options.folder, plan)
        evaluation = trials.Evaluation(options.folder)
        if options.results:
            for file in evaluation.write_results():
                print(file)
    except (ValueError, OSError) as error:
        print(f"evaluation: {error}", file=sys.stderr)
        return 2
    evaluation.ready = True
    repeated = sum(row["outcome"] == "aborted" for row in evaluation.attempts)
    print(f"{evaluation.text()}; {repeated} attempts were aborted and are repeated")
    return 0


if __name__ == "__main__":
    sys.exit(main())
