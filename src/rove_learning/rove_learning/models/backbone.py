# SPDX-License-Identifier: Apache-2.0
"""The backbone interface: frames + text -> tokens (B, N, D). Critic and actor know a vision-language model only through
it.

A backbone owns everything between a camera picture and its tokens: resizing to `image_size`, normalisation
of pixels, tokenisation and chat template of texts. Training and the robot call the same code, so both see the same
tokens.

To add one: subclass `Backbone` in its own module, add its settings to `config.BackboneConfig` and one line to `KINDS`.
`rove_learning.models.compact` is the shortest example.

Features computed in advance. Critic and actor accept a `Context` wherever they accept `Pictures`: a cache of a frozen
backbone's tokens replaces `observations.PictureObservations` and returns `Context`s for the frames of a buffer; nothing
else changes.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from rove_learning.config import BackboneConfig

MOST_CAMERAS = 16

# kind -> module:class; the class is called with the BackboneConfig.
KINDS = {
    "compact": "rove_learning.models.compact:CompactBackbone",
    "scene": "rove_learning.models.scene:SceneBackbone",
    "qwen3vl": "rove_learning.models.qwen3vl:Qwen3VLBackbone",
    "vlac": "rove_learning.models.vlac:VLACBackbone",
}


class Pictures(NamedTuple):
    """What a backbone is asked: arguments of `Backbone.forward`."""

    images: torch.Tensor  # (B, S, S, 3) uint8 RGB, of several cameras (B, C, S, S, 3), on the model's device
    texts: Sequence[str]  # B instructions
    conditions: Sequence[Sequence[str]] = ()  # K text conditions, B strings each


@dataclass(frozen=True)
class Context:
    """What a backbone answers. Padding is marked False in the masks.

    tokens: (B, N, D) of picture and instruction, the same for every condition. mask: (B, N) bool. conditions: one
    (tokens (B, M, D), mask (B, M)) per text condition; they may have attended to picture and instruction, never the
    other way round, so several conditions share one prefix (App. F: guidance needs both).
    """

    tokens: torch.Tensor
    mask: torch.Tensor
    conditions: tuple[tuple[torch.Tensor, torch.Tensor], ...] = ()


class Backbone(nn.Module):
    """Base class.

    width: D of its tokens, set by the subclass. cameras: C names, in the order of the pictures. image_size: S px;
    pictures come square, resized by `rove_contract.images.resize`. fingerprint: "" when the weights are ROVE's own and
    belong into its checkpoints. Otherwise (pretrained, frozen, loaded from elsewhere) a hash of weights and
    preprocessing: checkpoints then store it instead of the weights and are refused on another backbone; feature caches
    use it as their key.
    """

    width: int
    fingerprint: str = ""

    def __init__(self, config: BackboneConfig):
        super().__init__()
        if not 1 <= len(config.cameras) <= MOST_CAMERAS or len(set(config.cameras)) < len(config.cameras):
            raise ValueError(f"backbone.cameras is {config.cameras}, expected 1 to {MOST_CAMERAS} different names")
        self.config = config
        self.cameras, self.image_size = config.cameras, config.image_size

    @classmethod
    def check_files(cls, config: BackboneConfig) -> None:
        """Its files from elsewhere are there, or are fetched now. Raises `pretrained.BackboneError`. Here: none."""

    @property
    def picture_shape(self) -> tuple[int, ...]:
        """(S, S, 3), or (C, S, S, 3) of several cameras: one moment's pictures."""
        several = (len(self.cameras),) if len(self.cameras) > 1 else ()
        return (*several, self.image_size, self.image_size, 3)

    def one_by_one(self, images: torch.Tensor) -> torch.Tensor:
        """(B, ..., S, S, 3) of `forward` -> (B C, S, S, 3), the cameras of a moment one after the other."""
        return images.reshape(-1, *images.shape[-3:])

    def forward(self, images: torch.Tensor, texts: Sequence[str], conditions: Sequence[Sequence[str]] = ()) -> Context:
        """images: see `Pictures`. texts: B instructions. conditions: K sequences of B
        text conditions.

        -> `Context` with K conditions. Raises ValueError for another picture size or a text that is too long.
        """
        raise NotImplementedError

    def check(self, images: torch.Tensor, texts: Sequence[str], conditions: Sequence[Sequence[str]]) -> None:
        """Raise ValueError when the arguments of `forward` do not fit together."""
        shape = self.picture_shape
        if images.shape[1:] != shape or images.dtype != torch.uint8:
            expected = ", ".join(map(str, shape))
            raise ValueError(f"expected pictures (B, {expected}) uint8, got {tuple(images.shape)} {images.dtype}")
        for texts_ in (texts, *conditions):
            if len(texts_) != len(images):
                raise ValueError(f"expected one text per picture, got {len(texts_)} texts for {len(images)} pictures")


def kind_of(config: BackboneConfig) -> type[Backbone]:
    """The class of `config.kind`. Raises ValueError for an unknown one."""
    if config.kind not in KINDS:
        raise ValueError(f"unknown backbone {config.kind!r}; known: {', '.join(KINDS)}")
    module, name = KINDS[config.kind].split(":")
    return getattr(importlib.import_module(module), name)


def build(config: BackboneConfig) -> Backbone:
    """The backbone of `config.kind`. Raises ValueError for an unknown kind."""
    return kind_of(config)(config)


def encode(backbone: Backbone, observation: Pictures | Context) -> Context:
    """Tokens of an observation; a `Context` passes through."""
    return observation if isinstance(observation, Context) else backbone(*observation)


def pretrained_backbone(model: nn.Module | None) -> Backbone | None:
    """The frozen backbone of a model that another one can share; None where there is none: it makes its own."""
    return model.backbone if model is not None and model.backbone.fingerprint else None


def own_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """state_dict without the weights of a backbone that is loaded from elsewhere (`Backbone.fingerprint`)."""
    state = model.state_dict()
    backbone = getattr(model, "backbone", None)
    if backbone is None or not backbone.fingerprint:
        return state
    return {name: value for name, value in state.items() if not name.startswith("backbone.")}


def load_own_state(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Inverse of `own_state`. Raises RuntimeError naming missing, extra or misshaped weights."""
    backbone = getattr(model, "backbone", None)
    elsewhere = backbone is not None and backbone.fingerprint
    missing, extra = model.load_state_dict(state, strict=False)
    missing = [name for name in missing if not (elsewhere and name.startswith("backbone."))]
    if missing or extra:
        raise RuntimeError(
            f"missing weights: {', '.join(missing) or 'none'}; extra weights: {', '.join(extra) or 'none'}"
        )
