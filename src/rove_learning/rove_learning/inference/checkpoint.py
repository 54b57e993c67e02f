# SPDX-License-Identifier: Apache-2.0
"""A policy on disk: DIRECTORY/config.json, actor.safetensors and, with a critic, critic.safetensors. Only data, no
code, is loaded.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rove_contract import files
from rove_description.card import RobotCard
from rove_learning.config import ActorConfig, CriticConfig, from_dict, to_dict
from rove_learning.inference.policy import Policy
from rove_learning.models.actor import Actor
from rove_learning.models.backbone import load_own_state, own_state
from rove_learning.models.critic import Critic

VERSION = 3


LARGEST_JSON = 16 * 2**20  # bytes
MOST_JOINTS = 1024
LARGEST_GUIDANCE = 1e6
SIZES = {
    "image_size": (4, 2048),
    "channels": (1, 1024),
    "width": (1, 16384),
    "layers": (0, 128),
    "heads": (1, 256),
    "text_bytes": (1, 65536),
    "mlp_ratio": (1, 32),
    "chunk": (1, 4096),
    "token_steps": (1, 4096),
    "euler_steps": (1, 1000),
    "noise_samples": (1, 1000),
    "bins": (0, 65536),
}  # of a configuration: beyond them a file is damaged, and a model of it would fill the memory
LARGEST_MODEL = 2**28  # width^2 x layers; times 12 numbers of 4 bytes this is 13 GB
# What configurations and weights that do not belong together lead to in torch and safetensors.
DAMAGE: tuple[type[BaseException], ...] = (
    ValueError,
    TypeError,
    RuntimeError,
    KeyError,
    IndexError,
    AttributeError,
    ArithmeticError,
    AssertionError,
)
DAMAGE += (OSError, MemoryError, SafetensorError)


class CheckpointError(ValueError):
    """A checkpoint cannot be read; the message names the file and what was expected."""


def _save_weights(path: Path, name: str, model: torch.nn.Module) -> str:
    """Write NAME.safetensors whole or not at all; returns its SHA-256."""
    with files.replaced(path / f"{name}.safetensors") as part:
        save_file({key: tensor.detach().cpu().contiguous() for key, tensor in own_state(model).items()}, part)
        return hashlib.sha256(part.read_bytes()).hexdigest()


def _save_json(file: Path, values: dict) -> None:
    files.write(file, json.dumps(values, indent=1, allow_nan=False) + "\n")


def save_critic(path, critic: Critic) -> Path:
    """Write a critic alone, between training it and training the actor: critic.safetensors and critic.json."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    digest = _save_weights(path, "critic", critic)
    _save_json(
        path / "critic.json",
        {
            "version": VERSION,
            "critic": to_dict(critic.config),
            "sha256": {"critic": digest},
            "fingerprints": {"critic": critic.backbone.fingerprint},
        },
    )
    return path


def load_critic(path, device: str = "cpu") -> tuple[Critic, str]:
    """What `save_critic` wrote, and 12 hex digits of its hash. Raises CheckpointError."""
    path = Path(path)
    info = read_info(path, "critic.json")
    critic = _build(path, Critic, _config(path, CriticConfig, info["critic"]), "")
    _weights(path, "critic", critic, info)
    return critic.eval().requires_grad_(False).to(device), info["sha256"]["critic"][:12]


def save(
    path, actor: Actor, critic: Critic | None = None, *, guidance: float | None = None, info: dict | None = None
) -> Path:
    """Write a checkpoint directory; every file appears whole or not at all. info: JSON-able, kept in config.json (e.g.
    the run's config).

    guidance: default beta of this checkpoint (the config's if None).
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    models = {"actor": actor} | ({} if critic is None else {"critic": critic})
    hashes = {name: _save_weights(path, name, model) for name, model in models.items()}
    if critic is None:
        (path / "critic.safetensors").unlink(missing_ok=True)
    _save_json(
        path / "config.json",
        {
            **(info or {}),
            "version": VERSION,
            "guidance": float(actor.config.guidance if guidance is None else guidance),
            "actor": to_dict(actor.config),
            "critic": None if critic is None else to_dict(critic.config),
            "joint_count": actor.joints,
            "fingerprints": {name: model.backbone.fingerprint for name, model in models.items()},
            "sha256": hashes,
        },
    )
    return path


def read_info(path: Path, name: str = "config.json") -> dict:
    """A checkpoint's JSON file, its fields of the types that the rest of this module relies on. Raises
    CheckpointError.
    """
    file = path / name
    try:
        if file.stat().st_size > LARGEST_JSON:
            raise CheckpointError(f"{file} has {file.stat().st_size} bytes, at most {LARGEST_JSON} are read")
        info = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"no checkpoint at {path}: cannot read {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or nested thousands deep
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{file} is not JSON: {error}") from error
    if not isinstance(info, dict) or info.get("version") != VERSION:
        version = info.get("version") if isinstance(info, dict) else None
        raise CheckpointError(
            f"{file} has version {version!r}, this code reads {VERSION}: train again or use the older code"[:300]
        )
    models = ("critic",) if name == "critic.json" else ("actor", "critic")
    for model in models:
        config = info.get(model)
        if config is None and model == "critic" and name != "critic.json":
            continue
        if not isinstance(config, dict) or not isinstance(config.get("backbone"), dict):
            raise CheckpointError(f"{file}: {model} is {config!r}, expected its configuration"[:300])
        for key in ("sha256", "fingerprints"):
            if not isinstance(info.get(key), dict) or not isinstance(info[key].get(model), str):
                raise CheckpointError(f"{file} has no {key} of its {model}")
    if name == "config.json":
        try:
            RobotCard.from_dict(info.get("robot", {}))
        except (ValueError, AttributeError) as error:
            raise CheckpointError(f"{file}: {error}") from error
        joints, guidance = info.get("joint_count"), info.get("guidance")
        if type(joints) is not int or not 1 <= joints <= MOST_JOINTS:
            raise CheckpointError(f"{file}: joint_count is {joints!r}, expected 1 to {MOST_JOINTS}"[:300])
        if type(guidance) not in (int, float) or not abs(guidance) <= LARGEST_GUIDANCE:
            raise CheckpointError(f"{file}: guidance is {guidance!r}, expected a number"[:300])
    return info


def _config(path: Path, cls, values: dict):
    """The configuration of a model of a checkpoint, small enough to be built. Raises CheckpointError."""
    try:
        config = from_dict(cls, values)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    for part in (config, config.backbone):
        for name, (least, most) in SIZES.items():
            value = getattr(part, name, least)
            for number in value if isinstance(value, tuple) else (value,):
                if not least <= number <= most:
                    raise CheckpointError(f"{path}: {name} is {number}, expected {least} to {most}")
        if part.width**2 * max(part.layers, 1) > LARGEST_MODEL:
            raise CheckpointError(f"{path}: a width of {part.width} and {part.layers} layers are no model of ours")
    return config


def kinds(path) -> set[str]:
    """Backbone kinds of a checkpoint, without loading it. Raises CheckpointError."""
    info = read_info(Path(path))
    return {str(info[name]["backbone"].get("kind")) for name in ("actor", "critic") if info.get(name) is not None}


def check_hashes(path: Path) -> None:
    """Whether the weights are those that config.json was written with. Nothing is loaded. Raises CheckpointError."""
    info = read_info(path)
    for name in ("actor", "critic"):
        if info.get(name) is not None:
            _check_hash(path, name, info)


def _check_hash(path: Path, name: str, info: dict) -> Path:
    """The file of a model's weights. Raises CheckpointError."""
    file = path / f"{name}.safetensors"
    if not file.is_file():
        raise CheckpointError(f"{path} has no {file.name}, which should stand beside its JSON file")
    if hashlib.sha256(file.read_bytes()).hexdigest() != info["sha256"][name]:
        raise CheckpointError(
            f"{file} is not the file that its JSON file was written with (SHA-256 differs): copy the directory again"
        )
    return file


def _weights(path: Path, name: str, model: torch.nn.Module, info: dict) -> None:
    fingerprint = info["fingerprints"][name]
    if model.backbone.fingerprint != fingerprint:
        raise CheckpointError(
            f"{path}: its {name} was trained on the backbone {fingerprint or 'compact'}, "
            f"the one loaded is {model.backbone.fingerprint or 'compact'}"
        )
    file = _check_hash(path, name, info)
    try:
        state = load_file(file)
        load_own_state(model, state)
    except DAMAGE as error:
        raise CheckpointError(f"{file} does not fit the model of its JSON file: {error}") from error
    for key, weights in model.named_parameters():  # what is no weight may be infinite, or not known yet
        if key in state and not weights.isfinite().all():
            raise CheckpointError(f"{file}: {key} holds values that are no numbers")


def _build(path: Path, make, config, backbone: str):
    """A model of a checkpoint's configuration; backbone: where its pretrained backbone is now, "": where it was."""
    if backbone:
        config = replace(config, backbone=replace(config.backbone, path=backbone, revision=""))
    try:
        return make(config)
    except DAMAGE as error:
        raise CheckpointError(f"{path}: {error}") from error


def load(path, device: str = "cpu", backbones: dict[str, str] | None = None) -> Policy:
    """Read a checkpoint directory.

    device: torch device. backbones: {"actor": PATH, "critic": PATH}, either optional: folder or hub id of a pretrained
    backbone that is not where the checkpoint says; its fingerprint must be the same. Raises CheckpointError naming the
    file.
    """
    path, backbones = Path(path), backbones or {}
    info = read_info(path)
    joints = info["joint_count"]
    actor = _build(
        path, lambda c: Actor(c, joints), _config(path, ActorConfig, info["actor"]), backbones.get("actor", "")
    )
    _weights(path, "actor", actor, info)
    critic = None
    if info.get("critic") is not None:
        critic = _build(path, Critic, _config(path, CriticConfig, info["critic"]), backbones.get("critic", ""))
        _weights(path, "critic", critic, info)
    digest = hashlib.sha256("".join(sorted(info["sha256"].values())).encode()).hexdigest()[:12]
    return Policy(actor, critic, info, digest, device)
