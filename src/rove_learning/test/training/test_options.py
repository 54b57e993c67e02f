# SPDX-License-Identifier: Apache-2.0
"""Options beside the paper: a histogram of values, other negatives and guidance, centred labels, early stopping, what
is held out; and the range of the state noise, which grows.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from rove_contract.modes import Outcome, Stage
from rove_learning.algorithm.advantage import Labels, centred
from rove_learning.config import CONDITIONS, LabelConfig, RewardConfig, TrainConfig
from rove_learning.data.buffer import Buffer
from rove_learning.data.dataset import Dataset, DatasetError, find_adaptation_end
from rove_learning.data.recoveries import describe_short_recoveries, recovery_lengths
from rove_learning.inference import checkpoint
from rove_learning.inference.scoring import condition_effect
from rove_learning.models.actor import Actor
from rove_learning.models.critic import Critic
from rove_learning.models.guidance import guidance_conditions
from rove_learning.report import diagnostics, figures
from rove_learning.testing.synthetic import ACTOR, CRITIC, episode_frames, intervention, make_plan, write_dataset
from rove_learning.train import train
from rove_learning.training import label
from rove_learning.training.batches import BatchPart
from rove_learning.training.plan import resolve
from rove_learning.training.train_actor import ActorData, extend_range, train_actor
from rove_learning.training.train_critic import train_critic

SHORT = TrainConfig(
    dataset=(),
    out="",
    threads=1,
    actor=replace(ACTOR, steps=2, steps_next=2, batch=4),
    critic=replace(CRITIC, mc_steps=2, steps=2, batch=4),
)


@pytest.fixture(scope="module")
def buffer(mixed):
    return Buffer([Dataset(mixed)], 48, progress=False)


def stages(*runs):
    return np.concatenate([np.full(n, stage) for stage, n in runs])


ROLLOUT, ADAPTATION, RECOVERY = Stage.ROLLOUT, Stage.ADAPTATION, Stage.RECOVERY


@pytest.mark.parametrize(
    "stage, end",
    [
        (stages((ROLLOUT, 5), (ADAPTATION, 3), (RECOVERY, 4)), 8),  # t_r
        (stages((ROLLOUT, 5), (ADAPTATION, 3)), 8),  # adapting to the end
        (stages((ROLLOUT, 5), (ADAPTATION, 3), (ROLLOUT, 6)), 8),  # handed back while adapting
        (stages((ROLLOUT, 5), (ADAPTATION, 3), (ROLLOUT, 6), (ADAPTATION, 2), (RECOVERY, 4)), 8),  # the initial one
        (stages((ROLLOUT, 5), (RECOVERY, 4)), 5),
        (stages((ROLLOUT, 5)), -1),
    ],
)
def test_the_initial_adaptation_ends_where_it_ends(stage, end):
    assert find_adaptation_end(stage) == end


def test_a_success_after_a_hand_back_is_penalised_at_the_end_of_the_adaptation(tmp_path):
    stage = stages((ROLLOUT, 10), (ADAPTATION, 5), (ROLLOUT, 15))
    episode = episode_frames(0, 30, Outcome.SUCCESS, "rollout", stage, takeover=10)
    frames = Buffer([Dataset(write_dataset(tmp_path / "data", [episode]))], 48, progress=False)
    assert np.flatnonzero(frames.rewards(RewardConfig()) == -500.0).tolist() == [15]


def test_a_second_takeover_adds_no_second_penalty(tmp_path):
    stage = stages((ROLLOUT, 5), (ADAPTATION, 4), (RECOVERY, 6), (ROLLOUT, 5), (ADAPTATION, 4), (RECOVERY, 6))
    episode = episode_frames(0, 30, Outcome.SUCCESS, "rollout", stage, t_r=9, takeover=5)
    frames = Buffer([Dataset(write_dataset(tmp_path / "data", [episode]))], 48, progress=False)
    assert np.flatnonzero(frames.rewards(RewardConfig()) == -500.0).tolist() == [9]


def test_a_critic_with_a_histogram_trains_labels_and_is_read_back(mixed, tmp_path):
    config = replace(SHORT, dataset=(str(mixed),), out=str(tmp_path / "out"), critic=replace(SHORT.critic, bins=51))
    train(config, progress=False)
    critic, _ = checkpoint.load_critic(tmp_path / "out")
    assert critic.config.bins == 51 and critic.head.out.out_features == 51 and critic.scale == 1040
    longer = write_dataset(tmp_path / "longer", [episode_frames(20, 60)])
    with pytest.raises(DatasetError, match="longer, episode 0: 60 steps.* cover 1040; train a critic on these data"):
        resolve(replace(config, dataset=(str(longer),), init=str(tmp_path / "out")), progress=False)


def test_a_critic_with_a_histogram_learns_the_returns_of_an_episode(tmp_path):
    one = Buffer([Dataset(write_dataset(tmp_path / "one", [episode_frames(0, 20)]))], 48, progress=False)
    settings = replace(CRITIC, bins=51, mc_steps=300)
    plan = make_plan(one, tmp_path / "out", 40.0, ("critic_mc",), critic=settings, held_out=0.0)
    critic = train_critic(*plan).critic
    from rove_learning.inference.scoring import values

    assert np.abs(values(critic, one) - (np.arange(20) - 19) / 40.0).mean() < 0.06


def test_which_condition_a_chunk_is_trained_under(buffer):
    labels = Labels(np.arange(len(buffer)) % 2 == 0, np.ones(len(buffer), dtype=bool), 0.0)
    index, rng = np.arange(4), np.random.default_rng(0)

    def conditions(**changes):
        actor = Actor(replace(ACTOR, **changes))
        return ActorData(buffer, labels, actor, SHORT.regularise).conditions(index, rng).tolist()

    assert conditions() == [1, 0, 1, 0]
    assert conditions(negatives="unconditional") == [1, 2, 1, 2]
    assert conditions(condition_dropout=1.0) == [2, 2, 2, 2]
    assert ACTOR.trained_conditions == CONDITIONS[:2]
    assert replace(ACTOR, condition_dropout=0.1).trained_conditions == CONDITIONS
    dropped = ActorData(buffer, labels, Actor(replace(ACTOR, negatives="drop")), SHORT.regularise)
    assert labels.positive[dropped.kept].all()


def test_the_weight_of_negatives_scales_their_loss_and_the_normaliser(buffer):
    half = Labels(np.arange(len(buffer)) % 2 == 0, np.ones(len(buffer), dtype=bool), 0.0)
    batches = {}
    for weight in (1.0, 0.25):
        torch.manual_seed(0)
        data = ActorData(buffer, half, Actor(replace(ACTOR, negative_weight=weight)), SHORT.regularise)
        batches[weight] = data.batch(BatchPart((0, 1)))
    ratio = batches[0.25]["weight"].sum((1, 2)) / batches[1.0]["weight"].sum((1, 2))
    assert set(ratio.tolist()) == {0.25, 1.0}
    for batch in batches.values():
        assert float(batch["weight"].sum()) == pytest.approx(batch["normaliser"], rel=1e-5)


def test_guidance_from_the_unconditional_branch_needs_one_that_is_trained(mixed, tmp_path):
    assert guidance_conditions(ACTOR) == (["Advantage: negative"], ["Advantage: positive"])
    config = replace(SHORT, dataset=(str(mixed),), out=str(tmp_path / "out"))
    with pytest.raises(ValueError, match="nothing trains the unconditional branch: set --actor.condition-dropout"):
        resolve(replace(config, actor=replace(config.actor, guide_from="unconditional")), progress=False)
    with pytest.raises(ValueError, match="--actor.negatives drop trains no negative branch to guide from"):
        resolve(replace(config, actor=replace(config.actor, negatives="drop")), progress=False)
    guided = replace(config.actor, guide_from="unconditional", condition_dropout=0.2)
    train(replace(config, actor=guided), progress=False)
    policy = checkpoint.load(tmp_path / "out")
    assert policy.actor.config.guide_from == "unconditional"
    chunks = [policy.act(np.zeros((48, 48, 3), np.uint8), np.zeros(50), "erase", guidance=b) for b in (0.0, 1.0, 1.5)]
    assert all(np.isfinite(chunk).all() for chunk in chunks)


def test_centred_advantages_have_no_mean_in_any_group():
    advantage, group = np.array([1.0, 3.0, -50.0, -52.0]), np.array([3, 3, 7, 7])
    np.testing.assert_allclose(centred(advantage, group), [-1.0, 1.0, 1.0, -1.0])


def test_labels_centred_per_stage_have_positives_in_every_stage(buffer, tmp_path):
    plan, _ = make_plan(buffer, tmp_path, labels=LabelConfig(centre="stage"))
    rng = np.random.default_rng(0)
    biased = rng.normal(size=len(buffer)) - 100.0 * (buffer.stage == ROLLOUT)  # the critic dislikes the policy
    scores = label.Scores(np.zeros(len(buffer)), biased)
    share = {}
    for name, advantage in (("none", biased), ("stage", label.centre(plan, buffer, scores).advantage)):
        positive = label.assign(plan, buffer, advantage).positive
        share[name] = positive[buffer.stage == ROLLOUT].mean()
    assert share["none"] == 0.0 and 0.1 < share["stage"] < 0.5


def test_real_states_of_later_iterations_are_never_clipped(buffer):
    actor = Actor(ACTOR)
    extend_range(actor, buffer)
    first = actor.state_upper.clone()
    moved = replace_state(buffer, buffer.state + 0.3)
    extend_range(actor, moved)
    lower, upper = actor.state_lower.numpy(), actor.state_upper.numpy()
    for states in (buffer.state, moved.state):
        assert (states >= lower).all() and (states <= upper).all()
    assert (actor.state_upper > first).all()


def replace_state(buffer, state):
    import copy

    other = copy.copy(buffer)
    other.state = state.astype(np.float32)
    return other


def test_held_out_episodes_stay_held_out_and_never_train(tmp_path):
    root = write_dataset(tmp_path / "data", [episode_frames(i, 12) for i in range(30)])
    frames = Buffer([Dataset(root)], 48, progress=False)
    chosen = frames.held_out(0.3)
    assert 0.05 < chosen.mean() < 0.6 and not frames.held_out(0.0).any() and not frames.held_out(1.0).any()
    assert all(len(set(chosen[s])) == 1 for s in frames.slices())  # whole episodes
    assert not (frames.held_out(0.1) & ~chosen).any()  # the same ones, whatever the share


def test_each_fold_is_valued_by_a_critic_that_was_not_trained_on_it(mixed, tmp_path, monkeypatch):
    from rove_learning.inference.scoring import values
    from rove_learning.training.train_critic import CriticData

    drawn: dict[str, set[int]] = {}
    draw = CriticData.draw

    def watched(self, part, frames):
        index, *rest = draw(self, part, frames)
        if not self.held_out[frames].all():  # else: the loss on what is held out is measured
            drawn.setdefault(self.phase, set()).update(self.buffer.episode[index].tolist())
        return index, *rest

    monkeypatch.setattr(CriticData, "draw", watched)
    config = replace(SHORT, dataset=(str(mixed),), out=str(tmp_path / "out"), labels=LabelConfig(folds=2))
    train(config, progress=False)
    frames = Buffer([Dataset(mixed)], CRITIC.backbone.image_size, progress=False)
    fold = frames.folds(2)
    found = np.load(tmp_path / "out" / "labels.npz")
    for k in (0, 1):
        assert drawn[f"_fold_{k}"] and not drawn[f"_fold_{k}"] & set(frames.episode[fold == k].tolist())
        critic, _ = checkpoint.load_critic(tmp_path / "out" / "work" / f"fold-{k}")
        robot = (fold == k) & frames.has_robot
        mine = found["value"][(fold == k)[frames.has_robot]]
        np.testing.assert_allclose(mine, values(critic, frames)[robot], atol=1e-6)


def test_an_episode_stays_in_its_fold_when_others_come(mixed, tmp_path):
    one = Buffer([Dataset(mixed)], 48, progress=False)
    more = write_dataset(tmp_path / "more", [episode_frames(40, 20)])
    both = Buffer([Dataset(more), Dataset(mixed)], 48, progress=False)
    np.testing.assert_array_equal(both.folds(3)[-len(one) :], one.folds(3))
    assert set(np.unique(one.folds(3))) <= {0, 1, 2}


@pytest.mark.parametrize("folds", [1, 17])
def test_a_number_of_folds_that_makes_no_sense_is_refused(mixed, tmp_path, folds):
    config = replace(SHORT, dataset=(str(mixed),), out=str(tmp_path / "out"), labels=LabelConfig(folds=folds))
    with pytest.raises(ValueError, match=f"labels.folds {folds}: expected 2 to 16"):
        resolve(config, progress=False)


def test_training_stops_when_the_loss_on_held_out_episodes_stops_falling(tmp_path):
    """A learning rate of zero: no evaluation is better than the first."""
    root = write_dataset(tmp_path / "data", [episode_frames(i, 12) for i in range(12)])
    frames = Buffer([Dataset(root)], 48, progress=False)
    settings = replace(CRITIC, mc_steps=60, lr=0.0, weight_decay=0.0, patience=2, evaluate_every=5, batch=4)
    plan = make_plan(frames, tmp_path / "out", 40.0, ("critic_mc",), critic=settings, held_out=0.3)
    history = train_critic(*plan).history["critic_mc"]
    assert len(history) == 15 and [i for i, row in enumerate(history) if "held_out" in row] == [4, 9, 14]
    assert len(train_critic(*plan).history["critic_mc"]) == 15  # resumed: it had ended


def test_loss_and_rank_correlation_on_held_out_episodes_are_in_the_history_without_being_asked_for(tmp_path):
    root = write_dataset(tmp_path / "data", [episode_frames(i, 20) for i in range(12)])
    frames = Buffer([Dataset(root)], 48, progress=False)
    settings = replace(CRITIC, mc_steps=60, batch=8, evaluate_every=25)
    history = train_critic(*make_plan(frames, tmp_path, 40.0, ("critic_mc",), critic=settings, held_out=0.3)).history
    rows = [(step, row) for step, row in enumerate(history["critic_mc"]) if "held_out" in row]
    assert [step for step, _ in rows] == [24, 49, 59]
    assert rows[-1][1]["held_out"] < rows[0][1]["held_out"]
    assert rows[-1][1]["rank_correlation"] > 0.9  # the pictures of these episodes show how far they are
    assert any("ρ" in text.get_text() for axes in figures.losses(history).axes for text in axes.texts)


def test_an_actor_that_stops_early_is_not_trained_on_the_held_out_episodes(tmp_path, monkeypatch):
    root = write_dataset(tmp_path / "data", [episode_frames(i, 12) for i in range(12)])
    frames = Buffer([Dataset(root)], 48, progress=False)
    settings = replace(ACTOR, steps=30, batch=4, lr_scratch=0.0, weight_decay=0.0, patience=1, evaluate_every=4)
    plan, buffers = make_plan(frames, tmp_path / "out", actor=settings, held_out=0.3)
    everything = Labels(np.ones(len(frames), dtype=bool), np.ones(len(frames), dtype=bool), 0.0)
    drawn = []
    batch = ActorData.batch
    monkeypatch.setattr(ActorData, "batch", lambda self, part: drawn.append(self.kept) or batch(self, part))
    assert len(train_actor(plan, buffers, everything).history["actor"]) == 8
    held_out = frames.held_out(0.3)
    assert {bool(held_out[kept].all()) for kept in drawn} == {True, False}
    assert not any(held_out[kept].any() and not held_out[kept].all() for kept in drawn)


def test_short_recoveries_are_named_with_both_figures():
    stage, episode = (
        stages((ADAPTATION, 3), (RECOVERY, 9), (ADAPTATION, 2), (RECOVERY, 11)),
        np.repeat([0, 1], [12, 13]),
    )
    assert recovery_lengths(stage, episode) == [9, 11]
    assert "median recovery after t_r is 10 steps long, shorter than the horizon H = 16" in describe_short_recoveries(
        [9, 11], 16
    )
    assert describe_short_recoveries([16, 30], 16) == "" and describe_short_recoveries([], 16) == ""


def test_a_run_reports_what_its_labels_and_its_condition_are_worth(tmp_path, capsys):
    root = write_dataset(tmp_path / "data", [episode_frames(i, 20) for i in range(12)] + [intervention(50)])
    summary = train(replace(SHORT, dataset=(str(root),), out=str(tmp_path / "out"), held_out=0.4), progress=False)
    assert "median recovery after t_r is 14 steps long, shorter than the horizon H = 16" in capsys.readouterr().err
    assert summary["condition_effect_rad"] >= 0 and summary["sampling_noise_rad"] > 0
    with np.load(tmp_path / "out/labels.npz") as file:
        labels = dict(file)
    scores = diagnostics.held_out_scores(labels)
    assert 0 < scores["episodes"] < 13 and np.isfinite(scores["bias"])
    rows = diagnostics.behaviour_rows(labels)
    assert sum(row["frames"] for row in rows) == len(labels["stage"])
    assert {row["behaviour"] for row in rows} >= {"person working", "after t_r"}
    json.dumps([scores, rows, diagnostics.recovery_row(labels), diagnostics.calibration(labels)])


def test_labels_by_behaviour_by_hand():
    labels = {
        "stage": np.array([ROLLOUT, ROLLOUT, ADAPTATION, Stage.DEMONSTRATION, RECOVERY]),
        "movement": np.array([0.01, 0.4, 0.01, 0.4, 0.01]),
        "positive": np.array([False, True, False, True, False]),
    }
    rows = {row["behaviour"]: row for row in diagnostics.behaviour_rows(labels)}
    assert {name: row["positive"] for name, row in rows.items()} == {
        "stalled": 0.0,
        "policy working": 1.0,
        "hesitating": 0.0,
        "person working": 1.0,
        "after t_r": 0.0,
    }


def test_the_condition_s_effect_is_zero_where_the_head_does_not_read_it(buffer):
    torch.manual_seed(0)
    actor = Actor(ACTOR).eval()
    torch.nn.init.normal_(actor.head.out.weight, std=0.1)
    assert condition_effect(actor, buffer)["condition_effect_rad"] > 0
    torch.nn.init.zeros_(actor.head.out.weight)
    assert condition_effect(actor, buffer)["condition_effect_rad"] == 0


def test_a_pretrained_value_checkpoint_starts_the_critic_without_pretraining(mixed, tmp_path):
    """App. G: "At iteration 0, the critic initializes from the pretrained value checkpoint"."""
    torch.manual_seed(0)
    pretrained = Critic(CRITIC)
    pretrained.set_scale(300.0)
    checkpoint.save_critic(tmp_path / "value", pretrained)
    config = replace(SHORT, dataset=(str(mixed),), out=str(tmp_path / "out"), critic_from=str(tmp_path / "value"))
    plan = resolve(config, progress=False)
    assert plan.critic_phases == ("critic_ove",) and plan.iteration == 0
    assert torch.equal(plan.start_critic.head.query, pretrained.head.query)


def test_recap_s_critic_sees_the_robot_s_data_only(mixed, tmp_path):
    from rove_learning.training.buffers import Buffers

    config = replace(SHORT, dataset=(str(mixed),), out=str(tmp_path / "out"))
    recap, rove = (Buffers(resolve(replace(config, method=m), progress=False)).critic for m in ("recap", "rove"))
    assert recap.has_robot.all() and not rove.has_robot.all()
