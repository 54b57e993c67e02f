# SPDX-License-Identifier: Apache-2.0
"""A cache of a frozen backbone's tokens trains what the backbone in the loop trains, survives kills and names what it
cannot use.
"""

import json
import os
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from rove_learning.algorithm.advantage import Labels
from rove_learning.config import CONDITIONS, BackboneConfig, RegulariseConfig, RewardConfig, TrainConfig
from rove_learning.data import feature_cache
from rove_learning.data.buffer import Buffer
from rove_learning.data.dataset import Dataset
from rove_learning.data.feature_cache import FeatureCache
from rove_learning.data.observations import PictureObservations
from rove_learning.models.actor import Actor
from rove_learning.models.backbone import Context, build
from rove_learning.models.critic import Critic
from rove_learning.testing.synthetic import ACTOR, BACKBONE, CRITIC, episode_frames, make_plan, write_dataset
from rove_learning.train import train
from rove_learning.training import batches
from rove_learning.training.train_actor import train_actor
from rove_learning.training.train_critic import train_critic

QUIET = RegulariseConfig(image_gain=0.0)  # augmented pictures have other tokens


@pytest.fixture
def data(tmp_path):
    """Two datasets; the instructions differ in length, so their prefixes do."""
    roots = [write_dataset(tmp_path / "a", [episode_frames(0, 20), episode_frames(1, 9)]), tmp_path / "b"]
    write_dataset(roots[1], [replace(episode_frames(2, 12), task="erase the left half of the whiteboard")])
    return roots


def buffer_of(roots):
    return Buffer([Dataset(root) for root in roots], 48, progress=False)


def frozen(seed=0):
    torch.manual_seed(seed)
    return build(BACKBONE).requires_grad_(False).eval()


def opened(roots, backbone=None, conditions=True, **options):
    texts = CONDITIONS if conditions else ()
    return FeatureCache(buffer_of(roots), backbone or frozen(), conditions=texts, progress=False, **options)


class Rounded:
    """The backbone in the loop, its tokens rounded to what the cache stores."""

    def __init__(self, buffer, backbone):
        self.pictures, self.backbone = PictureObservations(buffer), backbone

    def __call__(self, index, conditions=None, gain=None, shift=None):
        with torch.no_grad():
            c = self.backbone(*self.pictures(index, conditions))
        return Context(c.tokens.bfloat16().float(), c.mask, tuple((t.bfloat16().float(), m) for t, m in c.conditions))


def test_tokens_are_the_backbone_s_in_any_order_and_every_batch_has_the_same_shape(data):
    backbone = frozen()
    cache, live = opened(data, backbone), Rounded(buffer_of(data), backbone)
    index, positive = np.array([40, 3, 25, 3]), np.array([True, False, False, True])
    cached, computed = cache(index, positive), live(index, positive)
    n = computed.tokens.shape[1]
    assert torch.equal(cached.mask[:, :n], computed.mask) and not cached.mask[:, n:].any()
    # Sums of batches of other sizes are rounded differently: one step of bf16.
    torch.testing.assert_close(
        cached.tokens[:, :n][computed.mask], computed.tokens[computed.mask], atol=0.01, rtol=0.01
    )
    (words, seen), (words_, seen_) = cached.conditions[0], computed.conditions[0]
    torch.testing.assert_close(words * seen[..., None], words_ * seen_[..., None])
    assert cache(np.array([0, 1])).tokens.shape[1:] == cache(np.array([40])).tokens.shape[1:]


def test_cached_and_uncached_training_give_the_same_loss(data, tmp_path):
    buffer, backbone = buffer_of(data), frozen()
    settings = replace(CRITIC, steps=8, batch=6, freeze_backbone=True)
    labels = Labels(np.ones(len(buffer), dtype=bool), np.arange(len(buffer)) % 2 == 0, 0.0)
    losses = {}
    frozen_actor = replace(ACTOR, steps_next=8, batch=6, freeze_backbone=True)
    for name, observe in (
        ("cached", opened(data, backbone)),
        ("rounded", Rounded(buffer, backbone)),
        ("pictures", PictureObservations(buffer)),
    ):
        torch.manual_seed(3)
        plan, buffers = make_plan(
            buffer,
            tmp_path / name,
            phases=("critic_ove",),
            start_critic=Critic(settings, backbone),
            start_actor=Actor(frozen_actor, 50, backbone),
            critic=settings,
            actor=frozen_actor,
            reward=RewardConfig(c_fail=-20.0),
            regularise=QUIET,
        )
        a = train_critic(plan, buffers, observe).history
        b = train_actor(plan, buffers, labels, observe).history
        losses[name] = np.array([row["loss"] for rows in (a | b).values() for row in rows])
    assert len(losses["cached"]) == 16
    np.testing.assert_allclose(losses["cached"], losses["rounded"], rtol=1e-3)
    np.testing.assert_allclose(losses["cached"], losses["pictures"], rtol=0.02)  # bf16 keeps 8 bits


class Killed(Exception):
    pass


def test_a_killed_build_goes_on_with_what_is_missing(data, monkeypatch):
    monkeypatch.setattr(feature_cache, "SHARD_FRAMES", 8)
    whole = opened(data)
    tokens = whole(np.arange(41)).tokens
    for root in data:
        shutil.rmtree(root / ".cache")
    compute, calls = FeatureCache._compute, []

    def dies(self, rows):
        calls.append(rows)
        if len(calls) == 3:
            raise Killed
        return compute(self, rows)

    monkeypatch.setattr(FeatureCache, "_compute", dies)
    with pytest.raises(Killed):
        opened(data)
    again = opened(data)
    assert whole.built == 41 and again.built == 41 - 16
    assert torch.equal(again(np.arange(41)).tokens, tokens)
    assert not list(data[0].glob(".cache/**/*.part"))


def shards(root):
    return sorted(root.glob(".cache/features-*/*.safetensors"))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "stamp"])
def test_a_damaged_shard_is_named_and_computed_anew(data, capsys, damage):
    tokens = opened(data)(np.arange(41)).tokens
    file = shards(data[0])[1]
    content = bytearray(file.read_bytes())
    if damage == "truncated":
        file.write_bytes(content[:-5])
    elif damage == "flipped":
        content[-3] ^= 64
        file.write_bytes(content)
    else:
        file.with_suffix(".json").write_text("{")
    again = opened(data)
    assert str(file) in capsys.readouterr().err and again.built == 9
    assert torch.equal(again(np.arange(41)).tokens, tokens)


def test_a_copied_cache_is_read_after_its_checksums_were_checked(data):
    opened(data)
    for file in shards(data[0]):
        os.utime(file, (1, 1))
    assert opened(data).built == 0


def test_features_of_another_content_are_removed_by_name_and_those_of_another_backbone_stay(data, capsys):
    opened(data)
    old = shards(data[0])[0].parent
    assert opened(data, frozen(1)).built == 41 and opened(data, conditions=False).built == 41
    assert len(list(data[0].glob(".cache/features-*"))) == 3
    info = json.loads((data[0] / "meta/info.json").read_text())
    (data[0] / "meta/info.json").write_text(json.dumps(info | {"note": "changed"}))
    capsys.readouterr()
    assert opened(data).built == 29  # the other dataset's 12 frames stay
    assert str(old) in capsys.readouterr().err and len(list(data[0].glob(".cache/features-*"))) == 1


def test_a_backbone_that_is_trained_is_refused(data):
    with pytest.raises(ValueError, match="a backbone that is trained has no features"):
        opened(data, build(BACKBONE))


def test_processes_share_the_work(data):
    """Each computes its part, as the others do at the same time; here one after the other."""

    class Stop(Exception):
        pass

    def third():
        third.calls += 1
        if third.calls == 3:
            raise Stop

    parts = []
    for index in (0, 1):
        third.calls = 0
        before = sum(len(shards(root)) for root in data)
        with pytest.raises(Stop):
            opened(data, share=(index, 2), wait=third)
        parts.append(sum(len(shards(root)) for root in data) - before)
    assert parts == [2, 0] or parts == [2, 1]
    opened(data)
    assert sum(len(shards(root)) for root in data) == 3


def test_batches_drawn_ahead_come_in_order_and_an_error_arrives_at_its_step():
    def make(i):
        if i == 3:
            raise Killed
        return i * i

    assert (
        [b for b, _ in batches.prefetch(make, range(3), ahead=True)]
        == [b for b, _ in batches.prefetch(make, range(3), ahead=False)]
        == [0, 1, 4]
    )
    ahead = batches.prefetch(make, range(9), ahead=True)
    assert [next(ahead)[0] for _ in range(3)] == [0, 1, 4]
    with pytest.raises(Killed):
        next(ahead)


def test_batches_are_drawn_ahead_on_the_gpu_of_their_process(monkeypatch):
    """CUDA's current device, which "cuda" means, is each thread's own and at first the GPU 0, whatever the main thread
    chose.
    """
    current = {threading.get_ident(): 3}
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current.get(threading.get_ident(), 0))
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: current.update({threading.get_ident(): device}))
    drawn = batches.prefetch(lambda part: (threading.get_ident(), torch.cuda.current_device()), range(2), ahead=True)
    for (thread, device), _ in drawn:
        assert thread != threading.get_ident() and device == 3


def test_an_iteration_on_qwen3_vl_is_the_same_with_and_without_the_cache(data, tmp_path):
    """Tiny and random, of the real class; in bf16 the cache loses nothing."""
    synthetic_vlm = pytest.importorskip("rove_learning.testing.synthetic_vlm")
    path = synthetic_vlm.write_qwen3vl(tmp_path / "qwen")
    backbone = BackboneConfig(kind="qwen3vl", path=str(path), image_size=64)
    actor = replace(ACTOR, backbone=backbone, steps=4, batch=4)
    critic = replace(CRITIC, backbone=replace(backbone, layer=2), mc_steps=3, steps=3, batch=4)
    out = {}
    for cached in (True, False):
        folder = tmp_path / f"cache_{cached}"
        settings = TrainConfig(
            tuple(map(str, data)),
            str(folder),
            threads=1,
            actor=actor,
            critic=critic,
            regularise=QUIET,
            feature_cache=cached,
        )
        train(settings, progress=False)
        history = json.loads((folder / "history.json").read_text())
        out[cached] = {name: [row["loss"] for row in rows] for name, rows in history.items()}
        assert bool(shards(data[0])) is cached
        shutil.rmtree(data[0] / ".cache")
    for name, losses in out[True].items():
        np.testing.assert_allclose(losses, out[False][name], rtol=2e-3, err_msg=name)
