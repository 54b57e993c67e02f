# SPDX-License-Identifier: Apache-2.0
"""`rove demo`: the whole loop on the simulated robot, every part real.

demonstrations -> base policy -> deployment session with interventions over ROS -> export -> one iteration of Algorithm
1 -> both policies evaluated on the same seeds -> report. Each stage leaves its result under --out; `--resume` goes on
after the last finished one.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rove_bringup import demo_report
from rove_contract import domain as ros_domain
from rove_contract import files
from rove_sim.tasks import task as tasks


@dataclass(frozen=True)
class DemoConfig:
    """`rove demo`. The defaults take about 15 minutes on 2 idle cores."""

    out: Path = Path("runs/demo")
    task: str = "toast_bread"  # or erase_whiteboard
    # where episodes begin, in turn; the session and the evaluations begin at the first one. Empty: a part of the task
    # that two cores learn in minutes, such as to insert a held slice; a whole task takes hours.
    start_stages: tuple[str, ...] = ()
    demonstrations: int = 60  # scripted demonstrations, collected in-process
    episodes: int = 3  # episodes of the deployment session in which the operator intervenes (at least)
    max_episodes: int = 6  # ends the session even if the policy kept succeeding by itself
    experience: int = 30  # further deployment episodes with interventions, in-process and so faster than the session's
    config: str = ""  # settings of `train`; empty: what two cores learn this task with in the time
    evaluation_episodes: int = 100  # per policy, the same seeds for both
    workers: int = 2  # processes for collection and evaluation
    seed: int = 0
    domain: int = ros_domain.DEMO  # ROS_DOMAIN_ID of the session, so that it meets no other
    resume: bool = False  # go on after the last finished stage instead of starting anew


@dataclass(frozen=True)
class Learning:
    """How the demo trains. base, iteration: arguments of `train`. cameras: that the policy sees, of px `picture`.
    robot: that has them.
    """

    base: tuple[str, ...]
    iteration: tuple[str, ...]
    cameras: tuple[str, ...] = ("ego",)
    picture: int = 96
    robot: str = "iron_r01"


# Steps are cut to what 2 cores do in the time; rove_learning's own defaults are longer.
PRETRAINED = Learning(("--config", "demo"), ("--config", "demo"), ("ego", "right_wrist"), 192, "iron_r01_wrist")
SCRATCH = Learning(
    ("--critic.mc-steps", "150", "--actor.steps", "800", "--actor.token-steps", "5"),
    # OVE on the frozen backbone of the pretrained critic, which then runs once per frame
    (
        *("--critic.freeze-backbone", "--critic.steps", "600", "--critic.batch", "64"),
        *("--critic.lr", "1e-3", "--critic.ema", "0.02", "--actor.steps-next", "600"),
    ),
)


class StageFailed(RuntimeError):
    """A stage of the demo ended with an error; the message names the stage and its exit status."""


class Demo:
    """Runs the stages in order, prints what is going on, and remembers how long each took."""

    def __init__(self, config: DemoConfig):
        self.config = config
        self.out = config.out.resolve()
        self.begin = time.monotonic()
        self.stages, self.number = 9 if config.experience else 8, 0  # of all, the report too; the last announced
        self._times_path = self.out / "stages.json"
        foreign = self.out.exists() and not self._times_path.exists()
        if foreign and (not self.out.is_dir() or any(self.out.iterdir())):
            raise ValueError(f"{self.out} is not the folder of a demo and not empty; choose another --out")
        if not config.resume and self.out.exists():
            shutil.rmtree(self.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.times: dict[str, float] = {}
        if self._times_path.exists():
            self.times = json.loads(self._times_path.read_text())
            self.begin -= sum(self.times.values())  # what an earlier run took counts
        else:
            files.write(self._times_path, "{}\n")
        self.env = dict(
            os.environ,
            ROS_DOMAIN_ID=str(config.domain),
            ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST",
            PYTHONUNBUFFERED="1",
            OMP_WAIT_POLICY="PASSIVE",  # training threads that spin for each other crawl as soon as anything else runs
        )

    def announce(self, title: str) -> None:
        """Print the next stage's number, which none has had before, and its title."""
        self.number += 1
        print(f"\n[{self.number}/{self.stages}] {title}", flush=True)

    def stage(self, name: str, title: str, *command: object) -> None:
        """Run `rove COMMAND…` as stage `name`, unless an earlier run finished it."""
        if name in self.times:
            self.announce(f"{title}: done earlier in {self.times[name]:.0f} s")
            return
        self.announce(f"{title}   ({(time.monotonic() - self.begin) / 60:.1f} min so far)")
        begin = time.monotonic()
        argv = [sys.executable, "-m", "rove_bringup.cli", *map(str, command)]
        process = subprocess.Popen(argv, env=self.env, stdin=subprocess.DEVNULL)
        try:
            status = process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=10)
            raise
        if status != 0:
            raise StageFailed(f"{title} ended with status {status}; command: rove {' '.join(map(str, command))}")
        self.times[name] = time.monotonic() - begin
        files.write(self._times_path, json.dumps(self.times, indent=1))


def pretrained_tasks(cameras: tuple[str, ...]) -> tuple[str, ...]:
    """Tasks whose pictures the package's scene backbone knows."""
    from rove_learning.config import BackboneConfig
    from rove_learning.models import scene

    return scene.known_tasks(BackboneConfig(kind="scene", cameras=cameras))


def choose_learning(config: DemoConfig) -> Learning:
    """How to train the task. Raises ValueError for an unknown one."""
    learning = PRETRAINED if tasks.get(config.task).name in pretrained_tasks(PRETRAINED.cameras) else SCRATCH
    own = ("--config", config.config)
    return replace(learning, base=own, iteration=own) if config.config else learning


def choose_stages(config: DemoConfig) -> tuple[str, ...]:
    """Where episodes begin, in turn. Raises ValueError for an unknown task."""
    task = tasks.get(config.task)
    return config.start_stages or task.part or task.start_stages


def next_steps(config: DemoConfig) -> list[tuple[str, str]]:
    """(what for, command line) each: how to go on from a finished demo."""
    learning, out = choose_learning(config), config.out
    launch: list[object] = ["rove", "launch", "session.launch.yaml", "device:=browser", f"task:={config.task}"]
    launch += [f"start_stage:={choose_stages(config)[0]}", f"robot:={learning.robot}", f"checkpoint:={out / 'policy'}"]
    data = [out / name for name in ("demonstrations", "session", *(("experience",) if config.experience else ()))]
    train: list[object] = ["rove", "run", "rove_learning", "train", "--dataset", *data]
    train += ["--init", out / "policy", "--out", out / "policy2", *learning.iteration]
    review: list[object] = ["rove", "run", "rove_recorder", "review", out / "session"]
    words = (
        "Open the panel with the new policy, and take over yourself in the browser:",
        "Look through the recorded session, and correct its labels:",
        "Train on from here; what you recorded yourself and exported is a further dataset:",
    )
    lines = [shlex.join([str(word) for word in command]) for command in (launch, review, train)]
    return list(zip(words, lines, strict=True))


def run_stages(config: DemoConfig) -> Path:
    """Run the demo; returns the path of report.html. Raises StageFailed."""
    learning, stages = choose_learning(config), choose_stages(config)
    demo = Demo(config)
    out, seed = demo.out, config.seed
    demos, base, bags, dataset, policy = (
        out / name for name in ("demonstrations", "base", "bags", "session", "policy")
    )
    evaluation_seed = 10_000 + seed  # far from the seeds of collection and session

    demo.stage(
        "collect",
        f"Demonstrations: {config.demonstrations} episodes in-process",
        "run",
        "rove_learning",
        "collect",
        "--task",
        config.task,
        "--out",
        demos,
        "--episodes",
        config.demonstrations,
        "--workers",
        config.workers,
        "--seed",
        seed,
        "--image-size",
        learning.picture,
        "--cameras",
        *learning.cameras,
        "--start-stages",
        *stages,
    )
    demo.stage(
        "base",
        "Base policy and pretrained critic from the demonstrations",
        "run",
        "rove_learning",
        "train",
        "--dataset",
        demos,
        "--out",
        base,
        "--method",
        "sft",
        "--seed",
        seed,
        *learning.base,
    )
    demo.stage(
        "session",
        f"Deployment: at least {config.episodes} episodes over ROS, supervisor and operator intervene",
        "launch",
        "session.launch.yaml",
        f"task:={config.task}",
        f"robot:={learning.robot}",
        f"start_stage:={stages[0]}",
        f"checkpoint:={base}",
        "device:=scripted",
        "record:=true",
        f"bags:={bags}",
        f"episodes:={config.episodes}",
        f"min_interventions:={config.episodes}",
        f"max_episodes:={config.max_episodes}",
        f"seed:={1000 + seed}",
        "panel_port:=0",
    )
    recorded = sorted(path for path in bags.iterdir() if path.is_dir())
    demo.stage(
        "export",
        "Export: bags to a LeRobot v3.0 dataset",
        "run",
        "rove_recorder",
        "export",
        *recorded,
        "--out",
        dataset,
    )
    data = [demos, dataset]
    if config.experience:
        data.append(out / "experience")
        demo.stage(
            "experience",
            f"Deployment in-process: {config.experience} more episodes, supervisor and operator intervene",
            "run",
            "rove_learning",
            "interventions",
            "--checkpoint",
            base,
            "--task",
            config.task,
            "--out",
            data[-1],
            "--episodes",
            config.experience,
            "--workers",
            config.workers,
            "--seed",
            5000 + seed,
            "--image-size",
            learning.picture,
            "--cameras",
            *learning.cameras,
            "--start-stages",
            *stages,
        )
    demo.stage(
        "iteration",
        "Algorithm 1: critic (OVE), advantage labels, actor",
        "run",
        "rove_learning",
        "train",
        "--dataset",
        *data,
        "--init",
        base,
        "--out",
        policy,
        "--method",
        "rove",
        "--seed",
        seed,
        *learning.iteration,
    )
    for name, checkpoint in (("before", base), ("after", policy)):
        demo.stage(
            name,
            f"Evaluation {name}: {config.evaluation_episodes} episodes",
            "run",
            "rove_learning",
            "evaluate",
            "--checkpoint",
            checkpoint,
            "--task",
            config.task,
            "--episodes",
            config.evaluation_episodes,
            "--start-stage",
            stages[0],
            "--image-size",
            learning.picture,
            "--seed",
            evaluation_seed,
            "--workers",
            config.workers,
            "--out",
            out / f"evaluation_{name}.json",
        )
    demo.announce("Report, with both policies filmed on one seed")
    demo.times["total"] = sum(seconds for stage, seconds in demo.times.items() if stage != "total")
    wall_s = time.monotonic() - demo.begin
    return demo_report.write(out, config=asdict(config), times=demo.times, wall_s=wall_s, steps=next_steps(config))


def main(args: list[str] | None = None) -> int:
    import tyro

    config = tyro.cli(DemoConfig, prog="rove demo", args=args, description=__doc__)
    try:
        report = run_stages(config)
    except ValueError as error:  # an unknown task or a folder of something else, before anything was done
        print(f"rove demo: {error}", file=sys.stderr)
        return 2
    except StageFailed as error:
        print(
            f"rove demo: {error}\nWhat is finished stays; `rove demo --resume --out {config.out}` goes on from there.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print(f"\nrove demo: interrupted; `rove demo --resume --out {config.out}` goes on.", file=sys.stderr)
        return 130
    print(f"\nOpen {report} in a browser. Then:")
    for words, command in next_steps(config):
        print(f"\n{words}\n    {command}")
    return 0
