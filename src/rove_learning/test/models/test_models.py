# SPDX-License-Identifier: Apache-2.0
"""Critic and actor can learn what they are shown; a checkpoint gives back what went in; the live value is the trained
one.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from rove_description import joints, robot
from rove_learning.algorithm.advantage import Labels
from rove_learning.config import ActorConfig, CriticConfig, RegulariseConfig, RewardConfig, from_dict, to_dict
from rove_learning.data.buffer import Buffer
from rove_learning.data.dataset import Dataset
from rove_learning.data.observations import PictureObservations, TokenObservations
from rove_learning.inference import checkpoint
from rove_learning.inference.scoring import values
from rove_learning.models.actor import Actor
from rove_learning.models.backbone import Pictures, build
from rove_learning.models.blocks import TransformerLayer
from rove_learning.models.compact import CompactBackbone
from rove_learning.models.critic import Critic, ema_update
from rove_learning.models.guidance import sample
from rove_learning.testing.synthetic import ACTOR, BACKBONE, CRITIC, episode_frames, make_plan, write_dataset
from rove_learning.training.train_actor import joint_weights, train_actor
from rove_learning.training.train_critic import train_critic

QUIET = RegulariseConfig(dropout=0.0, noise=0.0, image_gain=0.0)
INSTRUCTION = "erase the whiteboard"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = write_dataset(tmp_path_factory.mktemp("tiny") / "tiny", [episode_frames(0, 20)])
    return Buffer([Dataset(root)], 48, progress=False)


def everything(buffer):
    return Labels(np.ones(len(buffer), dtype=bool), np.ones(len(buffer), dtype=bool), 0.0)


def test_default_head_has_at_most_three_million_parameters():
    assert sum(p.numel() for p in Actor(ActorConfig()).head.parameters()) <= 3_000_000


@pytest.mark.parametrize("size, channels", [(48, (8, 16, 32)), (96, (8, 8, 16, 32)), (192, (8, 8, 8, 16, 32))])
def test_a_stem_with_more_stages_turns_larger_pictures_into_as_many_tokens(size, channels):
    backbone = CompactBackbone(replace(BACKBONE, image_size=size, channels=channels))
    pictures = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    assert backbone(pictures, [INSTRUCTION] * 2).tokens.shape == (2, 16 + len(INSTRUCTION), BACKBONE.width)


def test_critic_overfits_one_episode(tiny, tmp_path):
    settings = {"critic": CRITIC, "reward": RewardConfig(c_fail=-20.0)}
    result = train_critic(*make_plan(tiny, tmp_path, 40.0, regularise=QUIET, **settings))
    critic, history = result.critic, result.history  # values fall from -0.5 to 0 along the episode
    expected = (np.arange(20) - 19) / 40.0
    assert np.abs(values(critic, tiny) - expected).mean() < 0.04
    assert len(history["critic_mc"]) == 100 and len(history["critic_ove"]) == 40


def test_actor_overfits_one_episode(tiny, tmp_path):
    plan = make_plan(tiny, tmp_path, actor=replace(ACTOR, steps=150), regularise=QUIET)
    actor = train_actor(*plan, everything(tiny)).actor
    policy = checkpoint.load(checkpoint.save(tmp_path / "policy", actor))
    errors = []
    for t in range(0, 16, 4):
        chunk = policy.act(
            np.array(tiny.images(np.array([t]))[0]),
            tiny.state[t],
            INSTRUCTION,
            guidance=1.0,
            rng=np.random.default_rng(t),
        )
        errors.append(np.abs(chunk[:4, 13] - tiny.action[t : t + 4, 13]).mean())
    assert np.mean(errors) < 0.1  # joint 13 moves by 0.8 rad


def test_a_policy_of_demonstrations_learns_what_the_text_condition_means(tmp_path):
    """Two episodes look alike, in the one labelled negative the arm goes elsewhere. Fine-tuned, each condition gives
    its own action.
    """
    good, bad = episode_frames(0, 20), replace(episode_frames(0, 20), episode_id="bad")
    bad.action[:, 13] -= 0.5
    demonstrated = Buffer([Dataset(write_dataset(tmp_path / "demonstrated", [good]))], 48, progress=False)
    both = Buffer([Dataset(write_dataset(tmp_path / "both", [good, bad]))], 48, progress=False)
    settings = make_plan(demonstrated, tmp_path / "a", actor=replace(ACTOR, steps=50), regularise=QUIET)
    base = train_actor(*settings, everything(demonstrated)).actor
    labels = Labels(both.episode == 0, np.ones(len(both), dtype=bool), 0.0)
    fine = replace(ACTOR, steps_next=120, lr=1e-3)
    settings = make_plan(both, tmp_path / "b", start_actor=base, actor=fine, regularise=QUIET)
    tuned = train_actor(*settings, labels).actor
    policy = checkpoint.load(checkpoint.save(tmp_path / "policy", tuned))
    picture, state, rng = np.array(both.images(np.array([5]))[0]), both.state[5], np.random.default_rng(1)
    negative, positive = (
        policy.act(picture, state, INSTRUCTION, guidance=beta, rng=rng)[:8, 13] for beta in (0.0, 1.0)
    )
    assert (positive - negative).mean() > 0.35


def small_actor(predict="clean"):
    torch.manual_seed(0)
    actor = Actor(ActorConfig(backbone=BACKBONE, width=48, layers=1, heads=2, predict=predict)).eval()
    torch.nn.init.normal_(actor.head.out.weight, std=0.1)
    return actor


def picture(n=1, seed=0):
    return torch.randint(0, 256, (n, 48, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("predict", ["clean", "velocity"])
def test_guidance_one_and_zero_are_the_branches(predict):
    actor, images, state, noise = small_actor(predict), picture(), torch.randn(1, 50), torch.randn(1, 50, 50)

    def run(negative, positive, beta):
        return sample(actor, Pictures(images, [INSTRUCTION], ([negative], [positive])), state, noise, beta)

    assert torch.allclose(run("bad", "good", 1.0), run("good", "good", 1.7), atol=1e-4)
    assert torch.allclose(run("bad", "good", 0.0), run("bad", "bad", 0.3), atol=1e-4)
    middle = run("bad", "good", 0.5)
    assert not torch.allclose(middle, run("bad", "good", 1.0)) and not torch.allclose(middle, run("bad", "good", 0.0))


def test_dropped_state_is_not_seen():
    actor, observation = small_actor(), Pictures(picture(), [INSTRUCTION], (["good"],))
    x, t = torch.randn(1, 50, 50), torch.tensor([0.3])
    hidden = [actor(observation, x, t, torch.randn(1, 50), torch.tensor([False])) for _ in range(2)]
    seen = [actor(observation, x, t, torch.randn(1, 50), torch.tensor([True])) for _ in range(2)]
    assert torch.equal(*hidden) and not torch.equal(*seen)


def test_noise_samples_of_a_picture_share_its_context():
    actor, x, t = small_actor(), torch.randn(4, 50, 50), torch.rand(4)
    state, visible = torch.randn(4, 50), torch.ones(4, dtype=torch.bool)
    both = actor(Pictures(picture(2), [INSTRUCTION] * 2, (["good", "bad"],)), x, t, state, visible)
    second = actor(Pictures(picture(2)[1:], [INSTRUCTION], (["bad"],)), x[2:], t[2:], state[2:], visible[2:])
    assert torch.allclose(both[2:], second, atol=1e-5)


def test_padded_text_does_not_change_the_value():
    torch.manual_seed(0)
    critic = Critic(CRITIC).eval()
    torch.nn.init.normal_(critic.head.out.weight)
    alone = critic(Pictures(picture(), [INSTRUCTION]))
    beside = critic(Pictures(picture(2), [INSTRUCTION, INSTRUCTION + " now"]))
    assert torch.allclose(alone[0], beside[0], atol=1e-5)


def test_tokens_computed_in_advance_give_the_same_predictions():
    actor, critic, asked = (
        small_actor(),
        Critic(CRITIC).eval(),
        Pictures(picture(2), [INSTRUCTION] * 2, (["good", "bad"],)),
    )
    x, t, state, visible = torch.randn(2, 50, 50), torch.rand(2), torch.randn(2, 50), torch.ones(2, dtype=torch.bool)
    assert torch.equal(actor(asked, x, t, state, visible), actor(actor.backbone(*asked), x, t, state, visible))
    assert torch.equal(critic(asked), critic(critic.backbone(*asked)))


def test_a_backbone_from_elsewhere_stays_out_of_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(CompactBackbone, "fingerprint", "a1b2")
    path = checkpoint.save(tmp_path / "c", small_actor())
    with safe_open(path / "actor.safetensors", "pt") as file:
        assert not any(name.startswith("backbone.") for name in file.keys())  # noqa: SIM118
    monkeypatch.setattr(CompactBackbone, "fingerprint", "ffff")
    with pytest.raises(checkpoint.CheckpointError, match="trained on the backbone a1b2, the one loaded is ffff"):
        checkpoint.load(path)


def test_backbone_refuses_wrong_pictures_and_texts():
    backbone = build(BACKBONE)
    with pytest.raises(ValueError, match=r"expected pictures \(B, 48, 48, 3\) uint8"):
        backbone(picture()[:, :40], [INSTRUCTION])
    with pytest.raises(ValueError, match="2 texts for 1 pictures"):
        backbone(picture(), [INSTRUCTION] * 2)
    with pytest.raises(ValueError, match="unknown backbone 'resnet'; known: compact"):
        build(replace(BACKBONE, kind="resnet"))


def test_ema_moves_the_target_by_its_rate():
    a, b = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    for p, v in ((a, 0.0), (b, 1.0)):
        torch.nn.init.constant_(p.weight, v)
    ema_update(a, b, 0.25)
    assert a.weight.item() == pytest.approx(0.25)


def test_a_block_of_the_robots_own_weighs_one():
    config = ActorConfig(weight_arm=4.0, weight_hand=0.1)
    weight = joint_weights(("arm", "tail", "hand"), np.full(3, 0.5), config)
    np.testing.assert_allclose(weight / weight[1], [4.0, 1.0, 0.1])


def test_fingers_and_idle_joints_do_not_drown_the_arms():
    table = joints.load()
    std = np.full(50, 0.2)
    std[table.indices("arm", "left")] = 0.001
    weight = joint_weights(table.blocks, std, ActorConfig())
    assert weight.mean() == pytest.approx(1.0)
    assert weight[table.indices("hand")].sum() < weight[table.indices("arm", "right")].sum()
    assert weight[table.indices("arm", "left")].max() < 0.11 * weight[table.indices("arm", "right")].min()


def test_checkpoint_round_trip_and_refusals(tmp_path):
    torch.manual_seed(0)
    actor, critic = Actor(ActorConfig(backbone=BACKBONE, width=48, layers=1, heads=2)).eval(), Critic(CRITIC).eval()
    torch.nn.init.normal_(actor.head.out.weight, std=0.1)
    path = checkpoint.save(tmp_path / "c", actor, critic, guidance=1.25, info={"robot": robot.load().card.to_dict()})
    policy = checkpoint.load(path)
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    chunk = policy.act(image, np.zeros(50), INSTRUCTION, rng=np.random.default_rng(1))
    assert chunk.shape == (50, 50) and chunk.dtype == np.float64 and policy.guidance == 1.25
    again = checkpoint.load(path)
    np.testing.assert_array_equal(chunk, again.act(image, np.zeros(50), INSTRUCTION, rng=np.random.default_rng(1)))
    assert again.hash == policy.hash and len(policy.names) == 50
    assert -1.0 <= policy.value(image, INSTRUCTION) <= 0.0
    with pytest.raises(ValueError, match="finite state"):
        policy.act(image, np.full(50, np.nan), INSTRUCTION)
    with pytest.raises(checkpoint.CheckpointError, match="no checkpoint at"):
        checkpoint.load(tmp_path / "none")
    data = bytearray((path / "actor.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "actor.safetensors").write_bytes(bytes(data))
    with pytest.raises(checkpoint.CheckpointError, match="SHA-256 differs"):
        checkpoint.load(path)


def test_checkpoint_without_critic_has_no_value(tmp_path):
    policy = checkpoint.load(
        checkpoint.save(tmp_path / "c", Actor(ActorConfig(backbone=BACKBONE, width=48, layers=1, heads=2)))
    )
    assert policy.value(np.zeros((48, 48, 3), dtype=np.uint8), INSTRUCTION) is None


def test_config_survives_json():
    config = CriticConfig(backbone=BACKBONE, tau=0.9)
    assert from_dict(CriticConfig, json.loads(json.dumps(to_dict(config)))) == config
    with pytest.raises(ValueError, match="CriticConfig has no speed"):
        from_dict(CriticConfig, {"speed": 1})


def test_the_last_layer_of_the_value_head_computes_only_the_row_that_is_read():
    torch.manual_seed(0)
    layer, x = TransformerLayer(32, 2), torch.randn(3, 7, 32)
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[1, 5:] = False
    assert torch.allclose(layer(x, mask)[:, :1], layer(x, mask, rows=1), atol=1e-6)


def test_features_in_memory_are_the_backbone_s(tiny):
    critic = Critic(replace(CRITIC, freeze_backbone=True)).eval()
    torch.nn.init.normal_(critic.head.out.weight)
    index = np.array([3, 17, 5])
    cached, live = TokenObservations(tiny, critic.backbone, progress=False)(index), PictureObservations(tiny)(index)
    assert torch.allclose(critic(cached), critic(live), atol=5e-3)  # half precision


def test_a_frozen_critic_still_overfits_its_head(tiny, tmp_path):
    settings = {
        "critic": replace(CRITIC, freeze_backbone=True, mc_steps=150),
        "reward": RewardConfig(c_fail=-20.0),
    }
    critic = train_critic(*make_plan(tiny, tmp_path, 40.0, ("critic_mc",), **settings)).critic
    assert np.abs(values(critic, tiny) - (np.arange(20) - 19) / 40.0).mean() < 0.06


def test_steps_that_share_a_token_give_a_chunk_of_the_same_shape_and_gradient_to_each():
    config = replace(ACTOR, token_steps=5)
    actor = Actor(config)
    torch.nn.init.normal_(actor.head.out.weight)
    images = torch.zeros(1, 48, 48, 3, dtype=torch.uint8)
    context = actor.backbone(images, ["wipe"], [["Advantage: positive"]])
    prepared = actor.head.prepare(context, context.conditions[0])
    x = torch.randn(1, config.chunk, 50, requires_grad=True)
    out = actor.head(x, torch.zeros(1), torch.zeros(1, 50), torch.ones(1, dtype=torch.bool), prepared)
    assert out.shape == x.shape and actor.head.position.shape[0] == 1 + config.chunk // 5
    out[0, 7, 3].backward()
    assert (x.grad.abs().sum(-1) > 0).all()
    with pytest.raises(ValueError, match="no multiple of token_steps 3"):
        Actor(replace(ACTOR, token_steps=3))
