# SPDX-License-Identifier: Apache-2.0
"""The scene backbone: its weights come with the package and stay out of checkpoints, and it knows where things are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rove_learning.command_line import read_yaml
from rove_learning.config import ActorConfig, BackboneConfig, CriticConfig, from_dict
from rove_learning.deployment import glimpses
from rove_learning.inference import checkpoint
from rove_learning.models import scene
from rove_learning.models.actor import Actor
from rove_learning.models.backbone import build
from rove_learning.models.critic import Critic
from rove_learning.models.pretrained import BackboneError
from rove_learning.models.scene import RANDOM
from rove_learning.training import pretrain_backbone
from rove_sim.tasks import task as tasks

TINY = BackboneConfig(
    kind="scene", image_size=24, channels=(8, 8), width=16, layers=2, heads=2, queries=3, text_bytes=40, path=RANDOM
)


@pytest.fixture(scope="module")
def world():
    world = tasks.TOAST_BREAD.make_world(32)
    yield world
    world.close()


@pytest.mark.parametrize("name", ["scene", "demo"])
def test_the_packages_weights_fit_the_settings_that_ship_and_say_which_tasks_they_know(name):
    config = from_dict(BackboneConfig, read_yaml(name)["actor"]["backbone"])
    assert build(config).fingerprint != RANDOM
    assert scene.known_tasks(config) and set(scene.known_tasks(config)) <= {task.name for task in tasks.TASKS}
    assert scene.known_tasks(replace(config, cameras=("left_wrist",))) == ()


def pictures(n):
    return torch.randint(0, 256, (n, 24, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_its_few_tokens_tell_pictures_and_instructions_apart():
    torch.manual_seed(0)
    backbone = build(TINY)
    tokens = backbone(pictures(2), ["one task", "one task"]).tokens
    assert tokens.shape == (2, 3, 16)
    assert not torch.allclose(tokens[0], tokens[1])
    assert not torch.allclose(tokens, backbone(pictures(2), ["one task", "another"]).tokens)


@pytest.mark.parametrize("task", tasks.TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("seed", [1, 2])
def test_landmarks_are_where_the_state_says_also_from_the_camera_and_the_palm(task, seed):
    world = task.make_world(32)
    world.reset(seed, task.start_stages[0])
    points, amounts = world.landmarks()
    seen, again = glimpses.describe(world)
    position, rotation = world.camera_pose()
    in_camera, from_palm = np.split(seen, 2)
    world.close()
    np.testing.assert_allclose(in_camera @ rotation.T + position, points, atol=1e-12)
    np.testing.assert_allclose(from_palm + world.state()["hand_pos"], points, atol=1e-4)  # the state is rounded
    np.testing.assert_array_equal(amounts, again)
    assert amounts[0] == pytest.approx(world.state()["progress"], abs=1e-4)
    assert (in_camera[2:, 2] < 0.0).all()  # before the lens, which looks along -z


def test_the_slice_nearest_the_hand_comes_first(world):
    world.reset(3, "above_slot")
    points, _ = world.landmarks()
    middles = points[[4, 7]]
    palm = world.site("right_palm")
    assert np.linalg.norm(middles[0] - palm) < np.linalg.norm(middles[1] - palm)
    held = world.state()["slices"][world.state()["held"]]
    np.testing.assert_allclose(middles[0], held["position"], atol=1e-4)


def test_pretraining_goes_on_after_a_kill_and_its_weights_make_one_policy_everywhere(tmp_path, monkeypatch):
    config = pretrain_backbone.PretrainConfig(
        tmp_path / "scene.safetensors",
        tasks=("toast_bread",),
        glimpses=4,
        steps=4,
        batch=2,
        workers=1,
        threads=1,
        backbone=TINY,
    )
    monkeypatch.setattr(pretrain_backbone, "SAVE_EVERY", 2)
    monkeypatch.setattr(pretrain_backbone, "HELD_OUT", 0.5)
    whole = pretrain_backbone.pretrain(config)
    weights = config.out.read_bytes()
    assert whole["held_out"]["toast_bread"]["pictures"] > 0

    config.out.unlink()
    measure, calls = pretrain_backbone.measure, []

    def killed(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*args)

    monkeypatch.setattr(pretrain_backbone, "measure", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain_backbone.pretrain(config)
    monkeypatch.setattr(pretrain_backbone, "measure", measure)
    assert not config.out.exists()
    with pytest.raises(ValueError, match="other settings"):
        pretrain_backbone.pretrain(replace(config, lr=0.1))
    pretrain_backbone.pretrain(config)
    assert config.out.read_bytes() == weights

    trained = replace(TINY, path=str(config.out))
    actor = Actor(ActorConfig(backbone=trained, width=16, layers=1, heads=2), 50)
    critic = Critic(CriticConfig(backbone=trained, width=16, heads=2), actor.backbone)
    critic.scale.fill_(800.0)
    checkpoint.save(tmp_path / "policy", actor, critic)
    policy = checkpoint.load(tmp_path / "policy")
    image, q = pictures(1)[0].numpy(), np.zeros(50)
    chunk = policy.act(image, q, "put the bread into the toaster")
    assert not any(p.requires_grad for p in policy.actor.backbone.parameters())

    other = tmp_path / "other.safetensors"
    torch.manual_seed(9)
    build(TINY).save(other)
    with pytest.raises(checkpoint.CheckpointError, match="backbone"):
        checkpoint.load(tmp_path / "policy", backbones={"actor": str(other), "critic": str(other)})
    other.write_bytes(weights)
    moved = checkpoint.load(tmp_path / "policy", backbones={"actor": str(other), "critic": str(other)})
    np.testing.assert_array_equal(moved.act(image, q, "put the bread into the toaster"), chunk)


@pytest.mark.parametrize(
    "change, message",
    [({"glimpses": 0}, "0 glimpses"), ({"tasks": ("juggle",)}, "juggle"), ({"batch": 10**6}, "fewer than a batch")],
)
def test_what_cannot_be_pretrained_on_is_said_before_the_work(tmp_path, change, message):
    config = pretrain_backbone.PretrainConfig(
        tmp_path / "scene.safetensors", tasks=("toast_bread",), glimpses=2, workers=1, threads=1, backbone=TINY
    )
    with pytest.raises(ValueError, match=message):
        pretrain_backbone.pretrain(replace(config, **change))
    assert not config.out.exists()


def test_weights_that_are_missing_or_of_other_sizes_are_named(tmp_path):
    with pytest.raises(BackboneError, match="pretrain_backbone"):
        build(replace(TINY, path=str(tmp_path / "none.safetensors")))
    build(TINY).save(tmp_path / "small.safetensors")
    with pytest.raises(BackboneError, match="sizes"):
        build(replace(TINY, width=32, path=str(tmp_path / "small.safetensors")))
