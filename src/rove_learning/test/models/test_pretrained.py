# SPDX-License-Identifier: Apache-2.0
"""Pretrained backbones as tiny random models of the real classes: a tree mask is two naive passes; VLAC runs without
remote code.
"""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rove_contract import images
from rove_learning.config import NEGATIVE, POSITIVE, ActorConfig, BackboneConfig, CriticConfig
from rove_learning.inference import checkpoint
from rove_learning.models.actor import Actor
from rove_learning.models.backbone import Pictures, build
from rove_learning.models.critic import Critic
from rove_learning.models.guidance import guide, sample

transformers = pytest.importorskip("transformers")

from rove_learning.models import vlac  # noqa: E402
from rove_learning.models.pretrained import BackboneError  # noqa: E402
from rove_learning.testing import synthetic_vlm  # noqa: E402

TEXTS = ["erase the whiteboard", "put the bread on the plate"]


@pytest.fixture(scope="module")
def qwen_path(tmp_path_factory):
    return synthetic_vlm.write_qwen3vl(tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def vlac_path(tmp_path_factory):
    return synthetic_vlm.write_vlac(tmp_path_factory.mktemp("vlac"))


def qwen_config(path, **changes):
    return BackboneConfig(kind="qwen3vl", path=str(path), image_size=64, dtype="float32", **changes)


def vlac_config(path, **changes):
    values = {"image_size": 56, "layer": 3} | changes
    return BackboneConfig(kind="vlac", path=str(path), dtype="float32", **values)


@pytest.fixture(scope="module")
def qwen(qwen_path):
    return build(qwen_config(qwen_path))


def picture(n=1, size=64, seed=0):
    return torch.randint(0, 256, (n, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def native_pass(backbone, image, ids, layers=None):
    """transformers' own forward on one picture and one plain sequence of ids; layers: only so many, without the final
    norm.
    """
    model, tokens = backbone.model, torch.tensor([ids])
    text, whole, norm, attention = (
        model.language_model,
        model.language_model.layers,
        model.language_model.norm,
        model.visual.config,
    )
    before, attention._attn_implementation = attention._attn_implementation, "sdpa"
    if layers is not None:
        text.layers, text.norm = whole[:layers], torch.nn.Identity()
    try:
        with torch.no_grad():
            out = model(
                input_ids=tokens,
                pixel_values=backbone.patches(image),
                image_grid_thw=torch.tensor([backbone.grid]),
                mm_token_type_ids=(tokens == model.config.image_token_id).int(),
            )
    finally:
        text.layers, text.norm, attention._attn_implementation = whole, norm, before
    return out.last_hidden_state[0]


def test_guidance_in_one_pass_equals_two_naive_passes_of_transformers(qwen):
    images = picture(2)
    context = qwen(images, TEXTS, ([NEGATIVE] * 2, [POSITIVE] * 2))
    for b, text in enumerate(TEXTS):
        prefix = qwen.prompt(text)
        for k, condition in enumerate((NEGATIVE, POSITIVE)):
            naive = native_pass(qwen, images[b : b + 1], prefix + qwen.ending(condition))
            tokens, mask = context.conditions[k]
            assert torch.allclose(context.tokens[b][context.mask[b]], naive[: len(prefix)], atol=2e-5)
            assert torch.allclose(tokens[b][mask[b]], naive[len(prefix) :], atol=2e-5)


def test_endings_do_not_see_each_other_and_the_prefix_sees_neither(qwen):
    def tokens(first, second):
        return qwen(picture(), TEXTS[:1], ([first], [second]))

    a, b = tokens(NEGATIVE, POSITIVE), tokens(NEGATIVE, "something else, and longer")
    assert torch.allclose(a.tokens, b.tokens, atol=1e-6)
    mask = a.conditions[0][1][0]
    assert torch.allclose(a.conditions[0][0][0, mask], b.conditions[0][0][0, : len(mask)][mask], atol=1e-6)
    assert not torch.allclose(a.conditions[0][0], a.conditions[1][0], atol=1e-2)


def test_a_padded_row_and_a_larger_batch_change_nothing(qwen):
    images = picture(2)
    both = qwen(images, TEXTS, ([POSITIVE, NEGATIVE],))
    alone = qwen(images[1:], TEXTS[1:], ([NEGATIVE],))
    assert torch.allclose(both.tokens[1][both.mask[1]], alone.tokens[0][alone.mask[0]], atol=2e-5)
    assert torch.allclose(both.conditions[0][0][1], alone.conditions[0][0][0], atol=2e-5)


def guided_naively(actor, image, text, state, noise, beta):
    """Two branches that share nothing: own pass of the backbone, own keys and values, own Euler integration in step."""
    x, steps = noise, actor.config.euler_steps
    visible = torch.ones(1, dtype=torch.bool)
    with torch.no_grad():
        prepared = []
        for condition in (NEGATIVE, POSITIVE):
            context = actor.backbone(image, [text], ([condition],))
            prepared.append(actor.head.prepare(context, context.conditions[0]))
        for i in range(steps):
            v = [actor.velocity(x, torch.tensor([i / steps]), state, visible, part) for part in prepared]
            x = x + guide(*v, beta) / steps
    return x


def tiny_actor(backbone, **changes):
    torch.manual_seed(0)
    actor = Actor(
        ActorConfig(backbone=backbone.config, width=32, layers=2, heads=2, **changes), backbone=backbone
    ).eval()
    torch.nn.init.normal_(actor.head.out.weight, std=0.1)
    return actor


def test_guided_chunk_equals_two_separate_branches(qwen):
    actor, state, noise = tiny_actor(qwen), torch.randn(1, 50), torch.randn(1, 50, 50)
    one = sample(actor, Pictures(picture(), TEXTS[:1], ([NEGATIVE], [POSITIVE])), state, noise, 1.7)
    assert torch.allclose(one, guided_naively(actor, picture(), TEXTS[0], state, noise, 1.7), atol=1e-4)


def test_head_computes_keys_and_values_of_the_prefix_once_per_chunk(qwen, monkeypatch):
    actor, rows = tiny_actor(qwen), []
    attention = actor.head.blocks[0].cross_attention
    cache = attention.cache
    monkeypatch.setattr(attention, "cache", lambda tokens: rows.append(tuple(tokens.shape[:2])) or cache(tokens))
    observation = Pictures(picture(), TEXTS[:1], ([NEGATIVE], [POSITIVE]))
    sample(actor, observation, torch.randn(1, 50), torch.randn(1, 50, 50), 1.7)
    n = len(qwen.prompt(TEXTS[0]))
    assert rows == [(1, n), (2, len(qwen.ending(POSITIVE)))]


@pytest.mark.parametrize("layer", [1, 3, 4])
def test_an_intermediate_layer_is_the_hidden_state_after_that_many_layers(qwen_path, layer):
    backbone = build(qwen_config(qwen_path, layer=layer))
    tokens = backbone(picture(), TEXTS[:1]).tokens[0]
    assert torch.allclose(tokens, native_pass(backbone, picture(), backbone.prompt(TEXTS[0]), layers=layer), atol=2e-5)


def test_one_pass_serves_actor_and_critic(qwen_path, qwen):
    below = build(qwen_config(qwen_path, layer=2))
    assert below.model is qwen.model, "two backbones of one folder hold its weights once"
    final, middle = qwen.features(picture(), TEXTS[:1], ([POSITIVE],), (-1, 2))
    assert torch.equal(final.tokens, qwen(picture(), TEXTS[:1], ([POSITIVE],)).tokens)
    assert torch.allclose(middle.tokens, below(picture(), TEXTS[:1]).tokens, atol=1e-5)


def test_live_preprocessing_is_the_released_one(qwen):
    from transformers import Qwen2VLImageProcessorPil

    released = Qwen2VLImageProcessorPil(**qwen.processor)
    camera = np.random.default_rng(0).integers(0, 256, (96, 80, 3), dtype=np.uint8)
    small = images.resize(camera, (64, 64))
    expected = released([small], return_tensors="pt")
    assert expected["image_grid_thw"].tolist() == [list(qwen.grid)]
    assert torch.allclose(qwen.patches(torch.from_numpy(small.copy())[None]), expected["pixel_values"], atol=1e-6)


def test_other_settings_of_the_processor_are_refused_by_name(qwen_path):
    with pytest.raises(
        BackboneError, match="image_size 48 does not suit this Qwen3-VL: a multiple of 32 px, at least 64"
    ):
        build(replace(qwen_config(qwen_path), image_size=48))
    with pytest.raises(BackboneError, match="this model has 1 to 4, or -1"):
        build(qwen_config(qwen_path, layer=5))
    with pytest.raises(BackboneError, match="neither a folder nor a hub id"):
        build(qwen_config("/nowhere/qwen"))


def test_an_instruction_cannot_forge_control_tokens(qwen):
    with pytest.raises(ValueError, match=r"contains the control token <\|im_end\|>"):
        qwen(picture(), ["erase<|im_end|>"])
    with pytest.raises(ValueError, match="expected 1 to 64"):
        qwen(picture(), ["x" * 65])


def test_bfloat16_weights_keep_rotary_frequencies_in_float32(qwen_path):
    backbone = build(replace(qwen_config(qwen_path), dtype="bfloat16"))
    assert backbone.text.embed_tokens.weight.dtype == torch.bfloat16
    assert backbone.text.rotary_emb.inv_freq.dtype == backbone.visual.rotary_pos_emb.inv_freq.dtype == torch.float32
    exact = build(qwen_config(qwen_path))(picture(), TEXTS[:1]).tokens
    assert (backbone(picture(), TEXTS[:1]).tokens.float() - exact).abs().max() < 0.3  # of values around 1


@pytest.mark.parametrize("change", ["missing", "extra", "misshaped"])
def test_a_qwen_checkpoint_with_wrong_weights_is_refused_by_name(tmp_path, change):
    path = synthetic_vlm.write_qwen3vl(tmp_path / "q")
    state = load_file(path / "model.safetensors")
    name = next(key for key in state if key.endswith("layers.1.mlp.up_proj.weight"))
    value = state.pop(name)
    if change == "extra":
        state |= {name: value, name.replace("up_proj", "side_proj"): value.clone()}
    if change == "misshaped":
        state[name] = value[:5]
    save_file({key: x.contiguous() for key, x in state.items()}, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        BackboneError, match=f"1 {change} weights, e.g. .*layers.1.mlp.{'side' if change == 'extra' else 'up'}_proj"
    ):
        build(qwen_config(path))


# VLAC


def released_layers(path):
    """Weights of the released layout, by name."""
    return load_file(path / "model.safetensors")


def internlm2_layer(x, weights, at, heads, kv_heads, positions, theta=1e6, eps=1e-5):
    """One InternLM2 layer written from its published equations on the released names. x: (n, D)."""
    n, width = x.shape
    head = width // heads
    groups = heads // kv_heads

    def norm(value, weight):
        return value * torch.rsqrt(value.pow(2).mean(-1, keepdim=True) + eps) * weight

    def rotate(value):  # (n, heads, head)
        frequency = theta ** (-torch.arange(0, head, 2) / head)
        angle = torch.cat([positions[:, None] * frequency] * 2, dim=1)[:, None]
        half = torch.cat([-value[..., head // 2 :], value[..., : head // 2]], dim=-1)
        return value * angle.cos() + half * angle.sin()

    qkv = norm(x, weights[at + "attention_norm.weight"]) @ weights[at + "attention.wqkv.weight"].T
    qkv = qkv.view(n, kv_heads, groups + 2, head)
    q = rotate(qkv[:, :, :groups].reshape(n, heads, head))
    k, v = (part.repeat_interleave(groups, dim=1) for part in (rotate(qkv[:, :, -2]), qkv[:, :, -1]))
    scores = torch.einsum("qhd,khd->hqk", q, k) / head**0.5
    scores = scores.masked_fill(~torch.ones(n, n, dtype=torch.bool).tril(), -torch.inf)
    x = (
        x
        + torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(n, width) @ weights[at + "attention.wo.weight"].T
    )
    y = norm(x, weights[at + "ffn_norm.weight"])
    gate, up = (y @ weights[at + f"feed_forward.{w}.weight"].T for w in ("w1", "w3"))
    return x + (torch.nn.functional.silu(gate) * up) @ weights[at + "feed_forward.w2.weight"].T


def internvl_picture(pixels, weights, s):
    """Vision tower, pixel shuffle and projector on the released names. pixels: (3, S, S) -> (n, D)."""
    F = torch.nn.functional
    at = "vision_model.embeddings."
    x = F.conv2d(pixels[None], weights[at + "patch_embedding.weight"], weights[at + "patch_embedding.bias"], stride=14)
    x = (
        torch.cat([weights[at + "class_embedding"], x.flatten(2).transpose(1, 2)], dim=1)
        + weights[at + "position_embedding"]
    )
    for i in range(s["vision_layers"]):
        w = {
            key.split(f"layers.{i}.")[1]: value
            for key, value in weights.items()
            if f"vision_model.encoder.layers.{i}." in key
        }
        y = F.layer_norm(x, x.shape[-1:], w["norm1.weight"], w["norm1.bias"], 1e-6)
        qkv = F.linear(y, w["attn.qkv.weight"], w["attn.qkv.bias"])
        q, k, v = qkv.view(1, x.shape[1], 3, s["vision_heads"], -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + F.linear(y, w["attn.proj.weight"], w["attn.proj.bias"]) * w["ls1"]
        y = F.layer_norm(x, x.shape[-1:], w["norm2.weight"], w["norm2.bias"], 1e-6)
        y = F.linear(
            F.gelu(F.linear(y, w["mlp.fc1.weight"], w["mlp.fc1.bias"])), w["mlp.fc2.weight"], w["mlp.fc2.bias"]
        )
        x = x + y * w["ls2"]
    side = s["image_size"] // 14
    x = x[0, 1:].view(side, side, -1)
    # Pixel shuffle, version 2, scale 1/2: width first, then height, then the two axes are swapped back.
    x = x.view(side, side // 2, -1).permute(1, 0, 2).reshape(side // 2, side // 2, -1).permute(1, 0, 2).flatten(0, 1)
    x = F.layer_norm(x, x.shape[-1:], weights["mlp1.0.weight"], weights["mlp1.0.bias"])
    x = F.gelu(F.linear(x, weights["mlp1.1.weight"], weights["mlp1.1.bias"]))
    return F.linear(x, weights["mlp1.3.weight"], weights["mlp1.3.bias"])


def test_vlac_mapping_computes_what_the_released_layout_describes(vlac_path):
    s, weights, backbone = synthetic_vlm.VLAC_TINY, released_layers(vlac_path), build(vlac_config(vlac_path))
    image = picture(size=56)
    tokens = backbone(image, TEXTS[:1]).tokens[0]
    pixels = (image[0].permute(2, 0, 1) / 255.0 - torch.tensor(vlac.MEAN)[:, None, None]) / torch.tensor(vlac.STD)[
        :, None, None
    ]
    ids = torch.tensor(backbone.prompt(TEXTS[0]))
    x = weights["language_model.model.tok_embeddings.weight"][ids]
    seen = internvl_picture(pixels, weights, s)
    x[ids == backbone.vocabulary.control["<IMG_CONTEXT>"]] = seen
    for i in range(3):  # layer 3 of 4
        x = internlm2_layer(
            x, weights, f"language_model.model.layers.{i}.", s["heads"], s["kv_heads"], torch.arange(len(ids))
        )
    assert len(seen) == 4 and torch.allclose(tokens, x, atol=1e-4)


def test_vlac_default_layer_is_what_enters_the_last_of_24(vlac_path, tmp_path):
    backbone = build(
        vlac_config(synthetic_vlm.write_vlac(tmp_path, synthetic_vlm.VLAC_TINY | {"layers": 24}), layer=None)
    )
    assert backbone.layer == 23 and len(backbone.text.layers) == 23
    assert isinstance(backbone.text.norm, torch.nn.Identity)


def test_vlac_maps_every_weight_of_the_published_layout_to_one_of_the_same_shape():
    """At full size, on the meta device."""
    sizes, mapped = synthetic_vlm.VLAC_2B, {}
    config = vlac.native_config(synthetic_vlm.vlac_config(sizes))
    with torch.device("meta"):
        model = transformers.InternVLModel(config)
        for key, value in synthetic_vlm.vlac_weights(sizes).items():
            if key != vlac.DROPPED:
                mapped |= dict(zip(vlac.targets(key), vlac.cut(key, value, config), strict=True))
    expected = {name: value.shape for name, value in model.state_dict().items()}
    assert {name: value.shape for name, value in mapped.items()} == expected
    assert sum(shape.numel() for shape in expected.values()) == pytest.approx(
        2.0e9, rel=0.02
    )  # of 2.2, less the layer that predicts words


@pytest.mark.parametrize(
    "key",
    [
        "language_model.model.layers.3.attention.wqkv.weight",
        "vision_model.encoder.layers.1.attn.qkv.bias",
        "mlp1.3.weight",
    ],
)
@pytest.mark.parametrize("change", ["missing", "extra", "misshaped"])
def test_vlac_refuses_wrong_weights_by_name(vlac_path, tmp_path, key, change):
    weights = released_layers(vlac_path)
    value = weights.pop(key)
    if change == "extra":
        weights |= {key: value, key + "_again": value.clone()}
    if change == "misshaped":
        weights[key] = value[1:].clone()
    path = synthetic_vlm.write_vlac(tmp_path, weights=weights)
    expected = {"missing": vlac.targets(key)[0], "extra": key + "_again", "misshaped": key}[change]
    with pytest.raises(BackboneError, match=rf"\d {change} weights, e.g. .*{expected}"):
        build(vlac_config(path))


def test_vlac_refuses_another_architecture_and_a_lacking_vocabulary(tmp_path):
    path = synthetic_vlm.write_vlac(tmp_path)
    config = synthetic_vlm.vlac_config(synthetic_vlm.VLAC_TINY)
    config["llm_config"]["architectures"] = ["Qwen2ForCausalLM"]
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BackboneError, match="llm_config.architectures .*expected .*InternLM2"):
        build(vlac_config(path))
    (path / "added_tokens.json").write_text(json.dumps({"<img>": 3}))
    with pytest.raises(BackboneError, match="added tokens lack </img>, <IMG_CONTEXT>"):
        build(vlac_config(path))


@pytest.mark.parametrize("kind", ["qwen3vl", "vlac"])
def test_weights_are_held_once_until_their_file_changes(kind, tmp_path):
    write, config = {
        "qwen3vl": (synthetic_vlm.write_qwen3vl, qwen_config),
        "vlac": (synthetic_vlm.write_vlac, vlac_config),
    }[kind]
    path = write(tmp_path)
    first, again = build(config(path)), build(config(path))
    assert again.model is first.model and again.fingerprint == first.fingerprint
    file = next(path.glob("*.safetensors"))
    save_file({name: value + 1.0 for name, value in load_file(file).items()}, file, metadata={"format": "pt"})
    os.utime(file, ns=(0, 0))
    other = build(config(path))
    assert other.fingerprint != first.fingerprint
    norm, theirs = (next(p for n, p in m.model.named_parameters() if "layernorm" in n) for m in (first, other))
    torch.testing.assert_close(theirs, norm + 1.0)


def test_no_file_of_a_checkpoint_is_executed(qwen_path, vlac_path):
    for path, config in ((qwen_path, qwen_config(qwen_path)), (vlac_path, vlac_config(vlac_path))):
        file = path / "modeling_custom.py"
        file.write_text("raise SystemExit('remote code ran')\n")
        original = (path / "config.json").read_text()
        settings = json.loads(original)
        settings["auto_map"] = {"AutoModel": "modeling_custom.Custom", "AutoConfig": "modeling_custom.Config"}
        (path / "config.json").write_text(json.dumps(settings))
        try:
            assert build(config).fingerprint
        finally:
            file.unlink()
            (path / "config.json").write_text(original)


# Checkpoints


def saved(tmp_path, qwen_path, vlac_path):
    torch.manual_seed(0)
    actor = tiny_actor(build(qwen_config(qwen_path)))
    critic = Critic(CriticConfig(backbone=vlac_config(vlac_path), width=16, heads=2)).eval()
    torch.nn.init.normal_(critic.head.out.weight, std=0.1)
    return actor, critic, checkpoint.save(tmp_path / "policy", actor, critic)


def test_a_checkpoint_holds_heads_and_says_where_its_backbones_are(tmp_path, qwen_path, vlac_path):
    actor, critic, path = saved(tmp_path, qwen_path, vlac_path)
    for name in ("actor", "critic"):
        assert not any(key.startswith("backbone.") for key in load_file(path / f"{name}.safetensors"))
    info = json.loads((path / "config.json").read_text())
    assert info["actor"]["backbone"]["path"] == str(qwen_path)
    assert info["fingerprints"] == {"actor": actor.backbone.fingerprint, "critic": critic.backbone.fingerprint}
    policy = checkpoint.load(path)
    image = np.random.default_rng(0).integers(0, 256, (72, 96, 3), dtype=np.uint8)
    q = np.zeros(50)
    expected = checkpoint.Policy(actor, critic, info, "").act(image, q, TEXTS[0])
    assert np.allclose(policy.act(image, q, TEXTS[0]), expected, atol=1e-5)
    assert policy.value(image, TEXTS[0]) == pytest.approx(
        float(critic.value(Pictures(torch.from_numpy(images.resize(image, (56, 56)).copy())[None], TEXTS[:1]))[0]),
        abs=1e-5,
    )


def test_a_backbone_that_moved_is_found_and_another_one_refused(tmp_path, qwen_path, vlac_path):
    _, _, path = saved(tmp_path, qwen_path, vlac_path)
    moved = synthetic_vlm.write_qwen3vl(tmp_path / "moved")  # the same seed: the same weights
    checkpoint.load(path, backbones={"actor": str(moved)})
    other = synthetic_vlm.write_qwen3vl(tmp_path / "other", seed=1)
    with pytest.raises(checkpoint.CheckpointError, match="its actor was trained on the backbone"):
        checkpoint.load(path, backbones={"actor": str(other)})
    with pytest.raises(checkpoint.CheckpointError, match="neither a folder nor a hub id"):
        checkpoint.load(path, backbones={"actor": str(tmp_path / "gone")})


def test_a_policy_whose_critic_shares_the_backbone_encodes_once(tmp_path, qwen_path, monkeypatch):
    actor = tiny_actor(build(qwen_config(qwen_path)))
    critic = Critic(CriticConfig(backbone=qwen_config(qwen_path, layer=2), width=16, heads=2)).eval()
    torch.nn.init.normal_(critic.head.out.weight, std=0.1)
    policy = checkpoint.load(checkpoint.save(tmp_path / "p", actor, critic))
    image, passes = np.random.default_rng(0).integers(0, 256, (72, 96, 3), dtype=np.uint8), []
    chunk, value = policy.act(image, np.zeros(50), TEXTS[0]), policy.value(image, TEXTS[0])
    cls = type(policy.actor.backbone)
    see = cls.see
    monkeypatch.setattr(cls, "see", lambda self, images: passes.append(1) or see(self, images))
    both = policy.act_and_value(image, np.zeros(50), TEXTS[0])
    assert len(passes) == 1
    assert np.allclose(both[0], chunk, atol=1e-5) and both[1] == pytest.approx(value, abs=1e-5)


def test_live_pictures_are_the_training_cache_s(tmp_path, qwen_path):
    from rove_learning.data.buffer import Buffer
    from rove_learning.data.dataset import Dataset
    from rove_learning.data.observations import PictureObservations
    from rove_learning.testing.synthetic import episode_frames, write_dataset

    root = write_dataset(tmp_path / "tiny", [episode_frames(0, 6)])
    policy = checkpoint.load(checkpoint.save(tmp_path / "p", tiny_actor(build(qwen_config(qwen_path)))))
    dataset = Dataset(root)
    offline = PictureObservations(Buffer([dataset], 64, progress=False))(np.array([3])).images
    raw = np.array(Buffer([dataset], 48, progress=False).images(np.array([3]))[0])  # as the camera saw it
    live = policy._picture(raw, policy.actor.backbone)
    assert torch.equal(live, offline)
    a, b = (policy.actor.backbone(x, TEXTS[:1]).tokens for x in (live, offline))
    assert torch.equal(a, b)


def test_head_in_bfloat16_stays_close(qwen):
    actor, state, noise = tiny_actor(qwen), torch.randn(1, 50), torch.randn(1, 50, 50)
    observation = Pictures(picture(), TEXTS[:1], ([NEGATIVE], [POSITIVE]))
    exact = sample(actor, observation, state, noise, 1.7)
    actor.head.bfloat16().out.float()  # as on a GPU
    rough = sample(actor, observation, state, noise, 1.7)
    assert rough.dtype == torch.float32 and (rough - exact).abs().mean() < 0.02 * exact.abs().mean()
