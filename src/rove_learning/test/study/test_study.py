# SPDX-License-Identifier: Apache-2.0
"""The study: what it compares is fixed beforehand, a result is made once, and the page says what is missing."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rove_learning.algorithm.methods import METHODS
from rove_learning.config import TrainConfig
from rove_learning.study import protocol, results
from rove_learning.study.page import write_page
from rove_learning.study.reproduce import ReproduceConfig, Study, apply, reproduce
from rove_sim.tasks import task as tasks


@pytest.mark.parametrize("name", protocol.PROFILES)
def test_every_arm_of_a_profile_finds_what_it_starts_from_before_it(name):
    profile = protocol.PROFILES[name]
    seen = set()
    for arm in protocol.arms(profile.iterations):
        assert arm.method in METHODS
        assert not arm.start or arm.start in seen
        assert not arm.critic_of or arm.critic_of in seen
        seen.add(arm.name)
    assert set(profile.arms) <= seen and {t.name for t in tasks.TASKS} >= set(profile.tasks)


def test_no_two_data_sets_of_a_study_share_a_seed():
    full = protocol.PROFILES["full"]
    spans = []
    for seed in full.seeds:
        for first, episodes in (
            (protocol.DEMONSTRATIONS, full.demonstrations),
            (protocol.MORE, full.experience * full.iterations),
            (protocol.VIDEOS, full.videos),
        ):
            spans.append((first + protocol.SEED_STRIDE * seed, episodes))
        for k in range(1, full.iterations + 1):
            spans.append(
                (protocol.EXPERIENCE + protocol.SEED_STRIDE * seed + protocol.ITERATION_STRIDE * k, full.experience)
            )
    spans.append((protocol.EVALUATION, full.evaluation))
    spans.sort()
    assert all(a + n <= b for (a, n), (b, _) in zip(spans, spans[1:]))


def test_a_change_of_an_arm_is_a_field_of_the_configuration():
    assert apply(TrainConfig((), ""), {"critic.horizon": 50}).critic.horizon == 50
    with pytest.raises(ValueError, match="horizons"):
        apply(TrainConfig((), ""), {"critic.horizons": 50})


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_the_paired_interval_holds_the_difference_and_turns_with_it(before, random):
    after = [random.random() < 0.5 for _ in before]

    def result(arm, success):
        return results.Result(arm, arm, "t", 0, tuple(success), {})

    there = results.paired([result("a", before), result("b", after)], "t", "a", "b")
    back = results.paired([result("a", before), result("b", after)], "t", "b", "a")
    assert there.difference == pytest.approx(np.mean(after) - np.mean(before))
    assert there.low <= there.difference + 1e-9 and there.difference - 1e-9 <= there.high
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    assert there.p == back.p


def save(folder, arm, success, seed=0):
    results.save(
        folder / f"toast_bread-{seed}-{arm}.json",
        arm=arm,
        title=arm,
        task="toast_bread",
        seed=seed,
        success=success,
        seconds=[1.0],
        commit="abc",
        machine="m",
    )


def test_the_page_shows_results_with_paired_differences_and_names_what_is_missing(tmp_path):
    folder = tmp_path / "paper" / "small"
    save(folder, "base", [False] * 10 + [True] * 10)
    save(folder, "rove_1", [True] * 20)
    write_page(tmp_path / "paper.md", tmp_path / "paper")
    text = (tmp_path / "paper.md").read_text()
    assert "| base policy | 50.0" in text and "| ROVE, iteration 1 | 100.0" in text
    assert "+50.0" in text and "p 0.002" in text
    assert "Missing: SFT, as many steps (training seed 0); HG-DAgger (training seed 0)." in text
    assert (tmp_path / "paper" / "success-small-toast_bread.png").is_file()


def test_a_damaged_result_is_named(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ValueError, match="x.json is no result"):
        results.load(tmp_path)


def test_an_arm_whose_result_exists_is_not_made_again(tmp_path):
    for arm in protocol.PROFILES["small"].arms:
        save(tmp_path / "results" / "small", arm, [True, False])
    config = ReproduceConfig("small", tmp_path / "runs", tmp_path / "results", tmp_path / "paper.md")
    assert reproduce(config) == tmp_path / "paper.md"
    assert not (tmp_path / "runs").exists()


def test_an_unknown_arm_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="unknown rove_9; .*rove_1"):
        reproduce(ReproduceConfig("small", tmp_path, tmp_path, tmp_path / "paper.md", arm=("rove_9",)))


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Arm -> what its training was asked for; nothing is trained and no data are made."""
    from rove_learning.study import reproduce as module

    trained: dict[str, TrainConfig] = {}

    def record(config):
        trained[config.out.rsplit("/", 1)[-1]] = config
        module.Path(config.out).mkdir(parents=True)
        (module.Path(config.out) / "train.json").write_text(json.dumps({}))

    monkeypatch.setattr(module, "train", record)
    monkeypatch.setattr(module, "write_report", lambda config: None)
    monkeypatch.setattr(Study, "_data", lambda self, name, make: str(tmp_path / name))
    return trained


def test_a_given_critic_labels_as_it_is_where_others_are_dealt_into_folds(trained, tmp_path):
    study = Study(ReproduceConfig("small", tmp_path / "runs"), protocol.PROFILES["small"], "toast_bread", 0)
    study.policy("filtered_bc")
    assert trained["rove_1"].labels.folds == 2
    assert trained["filtered_bc"].critic_checkpoint and trained["filtered_bc"].labels.folds == 0


def test_arms_of_one_iteration_count_get_the_same_steps(trained, tmp_path):
    study = Study(ReproduceConfig("full", tmp_path / "runs"), protocol.PROFILES["full"], "toast_bread", 0)
    for name in study.arms:
        study.policy(name)
    chain = sum(trained[f"rove_{k}"].actor.steps_next for k in (1, 2, 3))
    assert {trained[a].actor.steps_next for a in ("sft", "sft_more", "hg_dagger", "filtered_bc", "recap")} == {chain}
    assert trained["filtered_bc"].critic_checkpoint.endswith("rove_3")
    assert trained["rove_h50"].critic.horizon == 50 and trained["rove_takeover"].reward.penalty_at == "takeover"
    assert not any("videos" in root for root in trained["rove_no_videos"].dataset)
    experience = [root for root in trained["hg_dagger"].dataset if "experience" in root]
    assert experience == [root for root in trained["rove_3"].dataset if "experience" in root]
