# SPDX-License-Identifier: Apache-2.0
"""What frozen pretrained vision-language backbones share: where the files are, the prompt as a tree, the pass through
the text layers.

Weights come from safetensors, settings and vocabulary from data files; no file of a checkpoint is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from rove_contract import images
from rove_learning.config import BackboneConfig
from rove_learning.models import prompt_tree
from rove_learning.models.backbone import Backbone, Context

FILES = ("*.json", "*.safetensors", "*.model", "*.txt")  # of a hub repository; .py, .bin and .pt never leave the hub
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


class BackboneError(ValueError):
    """A pretrained backbone cannot be used; the message says which file or weight, what was expected and what to do."""


def folder(config: BackboneConfig) -> Path:
    """Local folder of `config.path`, downloaded from the hub where it is an id. Raises BackboneError."""
    if not config.path:
        raise BackboneError(
            f"backbone {config.kind} needs backbone.path: a folder, or a hub id such as Qwen/Qwen3-VL-4B-Instruct"
        )
    local = Path(config.path).expanduser()
    if local.is_dir():
        return local
    if local.is_absolute() or config.path.startswith((".", "~")) or config.path.count("/") != 1:
        raise BackboneError(f"backbone.path {config.path} is neither a folder nor a hub id (owner/name)")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(config.path, revision=config.revision or None, allow_patterns=list(FILES)))
    except Exception as error:  # network, authorisation, unknown id: the hub's own message says which
        raise BackboneError(
            f"cannot get {config.path} from the hub: {error}; download it elsewhere and give its folder"
        ) from error


def read_json(file: Path) -> dict:
    """Raises BackboneError when the file is missing or not JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise BackboneError(f"cannot read {file}, which belongs to the checkpoint: {error}") from error


def weight_files(path: Path) -> list[Path]:
    """The safetensors of a folder, by its index where it has one. Raises BackboneError."""
    index = path / "model.safetensors.index.json"
    files = [path / name for name in sorted(set(read_json(index)["weight_map"].values()))] if index.is_file() else []
    files = files or sorted(path.glob("*.safetensors"))
    missing = [file.name for file in files if not file.is_file()]
    if not files or missing:
        raise BackboneError(
            f"{path} lacks {', '.join(missing) or 'model.safetensors'}; only safetensors are read, never .bin or .pt"
        )
    return files


_loaded: weakref.WeakValueDictionary = weakref.WeakValueDictionary()


def shared(path: Path, settings: tuple, load: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """load(), or the model that it gave for the same settings and files and that is still in use: actor, critic and a
    checkpoint that is reloaded hold the weights once. All must be on one device."""
    files = [
        file for file in (*weight_files(path), path / "config.json") if file.is_file()
    ]  # load() says what is missing
    states = [(file.name, stat.st_size, stat.st_mtime_ns) for file in files for stat in [file.stat()]]
    key = (str(path.resolve()), *settings, *states)
    model = _loaded.get(key)
    if model is None:
        _loaded[key] = model = load()
    return model


def digest(files: Sequence[Path], settings: dict) -> str:
    """16 hex digits of the bytes of `files` and of `settings`. About a second per GB."""
    total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for file in files:
        with open(file, "rb", buffering=0) as stream:
            while block := stream.read(1 << 24):
                total.update(block)
    return total.hexdigest()[:16]


class PretrainedBackbone(Backbone):
    """A frozen vision-language model with a causal text stack. Subclasses fill `model`, `text`, `image_slices` and the
    methods below.

    layer: which tokens it answers with. -1: after all layers and the final norm. k > 0: after k layers, without the
    final norm, which is `hidden_states[k]` (0 would be the embeddings); later layers are not computed.
    """

    image_slices: list[slice]  # where the tokens of each camera's picture stand in every prompt
    layer: int

    @classmethod
    def check_files(cls, config: BackboneConfig) -> None:
        weight_files(folder(config))

    def prompt(self, text: str) -> list[int]:
        """Token ids of picture and instruction."""
        raise NotImplementedError

    def ending(self, condition: str) -> list[int]:
        """Token ids of a text condition, which follow those of `prompt`."""
        raise NotImplementedError

    def positions(self, ids: list[int]) -> torch.Tensor:
        """(A, n) rotary positions of a prompt with one ending."""
        raise NotImplementedError

    def see(self, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(B, S, S, 3) uint8 -> tokens of each picture (B, n, D), and what is added to them after the first text
        layers.
        """
        raise NotImplementedError

    def finish(self, files: Sequence[Path], settings: dict) -> None:
        """To be called last by __init__: freezes the model and takes its fingerprint. No files: a random model."""
        self.eval().requires_grad_(False)
        c = self.config
        of_config = {
            "kind": c.kind,
            "cameras": list(c.cameras),
            "image_size": c.image_size,
            "resizing": images.RESIZING,
            "layer": self.layer,
            "dtype": c.dtype,
        }
        self.fingerprint = digest(files, {**settings, **of_config}) if files else "random"
        self._trees: dict = {}
        self._constants: dict = {}

    def train(self, mode: bool = True):
        return super().train(False)  # frozen: its layers stay as in inference

    def depth(self, layer: int) -> int:
        """Number of text layers that `layer` needs. Raises BackboneError where the model has no such layer."""
        layers = len(self.text.layers)
        if layer == -1:
            return layers
        if not 1 <= layer <= layers:
            raise BackboneError(
                f"backbone.layer {layer}: this model has 1 to {layers}, or -1 for the output of its final norm"
            )
        return layer

    def tree(self, texts: Sequence[str], conditions: Sequence[Sequence[str]], device) -> prompt_tree.Tree:
        """One tree per row of the batch; a combination of texts is tokenised once. Raises ValueError for a text that is
        too long.
        """
        rows = list(zip(texts, *conditions))
        unique = tuple(sorted(set(rows)))
        key = (unique, str(device))
        if key not in self._trees:
            for text in {text for row in unique for text in row}:
                if not 0 < len(text.encode()) <= self.config.text_bytes:
                    raise ValueError(
                        f"the text {text[:80]!r} has {len(text.encode())} bytes, expected 1 to "
                        f"{self.config.text_bytes} "
                        "(BackboneConfig.text_bytes)"
                    )
            prefixes = [self.prompt(text) for text, *_ in unique]
            endings = [[self.ending(row[k]) for row in unique] for k in range(1, len(unique[0]))]
            longest = [max((ending[b] for ending in endings), key=len, default=[]) for b in range(len(unique))]
            places = [self.positions(prefix + tail) for prefix, tail in zip(prefixes, longest)]
            if len(self._trees) >= 256:  # a few MB; more texts than this pass through only in long training runs
                self._trees.clear()
            self._trees[key] = prompt_tree.to(prompt_tree.grow(prefixes, endings, places), device)
        row_of = {row: i for i, row in enumerate(unique)}
        return self._trees[key].rows([row_of[row] for row in rows])

    def _fixed(self, key, device, make, *arguments):
        """make(device, *arguments), once; a recorded CUDA graph reads it where it lies, so it stays."""
        if (key, str(device)) not in self._constants:
            self._constants[key, str(device)] = make(device, *arguments)
        return self._constants[key, str(device)]

    def forward(self, images: torch.Tensor, texts: Sequence[str], conditions: Sequence[Sequence[str]] = ()) -> Context:
        return self.features(images, texts, conditions, (self.layer,))[0]

    @torch.no_grad()
    def features(self, images, texts, conditions=(), layers: Sequence[int] = (-1,)) -> list[Context]:
        """One pass, the tokens of several layers: arguments of `forward` -> one `Context` per entry of `layers`."""
        self.check(images, texts, conditions)
        tree = self.tree(texts, conditions, images.device)
        tokens, added = self.see(self.one_by_one(images))
        tokens, *added = (x.unflatten(0, (len(images), -1)) for x in (tokens, *added))  # (B, C, n, D)
        hidden = self.text.embed_tokens(tree.ids)
        for camera, place in enumerate(self.image_slices):
            hidden[:, place] = tokens[:, camera].to(hidden.dtype)
        positions = tree.positions if len(tree.positions) > 1 else tree.positions[0]
        rotary = self.text.rotary_emb(hidden, positions)
        kept = {}
        for i, block in enumerate(self.text.layers[: max(map(self.depth, layers))]):
            hidden = block(hidden, attention_mask=tree.attention, position_embeddings=rotary)
            if i < len(added):
                for camera, place in enumerate(self.image_slices):
                    hidden[:, place] += added[i][:, camera]
            if i + 1 in layers:
                kept[i + 1] = hidden
        if -1 in layers:
            kept[-1] = self.text.norm(hidden)
        return [tree.split(kept[layer]) for layer in layers]
