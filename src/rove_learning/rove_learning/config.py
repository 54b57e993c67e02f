# SPDX-License-Identifier: Apache-2.0
"""Every number of the learning part as data: frozen dataclasses, the unit and the source beside each default.

"paper" is arXiv 2606.17011; "ours" marks where the paper is silent or where the simulator on two CPU cores needs
another size.
"""

from __future__ import annotations

import dataclasses
import reprlib
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Union, get_args, get_origin, get_type_hints

from rove_contract import timing
from rove_learning.algorithm.methods import METHODS

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = Literal[tuple(METHODS)]

POSITIVE, NEGATIVE = "Advantage: positive", "Advantage: negative"  # text condition (paper, App. F)
UNCONDITIONAL = "Advantage: unknown"  # stands for no condition (ours, an option)
CONDITIONS = (NEGATIVE, POSITIVE, UNCONDITIONAL)  # models and caches number them so


@dataclass(frozen=True)
class RewardConfig:
    """Eq. 2 and the normalisation of returns to [-1, 0]."""

    c_fail: float = -500.0  # steps; penalty of a failure in fine-tuning (paper, sec. 3.1)
    penalty_at: Literal["recovery", "takeover"] = (
        "recovery"  # t_r = end of adaptation; takeover start is the ablation (paper, Table 1)
    )
    gamma: float = 1.0  # per step (paper, sec. 3.1)
    max_steps: int = 0  # steps; longest episode that the normalisation covers; 0: the longest of the data (ours)


@dataclass(frozen=True)
class BackboneConfig:
    """Which vision-language model, and the sizes of the compact one (ours; trained from scratch, stands in for VLAC and
    Qwen3-VL).
    """

    kind: str = "compact"  # see backbone.KINDS
    # that it sees, in this order; the robot's description names them (paper: the ego camera)
    cameras: tuple[str, ...] = ("ego",)
    image_size: int = 96  # px, square; pictures are resized to it once, when they are decoded
    # of the convolutional stem; its patch is 12 px, 8 x 8 tokens, and twice as wide with each further entry
    channels: tuple[int, ...] = (24, 48, 96)
    width: int = 128
    layers: int = 1  # transformer layers over image and text tokens together
    heads: int = 4
    queries: int = 16  # tokens of a scene backbone
    text_bytes: int = 64  # longest instruction, UTF-8 bytes; a longer one is refused
    path: str = ""  # pretrained kinds: folder or hub id of the checkpoint (scene: file; empty: the one that is shipped)
    revision: str = ""  # of the hub id: commit or tag; empty: the newest
    layer: int | None = (
        None  # k: tokens after k text layers (hidden_states[k]); -1: after the final norm; None: qwen3vl -1, vlac 23
    )
    dtype: Literal["bfloat16", "float32"] = "bfloat16"  # of a pretrained backbone's weights

    @property
    def patch(self) -> int:
        """px; side of the part of a picture that becomes a token of the compact backbone."""
        return 3 * 2 ** (len(self.channels) - 1)


@dataclass(frozen=True)
class CriticConfig:
    """Value model: V(o, l) in [-1, 0] (paper, sec. 3.2 and App. G)."""

    backbone: BackboneConfig = field(default_factory=lambda: BackboneConfig(layers=1))
    width: int = 128
    layers: int = 1  # of the value head
    heads: int = 4
    horizon: int = timing.EXECUTE_STEPS  # H, steps (paper, App. G)
    tau: float = 0.7  # expectile (paper, App. G)
    # per step, share of the online weights in the target critic: 20 steps, so 350 steps make 17 backups (ours)
    ema: float = 0.05
    mc_steps: int = 150  # MC steps before OVE when no previous critic is given (ours)
    steps: int = 350  # OVE steps (paper: 8000)
    batch: int = 48  # per process (paper: 64 per device, 8 devices)
    accumulate: int = 1  # batches per process and step; the global batch is batch x accumulate x processes
    # pretraining and iteration 0 (paper: 1e-4 with a frozen pretrained backbone; ours is trained from scratch)
    lr: float = 6e-4
    lr_next: float = 3e-4  # from iteration 1 on (paper: 1e-5)
    weight_decay: float = 1e-4
    freeze_backbone: bool = False  # (paper: frozen; a backbone trained from scratch cannot be)
    target: Literal["ove", "mc"] = "ove"
    # whose values make the labels: V_phi as Algorithm 1, line 4 prints it, or the EMA target critic (ours, an option)
    values_from: Literal["online", "target"] = "online"
    # of the value head's histogram over [-1, 0] (HL-Gauss, arXiv 2403.03950); 0: a scalar (paper, App. G)
    bins: int = 0
    # stop when the loss on held-out episodes has not fallen for `patience` evaluations; 0: never (paper: fixed steps)
    patience: int = 0
    evaluate_every: int = 250  # steps between evaluations on held-out episodes


@dataclass(frozen=True)
class LabelConfig:
    """Binary improvement label I = 1{A > eta} (paper, Algorithm 1, App. F)."""

    percentile: float = 70.0  # of the advantages in D^actor (paper, App. F)
    # subtract the mean advantage of each stage, or of each dataset, before the threshold (ours, an option; paper: none)
    centre: Literal["none", "stage", "dataset"] = "none"
    # episodes are dealt to so many folds, and the critic that values a fold was trained on the others, from scratch:
    # one that knows an episode's return by heart finds every chunk of it as good as the next (ours; paper: one critic)
    folds: int = 0


@dataclass(frozen=True)
class ActorConfig:
    """Flow-matching DiT head and its training (paper, App. F and G)."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    width: int = 160
    layers: int = 3
    heads: int = 4
    mlp_ratio: int = 2
    chunk: int = timing.CHUNK_STEPS  # steps trained and predicted (paper, App. G)
    # action steps that share a token of the head: more make it cheaper, and a chunk's neighbours are alike (ours)
    token_steps: int = 1
    predict: Literal["clean", "velocity"] = (
        "clean"  # what the head outputs; the loss is on it (ours: clean trains faster)
    )
    euler_steps: int = 5  # integration steps at inference (ours, within 4..10)
    beta_a: float = 1.5  # t = 0.999 (1 - u), u ~ Beta(a, b): more time near the noise end (pi0, arXiv 2410.24164)
    beta_b: float = 1.0
    noise_samples: int = 2  # (t, noise) draws per encoded picture: the picture encoder runs once for all of them (ours)
    guidance: float = (
        1.5  # beta of v = v_neg + beta (v_pos - v_neg) for advantage-conditioned checkpoints (ours; paper is silent)
    )
    # v = v_from + beta (v_pos - v_from): from the negative branch (paper, App. F) or from the unconditional one (CFGRL,
    # arXiv 2505.23458), which `condition_dropout` or `negatives` must train
    guide_from: Literal["negative", "unconditional"] = "negative"
    condition_dropout: float = 0.0  # probability per picture that its condition is hidden (paper: none)
    # how negative chunks are trained: under their condition (paper, App. F), without a condition, or not at all (ours)
    negatives: Literal["condition", "unconditional", "drop"] = "condition"
    negative_weight: float = 1.0  # loss weight of a negative chunk (paper: 1)
    steps: int = 750  # (paper: 8000)
    steps_next: int = 450  # when started from a previous checkpoint
    batch: int = 32  # pictures per step and process (paper: 16 per device, 8 devices)
    accumulate: int = 1  # batches per process and step
    lr_scratch: float = 1e-3  # of the base policy, trained from nothing (ours; the paper starts from a pretrained VLA)
    lr: float = 5e-4  # iteration 0 (paper: 1e-4, frozen pretrained backbone)
    lr_next: float = 2e-4  # from iteration 1 on (paper: 1e-5)
    weight_decay: float = 1e-4
    weight_ema: float = 0.99  # per step; the averaged weights are the ones saved (ours)
    freeze_backbone: bool = False
    # stop when the loss on held-out episodes has not fallen for `patience` evaluations, one every `evaluate_every`
    # steps; the actor is then not trained on them either; 0: never (paper: fixed steps)
    patience: int = 0
    evaluate_every: int = 250
    std_floor: float = 0.05  # rad; joints that move less are not blown up to unit variance
    weight_head: float = 0.3  # loss weight per joint of the block: 30 finger joints must not drown 14 arm joints (ours)
    weight_waist: float = 1.0
    weight_arm: float = 1.0
    weight_hand: float = 0.1
    weight_end_effector: float = 1.0
    idle_weight: float = 0.1  # factor of joints that move less than 0.003 rad in all the data (ours)
    weight_tail: float = 0.5  # loss weight of chunk steps that are never executed (after 2 x execute steps) (ours)

    @property
    def trained_conditions(self) -> tuple[str, ...]:
        """The text conditions that training meets."""
        hides = self.condition_dropout > 0 or self.negatives == "unconditional"
        return CONDITIONS if hides else CONDITIONS[: CONDITIONS.index(UNCONDITIONAL)]


@dataclass(frozen=True)
class RegulariseConfig:
    """State regularisation, training only (paper, sec. 3.3 and App. G)."""

    dropout: float = 0.3  # probability per sample that the whole state is hidden (paper)
    noise: float = 0.4  # probability per sample of Gaussian noise (paper)
    sigma: float = 0.01  # rad (paper)
    scale_head: float = 0.3  # x sigma; the paper says "smaller" (ours)
    scale_waist: float = 0.3
    scale_arm: float = 1.0  # (paper)
    scale_hand: float = 1.0  # (paper)
    scale_end_effector: float = 1.0  # (paper)
    image_gain: float = 0.1  # +- relative brightness of a training picture (ours)
    image_shift: int = 0  # +- px; 1 px is about 1 cm on the board, which a grasp cannot spare (ours)


@dataclass(frozen=True)
class TrainConfig:
    """One iteration of Algorithm 1: what `train` does, and `train_critic`, `label`, `train_actor` one after the
    other.
    """

    dataset: tuple[str, ...]  # dataset folders; D^critic is all of them, D^actor is them without human videos
    out: str  # folder of the run: checkpoint, labels, history, report
    init: str = ""  # checkpoint of iteration k - 1 (or a base policy) to start from; empty: from scratch
    critic_checkpoint: str = (
        ""  # its critic labels as it is and none is trained, e.g. ROVE's for Filtered BC (paper, App. E)
    )
    method: MethodName = "rove"
    seed: int = 0
    threads: int = 2  # CPU threads of torch
    device: str = "cpu"
    precision: Literal["auto", "bf16", "no"] = (
        "auto"  # autocast; auto: the launch's, else bf16 for pretrained backbones on a GPU, else no
    )
    picture_cache: bool = (
        True  # decode all pictures once to DATASET/.cache; off: when asked for, where the disk is too small for that
    )
    feature_cache: bool = (
        True  # tokens of a pretrained backbone once per frame to DATASET/.cache; off: it runs in every training step
    )
    # what the critic starts from: "auto": the critic of --init where it has one; "init": it must have one; "scratch";
    # or the folder of a pretrained value checkpoint (paper, App. G)
    critic_from: str = "auto"
    track: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = ()  # experiment trackers that follow the run
    held_out: float = 0.1  # share of the episodes that the critic is not trained on, for the report (ours)
    reward: RewardConfig = field(default_factory=RewardConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    labels: LabelConfig = field(default_factory=LabelConfig)
    actor: ActorConfig = field(default_factory=ActorConfig)
    regularise: RegulariseConfig = field(default_factory=RegulariseConfig)


LARGEST_NUMBER = 2**53  # of a field; beyond it a float is no exact whole number any more


def to_dict(config) -> dict:
    """Dataclass -> JSON-able dict (tuples become lists)."""
    return dataclasses.asdict(config)


def from_dict(cls, values: dict):
    """Inverse of `to_dict`. Raises ValueError naming a key that is unknown, missing or of another type: a file of
    another version, or a damaged one, must not be half understood.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{cls.__name__} is {reprlib.repr(values)}, expected a mapping of its fields")
    hints = get_type_hints(cls)
    names = {f.name for f in dataclasses.fields(cls)}
    unknown = sorted({reprlib.repr(name).strip("'") for name in values if name not in names})
    if unknown:
        raise ValueError(f"{cls.__name__} has no {', '.join(unknown)}; it has {', '.join(sorted(names))}"[:1000])
    known = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            value = from_dict(hints[name], value)
        elif isinstance(value, list):
            value = tuple(value)
        if not _fits(value, hints[name]):
            raise ValueError(f"{cls.__name__}.{name} is {reprlib.repr(value)}, expected {_words(hints[name])}")
        known[name] = value
    missing = [
        f.name
        for f in dataclasses.fields(cls)
        if f.name not in known and f.default is f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{cls.__name__} needs {', '.join(missing)}")
    return cls(**known)


def _fits(value, hint) -> bool:
    """Whether a value from JSON or YAML, lists made tuples, is of a field's type; numbers must be finite."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return type(value) in map(type, inner) and value in inner
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        each = inner[:1] * len(value) if inner[1:] == (...,) else inner
        return len(each) == len(value) and all(map(_fits, value, each))
    if origin is dict:
        return isinstance(value, dict) and all(_fits(k, inner[0]) and _fits(v, inner[1]) for k, v in value.items())
    if hint is float:
        return type(value) in (int, float) and abs(value) < LARGEST_NUMBER
    if hint is int:
        return type(value) is int and abs(value) < LARGEST_NUMBER
    if hint is Path:
        return isinstance(value, (str, Path))
    return isinstance(value, hint) if isinstance(hint, type) else True


def _words(hint) -> str:
    return (
        " or ".join(map(repr, get_args(hint))) if get_origin(hint) is Literal else getattr(hint, "__name__", str(hint))
    )
