# SPDX-License-Identifier: Apache-2.0
"""VLAC as a frozen backbone (paper: the critic's, layer 23, 2048 wide), without its remote code.

VLAC has the layout of InternVL2-2B: InternViT-300M and InternLM2-1.8B. `KEYS` renames its weights to those of
transformers' `InternVLModel` with a Llama text model, which computes the same; `wqkv` and `qkv` are cut into their
parts.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import InternVLConfig, InternVLModel, InternVLVisionConfig, LlamaConfig

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

LAYER = 23  # hidden_states[23]: after 23 of 24 text layers, what enters the last one (paper: "layer 23")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, of InternVL2's preprocessing
BEGIN, PICTURE, END, START, TURN = "<img>", "<IMG_CONTEXT>", "</img>", "<|im_start|>", "<|im_end|>"

# (pattern in the released file, name in InternVLModel); applied in order, each where it matches.
KEYS = (
    (r"^vision_model\.", "vision_tower."),
    (r"^(vision_tower)\.encoder\.layers\.", r"\1.encoder.layer."),
    (r"\.class_embedding$", ".cls_token"),
    (r"\.position_embedding$", ".position_embeddings"),
    (r"\.patch_embedding\.", ".patch_embeddings.projection."),
    (r"\.attn\.proj\.", ".attention.projection_layer."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.ls1$", ".lambda_1"),
    (r"\.ls2$", ".lambda_2"),
    (r"^mlp1\.0\.", "multi_modal_projector.layer_norm."),
    (r"^mlp1\.1\.", "multi_modal_projector.linear_1."),
    (r"^mlp1\.3\.", "multi_modal_projector.linear_2."),
    (r"^language_model\.model\.", "language_model."),
    (r"\.tok_embeddings\.", ".embed_tokens."),
    (r"\.attention\.wo\.", ".self_attn.o_proj."),
    (r"\.feed_forward\.w1\.", ".mlp.gate_proj."),
    (r"\.feed_forward\.w3\.", ".mlp.up_proj."),
    (r"\.feed_forward\.w2\.", ".mlp.down_proj."),
    (r"\.attention_norm\.", ".input_layernorm."),
    (r"\.ffn_norm\.", ".post_attention_layernorm."),
)
DROPPED = "language_model.output.weight"  # predicts words
QKV = re.compile(r"^vision_model\.encoder\.layers\.(\d+)\.attn\.qkv\.(weight|bias)$")
WQKV = re.compile(r"^language_model\.model\.layers\.(\d+)\.attention\.wqkv\.weight$")


def rename(key: str) -> str:
    """Name in InternVLModel of a weight that is not cut."""
    for pattern, new in KEYS:
        key = re.sub(pattern, new, key)
    return key


def targets(key: str) -> list[str]:
    """Names in InternVLModel of what a released weight becomes: one, or three for a fused projection."""
    if match := QKV.match(key):
        return [f"vision_tower.encoder.layer.{match[1]}.attention.{x}_proj.{match[2]}" for x in "qkv"]
    if match := WQKV.match(key):
        return [f"language_model.layers.{match[1]}.self_attn.{x}_proj.weight" for x in "qkv"]
    return [rename(key)]


def cut(key: str, value: torch.Tensor, config: InternVLConfig) -> list[torch.Tensor]:
    """A released weight -> the weights of `targets(key)`.

    wqkv rows are (n_kv, G + 2, head_dim): G query heads, then the key and the value head of each group.
    """
    if QKV.match(key):
        return list(value.chunk(3))
    if WQKV.match(key):
        text = config.text_config
        groups = value.view(text.num_key_value_heads, -1, text.head_dim, value.shape[-1])
        return [part.reshape(-1, value.shape[-1]) for part in (groups[:, :-2], groups[:, -2], groups[:, -1])]
    return [value]


def native_config(released: dict) -> InternVLConfig:
    """config.json of InternVL2 / VLAC -> transformers' configuration. Raises BackboneError for a layout that is another
    one.
    """
    try:
        vision, text = released["vision_config"], released["llm_config"]
        expected = {
            "vision_config.norm_type": (vision.get("norm_type", "layer_norm"), "layer_norm"),
            "vision_config.qk_normalization": (vision.get("qk_normalization", False), False),
            "llm_config.bias": (text.get("bias", False), False),
            "llm_config.architectures": (text.get("architectures", ["InternLM2ForCausalLM"]), ["InternLM2ForCausalLM"]),
            "select_layer": (released.get("select_layer", -1), -1),
            "ps_version": (released.get("ps_version", "v2"), "v2"),
        }
        for name, (got, want) in expected.items():
            if got != want:
                raise BackboneError(
                    f"config.json has {name} {got!r}, expected {want!r}: not the InternVL2-2B layout that VLAC has"
                )
        sizes = {
            name: vision[name]
            for name in (
                "hidden_size",
                "num_hidden_layers",
                "num_attention_heads",
                "intermediate_size",
                "image_size",
                "patch_size",
            )
        }
        vision_config = InternVLVisionConfig(
            **sizes,
            attention_bias=vision.get("qkv_bias", True),
            use_qk_norm=False,
            hidden_act=vision.get("hidden_act", "gelu"),
            layer_norm_eps=vision.get("layer_norm_eps", 1e-6),
            use_mean_pooling=True,
        )
        names = (
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "intermediate_size",
            "max_position_embeddings",
            "rms_norm_eps",
            "hidden_act",
        )
        # The file's dynamic NTK scaling changes nothing below max_position_embeddings, 32768; a prompt here has a few
        # hundred tokens.
        rope = {"rope_type": "default", "rope_theta": float(text["rope_theta"])}
        text_config = LlamaConfig(
            **{name: text[name] for name in names},
            rope_parameters=rope,
            attention_bias=False,
            mlp_bias=False,
            pad_token_id=None,
        )
        return InternVLConfig(
            vision_config=vision_config,
            text_config=text_config,
            downsample_ratio=released.get("downsample_ratio", 0.5),
            projector_hidden_act="gelu",
            vision_feature_layer=-1,
        )
    except KeyError as error:
        raise BackboneError(f"config.json lacks {error}, which InternVL2-2B's has") from error


def load_model(path: Path, layer: int, dtype: torch.dtype) -> InternVLModel:
    """The released weights in an InternVLModel that ends after `layer` text layers (-1: all, with the final norm).

    Every weight of the file is checked, also those behind `layer`. Raises BackboneError naming missing, extra and
    misshaped ones.
    """
    config = native_config(read_json(path / "config.json"))
    with torch.device("meta"):
        model = InternVLModel._from_config(config, dtype=dtype, attn_implementation="sdpa")
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    layers = len(model.language_model.layers)
    if layer != -1:
        if not 1 <= layer <= layers:
            raise BackboneError(
                f"backbone.layer {layer}: this model has 1 to {layers}, or -1 for the output of its final norm"
            )
        model.language_model.layers = model.language_model.layers[:layer]
        model.language_model.norm = torch.nn.Identity()
    needed = set(model.state_dict())
    state, extra, misshaped, seen = {}, [], [], set()
    for file in weight_files(path):
        with safe_open(file, "pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118
                if key == DROPPED:
                    continue
                names = targets(key)
                if not all(name in shapes for name in names):
                    extra.append(key)
                    continue
                seen.update(names)
                got, want = tuple(tensors.get_slice(key).get_shape()), [shapes[name] for name in names]
                total = (sum(shape[0] for shape in want), *want[0][1:]) if len(want) > 1 else tuple(want[0])
                if got != total:
                    misshaped.append(f"{key} {got}, expected {total}")
                elif needed.intersection(names):
                    parts = cut(key, tensors.get_tensor(key), config)
                    state.update({name: part.to(dtype).contiguous() for name, part in zip(names, parts)})
    missing = sorted(set(shapes) - seen)
    for what, names in (("missing", missing), ("extra", extra), ("misshaped", misshaped)):
        if names:
            raise BackboneError(f"{path}: {len(names)} {what} weights, e.g. {'; '.join(names[:5])}")
    model.load_state_dict(state, assign=True)
    text = model.language_model
    text.rotary_emb = type(text.rotary_emb)(config.text_config)  # computed, in float32, not in the file
    return model


class Vocabulary:
    """VLAC's tokenizer from its data: tokenizer.model (sentencepiece) and the control tokens of the JSON files."""

    def __init__(self, path: Path):
        """Raises BackboneError when a file is missing or a control token is unknown."""
        from sentencepiece import SentencePieceProcessor

        if not (path / "tokenizer.model").is_file():
            raise BackboneError(f"{path} has no tokenizer.model (sentencepiece)")
        self.pieces = SentencePieceProcessor(model_file=str(path / "tokenizer.model"))
        settings = read_json(path / "tokenizer_config.json").get("added_tokens_decoder", {})
        self.control = {token["content"]: int(number) for number, token in settings.items()}
        if (path / "added_tokens.json").is_file():
            self.control.update(read_json(path / "added_tokens.json"))
        missing = [token for token in (BEGIN, END, PICTURE, TURN, START) if token not in self.control]
        if missing:
            raise BackboneError(f"{path}: its added tokens lack {', '.join(missing)}")

    def __call__(self, text: str) -> list[int]:
        forged = [token for token in (*self.control, "<s>", "</s>") if token in text]
        if forged:
            raise ValueError(f"the text {text[:80]!r} contains the control token {forged[0]}")
        return self.pieces.encode(text)


class VLACBackbone(PretrainedBackbone):
    """One 448 px tile: 256 tokens, and the instruction's. The prompt is InternVL's: <s><|im_start|>user, picture,
    instruction.
    """

    def __init__(self, config: BackboneConfig):
        super().__init__(config)
        if len(config.cameras) > 1:
            raise BackboneError(f"VLAC judges one picture, backbone.cameras has {', '.join(config.cameras)}")
        path = folder(config)
        self.layer = LAYER if config.layer is None else config.layer
        self.vocabulary = Vocabulary(path)
        dtype = DTYPES[config.dtype]
        self.model = shared(path, ("vlac", self.layer, dtype), lambda: load_model(path, self.layer, dtype))
        self.text = self.model.language_model
        self.width = self.model.config.text_config.hidden_size
        vision = self.model.config.vision_config
        if config.image_size != vision.image_size[0]:
            raise BackboneError(
                f"backbone.image_size {config.image_size}, but this checkpoint sees pictures of "
                f"{vision.image_size[0]} px"
            )
        n = int((vision.image_size[0] // vision.patch_size[0] * self.model.config.downsample_ratio) ** 2)
        words = self.vocabulary
        start = [words.pieces.bos_id(), words.control[START], *words("user\n"), words.control[BEGIN]]
        self.image_slices = [slice(len(start), len(start) + n)]
        self.head = [*start, *[words.control[PICTURE]] * n, words.control[END]]
        files = [*weight_files(path), path / "config.json", path / "tokenizer.model"]
        self.finish(files, {"mean": MEAN, "std": STD, "control": words.control, "head": [self.head, "\n", TURN]})

    def prompt(self, text):
        return self.head + self.vocabulary("\n" + text)

    def ending(self, condition):
        return [*self.vocabulary("\n" + condition), self.vocabulary.control[TURN]]

    def positions(self, ids):
        return torch.arange(len(ids))[None]

    def _constant(self, device):
        return torch.tensor(MEAN, device=device).view(3, 1, 1), torch.tensor(STD, device=device).view(3, 1, 1)

    def see(self, images):
        mean, std = self._fixed("normalisation", images.device, self._constant)
        pixels = (images.permute(0, 3, 1, 2).float() / 255.0 - mean) / std
        return self.model.get_image_features(pixels.to(self.model.dtype)).pooler_output, []
