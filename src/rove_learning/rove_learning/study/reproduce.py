# SPDX-License-Identifier: Apache-2.0
"""`reproduce`: the paper's experiments on the simulated tasks, with one command.

    rove run rove_learning reproduce --profile small            # one task, one training seed
    rove run rove_learning reproduce --profile full --task toast_bread

Data, policies and evaluations stand under --out, every arm's result as one small file under --results. Both are found
again: stopped or killed, the same command goes on; and a machine that has only the results makes what is missing.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rove_learning import command_line
from rove_learning.algorithm.methods import METHODS
from rove_learning.config import TrainConfig, from_dict, to_dict
from rove_learning.deployment import collect, human_videos, interventions
from rove_learning.deployment.evaluate import EvaluateConfig, evaluate
from rove_learning.report.run_report import ReportConfig, write_report
from rove_learning.study import results
from rove_learning.study.page import write_page
from rove_learning.study.protocol import (
    BASE,
    DEMONSTRATIONS,
    EVALUATION,
    EXPERIENCE,
    ITERATION_STRIDE,
    MORE,
    PROFILES,
    SEED_STRIDE,
    VIDEOS,
    Arm,
    Profile,
    arms,
)
from rove_learning.train import train


@dataclass(frozen=True)
class ReproduceConfig:
    """A study."""

    profile: Literal["small", "full"] = "small"
    out: Path = Path("runs/study")  # data and policies; some gigabytes for the full one
    results: Path = Path("docs/results/paper")  # one file per arm, and what the page is made of
    page: Path = Path("docs/results/paper.md")
    task: str = ""  # only this one
    seed: int | None = None  # only this training seed
    arm: tuple[str, ...] = ()  # only these, and what they need
    config: str = ""  # settings of every training, as `train --config`; empty: the profile's
    workers: int = 2  # processes that play episodes
    threads: int = 2  # of a training
    device: str = "cpu"


def apply(config: TrainConfig, change: Mapping[str, object]) -> TrainConfig:
    """Set dotted fields, e.g. {"critic.horizon": 50}. Raises ValueError for one that does not exist."""
    values = to_dict(config)
    for name, value in change.items():
        *path, last = name.split(".")
        place: Any = values
        for part in path:
            place = place[part]
        place[last] = value
    return from_dict(TrainConfig, command_line.to_plain(values))


class Study:
    """One task and one training seed: makes what is asked for, and before it what that needs."""

    def __init__(self, config: ReproduceConfig, profile: Profile, task: str, seed: int):
        self.config, self.profile, self.task, self.seed = config, profile, task, seed
        self.folder = config.out / config.profile / task / str(seed)
        self.arms = {arm.name: arm for arm in arms(profile.iterations)}
        settings = {**command_line.to_plain(to_dict(TrainConfig((), ""))), "dataset": [], "out": ""}
        self.name = config.config or profile.config
        settings = command_line.merge(settings, command_line.read_yaml(self.name))
        self.settings = apply(from_dict(TrainConfig, settings), profile.change)
        seen = self.settings.actor.backbone, self.settings.critic.backbone
        self.cameras = tuple(dict.fromkeys(camera for backbone in seen for camera in backbone.cameras))
        self.picture = max(backbone.image_size for backbone in seen)  # px of what is stored

    # ---- data

    def _data(self, name: str, make) -> str:
        """A dataset, made unless it is there."""
        folder = self.folder / name
        if not (folder / "meta" / "info.json").is_file():
            print(f"{self.task}, seed {self.seed}: {name}", flush=True)
            make(folder)
        return str(folder)

    def demonstrations(self, name: str = "demonstrations", first: int = DEMONSTRATIONS, episodes: int = 0) -> str:
        """Of people who err; failed ones are recorded again, as a lab would."""
        return self._data(
            name,
            lambda folder: collect.collect(
                collect.CollectConfig(
                    folder,
                    self.task,
                    episodes or self.profile.demonstrations,
                    self.config.workers,
                    first + SEED_STRIDE * self.seed,
                    image_size=self.picture,
                    cameras=self.cameras,
                    start_stages=self.profile.data_from,
                )
            ),
        )

    def videos(self) -> str:
        """Human experience videos, half of them failures."""
        return self._data(
            "videos",
            lambda folder: human_videos.film(
                human_videos.VideoConfig(
                    str(folder),
                    self.task,
                    self.profile.videos,
                    self.config.workers,
                    VIDEOS + SEED_STRIDE * self.seed,
                    self.picture,
                    self.profile.data_from,
                )
            ),
        )

    def experience(self, k: int) -> str:
        """Rollouts and interventions of the policy before iteration k (Algorithm 1, line 8)."""
        policy = self.policy(f"rove_{k - 1}" if k > 1 else BASE)
        return self._data(
            f"experience_{k}",
            lambda folder: interventions.collect(
                interventions.InterventionConfig(
                    str(policy),
                    str(folder),
                    self.task,
                    self.profile.experience,
                    self.config.workers,
                    EXPERIENCE + SEED_STRIDE * self.seed + ITERATION_STRIDE * k,
                    image_size=self.picture,
                    cameras=self.cameras,
                    start_stages=self.profile.data_from,
                )
            ),
        )

    def datasets(self, arm: Arm) -> tuple[str, ...]:
        """What an arm is trained on."""
        data = [self.demonstrations()]
        if arm.data == "more":
            episodes = self.profile.experience * self.profile.iterations
            data.append(self.demonstrations("more", MORE, episodes))
        elif arm.data == "experience":
            data += [self.experience(k) for k in range(1, arm.iteration + 1)]
        if arm.videos and self.profile.videos and METHODS[arm.method].critic == "ove":
            data.append(self.videos())
        return tuple(data)

    # ---- policies

    def policy(self, name: str) -> Path:
        """The checkpoint of an arm, trained unless it is there."""
        arm, out = self.arms[name], self.folder / name
        if (out / "train.json").is_file():
            return out
        start = str(self.policy(arm.start)) if arm.start else ""
        critic = str(self.policy(arm.critic_of)) if arm.critic_of else ""
        config = replace(
            self.settings,
            dataset=self.datasets(arm),
            out=str(out),
            init=start,
            critic_checkpoint=critic,
            # a critic that is given labels as it is
            labels=replace(self.settings.labels, folds=0) if critic else self.settings.labels,
            method=arm.method,
            seed=self.seed,
            threads=self.config.threads,
            device=self.config.device,
        )
        if arm.start == BASE and arm.iteration > 1:
            steps = config.actor.steps_next * arm.iteration
            config = replace(config, actor=replace(config.actor, steps_next=steps))
        print(f"{self.task}, seed {self.seed}: training {arm.title}", flush=True)
        train(apply(config, arm.change))
        write_report(ReportConfig(str(out)))
        return out

    # ---- results

    def result(self, name: str) -> Path:
        """The file of an arm's success, evaluated unless it is there."""
        file = self.config.results / self.config.profile / f"{self.task}-{self.seed}-{name}.json"
        if file.is_file():
            return file
        policy, begin = self.policy(name), time.monotonic()
        print(f"{self.task}, seed {self.seed}: evaluating {self.arms[name].title}", flush=True)
        found = evaluate(
            EvaluateConfig(
                str(policy),
                self.task,
                self.profile.evaluation,
                EVALUATION,
                self.config.workers,
                image_size=self.picture,
                start_stage=self.profile.evaluate_from,
                out=str(self.folder / name / "evaluation.json"),
            )
        )
        arm = self.arms[name]
        trained = json.loads((policy / "train.json").read_text(encoding="utf-8"))
        results.save(
            file,
            arm=name,
            title=arm.title,
            task=self.task,
            seed=self.seed,
            first_episode=EVALUATION,
            success=[row["success"] for row in found["rows"]],
            seconds=[row["seconds"] for row in found["rows"] if row["success"]],
            milestones=found["milestones"],
            settings=self.name,
            training={
                k: v for k, v in trained.items() if isinstance(v, (int, float))
            },  # no paths: others read the file
            evaluation_s=round(time.monotonic() - begin),
            command=f"rove run rove_learning reproduce --profile {self.config.profile} --task {self.task} "
            f"--seed {self.seed} --arm {name}",
            commit=commit(),
            machine=machine(self.config.device),
        )
        return file


def commit() -> str:
    """Of the checkout that runs; empty outside one."""
    run = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    )
    return run.stdout.strip()


def machine(device: str) -> str:
    """What computed, in words, without a name of its own."""
    import torch

    gpu = f", {torch.cuda.get_device_name()}" if device.startswith("cuda") else ""
    return f"{platform.machine()}, {os.cpu_count()} cores{gpu}"


def reproduce(config: ReproduceConfig) -> Path:
    """Run the study, or go on with it. Returns the page's path. Raises ValueError for a name that is unknown."""
    profile = PROFILES[config.profile]
    known = [arm.name for arm in arms(profile.iterations)]
    unknown = [name for name in config.arm if name not in known]
    if unknown or (config.task and config.task not in profile.tasks):
        raise ValueError(
            f"unknown {', '.join(unknown) or config.task}; the profile {config.profile} has the tasks "
            f"{', '.join(profile.tasks)} and the arms {', '.join(known)}"
        )
    for seed in profile.seeds if config.seed is None else (config.seed,):
        for task in (config.task,) if config.task else profile.tasks:
            study = Study(config, profile, task, seed)
            for name in config.arm or profile.arms or known:
                study.result(name)
                write_page(config.page, config.results)
    return config.page


def main() -> int:
    import tyro

    try:
        print(reproduce(tyro.cli(ReproduceConfig, description=__doc__, prog="rove run rove_learning reproduce")))
    except (ValueError, FloatingPointError, OSError) as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
