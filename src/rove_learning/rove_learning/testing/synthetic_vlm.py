# SPDX-License-Identifier: Apache-2.0
"""Checkpoint folders of the pretrained backbones with random weights and a vocabulary of their own: the released
layout, any size.

    write_qwen3vl("runs/random_qwen")      # then --actor.backbone.kind qwen3vl --actor.backbone.path runs/random_qwen

Tests and benchmarks run the real classes on them; nothing of a released checkpoint is in them.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLModel

CONTROL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
CORPUS = ("user\n", "Advantage: positive", "Advantage: negative", "erase the whiteboard", "put the bread on the plate")

# Sizes of Qwen3-VL-4B-Instruct, and the smallest ones that still use every part.
QWEN_4B = {
    "text": {
        "hidden_size": 2560,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 9728,
        "mrope_section": [24, 20, 20],
        "vocab_size": 151936,
    },
    "vision": {
        "depth": 24,
        "hidden_size": 1024,
        "num_heads": 16,
        "intermediate_size": 4096,
        "deepstack_visual_indexes": [5, 11, 17],
    },
}
QWEN_TINY = {
    "text": {
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 96,
        "mrope_section": [4, 2, 2],
        "vocab_size": 512,
    },
    "vision": {
        "depth": 4,
        "hidden_size": 32,
        "num_heads": 2,
        "intermediate_size": 48,
        "deepstack_visual_indexes": [0, 1, 2],
    },
}
VLAC_TINY = {
    "hidden": 32,
    "layers": 4,
    "heads": 4,
    "kv_heads": 2,
    "mlp": 48,
    "vision_hidden": 16,
    "vision_layers": 2,
    "vision_heads": 2,
    "vision_mlp": 24,
    "image_size": 56,
    "vocabulary": 400,
}
# Sizes of InternVL2-2B's published config.json, VLAC's architecture.
VLAC_2B = {
    "hidden": 2048,
    "layers": 24,
    "heads": 16,
    "kv_heads": 8,
    "mlp": 8192,
    "vision_hidden": 1024,
    "vision_layers": 24,
    "vision_heads": 16,
    "vision_mlp": 4096,
    "image_size": 448,
    "vocabulary": 92553,
}


def byte_tokenizer() -> Tokenizer:
    """Byte-level BPE with Qwen's control tokens and a few merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS * 4, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_special_tokens(list(CONTROL))
    return tokenizer


def qwen3vl_config(sizes: dict, tokenizer: Tokenizer) -> Qwen3VLConfig:
    text = dict(sizes["text"])
    rope = {
        "rope_type": "default",
        "rope_theta": 5_000_000.0,
        "mrope_section": text.pop("mrope_section"),
        "mrope_interleaved": True,
    }
    number = tokenizer.token_to_id
    return Qwen3VLConfig(
        text_config={**text, "rope_parameters": rope, "rms_norm_eps": 1e-6, "pad_token_id": None},
        vision_config={
            **sizes["vision"],
            "out_hidden_size": text["hidden_size"],
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "num_position_embeddings": 2304,
        },
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
    )


def random_qwen3vl(sizes: dict, dtype=torch.bfloat16, device="cpu") -> tuple[Qwen3VLModel, Tokenizer]:
    """A model and a tokenizer for `Qwen3VLBackbone(config, model, tokenizer)`, without files."""
    tokenizer = byte_tokenizer()
    with torch.device(device):
        model = Qwen3VLModel._from_config(qwen3vl_config(sizes, tokenizer), dtype=dtype, attn_implementation="sdpa")
    return model.eval(), tokenizer


def write_qwen3vl(path, sizes: dict = QWEN_TINY, seed: int = 0, smallest: int = 64) -> Path:
    """A Qwen3-VL folder: safetensors, config.json, tokenizer.json, preprocessor_config.json. smallest: px, of an
    accepted picture.
    """
    path = Path(path)
    torch.manual_seed(seed)
    tokenizer = byte_tokenizer()
    model = Qwen3VLForConditionalGeneration(qwen3vl_config(sizes, tokenizer))
    for (
        name,
        value,
    ) in model.named_parameters():  # biases, norms and positions start from constants, which would hide a mix-up
        torch.nn.init.normal_(value, mean=float("norm" in name and name.endswith("weight")), std=0.1)
    model.save_pretrained(path)
    tokenizer.save(str(path / "tokenizer.json"))
    size = {"shortest_edge": smallest * smallest, "longest_edge": 16777216}
    settings = {
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "size": size,
    }
    (path / "preprocessor_config.json").write_text(json.dumps(settings))
    return path


def sentencepiece_model() -> bytes:
    """A small sentencepiece BPE vocabulary with byte fallback."""
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 4),
        model_writer=model,
        vocab_size=310,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return model.getvalue()


def vlac_weights(s: dict) -> dict[str, torch.Tensor]:
    """Random weights under the names and in the shapes of the released files (InternVL2 with InternLM2)."""
    h, v, head = s["hidden"], s["vision_hidden"], s["hidden"] // s["heads"]
    grid = s["image_size"] // 14
    shapes = {
        "vision_model.embeddings.class_embedding": (1, 1, v),
        "vision_model.embeddings.position_embedding": (1, grid * grid + 1, v),
        "vision_model.embeddings.patch_embedding.weight": (v, 3, 14, 14),
        "vision_model.embeddings.patch_embedding.bias": (v,),
        "mlp1.0.weight": (4 * v,),
        "mlp1.0.bias": (4 * v,),
        "mlp1.1.weight": (h, 4 * v),
        "mlp1.1.bias": (h,),
        "mlp1.3.weight": (h, h),
        "mlp1.3.bias": (h,),
        "language_model.model.tok_embeddings.weight": (s["vocabulary"], h),
        "language_model.model.norm.weight": (h,),
        "language_model.output.weight": (s["vocabulary"], h),
    }
    for i in range(s["vision_layers"]):
        at = f"vision_model.encoder.layers.{i}."
        shapes |= {
            at + "attn.qkv.weight": (3 * v, v),
            at + "attn.qkv.bias": (3 * v,),
            at + "attn.proj.weight": (v, v),
            at + "attn.proj.bias": (v,),
            at + "ls1": (v,),
            at + "ls2": (v,),
            at + "norm1.weight": (v,),
            at + "norm1.bias": (v,),
            at + "norm2.weight": (v,),
            at + "norm2.bias": (v,),
            at + "mlp.fc1.weight": (s["vision_mlp"], v),
            at + "mlp.fc1.bias": (s["vision_mlp"],),
            at + "mlp.fc2.weight": (v, s["vision_mlp"]),
            at + "mlp.fc2.bias": (v,),
        }
    for i in range(s["layers"]):
        at = f"language_model.model.layers.{i}."
        shapes |= {
            at + "attention.wqkv.weight": ((s["heads"] + 2 * s["kv_heads"]) * head, h),
            at + "attention.wo.weight": (h, h),
            at + "feed_forward.w1.weight": (s["mlp"], h),
            at + "feed_forward.w3.weight": (s["mlp"], h),
            at + "feed_forward.w2.weight": (h, s["mlp"]),
            at + "attention_norm.weight": (h,),
            at + "ffn_norm.weight": (h,),
        }
    return {name: torch.randn(shape) * 0.2 for name, shape in shapes.items()}


def vlac_config(s: dict) -> dict:
    """config.json in the released layout."""
    vision = {
        "hidden_size": s["vision_hidden"],
        "num_hidden_layers": s["vision_layers"],
        "num_attention_heads": s["vision_heads"],
        "intermediate_size": s["vision_mlp"],
        "image_size": s["image_size"],
        "patch_size": 14,
        "qkv_bias": True,
        "qk_normalization": False,
        "norm_type": "layer_norm",
        "layer_norm_eps": 1e-6,
        "hidden_act": "gelu",
    }
    text = {
        "architectures": ["InternLM2ForCausalLM"],
        "vocab_size": s["vocabulary"],
        "hidden_size": s["hidden"],
        "num_hidden_layers": s["layers"],
        "num_attention_heads": s["heads"],
        "num_key_value_heads": s["kv_heads"],
        "intermediate_size": s["mlp"],
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "bias": False,
        "rope_theta": 1000000,
        "rope_scaling": {"type": "dynamic", "factor": 2.0},
    }
    return {
        "architectures": ["InternVLChatModel"],
        "model_type": "internvl_chat",
        "downsample_ratio": 0.5,
        "ps_version": "v2",
        "select_layer": -1,
        "force_image_size": s["image_size"],
        "vision_config": vision,
        "llm_config": text,
    }


def write_vlac(path, sizes: dict = VLAC_TINY, seed: int = 0, weights: dict | None = None) -> Path:
    """A VLAC folder in the released layout: safetensors, config.json, tokenizer.model, tokenizer_config.json,
    added_tokens.json.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    save_file(vlac_weights(sizes) if weights is None else weights, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(vlac_config(sizes)))
    (path / "tokenizer.model").write_bytes(sentencepiece_model())
    first = sizes["vocabulary"] - 6
    decoder = {str(first + i): {"content": token} for i, token in enumerate(("<|im_end|>", "<|im_start|>"))}
    (path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": decoder}))
    added = {token: first + 2 + i for i, token in enumerate(("<img>", "</img>", "<IMG_CONTEXT>"))}
    (path / "added_tokens.json").write_text(json.dumps(added))
    return path
