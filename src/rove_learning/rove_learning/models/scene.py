# SPDX-License-Identifier: Apache-2.0
"""The scene backbone: the compact one, pretrained on what the simulator's pictures show, frozen, with few tokens.

The paper's actor and critic stand on vision-language models that were pretrained on far more than one robot's data
and stay frozen. Their weights are too large for two CPU cores; this backbone takes their part in the simulator. Learned
query tokens gather what the picture shows (Perceiver resampler, arXiv 2204.14198); `pretrain_backbone` trains them to
tell where things are, on scenes of their own seeds, and its weights come with the package. Policies and critics see
tokens alone, never what they were trained to tell.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from rove_learning.config import BackboneConfig
from rove_learning.models.backbone import Context
from rove_learning.models.compact import CompactBackbone
from rove_learning.models.pretrained import BackboneError

WEIGHTS = Path(__file__).parent.parent / "weights"  # of the package: scene-CAMERA-CAMERA.safetensors
RANDOM = "random"  # path of a backbone with random weights: before pretraining, and in tests


def shipped(config: BackboneConfig) -> Path:
    """The package's weights for the cameras of `config`; there need not be any."""
    return WEIGHTS / f"scene-{'-'.join(config.cameras)}.safetensors"


def known_tasks(config: BackboneConfig) -> tuple[str, ...]:
    """Names of the tasks on whose pictures the package's weights for these cameras were trained."""
    report = shipped(config).with_suffix(".json")
    return tuple(json.loads(report.read_text(encoding="utf-8"))["held_out"]) if report.is_file() else ()


class SceneBackbone(CompactBackbone):
    """`config.queries` tokens of a picture and an instruction.

    config.path: weights of `pretrain_backbone`; empty: those that come with the package for these cameras; "random":
    random ones. Raises BackboneError when they are missing or belong to other sizes.
    """

    def __init__(self, config: BackboneConfig):
        super().__init__(config)
        if config.queries < 1:
            raise ValueError(f"backbone.queries is {config.queries}, expected at least 1 of a scene backbone")
        self.queries = nn.Parameter(torch.randn(config.queries, config.width) * 0.3)
        self.fingerprint = RANDOM if config.path == RANDOM else self._load(Path(config.path or shipped(config)))

    def _load(self, file: Path) -> str:
        """Read the weights; -> their hash."""
        try:
            self.load_state_dict(load_file(file))
            return hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest()
        except FileNotFoundError:
            raise BackboneError(
                f"{file} is missing: a scene backbone needs weights of `rove run rove_learning pretrain_backbone`"
            ) from None
        except (RuntimeError, SafetensorError, OSError) as error:
            raise BackboneError(f"{file} does not fit a scene backbone of these sizes: {error}") from error

    @classmethod
    def check_files(cls, config: BackboneConfig) -> None:
        cls(config)  # they are small: what is read is also what fits

    def save(self, file: Path) -> None:
        """Write the weights, as the constructor reads them."""
        save_file({name: weights.contiguous() for name, weights in self.state_dict().items()}, file)

    def forward(self, images: torch.Tensor, texts: Sequence[str], conditions: Sequence[Sequence[str]] = ()) -> Context:
        self.check(images, texts, conditions)
        patches = self._patches(images)
        words, visible = self._text(texts)
        queries = self.queries.expand(len(images), -1, -1)
        tokens = torch.cat([queries, patches, words], dim=1)
        mask = torch.cat([visible.new_ones(len(images), queries.shape[1] + patches.shape[1]), visible], dim=1)
        for layer in self.layers[:-1]:
            tokens = layer(tokens, mask)
        tokens = self.layers[-1](tokens, mask, rows=queries.shape[1])
        return Context(
            self.norm(tokens),
            visible.new_ones(tokens.shape[:2]),
            tuple(self._text(condition) for condition in conditions),
        )
