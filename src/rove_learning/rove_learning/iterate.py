# SPDX-License-Identifier: Apache-2.0
"""`iterate`: Algorithm 1 as a loop over iterations: critic -> labels -> actor -> deploy -> grow the buffers. Stopped or
killed, the same command goes on where it was.

    rove run rove_learning iterate --train.dataset runs/demonstrations runs/videos --out runs/loop --iterations 3
    rove run rove_learning iterate --train.dataset runs/demonstrations --out runs/loop --deploy robot

OUT/base: base policy and pretrained critic from the demonstrations (unless --train.init is given).
OUT/k0, k1 ...: critic, labels and actor of iteration k, started from iteration k - 1.
OUT/data_1, data_2 ...: what deployments brought; D_k is the datasets given and those so far.

In the simulator the loop deploys by itself, with scripted supervision. With --deploy robot it stops before each
deployment and says what to do. Human videos of a later iteration go into OUT/videos_k beside data_k; they count in
D^critic only (Algorithm 1, lines 9 and 10).
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from rove_contract import files
from rove_contract.modes import Stage
from rove_learning import command_line
from rove_learning.config import TrainConfig
from rove_learning.data.dataset import Dataset
from rove_learning.deployment.evaluate import EvaluateConfig, evaluate
from rove_learning.deployment.interventions import InterventionConfig, collect
from rove_learning.report.page import page, table
from rove_learning.report.run_report import ReportConfig, evaluation_section, write_report
from rove_learning.report.statistics import intervention_fraction
from rove_learning.train import train
from rove_sim.tasks import task as tasks


@dataclass(frozen=True)
class DeployConfig:
    """A deployment in the simulator; see `interventions`."""

    task: str = tasks.ERASE_WHITEBOARD.name
    episodes: int = 24
    workers: int = 2
    seed: int = 5000  # of the first episode; iteration k adds 1000 (k + 1)
    start_stages: tuple[str, ...] = ()  # empty: all of the task


@dataclass(frozen=True)
class IterateConfig:
    """K iterations of Algorithm 1. `train` holds the settings of every iteration; its `out` is set by the loop."""

    out: str
    iterations: int = 3  # K (paper, Fig. 4: 3)
    deploy: Literal["simulator", "robot"] = "simulator"
    deploy_first: bool = (
        False  # deploy the base policy before iteration 0; as printed, D_0 is what --train.dataset holds
    )
    evaluation_episodes: int = 0  # per policy, in the simulator, the same seeds for all
    evaluation_seed: int = 900_000
    evaluation_betas: tuple[float, ...] = ()  # further guidance scales that every policy is evaluated with, e.g. 0 1
    train: TrainConfig = field(default_factory=lambda: TrainConfig((), ""))
    deployment: DeployConfig = field(default_factory=DeployConfig)


class WaitingForRobot(Exception):
    """The loop needs a deployment that people carry out; the message says which."""


def experience(config: IterateConfig, k: int, checkpoint: Path, progress: bool = True) -> Path:
    """Algorithm 1, line 8: the dataset of deploying `checkpoint`, made unless it is there. Raises WaitingForRobot."""
    folder = Path(config.out) / f"data_{k}"
    if (folder / "meta" / "info.json").is_file():
        return folder
    if config.deploy == "robot":
        raise WaitingForRobot(
            f"deploy {checkpoint} and bring the data to {folder}, then run the same command again:\n"
            f"  rove launch session.launch.yaml checkpoint:={checkpoint} record:=true "
            f"bags:={Path(config.out) / f'bags_{k}'}\n"
            f"  rove run rove_recorder export {Path(config.out) / f'bags_{k}'}/* --out {folder}"
        )
    d = config.deployment
    collect(
        InterventionConfig(
            str(checkpoint), str(folder), d.task, d.episodes, d.workers, d.seed + 1000 * k, start_stages=d.start_stages
        ),
        progress,
    )
    return folder


def table_2(datasets: list[Dataset]) -> dict:
    """Episodes of new robot experience, and the share of their time under human intervention (paper, Table 2). Human
    videos do not count.
    """
    experience = [(d, e) for d in datasets for e in d.episodes if e.has_robot]
    human = [
        (int(np.isin(d.stage[e.start : e.end], (Stage.ADAPTATION, Stage.RECOVERY)).sum()), len(e))
        for d, e in experience
    ]
    return {"new_episodes": len(experience), "intervention_fraction": intervention_fraction(human)}


def policy_name(k: int | None) -> str:
    """The policy of iteration k; None: the one that the loop starts from."""
    return "base" if k is None else f"k{k}"


def loop_report(out: Path, rows: list[dict]) -> None:
    """OUT/report.html: success per policy where it was evaluated (Fig. 4), the data of each iteration (Table 2), links
    to their reports.
    """
    counts = [{key: value for key, value in row.items() if key != "wilson95"} for row in rows]
    parts = [("Iterations", table(counts))]
    results = {
        policy_name(row["iteration"]): {**row, "episodes": row["evaluation_episodes"]}
        for row in rows
        if "success_rate" in row
    }
    if results:
        parts.insert(0, evaluation_section(results))
    links = "".join(
        f'<p><a href="{Path(row["policy"]).name}/report.html">{Path(row["policy"]).name}</a></p>'
        for row in rows
        if Path(row["policy"]).parent.resolve() == out.resolve()
    )
    files.write(
        out / "report.html", page(f"ROVE: {out.resolve().name}", [*parts, ("Runs", links or "<p>none here</p>")])
    )


def evaluated(config: IterateConfig, policy: Path, name: str, beta: float | None, progress: bool = True) -> dict:
    """Success of a policy in the simulator, evaluated unless it was. beta: of guidance, None: the checkpoint's own."""
    file = Path(config.out) / f"evaluation_{name}{'' if beta is None else f'_beta_{beta:g}'}.json"
    if not file.is_file():
        settings = EvaluateConfig(
            str(policy),
            config.deployment.task,
            config.evaluation_episodes,
            config.evaluation_seed,
            config.deployment.workers,
            beta,
            out=str(file),
        )
        evaluate(settings, progress)
    return json.loads(file.read_text(encoding="utf-8"))


def iterate(config: IterateConfig, progress: bool = True, stop=lambda: False) -> list[dict]:
    """Run the loop. Returns one row per policy, also in OUT/iterations.json. Raises WaitingForRobot, ValueError."""
    if not config.train.dataset:
        raise ValueError(
            "--train.dataset is missing: the loop starts from demonstrations, e.g. of `rove run rove_learning collect`"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            "the loop runs as one process; train each iteration on several with `torchrun ... -m rove_learning.train`"
        )
    out = Path(config.out)
    command_line.store(config, out)
    rows: list[dict] = []

    def add(policy: Path, k: int | None, **numbers) -> None:
        row = {"policy": str(policy), "iteration": k, **numbers}
        if config.evaluation_episodes:
            result = evaluated(config, policy, policy_name(k), None, progress)
            row |= {
                "evaluation_episodes": result["episodes"],
                **{key: result[key] for key in ("success_rate", "wilson95")},
            }
            for beta in config.evaluation_betas:
                row[f"success_at_beta_{beta:g}"] = evaluated(config, policy, policy_name(k), beta, progress)[
                    "success_rate"
                ]
        rows.append(row)
        files.write(out / "iterations.json", json.dumps(rows, indent=1) + "\n")
        loop_report(out, rows)

    policy = Path(config.train.init) if config.train.init else out / "base"
    if not config.train.init and not (policy / "config.json").is_file():
        train(replace(config.train, out=str(policy), method="sft"), progress, stop)
        write_report(ReportConfig(str(policy)))
    add(policy, None, datasets=len(config.train.dataset))
    data = new = list(config.train.dataset)
    for k in range(config.iterations):
        if k > 0 or config.deploy_first:
            folder = experience(config, k if not config.deploy_first else k + 1, policy, progress)
            new = [str(folder)]
            videos = folder.with_name(folder.name.replace("data", "videos"))
            if (videos / "meta" / "info.json").is_file():
                new.append(str(videos))
            data = [*data, *new]
        after = out / f"k{k}"
        if not (after / "config.json").is_file():
            train(replace(config.train, dataset=tuple(data), init=str(policy), out=str(after)), progress, stop)
            write_report(ReportConfig(str(after)))
        policy = after
        add(policy, k, datasets=len(data), **table_2([Dataset(root) for root in new]))
    return rows


def main() -> int:
    try:
        config = command_line.parse(IterateConfig, description=__doc__, required={"out": ""})
        print(command_line.text(config), flush=True)
        print(json.dumps(iterate(config)))
    except WaitingForRobot as waiting:
        print(waiting)
        return 0
    except (ValueError, FloatingPointError, OSError) as error:
        print(f"iterate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command resumes", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
