# SPDX-License-Identifier: Apache-2.0
"""One iteration of Algorithm 1 on a tiny dataset: every method, kill and resume, start from k - 1, refusals."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from rove_learning.command_line import parse, read_yaml, text
from rove_learning.config import RewardConfig, TrainConfig, from_dict
from rove_learning.data.dataset import Dataset, DatasetError
from rove_learning.inference import checkpoint
from rove_learning.inference.scoring import values
from rove_learning.models.critic import Critic
from rove_learning.testing.synthetic import ACTOR, CRITIC, episode_frames, write_dataset
from rove_learning.train import label, run_step, train
from rove_learning.training.buffers import Buffers
from rove_learning.training.iteration import run_actor, run_critic, run_label
from rove_learning.training.plan import resolve
from rove_learning.training.processes import mixed_precision
from rove_learning.training.run_folder import RunMismatch
from rove_recorder.dataset.scores import read_scores

SHORT = TrainConfig(
    dataset=(),
    out="",
    threads=1,
    actor=replace(ACTOR, steps=6, steps_next=4, batch=4),
    critic=replace(CRITIC, mc_steps=5, steps=6, batch=6),
)


def config(mixed, out, **changes):
    return replace(SHORT, dataset=(str(mixed),), out=str(out), **changes)


@pytest.mark.parametrize("method", ["rove", "recap", "hg_dagger", "filtered_bc", "sft"])
def test_every_method_ends_with_a_checkpoint_that_acts(mixed, tmp_path, method):
    summary = train(config(mixed, tmp_path / "out", method=method), progress=False)
    policy = checkpoint.load(tmp_path / "out")
    chunk = policy.act(np.zeros((48, 48, 3), dtype=np.uint8), np.zeros(50), "erase the whiteboard")
    assert np.isfinite(chunk).all() and 0 < summary["kept"] <= 1
    assert (
        policy.critic is not None
    )  # imitation alone still pretrains the value model that the next iteration starts from
    assert policy.guidance == (ACTOR.guidance if method in ("rove", "recap") else 1.0)


class After:
    """stop() that turns true at its n-th call."""

    def __init__(self, n):
        self.left = n

    def __call__(self):
        self.left -= 1
        return self.left == 0


def history(out):
    """Metrics of every step, without what the clock says."""
    phases = json.loads((out / "history.json").read_text())
    return {
        name: [{key: row[key] for key in row if key not in ("seconds", "waited")} for row in rows]
        for name, rows in phases.items()
    }


def test_the_share_of_the_time_in_which_steps_waited_for_data_is_on_record(mixed, tmp_path):
    summary = train(config(mixed, tmp_path / "out"), progress=False)
    phases = json.loads((tmp_path / "out/history.json").read_text())
    assert set(summary["waited_for_data"]) == set(phases) == {"critic_mc", "critic_ove", "actor"}
    for name, rows in phases.items():
        assert all(0 < row["waited"] < row["seconds"] for row in rows)
        assert summary["waited_for_data"][name] == pytest.approx(
            sum(r["waited"] for r in rows) / sum(r["seconds"] for r in rows)
        )


@pytest.mark.parametrize("steps", [3, 8, 14])  # in MC pretraining, in OVE, in the actor
def test_killed_and_resumed_gives_the_same_weights_and_losses(mixed, tmp_path, steps):
    train(config(mixed, tmp_path / "whole"), progress=False)
    with pytest.raises(KeyboardInterrupt):
        train(config(mixed, tmp_path / "killed"), progress=False, stop=After(steps))
    train(config(mixed, tmp_path / "killed"), progress=False)
    assert checkpoint.load(tmp_path / "whole").hash == checkpoint.load(tmp_path / "killed").hash
    assert history(tmp_path / "whole") == history(tmp_path / "killed")


def test_next_iteration_starts_from_the_previous_one(mixed, tmp_path):
    train(config(mixed, tmp_path / "k0"), progress=False)
    train(config(mixed, tmp_path / "k1", init=str(tmp_path / "k0")), progress=False)
    info = checkpoint.load(tmp_path / "k1").info
    history = json.loads((tmp_path / "k1/history.json").read_text())
    assert info["iteration"] == 1 and len(history["actor"]) == 4 and "critic_mc" not in history


def test_the_scale_covers_the_longest_episode_and_is_stored_with_the_critic(mixed, tmp_path):
    train(config(mixed, tmp_path / "k0", method="sft"), progress=False)
    assert checkpoint.load(tmp_path / "k0").critic.scale == 40 + 2 * 500  # steps of the intervention, C_fail twice
    with pytest.raises(DatasetError, match="mixed, episode 3: 40 steps, more than reward.max_steps = 39"):
        resolve(config(mixed, tmp_path / "k1", reward=RewardConfig(max_steps=39)), progress=False)


def test_values_of_a_critic_mean_the_same_steps_on_longer_episodes(mixed, tmp_path):
    short = write_dataset(tmp_path / "short", [episode_frames(10)])
    train(config(short, tmp_path / "base", method="sft"), progress=False)
    longer = config(mixed, tmp_path / "k0", init=str(tmp_path / "base"))
    buffers = Buffers(resolve(longer, progress=False))
    base = checkpoint.load(tmp_path / "base").critic
    before = values(base, buffers.critic) * float(base.scale)
    unchanged = replace(longer, critic=replace(longer.critic, steps=1, lr=0.0))
    run_step(run_critic, unchanged, progress=False)
    after, _ = checkpoint.load_critic(tmp_path / "k0")
    assert (float(base.scale), float(after.scale)) == (1024.0, 1040.0)
    np.testing.assert_allclose(values(after, buffers.critic) * 1040.0, before, rtol=1e-4)


def test_the_online_value_means_a_rollout_s_failure_whatever_room_the_scale_has(mixed, tmp_path):
    """The panel advises below -0.6: of a rollout's longest duration and one C_fail, not of the critic's scale."""
    train(config(mixed, tmp_path / "out"), progress=False)
    policy = checkpoint.load(tmp_path / "out")
    torch.nn.init.zeros_(policy.critic.head.out.weight)
    picture = np.zeros((48, 48, 3), dtype=np.uint8)
    for steps, expected in ((0.0, 0.0), (540.0, -1.0), (270.0, -0.5), (900.0, -1.0)):  # 40 steps and C_fail = -500
        torch.nn.init.constant_(policy.critic.head.out.bias, -steps / 1040.0)
        assert policy.value(picture, "erase") == pytest.approx(expected, abs=1e-6)


def test_a_critic_that_labels_as_it_is_refuses_data_beyond_its_scale_by_name(mixed, tmp_path):
    short = write_dataset(tmp_path / "short", [episode_frames(10)])
    train(config(short, tmp_path / "base"), progress=False)
    with pytest.raises(DatasetError, match="mixed, episode 3: 40 steps, .* values of --critic-checkpoint cover 1024"):
        resolve(config(mixed, tmp_path / "out", critic_checkpoint=str(tmp_path / "base")), progress=False)


def test_another_configuration_in_the_same_folder_is_refused(mixed, tmp_path):
    train(config(mixed, tmp_path / "out", method="sft"), progress=False)
    with pytest.raises(RunMismatch, match="another seed"):
        train(config(mixed, tmp_path / "out", method="sft", seed=5), progress=False)


def test_command_line_and_yaml(tmp_path):
    (tmp_path / "c.yaml").write_text("method: recap\ncritic: {tau: 0.9}\ndataset: [a]\nout: o\n")
    read = parse(TrainConfig, ["--config", str(tmp_path / "c.yaml"), "--actor.steps", "7"])
    assert read.method == "recap" and read.critic.tau == 0.9 and read.actor.steps == 7 and read.dataset == ("a",)


def test_the_three_steps_make_the_same_checkpoint_as_train(mixed, tmp_path):
    train(config(mixed, tmp_path / "at_once"), progress=False)
    steps = config(mixed, tmp_path / "steps")
    with pytest.raises(ValueError, match="has no critic.json: run `rove run rove_learning train_critic`"):
        run_step(run_label, steps, progress=False)
    with pytest.raises(ValueError, match="has no labels.npz: run `rove run rove_learning label`"):
        run_step(run_actor, steps, progress=False)
    for step in (run_critic, run_label, run_actor):
        run_step(step, steps, progress=False)
    assert checkpoint.load(tmp_path / "at_once").hash == checkpoint.load(tmp_path / "steps").hash
    stored = from_dict(TrainConfig, read_yaml(str(tmp_path / "steps/config.yaml")))
    assert stored == replace(steps, precision="no")  # what was run stands beside its results and can be run again


def test_label_leaves_scores_beside_the_dataset_human_videos_included(mixed, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(mixed, root, ignore=shutil.ignore_patterns(".cache", "scores"))
    train(config(root, tmp_path / "policy"), progress=False)
    scores = read_scores(root, "policy")
    labels = np.load(tmp_path / "policy/labels.npz")
    intervention = scores.of(3, 40)
    chosen = labels["episode"] == 3
    np.testing.assert_allclose(intervention["value"], labels["value"][chosen], atol=1e-6)
    np.testing.assert_array_equal(intervention["positive"], labels["positive"][chosen])
    video = scores.of(4, 20)
    assert np.isfinite(video["value"]).all() and not video["positive"].any() and scores.of(5, 10) is None
    assert scores.scale == 1040.0 and scores.threshold == pytest.approx(float(labels["threshold"]))


def test_values_computed_in_parts_by_several_processes_are_those_of_one_bit_for_bit(mixed, tmp_path):
    buffer = Buffers(resolve(config(mixed, tmp_path / "out"), progress=False)).critic
    critic = Critic(CRITIC).eval()
    torch.nn.init.normal_(critic.head.out.weight, std=0.1)
    one = values(critic, buffer, batch=16)
    parts = []
    for index in range(3):
        alone = SimpleNamespace(process_index=index, num_processes=3, reduce=lambda found, how: found)
        parts.append(values(critic, buffer, batch=16, processes=alone))
    assert all(0 < np.count_nonzero(part) < len(buffer) for part in parts)
    np.testing.assert_array_equal(sum(parts), one)


def test_label_writes_the_layouts_of_others(mixed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["label", "--format", "csv"])
    assert label() == 2
    assert "--format is 'csv', expected one of rlinf, lerobot, evo-rl, parquet" in capsys.readouterr().err
    run_step(run_critic, config(mixed, tmp_path / "policy"), progress=False)
    file = tmp_path / "short.yaml"
    file.write_text(text(config(mixed, tmp_path / "policy")))
    monkeypatch.setattr("sys.argv", ["label", "--config", str(file), "--format", "parquet"])
    assert label() == 0
    (written,) = json.loads(capsys.readouterr().out.splitlines()[-1])["labelled"]
    assert written == str(tmp_path / "policy/labelled/mixed.parquet")
    assert pq.read_table(written).num_rows == len(Dataset(mixed))


def test_filtered_bc_labels_with_the_critic_of_another_run_as_it_is(mixed, tmp_path):
    train(config(mixed, tmp_path / "rove"), progress=False)
    train(
        config(mixed, tmp_path / "filtered", method="filtered_bc", critic_checkpoint=str(tmp_path / "rove")),
        progress=False,
    )
    ours, theirs = (np.load(tmp_path / name / "labels.npz") for name in ("rove", "filtered"))
    np.testing.assert_array_equal(ours["value"], theirs["value"])
    assert not (tmp_path / "filtered/work/critic_ove.pt").exists()


def test_iteration_zero_follows_a_base_policy_and_decides_the_learning_rate(mixed, tmp_path):
    train(config(mixed, tmp_path / "base", method="sft"), progress=False)
    settings = config(mixed, tmp_path / "k0", init=str(tmp_path / "base"))
    plan = resolve(settings, progress=False)
    assert plan.iteration == 0 and plan.first
    train(settings, progress=False)
    after = resolve(config(mixed, tmp_path / "k1", init=str(tmp_path / "k0")), progress=False)
    assert after.iteration == 1 and not after.first
    assert checkpoint.load(tmp_path / "base").info["iteration"] is None


def test_the_paper_s_numbers_ship_as_a_configuration():
    paper = parse(
        TrainConfig, ["--config", "paper", "--dataset", "d", "--out", "o"], required={"dataset": (), "out": ""}
    )
    assert (paper.critic.steps, paper.critic.batch, paper.critic.lr, paper.critic.lr_next, paper.critic.tau) == (
        8000,
        64,
        1e-4,
        1e-5,
        0.7,
    )
    assert (paper.actor.steps, paper.actor.batch, paper.actor.lr, paper.actor.lr_next) == (8000, 16, 1e-4, 1e-5)
    assert (
        paper.reward.c_fail == -500
        and paper.reward.gamma == 1
        and paper.critic.horizon == 16
        and paper.labels.percentile == 70
    )
    assert paper.critic.freeze_backbone and paper.actor.freeze_backbone


@pytest.mark.parametrize("name", ["paper", "paper_models"])
def test_the_paper_s_configuration_has_the_paper_s_losses_and_none_of_ours(name):
    """App. F: "train the VLA actor with the standard action prediction loss"; "it predicts action velocities"."""
    paper = parse(TrainConfig, ["--config", name, "--dataset", "d", "--out", "o"], required={"dataset": (), "out": ""})
    actor, critic = paper.actor, paper.critic
    weights = (actor.weight_head, actor.weight_waist, actor.weight_arm, actor.weight_hand, actor.weight_end_effector)
    assert set(weights) == {1.0} and (actor.idle_weight, actor.weight_tail, actor.negative_weight) == (1.0, 1.0, 1.0)
    assert (actor.predict, actor.negatives, actor.guide_from, actor.condition_dropout) == (
        "velocity",
        "condition",
        "negative",
        0.0,
    )
    assert (critic.values_from, critic.bins, critic.patience, paper.labels.centre) == ("online", 0, 0, "none")
    assert (paper.regularise.image_gain, paper.regularise.image_shift) == (0.0, 0)
    assert (critic.backbone.kind == "vlac") is (name == "paper_models")


def test_a_frozen_backbone_does_not_move(mixed, tmp_path):
    train(config(mixed, tmp_path / "base", method="sft"), progress=False)
    frozen = config(
        mixed,
        tmp_path / "frozen",
        init=str(tmp_path / "base"),
        actor=replace(SHORT.actor, freeze_backbone=True),
        critic=replace(SHORT.critic, freeze_backbone=True),
    )
    train(frozen, progress=False)
    before, after = checkpoint.load(tmp_path / "base"), checkpoint.load(tmp_path / "frozen")
    for a, b in ((before.actor, after.actor), (before.critic, after.critic)):
        assert all(torch.equal(p, q) for p, q in zip(a.backbone.parameters(), b.backbone.parameters()))
        assert not all(torch.equal(p, q) for p, q in zip(a.head.parameters(), b.head.parameters()))


def test_bad_data_stops_every_step_before_it_begins(mixed, tmp_path):
    root = tmp_path / "spoiled"
    shutil.copytree(mixed, root, ignore=shutil.ignore_patterns(".cache"))
    file = root / "data/chunk-000/file-000.parquet"
    table = pq.read_table(file)
    rows = table["observation.state"].to_pylist()
    rows[60][0] = float("inf")
    field = table.schema.field("observation.state")
    pq.write_table(
        table.set_column(table.schema.get_field_index("observation.state"), field, pa.array(rows, field.type)), file
    )
    spoiled = replace(config(mixed, tmp_path / "out"), dataset=(str(mixed), str(root)))
    with pytest.raises(DatasetError, match=r"spoiled, episode 2, frame 12: observation.state of joint \w+ is inf"):
        train(spoiled, progress=False)
    assert not (tmp_path / "out/work").exists()


def test_a_discount_below_one_trains(mixed, tmp_path):
    train(config(mixed, tmp_path / "out", reward=RewardConfig(gamma=0.97)), progress=False)
    labels = np.load(tmp_path / "out/labels.npz")
    assert np.isfinite(labels["advantage"]).all() and labels["value"].min() >= -1 and labels["value"].max() <= 0


def test_a_compact_backbone_from_nothing_is_not_frozen(mixed, tmp_path):
    with pytest.raises(ValueError, match="--actor.freeze-backbone, but its backbone starts from nothing"):
        train(config(mixed, tmp_path / "out", actor=replace(SHORT.actor, freeze_backbone=True)), progress=False)


def test_a_refused_run_leaves_the_configuration_of_the_one_that_is_there(mixed, tmp_path):
    train(config(mixed, tmp_path / "out"), progress=False)
    before = (tmp_path / "out/config.yaml").read_text()
    with pytest.raises(RunMismatch, match="holds the step critic with another seed"):
        train(config(mixed, tmp_path / "out", seed=9), progress=False)
    assert (tmp_path / "out/config.yaml").read_text() == before


def test_bfloat16_is_the_default_for_pretrained_backbones_on_a_gpu_only(mixed, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    compact = config(mixed, tmp_path)
    qwen = replace(compact, actor=replace(ACTOR, backbone=replace(ACTOR.backbone, kind="qwen3vl")))
    assert [mixed_precision(replace(c, device=d)) for c in (compact, qwen) for d in ("cpu", "cuda")] == [
        "no",
        "no",
        "no",
        "bf16",
    ]
    assert mixed_precision(replace(qwen, device="cuda", precision="no")) == "no"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # as `accelerate launch --mixed_precision no`
    assert mixed_precision(replace(qwen, device="cuda")) == "no"
    assert mixed_precision(replace(qwen, device="cuda", precision="bf16")) == "bf16"
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert mixed_precision(replace(qwen, device="cuda")) == "no"
    init = tmp_path / "init"
    init.mkdir()
    info = {
        "version": checkpoint.VERSION,
        "actor": {"backbone": {"kind": "qwen3vl"}},
        "critic": None,
        "sha256": {"actor": ""},
        "fingerprints": {"actor": ""},
        "joint_count": 50,
        "guidance": 1.0,
    }
    (init / "config.json").write_text(json.dumps(info))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert mixed_precision(replace(compact, device="cuda", init=str(init))) == "bf16"
