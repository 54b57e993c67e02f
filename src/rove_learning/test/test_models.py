"""Critic and actor can learn what they are shown; a checkpoint gives back what went in; the live value is the trained one."""

import json

import numpy as np
import pytest
import torch

from rove_contract import joints
from rove_learning import checkpoint
from rove_learning.actor import Actor, sample
from rove_learning.advantage import Labels
from rove_learning.buffer import Buffer
from rove_learning.config import ActorConfig, CriticConfig, RegulariseConfig, RewardConfig, from_dict, to_dict
from rove_learning.critic import Critic, ema_update
from rove_learning.dataset import Dataset
from rove_learning.synthetic import ACTOR, BACKBONE, CRITIC, episode_frames, write_dataset
from rove_learning.train_actor import joint_weights, train_actor
from rove_learning.train_critic import train_critic, values

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


def test_critic_overfits_one_episode(tiny, tmp_path):
    reward = RewardConfig(c_fail=-20.0, max_steps=20)  # values fall from -0.5 to 0 along the episode
    critic, history = train_critic(tiny, CRITIC, reward, tmp_path, regularise=QUIET, progress=False)
    expected = (np.arange(20) - 19) / 40.0
    assert np.abs(values(critic, tiny) - expected).mean() < 0.04
    assert len(history["critic_mc"]) == 100 and len(history["critic_ove"]) == 40


def test_actor_overfits_one_episode(tiny, tmp_path):
    from dataclasses import replace

    actor, _ = train_actor(tiny, everything(tiny), replace(ACTOR, steps=150), tmp_path, regularise=QUIET, progress=False)
    policy = checkpoint.load(checkpoint.save(tmp_path / "policy", actor))
    errors = []
    for t in range(0, 16, 4):
        chunk = policy.act(np.array(tiny.images(np.array([t]))[0]), tiny.state[t], INSTRUCTION, guidance=1.0, rng=np.random.default_rng(t))
        errors.append(np.abs(chunk[:4, 13] - tiny.action[t : t + 4, 13]).mean())
    assert np.mean(errors) < 0.1  # joint 13 moves by 0.8 rad


@pytest.mark.parametrize("predict", ["clean", "velocity"])
def test_guidance_one_and_zero_are_the_branches(predict):
    torch.manual_seed(0)
    actor = Actor(ActorConfig(backbone=BACKBONE, width=48, layers=1, heads=2, predict=predict)).eval()
    torch.nn.init.normal_(actor.head.out.weight, std=0.1)
    images, text = torch.randn(1, 3, 48, 48), torch.randint(1, 200, (1, 9))
    positive, negative = torch.randint(1, 200, (1, 5)), torch.randint(1, 200, (1, 5))
    state, noise = torch.randn(1, 50), torch.randn(1, 50, 50)

    def run(a, b, beta):
        return sample(actor, images, text, a, b, state, noise, beta)

    assert torch.allclose(run(positive, negative, 1.0), run(positive, positive, 1.7), atol=1e-4)
    assert torch.allclose(run(positive, negative, 0.0), run(negative, negative, 0.3), atol=1e-4)
    middle = run(positive, negative, 0.5)
    assert not torch.allclose(middle, run(positive, negative, 1.0)) and not torch.allclose(middle, run(positive, negative, 0.0))


def test_dropped_state_is_not_seen():
    torch.manual_seed(0)
    actor = Actor(ActorConfig(backbone=BACKBONE, width=48, layers=1, heads=2)).eval()
    torch.nn.init.normal_(actor.head.out.weight, std=0.1)
    prepared = actor.encode(torch.randn(1, 3, 48, 48), torch.randint(1, 200, (1, 9)), torch.randint(1, 200, (1, 5)))
    x, t = torch.randn(1, 50, 50), torch.tensor([0.3])
    hidden = [actor.head(x, t, torch.randn(1, 50), torch.tensor([False]), prepared) for _ in range(2)]
    seen = [actor.head(x, t, torch.randn(1, 50), torch.tensor([True]), prepared) for _ in range(2)]
    assert torch.equal(*hidden) and not torch.equal(*seen)


def test_padded_text_does_not_change_the_value():
    torch.manual_seed(0)
    critic = Critic(CRITIC).eval()
    torch.nn.init.normal_(critic.out.weight)
    images, text = torch.randn(1, 3, 48, 48), torch.randint(1, 200, (1, 9))
    padded = torch.cat([text, torch.zeros(1, 4, dtype=torch.long)], dim=1)
    assert torch.allclose(critic(images, text), critic(images, padded), atol=1e-5)


def test_ema_moves_the_target_by_its_rate():
    a, b = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    for p, v in ((a, 0.0), (b, 1.0)):
        torch.nn.init.constant_(p.weight, v)
    ema_update(a, b, 0.25)
    assert a.weight.item() == pytest.approx(0.25)


def test_fingers_and_idle_joints_do_not_drown_the_arms():
    table = joints.load()
    std = np.full(50, 0.2)
    std[table.indices("arm", "left")] = 0.001
    weight = joint_weights(table, std, ActorConfig())
    assert weight.mean() == pytest.approx(1.0)
    assert weight[table.indices("hand")].sum() < weight[table.indices("arm", "right")].sum()
    assert weight[table.indices("arm", "left")].max() < 0.11 * weight[table.indices("arm", "right")].min()


def test_checkpoint_round_trip_and_refusals(tmp_path):
    torch.manual_seed(0)
    actor, critic = Actor(ActorConfig(backbone=BACKBONE, width=48, layers=1, heads=2)).eval(), Critic(CRITIC).eval()
    torch.nn.init.normal_(actor.head.out.weight, std=0.1)
    path = checkpoint.save(tmp_path / "c", actor, critic, guidance=1.25, info={"joints": list(joints.load().names)})
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
    policy = checkpoint.load(checkpoint.save(tmp_path / "c", Actor(ActorConfig(backbone=BACKBONE, width=48, layers=1, heads=2))))
    assert policy.value(np.zeros((48, 48, 3), dtype=np.uint8), INSTRUCTION) is None


def test_config_survives_json():
    config = CriticConfig(backbone=BACKBONE, tau=0.9)
    assert from_dict(CriticConfig, json.loads(json.dumps(to_dict(config)))) == config
    with pytest.raises(ValueError, match="CriticConfig has no speed"):
        from_dict(CriticConfig, {"speed": 1})
