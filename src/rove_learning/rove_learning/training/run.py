# SPDX-License-Identifier: Apache-2.0
"""One run of training = one iteration of Algorithm 1 in one folder: configuration in force, data, previous checkpoint,
results on disk.

`train_critic`, `label` and `train_actor` share it: each reads what the one before left in the folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rove_contract import files, timing
from rove_description import joints
from rove_learning import command_line
from rove_learning.algorithm.advantage import NEEDS_CRITIC
from rove_learning.algorithm.rewards import Normaliser
from rove_learning.config import BackboneConfig, TrainConfig, to_dict
from rove_learning.data import picture_cache
from rove_learning.data.buffer import Buffer
from rove_learning.data.dataset import Dataset, DatasetError
from rove_learning.data.feature_cache import FeatureSource
from rove_learning.inference import checkpoint
from rove_learning.models.backbone import Backbone
from rove_learning.models.critic import Critic
from rove_learning.training import phases
from rove_recorder.dataset import corrections

SHAPES = ("backbone", "width", "layers", "heads", "mlp_ratio", "chunk", "predict")


class RunMismatch(ValueError):
    """The output folder holds a run with another configuration."""


class Run:
    """Opens and checks everything that a run needs, so that it refuses before the first step.

    config: the configuration in force (shapes of the previous checkpoint, RECAP's critic target). iteration: k of
    Algorithm 1, None for a base policy. first: learning rates of iteration 0. Raises ValueError (DatasetError,
    CheckpointError, RunMismatch).
    """

    def __init__(self, config: TrainConfig, progress: bool = True, stop: Callable[[], bool] = lambda: False):
        torch.set_num_threads(config.threads)
        config = replace(config, precision=mixed_precision(config))  # type: ignore[arg-type]
        if config.device != "cpu" or config.precision != "no" or several():
            start_accelerate(config)
        self.out, self.work = Path(config.out), Path(config.out) / "work"
        self.progress, self.stop = progress, stop
        self.main = phases.main_process()
        self.previous = checkpoint.load(config.init, config.device) if config.init else None
        self.config = config = self._in_force(config)
        before = self.previous.info.get("iteration") if self.previous else None
        imitates = config.method not in NEEDS_CRITIC
        # A base policy (imitation only) is no iteration; the first one that uses the critic is iteration 0.
        self.iteration = None if self.previous is None and imitates else 0 if before is None else before + 1
        self.first = not self.iteration
        self.datasets = [Dataset(root) for root in config.dataset]
        self.normaliser = Normaliser.of(config.reward.c_fail, config.reward.max_steps)
        self._same_robot()
        self._same_scale()

    def _in_force(self, config: TrainConfig) -> TrainConfig:
        previous = self.previous
        if previous is not None:  # the architecture is the previous one's, the training settings are this run's
            config = replace(config, actor=_architecture(config.actor, previous.actor.config))
            if previous.critic is not None and config.critic_from != "scratch":
                config = replace(config, critic=_architecture(config.critic, previous.critic.config))
        fresh = {
            "actor": previous is None,
            "critic": previous is None or previous.critic is None or config.critic_from == "scratch",
        }
        for name, part in (("actor", config.actor), ("critic", config.critic)):
            if fresh[name] and part.freeze_backbone and part.backbone.kind == "compact":
                raise ValueError(
                    f"--{name}.freeze-backbone, but its backbone starts from nothing: give --init, or train end to end"
                )
        if config.method == "recap":  # its critic is trained by MC (App. E)
            config = replace(config, critic=replace(config.critic, target="mc"))
        if config.critic_from == "init" and (previous is None or previous.critic is None):
            raise ValueError(f"--critic-from init, but {config.init or 'no --init'} has no critic")
        return config

    def _same_robot(self) -> None:
        """Every dataset is given once and has the joints and the rate of the robot that the actor will run on. Raises
        DatasetError.
        """
        known, roots = joints.load().names, set()
        for dataset in self.datasets:
            if dataset.root.resolve() in roots:
                raise DatasetError(f"dataset {dataset.root} is given twice; its frames would count double")
            roots.add(dataset.root.resolve())
            if dataset.names != known:
                differs = next(
                    (f"joint {i} is {a}, expected {b}" for i, (a, b) in enumerate(zip(dataset.names, known)) if a != b),
                    "",
                )
                raise DatasetError(
                    f"dataset {dataset.root} has {len(dataset.names)} joints, expected the robot's {len(known)} in "
                    f"its order"
                    f"{'; ' * bool(differs)}{differs}"
                )
            if dataset.fps != timing.POLICY_HZ:
                raise DatasetError(
                    f"dataset {dataset.root} has {dataset.fps:g} frames per second, expected {timing.POLICY_HZ:g}, "
                    "the rate at which chunks are executed; export it again at that rate"
                )

    def _same_scale(self) -> None:
        """A critic's values mean steps only together with the scale they were normalised with. Raises ValueError."""
        config = self.config
        rewards = {}
        if self.previous is not None and self.previous.critic is not None and config.critic_from != "scratch":
            rewards[config.init] = self.previous.info.get("train", {}).get("reward")
        if config.critic_checkpoint:
            rewards[config.critic_checkpoint] = command_line.read_yaml(
                str(Path(config.critic_checkpoint) / "config.yaml")
            ).get("reward")
        for name, reward in rewards.items():
            theirs = Normaliser.of(reward["c_fail"], reward["max_steps"]).scale if reward else self.normaliser.scale
            if theirs != self.normaliser.scale:
                raise ValueError(
                    f"{name}'s critic divides returns by {theirs:g}, this run by {self.normaliser.scale:g}; use its "
                    f"reward.c_fail = {reward['c_fail']:g} and reward.max_steps = {reward['max_steps']}, "
                    f"or --critic-from scratch"
                )

    @functools.cached_property
    def labelling(self) -> tuple[Critic, str] | None:
        """The critic of --critic-checkpoint, which labels as it is, and its hash."""
        return (
            checkpoint.load_critic(self.config.critic_checkpoint, self.config.device)
            if self.config.critic_checkpoint
            else None
        )

    @property
    def trains_critic(self) -> bool:
        """Methods that do not label with a critic still pretrain one from scratch: what the next iteration starts from
        (App. G).
        """
        if self.labelling is not None:
            return False
        return self.config.method in NEEDS_CRITIC or (self.previous is None and self.config.critic.mc_steps > 0)

    @functools.cached_property
    def actor_buffer(self) -> Buffer:
        """D^actor: no human videos."""
        return self._buffer(self.config.actor.backbone, False)

    @functools.cached_property
    def critic_buffer(self) -> Buffer:
        """D^critic: all episodes."""
        return self._buffer(self.config.critic.backbone, True)

    def _buffer(self, settings: BackboneConfig, human_videos: bool) -> Buffer:
        with self.main_first():
            progress, cache = self.progress and self.main, self.config.picture_cache
            return Buffer(self.datasets, settings.image_size, human_videos, progress, cache)

    @property
    def processes(self):
        """The accelerate.Accelerator where there are several processes, else None."""
        return phases.accelerator(self.config.device) if several() else None

    @contextlib.contextmanager
    def main_first(self):
        """The main process goes first, e.g. to decode pictures into the cache that the others then open."""
        with self.processes.main_process_first() if self.processes else contextlib.nullcontext():
            yield

    def options(self) -> dict:
        """Keyword arguments that the training functions share."""
        config = self.config
        return {
            "seed": config.seed,
            "first": self.first,
            "regularise": config.regularise,
            "device": config.device,
            "progress": self.progress,
            "stop": self.stop,
            "features": self.features if config.feature_cache else None,
        }

    def features(self, buffer: Buffer, backbone: Backbone, conditions: bool = False) -> FeatureSource:
        """Tokens of a pretrained backbone from the cache on the disk; all processes compute what it lacks."""
        processes = self.processes
        options: dict[str, Any] = {"conditions": conditions, "progress": self.progress}
        if processes:
            options |= {
                "share": (processes.process_index, processes.num_processes),
                "wait": processes.wait_for_everyone,
            }
        return FeatureSource(buffer, backbone, self.config.device, **options)

    # ---- results on disk

    def claim(self, step: str, **settings) -> None:
        """Compare this step's settings with those it was begun with; write them when it is new. A resumed step must be
        the same step.
        """
        config = self.config
        common = {
            "seed": config.seed,
            "precision": config.precision,
            "datasets": self.contents,
            "init": self.previous.hash if self.previous else "",
            "critic_checkpoint": self.labelling[1] if self.labelling else "",
            "reward": to_dict(config.reward),
        }
        plain = {key: to_dict(value) if dataclasses.is_dataclass(value) else value for key, value in settings.items()}
        mine = json.loads(json.dumps({**common, **plain}))
        file = self.work / f"{step}.json"
        if file.is_file():
            theirs = {"precision": "no", **json.loads(file.read_text(encoding="utf-8"))}  # older runs had no other
            changed = [key for key in mine if theirs.get(key) != mine[key]]
            if changed:
                raise RunMismatch(
                    f"{self.out} holds a {step} with another {', '.join(changed)}; choose another --out or remove "
                    f"the folder"
                )
        if self.main:
            self.work.mkdir(parents=True, exist_ok=True)
            write(file, json.dumps(mine, indent=1) + "\n")
            command_line.store(config, self.out)

    @functools.cached_property
    def contents(self) -> list[list[str]]:
        """Name of each dataset and a hash of its content and of what was corrected in review."""
        return [[d.root.name, picture_cache.content_hash(d.root) + corrections.digest(d.root)] for d in self.datasets]

    def add_history(self, history: dict[str, list]) -> None:
        """Merge loss curves into history.json."""
        file = self.out / "history.json"
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        write(file, json.dumps({**known, **history}))

    def synchronise(self) -> None:
        """Wait until every process is here: the main one has then written its files."""
        if self.processes:
            self.processes.wait_for_everyone()

    def need(self, name: str, command: str) -> Path:
        """A file that an earlier step wrote. Raises ValueError saying which."""
        file = self.out / name
        if not file.is_file():
            raise ValueError(
                f"{self.out} has no {name}: run `rove run rove_learning {command}` with the same arguments first"
            )
        return file


def mixed_precision(config: TrainConfig) -> str:
    """The precision in force: the configuration's, else the launch's, else bf16 on a GPU that has it and for a
    pretrained backbone.
    """
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION")
    if config.precision != "auto" or launched:
        return config.precision if config.precision != "auto" else launched
    pretrained = {
        config.actor.backbone.kind,
        config.critic.backbone.kind,
        *(checkpoint.kinds(config.init) if config.init else ()),
    }
    native = config.device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if native and pretrained != {"compact"} else "no"


def start_accelerate(config: TrainConfig) -> None:
    """Select this process' device, before anything is put on it, and its precision.

    Raises ValueError where another precision is in force and for a launch that shards in a way that is not supported.
    """
    from accelerate.utils import patch_environment

    with patch_environment(accelerate_mixed_precision=config.precision):  # where `accelerate launch` writes it
        got = phases.accelerator(config.device).mixed_precision
    if got != config.precision:
        raise ValueError(
            f"--precision {config.precision}, but this process trains with {got} already; start another one"
        )


def several() -> bool:
    """There are several processes: both launchers set WORLD_SIZE."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def write(file: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    files.write(file, text)


def _architecture(mine, previous):
    """This run's training settings on the previous checkpoint's shapes."""
    return replace(mine, **{name: getattr(previous, name) for name in SHAPES if hasattr(mine, name)})


def command(name: str, step: Callable[[Run], object], description: str) -> int:
    """main() of an entry point: parse, print the configuration, run the step; errors become one line and status 2."""
    try:
        config = command_line.parse(TrainConfig, description=description, required={"dataset": (), "out": ""})
        if phases.main_process():
            print(command_line.text(config), flush=True)
        run = Run(config)
        result = step(run)
        if run.main:
            print(json.dumps(result) if isinstance(result, dict) else result)
    except (ValueError, FloatingPointError, OSError) as error:  # OSError: e.g. no space left, with the file's name
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command resumes", file=sys.stderr)
        return 130
    return 0
