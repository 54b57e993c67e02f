# SPDX-License-Identifier: Apache-2.0
"""The plan of one run of training: the configuration is resolved once, here; every step reads the plan and none
changes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from rove_contract import timing
from rove_learning.algorithm.methods import METHODS, Method
from rove_learning.algorithm.rewards import Normaliser
from rove_learning.config import ActorConfig, CriticConfig, TrainConfig, to_dict
from rove_learning.data import picture_cache
from rove_learning.data.dataset import Dataset, DatasetError
from rove_learning.inference import checkpoint
from rove_learning.inference.policy import Policy
from rove_learning.models.actor import Actor
from rove_learning.models.backbone import kind_of
from rove_learning.models.critic import Critic
from rove_learning.training import processes
from rove_learning.training.tracking import Tracking
from rove_recorder.dataset import corrections

# What a model's weights fit: an iteration takes these from the checkpoint that it starts from.
ARCHITECTURE = ("backbone", "width", "layers", "heads", "mlp_ratio", "chunk", "token_steps", "predict", "bins")

MOST_FOLDS = 16  # critics trained for one iteration


def never() -> bool:
    """The default of `stop`."""
    return False


@dataclass(frozen=True)
class Plan:
    """One iteration of Algorithm 1, or one base policy, in one folder.

    config: the configuration in force. iteration: k of Algorithm 1; None for a base policy (imitation from scratch).
    normaliser: of the values of every critic in this run. previous: the checkpoint of iteration k - 1. start_critic:
    what the critic starts from; None: from scratch. fixed_critic: the critic of --critic-checkpoint and its hash, which
    labels as it is. critic_phases: what trains the critic, in order, of "critic_mc" (pretraining, eq. 3), "critic_ove"
    (eq. 5) and "critic_mc_fine"; empty: none is trained. contents: name of each dataset and a hash of its content and
    of what was corrected in review.
    """

    config: TrainConfig
    normaliser: Normaliser
    datasets: tuple[Dataset, ...] = ()
    contents: tuple[tuple[str, str], ...] = ()
    iteration: int | None = None
    previous: Policy | None = None
    start_critic: Critic | None = None
    fixed_critic: tuple[Critic, str] | None = None
    critic_phases: tuple[str, ...] = ()
    progress: bool = True
    stop: Callable[[], bool] = never
    tracking: Tracking = field(default_factory=lambda: Tracking((), "", Path(), {}))

    @property
    def method(self) -> Method:
        return METHODS[self.config.method]

    @property
    def out(self) -> Path:
        return Path(self.config.out)

    @property
    def work(self) -> Path:
        """Folder of what a resumed run needs."""
        return self.out / "work"

    @property
    def loop(self) -> dict:
        """Arguments of `phases.optimise`."""
        config = self.config
        return {
            "work": self.work,
            "seed": config.seed,
            "device": config.device,
            "progress": self.progress,
            "stop": self.stop,
            "follow": self.tracking.follow,
        }

    @property
    def folds(self) -> int:
        """How many critics label, each the episodes that it does not know; 0: one labels all."""
        return self.config.labels.folds if self.method.critic is not None and self.critic_phases else 0

    def from_nothing(self) -> Plan:
        """The same plan for a critic that starts from nothing, pretraining included."""
        plan = replace(self, start_critic=None)
        return replace(plan, critic_phases=_critic_phases(plan))

    @property
    def first(self) -> bool:
        """The learning rates of iteration 0 apply (App. G: "for first iteration"), to a base policy too."""
        return not self.iteration

    @property
    def previous_actor(self) -> Actor | None:
        """What the actor starts from."""
        return self.previous.actor if self.previous else None


def resolve(config: TrainConfig, progress: bool = True, stop: Callable[[], bool] = never) -> Plan:
    """Read and check everything that a run needs, so that it refuses before the first step. Raises ValueError
    (DatasetError, CheckpointError).
    """
    config = replace(config, precision=processes.mixed_precision(config))  # type: ignore[arg-type]
    tracking = Tracking(config.track, Path(config.out).name, Path(config.out) / "tracking", to_dict(config))
    processes.start(config)
    previous = checkpoint.load(config.init, config.device) if config.init else None
    start_critic = _start_critic(config, previous)
    fixed = checkpoint.load_critic(config.critic_checkpoint, config.device) if config.critic_checkpoint else None
    config = _configuration_in_force(config, previous, fixed[0] if fixed else start_critic)
    _check_backbones(config, previous, fixed[0] if fixed else start_critic)
    datasets = tuple(Dataset(root) for root in config.dataset)
    _check_robot(datasets, previous)
    plan = Plan(
        config,
        _normaliser(config, datasets, start_critic, fixed[0] if fixed else None),
        datasets,
        tuple((d.root.name, picture_cache.content_hash(d.root) + corrections.digest(d.root)) for d in datasets),
        _iteration(config, previous),
        previous,
        start_critic,
        fixed,
        progress=progress,
        stop=stop,
        tracking=tracking,
    )
    return replace(plan, critic_phases=_critic_phases(plan))


def _check_backbones(config: TrainConfig, previous: Policy | None, critic: Critic | None) -> None:
    """The files of pretrained backbones that are yet to be loaded are there, or are fetched now: hours of decoded
    pictures must not end at a missing network. Raises BackboneError.
    """
    wanted = [config.actor.backbone] if previous is None else []
    wanted += [config.critic.backbone] if critic is None and previous is None else []
    for backbone in wanted:
        kind_of(backbone).check_files(backbone)


def _start_critic(config: TrainConfig, previous: Policy | None) -> Critic | None:
    """What --critic-from names."""
    if config.critic_from == "scratch":
        return None
    if config.critic_from in ("auto", "init"):
        critic = previous.critic if previous else None
        if critic is None and config.critic_from == "init":
            raise ValueError(f"--critic-from init, but {config.init or 'no --init'} has no critic")
        return critic
    return checkpoint.load_critic(config.critic_from, config.device)[0]


def _configuration_in_force(config: TrainConfig, previous: Policy | None, critic: Critic | None) -> TrainConfig:
    """The architecture is that of the checkpoints that it starts from, the training settings are this run's."""
    if previous is not None:
        config = replace(config, actor=_with_architecture(config.actor, previous.actor.config))
    if critic is not None:
        config = replace(config, critic=_with_architecture(config.critic, critic.config))
    for name, part, start in (("actor", config.actor, previous), ("critic", config.critic, critic)):
        if start is None and part.freeze_backbone and part.backbone.kind == "compact":
            raise ValueError(
                f"--{name}.freeze-backbone, but its backbone starts from nothing: give --init, or train end to end"
            )
    actor = config.actor
    if actor.guide_from == "unconditional" and not (actor.condition_dropout > 0 or actor.negatives == "unconditional"):
        raise ValueError(
            "--actor.guide-from unconditional, but nothing trains the unconditional branch: set "
            "--actor.condition-dropout, e.g. 0.1, or --actor.negatives unconditional"
        )
    if actor.guide_from == "negative" and actor.negatives != "condition" and METHODS[config.method].conditioned:
        raise ValueError(
            f"--actor.negatives {actor.negatives} trains no negative branch to guide from: set --actor.guide-from "
            "unconditional"
        )
    if config.labels.folds and (not 2 <= config.labels.folds <= MOST_FOLDS or config.critic_checkpoint):
        raise ValueError(
            f"--labels.folds {config.labels.folds}: expected 2 to {MOST_FOLDS}, and no --critic-checkpoint, which "
            "labels as it is"
        )
    if METHODS[config.method].critic == "mc":
        config = replace(config, critic=replace(config.critic, target="mc"))
    return config


def _with_architecture(config: ActorConfig | CriticConfig, previous: ActorConfig | CriticConfig):
    return replace(config, **{name: getattr(previous, name) for name in ARCHITECTURE if hasattr(config, name)})


def _iteration(config: TrainConfig, previous: Policy | None) -> int | None:
    """A base policy is no iteration; the first run that labels with a critic is iteration 0."""
    if previous is None and METHODS[config.method].critic is None:
        return None
    before = previous.info.get("iteration") if previous else None
    return 0 if before is None else before + 1


def _critic_phases(plan: Plan) -> tuple[str, ...]:
    """Methods that label without a critic still pretrain one from scratch: what iteration 0 starts from (App. G)."""
    config = plan.config.critic
    if plan.fixed_critic is not None:
        return ()
    pretraining = ("critic_mc",) if plan.start_critic is None and config.mc_steps > 0 else ()
    if plan.method.critic is None:
        return pretraining if plan.previous is None else ()
    fine_tuning = ("critic_mc_fine" if config.target == "mc" else "critic_ove",) if config.steps > 0 else ()
    return (*pretraining, *fine_tuning)


def _check_robot(datasets: tuple[Dataset, ...], previous: Policy | None) -> None:
    """Every dataset is given once, all are of one robot, that of the checkpoint to start from, and have the rate of the
    policy. Raises DatasetError.
    """
    own, roots = previous.robot if previous is not None else datasets[0].robot, set()
    for dataset in datasets:
        if dataset.root.resolve() in roots:
            raise DatasetError(f"dataset {dataset.root} is given twice; its frames would count double")
        roots.add(dataset.root.resolve())
        if refusal := dataset.robot.refusal(own, f"dataset {dataset.root}"):
            raise DatasetError(f"{refusal}; one policy is trained for one robot")
        if dataset.fps != timing.POLICY_HZ:
            raise DatasetError(
                f"dataset {dataset.root} has {dataset.fps:g} frames per second, expected {timing.POLICY_HZ:g}, "
                "the rate at which chunks are executed; export it again at that rate"
            )


def _normaliser(
    config: TrainConfig, datasets: tuple[Dataset, ...], start: Critic | None, fixed: Critic | None
) -> Normaliser:
    """The scale of this run's values: what its data need, or the larger one of the critic that it starts from.

    The values of a critic that is trained on are brought to the new scale exactly (`Critic.set_scale`); one that labels
    as it is keeps its own. Raises DatasetError naming the episode that a given scale does not cover.
    """
    reward = config.reward
    lengths = [(len(e), d, e.index) for d in datasets for e in d.episodes if e.trainable]
    longest, dataset, index = max(lengths, default=(1, None, -1), key=lambda row: row[0])
    episode = f"dataset {dataset.root}, episode {index}: {longest} steps" if dataset is not None else ""
    if reward.max_steps and longest > reward.max_steps:
        raise DatasetError(f"{episode}, more than reward.max_steps = {reward.max_steps}; raise it, or leave it at 0")
    needed = Normaliser.of(reward.c_fail, reward.max_steps or longest)
    stored, name = (fixed, "--critic-checkpoint") if fixed is not None else (start, "the critic of --init")
    if stored is None or not math.isfinite(stored.scale):
        return needed
    if needed.scale > stored.scale and (stored is fixed or not stored.can_rescale):
        raise DatasetError(
            f"{episode}, with C_fail = {reward.c_fail:g} returns of up to {needed.scale:g} steps, but the values of "
            f"{name} cover {float(stored.scale):g}; train a critic on these data (--critic-from scratch)"
        )
    return Normaliser(float(stored.scale) if stored is fixed else max(needed.scale, float(stored.scale)))
