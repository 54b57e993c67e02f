# SPDX-License-Identifier: Apache-2.0
"""Qwen3-VL as a frozen backbone (paper: Qwen3-VL-4B-Instruct, final features, 2560 wide), on transformers'
`Qwen3VLModel`.

Only that class's weights and layers are used. Its `forward` finds picture tokens by boolean indexing and reads sizes
back from the device, which a CUDA graph cannot record; here pictures are square and stand at one place in the prompt,
so that all shapes are known.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import AttentionInterface, Qwen3VLModel
from transformers.utils import logging
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

from rove_learning.config import BackboneConfig
from rove_learning.models.pretrained import (
    DTYPES,
    BackboneError,
    PretrainedBackbone,
    folder,
    read_json,
    shared,
    weight_files,
)

# The released chat template for one user turn with a picture and a text, up to where the answers of the conditions
# begin.
BEFORE = "<|im_start|>user\n<|vision_start|>"
PICTURE = "<|image_pad|>"
AFTER = "<|vision_end|>"
CONDITION = "\n{condition}<|im_end|>"
# Of the released preprocessor_config.json, for what a folder's own file leaves out; the defaults of the class are
# another model's.
PROCESSOR = {
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "size": {"shortest_edge": 65536, "longest_edge": 16777216},
}


def _attend_per_picture(module, query, key, value, attention_mask, *, scaling, pictures, **_):
    """(1, heads, B n, d) -> (1, B n, heads, d): attention within each of B pictures of equal size, in one call."""
    query, key, value = (x.unflatten(2, (pictures, -1))[0].transpose(0, 1) for x in (query, key, value))
    out = F.scaled_dot_product_attention(query, key, value, scale=scaling)
    return out.transpose(1, 2).flatten(0, 1)[None], None


AttentionInterface.register("rove_pictures", _attend_per_picture)


def load_model(path: Path, dtype: torch.dtype) -> Qwen3VLModel:
    """Weights of a Qwen3-VL folder. Raises BackboneError naming missing, extra or misshaped weights."""
    kind = read_json(path / "config.json").get("model_type")
    if kind != "qwen3_vl":
        raise BackboneError(f"{path / 'config.json'} describes model_type {kind!r}, expected 'qwen3_vl'")
    weight_files(path)
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)  # its report lists as a warning what is either wanted or raised below
    model, found = Qwen3VLModel.from_pretrained(
        path,
        dtype=dtype,
        attn_implementation="sdpa",
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # so that they are named below rather than printed
    )
    logging.set_verbosity(verbosity)
    extra = [name for name in found["unexpected_keys"] if not name.startswith("lm_head")]
    wrong = [entry[0] if isinstance(entry, tuple) else entry for entry in found["mismatched_keys"]]
    for what, names in (("missing", found["missing_keys"]), ("extra", extra), ("misshaped", wrong)):
        if names:
            raise BackboneError(f"{path}: {len(names)} {what} weights, e.g. {', '.join(sorted(names)[:5])}")
    return model


class Qwen3VLBackbone(PretrainedBackbone):
    """N = C ((S / 32)^2 + 2) picture tokens + about 6 of the chat template + the instruction's; a condition adds about
    6.
    """

    def __init__(self, config: BackboneConfig, model: Qwen3VLModel | None = None, tokenizer: Tokenizer | None = None):
        """model, tokenizer: instead of those of `config.path`, e.g. random ones of full size. Raises BackboneError."""
        super().__init__(config)
        files, settings = [], {}
        if model is None:
            path = folder(config)
            dtype = DTYPES[config.dtype]
            model = shared(path, ("qwen3vl", dtype), lambda: load_model(path, dtype))
            tokenizer = (
                Tokenizer.from_file(str(path / "tokenizer.json")) if (path / "tokenizer.json").is_file() else None
            )
            if tokenizer is None:
                raise BackboneError(f"{path} has no tokenizer.json")
            settings = read_json(path / "preprocessor_config.json")
            files = [*weight_files(path), path / "config.json", path / "tokenizer.json"]
        self.model, self.tokenizer = model, tokenizer
        self.visual, self.text = model.visual, model.language_model
        self.visual.config._attn_implementation = "rove_pictures"
        self.width = model.config.text_config.hidden_size
        self.layer = -1 if config.layer is None else config.layer
        self.depth(self.layer)
        self._picture(settings)
        self.special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
        self.before, picture, self.after = (
            tokenizer.encode(x, add_special_tokens=False).ids for x in (BEFORE, PICTURE, AFTER)
        )
        if picture != [model.config.image_token_id] or len(self.after) != 1:
            raise BackboneError(
                f"the tokenizer reads {PICTURE} as {picture}, expected the model's [{model.config.image_token_id}], "
                f"and {AFTER} as {self.after}, expected one token"
            )
        n = self.grid[1] * self.grid[2] // self.merge**2
        # One picture after the other, each between its marks, as the chat template writes several.
        mark, head = self.before[-1], list(self.before)
        self.image_slices = []
        for camera in range(len(config.cameras)):
            head += [mark] * (camera > 0)
            self.image_slices.append(slice(len(head), len(head) + n))
            head += [*picture * n, *self.after]
        self.head = head
        self.finish(files, {"processor": self.processor, "template": [BEFORE, PICTURE, AFTER, CONDITION]})

    def _picture(self, settings: dict) -> None:
        """Check that released preprocessing would leave a picture of `image_size` as it is, so that ours needs no
        second resizing.
        """
        self.processor = {name: settings.get(name, default) for name, default in PROCESSOR.items()}
        p, size, side = self.processor, self.processor["size"], self.config.image_size
        self.merge, factor = p["merge_size"], p["patch_size"] * p["merge_size"]
        if side % factor or not size["shortest_edge"] <= side * side <= size["longest_edge"]:
            smallest = -(-int(size["shortest_edge"] ** 0.5) // factor) * factor
            raise BackboneError(
                f"backbone.image_size {side} does not suit this Qwen3-VL: a multiple of {factor} px, at least "
                f"{smallest} "
                f"(256: 64 tokens, 448: 196, 544: 289)"
            )
        self.grid = (1, side // p["patch_size"], side // p["patch_size"])

    def prompt(self, text):
        return self.head + self._words(text)

    def ending(self, condition):
        self._words(condition)
        return self.tokenizer.encode(CONDITION.format(condition=condition), add_special_tokens=False).ids

    def _words(self, text: str) -> list[int]:
        forged = [token for token in self.special if token in text]
        if forged:
            raise ValueError(f"the text {text[:80]!r} contains the control token {forged[0]}")
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def positions(self, ids):
        tokens = torch.tensor([ids])
        kinds = (tokens == self.model.config.image_token_id).int()
        return self.model.get_rope_index(tokens, kinds, image_grid_thw=torch.tensor([self.grid] * len(self.cameras)))[
            0
        ][:, 0]

    def patches(self, images: torch.Tensor) -> torch.Tensor:
        """(B, S, S, 3) uint8 -> (B n, 3 * 2 * 16 * 16) float32, in the order of `Qwen2VLImageProcessorPil`."""
        p = self.processor
        mean, std = (self._fixed(name, images.device, self._constant, name) for name in ("image_mean", "image_std"))
        x = (images.float() / 255.0 - mean) / std
        side, m = self.grid[1] // self.merge, self.merge
        x = x.view(len(x), side, m, p["patch_size"], side, m, p["patch_size"], 3).permute(0, 1, 4, 2, 5, 7, 3, 6)
        x = x.unsqueeze(6).expand(
            -1, -1, -1, -1, -1, -1, p["temporal_patch_size"], -1, -1
        )  # a still picture is two equal frames
        return x.reshape(len(images) * self.grid[1] * self.grid[2], -1)

    def _constant(self, device, name: str) -> torch.Tensor:
        return torch.tensor(self.processor[name], device=device)

    def _places(self, device, pictures: int) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Learned positions (B n, D) and rotary (cos, sin) of B pictures; they depend on nothing but the grid."""
        visual, grid = self.visual, torch.tensor([self.grid])
        rows, weights = get_vision_interpolation_indices_and_weights(
            grid,
            num_grid_per_side=visual.num_grid_per_side,
            mode=visual.interpolation_mode,
            align_corners=visual.interpolation_align_corners,
            spatial_merge_size=visual.spatial_merge_size,
        )
        learned = (visual.pos_embed(rows.to(device)) * weights.to(device)[:, :, None]).sum(1).to(visual.dtype)
        rotary = visual.rotary_pos_emb(learned, get_vision_position_ids(grid, visual.spatial_merge_size).to(device))
        return learned.repeat(pictures, 1), tuple(x.repeat(pictures, 1) for x in rotary)

    def see(self, images):
        visual, b = self.visual, len(images)
        kernel = visual.patch_embed.proj
        learned, rotary = self._fixed(b, images.device, self._places, b)
        # The convolution's stride is its kernel: a matrix product.
        x = F.linear(self.patches(images).to(kernel.weight.dtype), kernel.weight.flatten(1), kernel.bias) + learned
        whole = torch.tensor([0, len(x)], dtype=torch.int32)  # on the CPU: its length is read without waiting for a GPU
        added = []
        for i, block in enumerate(visual.blocks):
            x = block(x, cu_seqlens=whole, position_embeddings=rotary, pictures=b)
            if i in visual.deepstack_visual_indexes:
                merger = visual.deepstack_merger_list[list(visual.deepstack_visual_indexes).index(i)]
                added.append(merger(x).unflatten(0, (b, -1)))
        return visual.merger(x).unflatten(0, (b, -1)), added
