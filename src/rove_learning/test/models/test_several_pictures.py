# SPDX-License-Identifier: Apache-2.0
"""Qwen3-VL with several pictures per step, as a tiny random model of the real class: from the prompt through actor,
critic and cached features to the policy. Order and names of the cameras stand in the checkpoint.
"""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from rove_description import robot
from rove_learning.config import (
    NEGATIVE,
    POSITIVE,
    ActorConfig,
    BackboneConfig,
    CriticConfig,
    RegulariseConfig,
    TrainConfig,
)
from rove_learning.inference import checkpoint, chunk_graph
from rove_learning.models.actor import Actor
from rove_learning.models.backbone import Pictures, build
from rove_learning.models.critic import Critic
from rove_learning.models.guidance import sample
from rove_learning.testing.synthetic import ACTOR, CRITIC, episode_frames
from rove_learning.train import train
from rove_recorder.dataset.lerobot import DatasetWriter

synthetic_vlm = pytest.importorskip("rove_learning.testing.synthetic_vlm")

TEXT = "erase the whiteboard"
QUIET = RegulariseConfig(dropout=0.0, noise=0.0, image_gain=0.0)
THREE = ("left_wrist", "ego", "right_wrist")  # neither the alphabet's nor the dataset's order
SIDE, TOKENS = 64, 4  # px, and tokens of a picture of this size


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return synthetic_vlm.write_qwen3vl(tmp_path_factory.mktemp("qwen"))


def config(path, cameras, **changes):
    values = {"dtype": "float32"} | changes
    return BackboneConfig(kind="qwen3vl", path=str(path), image_size=SIDE, cameras=cameras, **values)


@pytest.fixture(scope="module", params=[2, 3], ids=["two cameras", "three cameras"])
def backbone(request, path):
    return build(config(path, THREE[: request.param]))


def pictures(backbone, rows=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (rows, *backbone.picture_shape), dtype=torch.uint8, generator=generator)


def native_pass(backbone, images, ids):
    """transformers' own forward on the pictures of one moment (C, S, S, 3) and one plain sequence of ids."""
    model, tokens, attention = backbone.model, torch.tensor([ids]), backbone.model.visual.config
    before, attention._attn_implementation = attention._attn_implementation, "sdpa"
    try:
        with torch.no_grad():
            out = model(
                input_ids=tokens,
                pixel_values=backbone.patches(images),
                image_grid_thw=torch.tensor([backbone.grid] * len(images)),
                mm_token_type_ids=(tokens == model.config.image_token_id).int(),
            )
    finally:
        attention._attn_implementation = before
    return out.last_hidden_state[0]


def test_the_prompt_is_the_released_template_with_every_picture_between_its_own_marks(backbone):
    picture = "<|vision_start|>" + "<|image_pad|>" * TOKENS + "<|vision_end|>"
    expected = "<|im_start|>user\n" + picture * len(backbone.cameras) + TEXT
    assert backbone.tokenizer.decode(backbone.prompt(TEXT), skip_special_tokens=False) == expected


def test_one_pass_over_all_pictures_equals_the_naive_passes_of_transformers(backbone):
    images, texts = pictures(backbone, 2), [TEXT, "put the bread on the plate"]
    context = backbone(images, texts, ([NEGATIVE] * 2, [POSITIVE] * 2))
    for b, text in enumerate(texts):
        prefix = backbone.prompt(text)
        for (tokens, mask), condition in zip(context.conditions, (NEGATIVE, POSITIVE)):
            naive = native_pass(backbone, images[b], prefix + backbone.ending(condition))
            assert torch.allclose(context.tokens[b][context.mask[b]], naive[: len(prefix)], atol=2e-5)
            assert torch.allclose(tokens[b][mask[b]], naive[len(prefix) :], atol=2e-5)


def test_the_picture_of_every_camera_and_their_order_reach_the_instruction(backbone):
    images = pictures(backbone)
    last = backbone(images, [TEXT]).tokens[0, -1]
    others = [images.flip(1)]
    for camera in range(len(backbone.cameras)):
        others.append(images.clone())
        others[-1][:, camera] = 255 - images[:, camera]
    for changed in others:
        assert not torch.allclose(backbone(changed, [TEXT]).tokens[0, -1], last, atol=1e-3)
    with pytest.raises(ValueError, match=rf"expected pictures \(B, {len(backbone.cameras)}, 64, 64, 3\)"):
        backbone(images[:, 0], [TEXT])


def heads(actor_backbone, critic_backbone):
    """Random heads, not the zero output they begin training with."""
    torch.manual_seed(0)
    actor = Actor(ActorConfig(backbone=actor_backbone, width=32, layers=2, heads=2)).eval().requires_grad_(False)
    critic = Critic(CriticConfig(backbone=critic_backbone, width=16, heads=2)).eval().requires_grad_(False)
    for head in (actor.head, critic.head):
        torch.nn.init.normal_(head.out.weight, std=0.1)
    return actor, critic


def test_actor_and_critic_give_the_same_from_pictures_features_and_fixed_buffers(backbone):
    actor, critic = heads(backbone.config, replace(backbone.config, layer=2))
    images, state, noise = pictures(backbone), torch.randn(1, 50), torch.randn(1, 50, 50)
    seen = Pictures(images, [TEXT], ([NEGATIVE], [POSITIVE]))
    chunk, value = sample(actor, seen, state, noise, 1.7), critic.value(Pictures(images, [TEXT]))
    assert torch.allclose(sample(actor, actor.backbone(*seen), state, noise, 1.7), chunk, atol=1e-5)
    together = chunk_graph.infer(actor, critic, seen, state, noise, 1.7)
    static = chunk_graph.chunk_step(actor, TEXT, 1.7)(images=images, state=state, noise=noise)
    assert torch.allclose(together[0], chunk, atol=1e-5) and torch.allclose(together[1], value, atol=1e-5)
    assert torch.allclose(static[0], chunk, atol=1e-5)
    moved = Pictures(images.flip(1), [TEXT], ([NEGATIVE], [POSITIVE]))
    assert not torch.allclose(sample(actor, moved, state, noise, 1.7), chunk, atol=1e-3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two episodes of three cameras of their own sizes."""
    root, sizes = tmp_path_factory.mktemp("data"), {"ego": (48, 48), "left_wrist": (24, 32), "right_wrist": (32, 24)}
    with DatasetWriter(root / "d", robot.load().card, 20, sizes, camera="image") as writer:
        for seed in (0, 1):
            episode = episode_frames(seed)
            rng = np.random.default_rng(seed)
            wrists = {
                name: rng.integers(0, 256, (len(episode), *sizes[name], 3), dtype=np.uint8)
                for name in ("left_wrist", "right_wrist")
            }
            writer.add_episode(replace(episode, images={"ego": episode.images, **wrists}))
    return root / "d"


@pytest.fixture(scope="module")
def trained(path, data, tmp_path_factory):
    """Runs with and without cached features: the actor sees three cameras, the critic two of them."""
    runs = {}
    # bfloat16: in it the cache, which stores bfloat16, loses nothing.
    backbone = config(path, THREE, dtype="bfloat16")
    actor = replace(ACTOR, backbone=backbone, steps=3, batch=4)
    critic = replace(CRITIC, backbone=replace(backbone, cameras=THREE[:2], layer=2), mc_steps=2, steps=2, batch=4)
    for cached in (True, False):
        out = tmp_path_factory.mktemp("run") / "run"
        settings = TrainConfig(
            (str(data),), str(out), threads=1, actor=actor, critic=critic, regularise=QUIET, feature_cache=cached
        )
        train(settings, progress=False)
        assert any((data / ".cache").glob("features-*/*.safetensors")) is cached
        shutil.rmtree(data / ".cache")
        runs[cached] = out
    return runs


def test_training_on_several_cameras_is_the_same_with_and_without_cached_features(trained):
    with_cache, without = (json.loads((trained[cached] / "history.json").read_text()) for cached in (True, False))
    for name, rows in with_cache.items():
        losses = [[row["loss"] for row in history] for history in (rows, without[name])]
        np.testing.assert_allclose(*losses, rtol=2e-3, err_msg=name)


def test_a_checkpoint_brings_back_the_cameras_in_their_order_and_the_same_actions(trained):
    policy = checkpoint.load(trained[True])
    assert policy.actor.backbone.cameras == THREE and policy.critic.backbone.cameras == THREE[:2]
    assert policy.cameras == THREE and not policy.shared, "actor and critic see different pictures"
    rng = np.random.default_rng(0)
    seen = {name: rng.integers(0, 256, (40, 56, 3), dtype=np.uint8) for name in sorted(THREE)}
    chunk, value = policy.act_and_value(seen, np.zeros(50), TEXT)
    assert chunk.shape == (50, 50) and np.isfinite(chunk).all() and -1.0 <= value <= 0.0
    again, _ = checkpoint.load(trained[True]).act_and_value(dict(reversed(seen.items())), np.zeros(50), TEXT)
    np.testing.assert_array_equal(again, chunk, err_msg="cameras go by their names, not by the order they come in")
    del seen["right_wrist"]
    with pytest.raises(ValueError, match="needs the picture of right_wrist, got ego, left_wrist"):
        policy.act(seen, np.zeros(50), TEXT)


def test_a_checkpoint_whose_cameras_were_put_in_another_order_is_refused(trained, tmp_path):
    shutil.copytree(trained[True], tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    info = json.loads(file.read_text())
    info["actor"]["backbone"]["cameras"] = list(THREE[::-1])
    file.write_text(json.dumps(info))
    with pytest.raises(checkpoint.CheckpointError, match="its actor was trained on the backbone"):
        checkpoint.load(tmp_path / "run")
