# SPDX-License-Identifier: Apache-2.0
"""Tokens of a frozen backbone, computed once per frame and kept on the disk: training then reads them instead of
running the backbone.

A dataset's features lie in `<root>/.cache/features-<key>/`: one shard per episode, long ones in pieces (safetensors:
bf16 tokens and masks of the prefix, once, and of every text condition; beside it size and checksum). The key is a hash
of the backbone's weights and preprocessing, the dataset's content and the conditions. Shards are memory-mapped; a build
that was killed goes on with what is missing.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from rove_contract import files, images
from rove_learning.data.buffer import Buffer
from rove_learning.data.picture_cache import cache_folder, content_hash
from rove_learning.models.backbone import Backbone, Context

VERSION = 1
SHARD_FRAMES = (
    256  # what a kill loses at most, and what is held in memory while it is computed: 131 MB at 100 tokens of 2560
)


def backbone_key(backbone: Backbone) -> str:
    """16 hex digits of weights and preprocessing: the backbone's own fingerprint, or a hash of its weights where it has
    none.
    """
    digest = hashlib.blake2b(digest_size=8)
    digest.update(
        json.dumps([backbone.config.kind, backbone.image_size, images.RESIZING, backbone.fingerprint]).encode()
    )
    if backbone.fingerprint in ("", "random"):
        for name, value in sorted(backbone.state_dict().items()):
            digest.update(name.encode())
            digest.update(
                value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
                if value.dim()
                else str(value).encode()
            )
    return digest.hexdigest()


def _checksum(file: Path) -> int:
    value = 0
    with file.open("rb") as stream:
        while block := stream.read(1 << 22):
            value = zlib.crc32(block, value)
    return value


def _pad(tokens: torch.Tensor, mask: torch.Tensor, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, N, D), (B, N) -> the same with `longest` tokens; what is added is zero and not visible."""
    more = longest - tokens.shape[1]
    return (F.pad(tokens, (0, 0, 0, more)), F.pad(mask, (0, more))) if more else (tokens, mask)


class _Folder:
    """The features of one dataset: what they were computed from, and its shards."""

    def __init__(self, root: Path, settings: dict, note: Callable[[str], None]):
        key = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8).hexdigest()
        self.path, self.settings, self.note = cache_folder(root) / f"features-{key}", settings, note

    def prepare(self) -> None:
        """Make the folder; features of an earlier content of the dataset will never be read again."""
        for other in self.path.parent.glob("features-*"):
            try:
                content = json.loads((other / "settings.json").read_text(encoding="utf-8"))["content"]
            except (OSError, ValueError, KeyError, TypeError):
                content = None
            if content != self.settings["content"]:
                reason = "belong to an earlier content of the dataset" if content else "have no readable settings.json"
                self.note(f"the features in {other} {reason}; they are removed and computed anew")
                shutil.rmtree(other, ignore_errors=True)
        self.path.mkdir(parents=True, exist_ok=True)
        for part in self.path.glob(
            f".*{files.PART}*"
        ):  # of a build that was killed; a younger one may be another run's
            if time.time() - part.stat().st_mtime > 3600:
                part.unlink(missing_ok=True)
        _write(self.path / "settings.json", self.settings)

    def fault(self, file: Path, rows: int) -> str:
        """Why a shard cannot be used ("missing" or what is damaged), or "". Its checksum is computed only when it was
        touched.
        """
        stamp = file.with_suffix(".json")
        if not file.is_file() or not stamp.is_file():
            return "missing"
        try:
            known = json.loads(stamp.read_text(encoding="utf-8"))
            stat = file.stat()
            if known["rows"] != rows:
                return f"has {known['rows']} frames, expected {rows}"
            if known["size"] != stat.st_size:
                return f"has {stat.st_size} bytes, expected {known['size']}"
            if known["mtime_ns"] != stat.st_mtime_ns:  # copied, or changed
                if _checksum(file) != known["crc32"]:
                    return "has another checksum than when it was written"
                _write(stamp, {**known, "mtime_ns": stat.st_mtime_ns})
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"cannot be read: {error}"
        return ""

    def save(self, file: Path, tensors: dict[str, torch.Tensor]) -> None:
        with files.replaced(file, durable=False) as part:
            save_file(tensors, part)
            stat = part.stat()
            known = {
                "rows": len(tensors["tokens"]),
                "size": stat.st_size,
                "mtime_ns": stat.st_mtime_ns,
                "crc32": _checksum(part),
            }
        _write(file.with_suffix(".json"), known)


def _write(file: Path, values: dict) -> None:
    files.write(file, json.dumps(values) + "\n", durable=False)


class FeatureCache:
    """A `observations.Observations` of a frozen backbone's tokens. Opens the cache and computes what is missing.

    conditions: text conditions that are cached too, the first of `config.CONDITIONS` (the actor needs them, the critic
    does not). batch: frames per pass of the
    backbone. dtype: of the tokens returned; every batch has the same number of them (static shapes). share: (index,
    count) of this process among those that compute; wait: their barrier. built: frames that this process computed. A
    damaged shard and a stale folder are named on stderr and computed anew. Raises ValueError for a backbone that is
    trained, OSError when the disk is full; what was written stays and counts.
    """

    def __init__(
        self,
        buffer: Buffer,
        backbone: Backbone,
        device: str = "cpu",
        *,
        conditions: Sequence[str],
        batch: int = 32,
        dtype=torch.float32,
        progress: bool = True,
        share: tuple[int, int] = (0, 1),
        wait: Callable[[], None] = lambda: None,
    ):
        if any(p.requires_grad for p in backbone.parameters()):
            raise ValueError("a backbone that is trained has no features to cache: its tokens change with every step")
        self.buffer, self.backbone, self.device, self.dtype, self.batch = buffer, backbone, device, dtype, batch
        self.conditions = tuple(conditions)
        self.built = 0
        self._main = share[0] == 0
        folders = self._folders()
        if self._main:
            for folder in folders.values():
                folder.prepare()
        wait()
        shards = self._shards(folders)
        missing = [shard for shard in shards if self._needed(*shard)]
        wait()  # nobody writes before everybody has looked
        self._build(missing[share[0] :: share[1]], progress)
        wait()
        self._open(shards)

    def _folders(self) -> dict[str, _Folder]:
        key = backbone_key(self.backbone)
        common = {"version": VERSION, "backbone": key, "conditions": list(self.conditions), "dtype": "bfloat16"}
        common["cameras"] = list(self.backbone.cameras)
        roots = dict.fromkeys(self.buffer.roots)
        return {
            root: _Folder(Path(root), {**common, "content": content_hash(Path(root))}, self._note) for root in roots
        }

    def _shards(self, folders: dict[str, _Folder]) -> list[tuple[_Folder, Path, np.ndarray]]:
        """Folder, file and rows (of the buffer) of each shard: a piece of an episode, so that excluding one leaves the
        others.
        """
        shards = []
        for episode, root, frames in zip(self.buffer.episodes, self.buffer.roots, self.buffer.slices()):
            for piece, begin in enumerate(range(frames.start, frames.stop, SHARD_FRAMES)):
                file = folders[root].path / f"{episode.index:06d}-{piece:03d}.safetensors"
                shards.append((folders[root], file, np.arange(begin, min(begin + SHARD_FRAMES, frames.stop))))
        return shards

    def _note(self, text: str) -> None:
        if self._main:
            print(f"feature cache: {text}", file=sys.stderr)

    def _needed(self, folder: _Folder, file: Path, rows: np.ndarray) -> bool:
        fault = folder.fault(file, len(rows))
        if fault and fault != "missing":
            self._note(f"{file} {fault}; it is computed anew")
        return bool(fault)

    @torch.no_grad()
    def _compute(self, rows: np.ndarray) -> Context:
        images = torch.from_numpy(np.array(self.buffer.images(rows))).to(self.device)
        return self.backbone(images, self.buffer.texts(rows), [[text] * len(rows) for text in self.conditions])

    def _build(self, shards: Sequence[tuple[_Folder, Path, np.ndarray]], progress: bool) -> None:
        training = self.backbone.training
        self.backbone.eval()
        total = sum(len(rows) for *_, rows in shards)
        with tqdm(total=total, desc="features", unit="frame", disable=not (progress and total and self._main)) as bar:
            for folder, file, rows in shards:
                parts = []
                for batch in np.array_split(rows, math.ceil(len(rows) / self.batch)):
                    context = self._compute(batch)
                    parts.append(
                        [
                            (t.to(torch.bfloat16).cpu(), m.cpu())
                            for t, m in ((context.tokens, context.mask), *context.conditions)
                        ]
                    )
                    bar.update(len(batch))
                tensors = {}
                for name, column in zip(self._names(), zip(*parts)):
                    longest = max(tokens.shape[1] for tokens, _ in column)
                    padded = [_pad(tokens, mask, longest) for tokens, mask in column]
                    tensors[name], tensors[f"{name}.mask"] = (torch.cat(side).contiguous() for side in zip(*padded))
                folder.save(file, tensors)
                self.built += len(rows)
        self.backbone.train(training)

    def _names(self) -> list[str]:
        return ["tokens", *(f"condition{i}" for i in range(len(self.conditions)))]

    def _open(self, shards) -> None:
        self._maps: list[dict[str, torch.Tensor]] = []
        self._shard, self._row = np.zeros(len(self.buffer), dtype=np.int64), np.zeros(len(self.buffer), dtype=np.int64)
        for _, file, rows in shards:
            try:
                self._maps.append(load_file(file))  # a memory map; the file is closed again
            except (SafetensorError, OSError) as error:
                raise OSError(
                    f"{file} cannot be read although it was checked a moment ago ({error}); remove it and start again"
                ) from error
            self._shard[rows], self._row[rows] = len(self._maps) - 1, np.arange(len(rows))
        self._longest = {name: max(t[name].shape[1] for t in self._maps) for name in self._names()}

    def _gather(self, name: str, index: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (B, N, D) and mask (B, N) of frames `index`, on the device."""
        n, d = self._longest[name], self._maps[0][name].shape[2]
        pinned = str(self.device).startswith("cuda")
        tokens = torch.zeros((len(index), n, d), dtype=torch.bfloat16, pin_memory=pinned)
        mask = torch.zeros((len(index), n), dtype=torch.bool, pin_memory=pinned)
        for place in np.argsort(index, kind="stable").tolist():  # neighbours on the disk one after the other
            held, row = self._maps[self._shard[index[place]]], self._row[index[place]]
            length = held[name].shape[1]
            tokens[place, :length], mask[place, :length] = held[name][row], held[f"{name}.mask"][row]
        return tokens.to(self.device, non_blocking=True).to(self.dtype), mask.to(self.device, non_blocking=True)

    def __call__(self, index: np.ndarray, conditions: np.ndarray | None = None, gain=None, shift=None) -> Context:
        index = np.asarray(index)
        prefix = self._gather("tokens", index)
        if conditions is None:
            return Context(*prefix)
        if not self.conditions:
            raise ValueError("this cache was opened without text conditions")
        parts = [self._gather(name, index) for name in self._names()[1:]]
        longest = max(tokens.shape[1] for tokens, _ in parts)
        tokens, masks = (torch.stack(side) for side in zip(*(_pad(*part, longest) for part in parts)))
        chosen = torch.from_numpy(np.asarray(conditions, dtype=np.int64)).to(self.device)
        frames = torch.arange(len(index), device=self.device)
        return Context(*prefix, ((tokens[chosen, frames], masks[chosen, frames]),))
