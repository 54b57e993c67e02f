"""`train`: one iteration of Algorithm 1: critic -> labels -> actor -> checkpoint and report.

Killed, the same command goes on where it was.

    rove run rove_learning train --dataset runs/demonstrations --out runs/base --method sft
    rove run rove_learning train --dataset runs/demonstrations runs/session --out runs/policy --init runs/base
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from rove_learning import checkpoint, label, picture_cache
from rove_learning.advantage import CONDITIONED, NEEDS_CRITIC
from rove_learning.buffer import Buffer
from rove_learning.config import ActorConfig, CriticConfig, LabelConfig, Method, RegulariseConfig, RewardConfig, from_dict, to_dict
from rove_learning.dataset import Dataset
from rove_learning.rewards import Normaliser
from rove_learning.train_actor import train_actor
from rove_learning.train_critic import train_critic
from rove_recorder import corrections


@dataclass(frozen=True)
class TrainConfig:
    """One iteration of Algorithm 1."""

    dataset: tuple[str, ...]  # dataset folders; D^critic is all of them, D^actor is them without human videos
    out: str  # checkpoint folder to write
    init: str = ""  # checkpoint of iteration k - 1 to start from; empty: from scratch
    method: Method = "rove"
    seed: int = 0
    threads: int = 2  # CPU threads of torch
    device: str = "cpu"
    critic_from: Literal["auto", "init", "scratch"] = "auto"  # auto: the critic of --init where it has one
    reward: RewardConfig = field(default_factory=RewardConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    labels: LabelConfig = field(default_factory=LabelConfig)
    actor: ActorConfig = field(default_factory=ActorConfig)
    regularise: RegulariseConfig = field(default_factory=RegulariseConfig)


class RunMismatch(ValueError):
    """The output folder holds a run with another configuration."""


def _claim(work: Path, config: TrainConfig, datasets: list[Dataset], init_hash: str) -> None:
    """Write the run's fingerprint, or compare with the one that is there: a resumed run must be the same run."""
    content = {dataset.root.name: picture_cache.content_hash(dataset.root) + corrections.digest(dataset.root) for dataset in datasets}
    settings = {key: value for key, value in to_dict(config).items() if key not in ("out", "dataset", "threads", "init")}
    mine = json.loads(json.dumps({"config": settings, "datasets": content, "init": init_hash}))
    file = work / "run.json"
    if file.is_file():
        theirs = json.loads(file.read_text(encoding="utf-8"))
        if theirs != mine:
            changed = [k for k in settings if theirs["config"].get(k) != mine["config"][k]]
            changed += [k for k in ("datasets", "init") if theirs[k] != mine[k]]
            raise RunMismatch(f"{work.parent} holds a run with another {', '.join(changed)}; choose another --out or remove the folder")
        return
    work.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(mine, indent=1) + "\n", encoding="utf-8")


def train(config: TrainConfig, progress: bool = True, stop=lambda: False) -> dict:
    """Run the iteration. Returns its summary, which also stands in OUT/train.json. Raises before the first step for unusable data."""
    torch.set_num_threads(config.threads)
    begin = time.monotonic()
    out, work = Path(config.out), Path(config.out) / "work"
    previous = checkpoint.load(config.init, config.device) if config.init else None
    if previous is not None:  # the architecture is the previous one's, the training settings are this run's
        _same_scale(config, previous)
        config = replace(config, actor=_architecture(config.actor, previous.actor.config))
        if previous.critic is not None:
            config = replace(config, critic=_architecture(config.critic, previous.critic.config))
    if config.method == "recap":
        config = replace(config, critic=replace(config.critic, target="mc"))
    datasets = [Dataset(root) for root in config.dataset]
    _claim(work, config, datasets, previous.hash if previous else "")
    size = config.actor.backbone.image_size
    actor_buffer = Buffer(datasets, size, progress=progress)

    # A base policy (imitation only) is no iteration; the first one that uses the critic is iteration 0.
    before = previous.info.get("iteration") if previous else None
    iteration = None if previous is None and config.method not in NEEDS_CRITIC else 0 if before is None else before + 1
    first = not iteration
    history: dict[str, list] = {}
    critic = None
    # Methods that do not label with a critic still pretrain one: the value model that the next iteration starts from (App. G).
    pretrain_only = config.method not in NEEDS_CRITIC
    if not pretrain_only or (previous is None and config.critic.mc_steps > 0):
        critic_buffer = Buffer(datasets, config.critic.backbone.image_size, human_videos=True, progress=progress)
        start = previous.critic if previous and config.critic_from != "scratch" else None
        if config.critic_from == "init" and start is None:
            raise ValueError(f"--critic-from init, but {config.init or 'no --init'} has no critic")
        settings = replace(config.critic, steps=0) if pretrain_only else config.critic
        critic, history = train_critic(
            critic_buffer, settings, config.reward, work, seed=config.seed, previous=start, first=first, regularise=config.regularise,
            device=config.device, progress=progress, stop=stop,
        )  # fmt: skip
    labels, value, advantage = label.label(actor_buffer, critic, config.method, config.reward, config.critic, config.labels, config.device)
    label.save(out / "labels.npz", actor_buffer, labels, value, advantage)
    actor, actor_history = train_actor(
        actor_buffer, labels, config.actor, work, seed=config.seed, previous=previous.actor if previous else None, first=first,
        regularise=config.regularise, device=config.device, progress=progress, stop=stop,
    )  # fmt: skip
    history |= actor_history

    (out / "history.json").write_text(json.dumps(history), encoding="utf-8")
    guidance = config.actor.guidance if config.method in CONDITIONED else 1.0
    info = {"train": to_dict(config), "joints": list(actor_buffer.names), "instructions": actor_buffer.tasks,
            "iteration": iteration}  # fmt: skip
    checkpoint.save(out, actor, critic if critic else (previous.critic if previous else None), guidance=guidance, info=info)
    summary = {
        "out": str(out),
        "method": config.method,
        "episodes": len(actor_buffer.episodes),
        "frames": len(actor_buffer),
        "kept": float(labels.keep.mean()),
        "positive": float(labels.positive[labels.keep].mean()),
        "threshold_steps": labels.threshold if math.isfinite(labels.threshold) else None,
        "loss": {name: sum(row["loss"] for row in rows[-50:]) / len(rows[-50:]) for name, rows in history.items() if rows},
        "wall_s": round(time.monotonic() - begin, 1),
    }
    (out / "train.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


def _same_scale(config: TrainConfig, previous: checkpoint.Policy) -> None:
    """A critic's values mean steps only together with the scale they were normalised with."""
    reward = previous.info.get("train", {}).get("reward")
    if previous.critic is None or config.critic_from == "scratch" or reward is None:
        return
    theirs, mine = (Normaliser.of(r["c_fail"], r["max_steps"]).scale for r in (reward, to_dict(config.reward)))
    if theirs != mine:
        raise ValueError(f"{config.init}'s critic divides returns by {theirs:g}, this run by {mine:g}; use its reward.c_fail = "
                         f"{reward['c_fail']:g} and reward.max_steps = {reward['max_steps']}, or --critic-from scratch")  # fmt: skip


def _architecture(mine, previous):
    """This run's training settings on the previous checkpoint's shapes."""
    shapes = ("backbone", "width", "layers", "heads", "mlp_ratio", "chunk", "predict")
    return replace(mine, **{name: getattr(previous, name) for name in shapes if hasattr(mine, name)})


def read_yaml(path: str) -> dict:
    """A YAML file of TrainConfig's fields, nested as the dataclasses are. Raises ValueError naming the file."""
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"cannot read the configuration {path}: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected a mapping of TrainConfig's fields, got {type(values).__name__}")
    return values


def parse(arguments: list[str] | None = None) -> TrainConfig:
    """Command line -> TrainConfig; `--config FILE.yaml` first sets other defaults."""
    import tyro

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    default = {}
    if "--config" in arguments:
        at = arguments.index("--config")
        file = arguments[at + 1] if at + 1 < len(arguments) else ""
        default = {"default": from_dict(TrainConfig, {"dataset": (), "out": "", **read_yaml(file)})}
        del arguments[at : at + 2]
    return tyro.cli(TrainConfig, args=arguments, description=__doc__, **default)


def main() -> int:
    import yaml

    from rove_learning.report import ReportConfig, report

    config = parse()
    print(yaml.safe_dump(to_dict(config), sort_keys=False, default_flow_style=None))
    try:
        print(json.dumps(train(config)))
        print(report(ReportConfig(config.out)))
    except (ValueError, FloatingPointError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command resumes", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
