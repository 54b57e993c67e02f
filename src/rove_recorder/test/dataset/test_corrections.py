# SPDX-License-Identifier: Apache-2.0
"""Corrections: exported data never change, the last one counts, undo goes back step by step, and nonsense is
refused with a reason.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rove_contract.modes import Outcome, Stage
from rove_recorder.dataset import corrections
from rove_recorder.dataset.corrections import FILE, CorrectionError, check, correct, corrected, read, restage, undo

A, R, P = int(Stage.ADAPTATION), int(Stage.RECOVERY), int(Stage.ROLLOUT)
STAGE = np.array([P] * 20 + [A] * 6 + [R] * 14)
ROW = {
    "episode_index": 3,
    "episode_id": "e3",
    "outcome": int(Outcome.SUCCESS),
    "t_r": 26,
    "takeover": 20,
    "excluded": False,
}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text("{}")
    return tmp_path


def now(root):
    return {**ROW, **corrected(read(root), 3, "e3")}


def fix(root, field, new, **more):
    return correct(root, ROW, STAGE, field, new, "ann", **more)


def test_a_correction_says_who_when_what_old_and_new(root):
    fix(root, "t_r", 30)
    line = json.loads((root / FILE).read_text())
    assert {key: line[key] for key in ("episode_index", "episode_id", "field", "old", "new", "by")} == {
        "episode_index": 3,
        "episode_id": "e3",
        "field": "t_r",
        "old": 26,
        "new": 30,
        "by": "ann",
    }
    assert line["at"].endswith("Z") and now(root)["t_r"] == 30
    fix(root, "outcome", "failure")
    assert json.loads((root / FILE).read_text().splitlines()[1])["new"] == "failure"
    assert now(root)["outcome"] == Outcome.FAILURE


def test_the_same_value_again_writes_nothing(root):
    assert fix(root, "excluded", False) is None and fix(root, "t_r", 30) is not None and fix(root, "t_r", 30) is None
    assert len(read(root)) == 1


def test_what_changed_meanwhile_is_not_overwritten(root):
    fix(root, "t_r", 30)
    with pytest.raises(CorrectionError, match="corrected to 30 meanwhile"):
        fix(root, "t_r", 28, expected=26)
    assert now(root)["t_r"] == 30


steps = st.one_of(
    st.tuples(st.just("t_r"), st.sampled_from([-1, 21, 26, 30, 38])),
    st.tuples(st.just("outcome"), st.sampled_from([outcome.name.lower() for outcome in Outcome])),
    st.tuples(st.just("excluded"), st.booleans()),
    st.just(("undo", None)),
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, max_size=12))
def test_any_sequence_equals_a_stack_of_states_and_only_appends(tmp_path_factory, sequence):
    root = tmp_path_factory.mktemp("d")
    (root / "meta").mkdir()
    states, before = [dict(ROW)], b""
    for field, value in sequence:
        if field == "undo" and len(states) == 1:
            with pytest.raises(CorrectionError, match="no correction to undo"):
                undo(root, 3, "ann")
        elif field == "undo":
            undo(root, 3, "ann")
            states.pop()
        elif fix(root, field, value) is not None:
            states.append({**states[-1], field: check(field, value, stage=STAGE, takeover=20)})
        assert now(root) == states[-1]
        after = (root / FILE).read_bytes()
        assert after.startswith(before)
        before = after
    assert [path.name for path in (root / "meta").iterdir()] in ([], [Path(FILE).name])


def test_undo_concerns_the_episode_only(root):
    fix(root, "t_r", 30)
    correct(root, {**ROW, "episode_index": 4, "episode_id": "e4"}, STAGE, "excluded", True, "bob")
    undone = undo(root, 3, "bob")
    assert (undone.field, undone.old, undone.new, undone.undoes) == ("t_r", 30, 26, 0)
    assert corrected(read(root), 4, "e4") == {"excluded": True} and now(root) == ROW


@pytest.mark.parametrize(
    ("field", "new", "words"),
    [
        ("t_r", 20, "after the takeover at frame 20"),
        ("t_r", 5, "after the takeover"),
        ("t_r", 40, "frames 0 to 39"),
        ("t_r", -2, "outside the episode"),
        ("t_r", 39, "before the last frame"),
        ("t_r", 25.5, "number of a frame"),
        ("t_r", True, "number of a frame"),
        ("outcome", "splendid", "one of none, success, failure, aborted"),
        ("outcome", 9, "one of none"),
        ("excluded", 1, "true or false"),
        ("colour", "x", "cannot be corrected"),
    ],
)
def test_nonsense_is_refused_with_the_reason(root, field, new, words):
    with pytest.raises(CorrectionError, match=words):
        fix(root, field, new)
    assert not (root / FILE).exists() or read(root) == []


def test_t_r_needs_an_intervention_around_it(root):
    with pytest.raises(CorrectionError, match="nobody took over"):
        check("t_r", 5, stage=np.full(10, P), takeover=-1)
    twice = np.array([P] * 5 + [A] * 5 + [P] * 5 + [A] * 3 + [R] * 4)
    with pytest.raises(CorrectionError, match="inside an intervention; at frame 12 the stage is rollout"):
        check("t_r", 12, stage=twice, takeover=5)
    with pytest.raises(CorrectionError, match="its first frame"):
        check("t_r", 15, stage=twice, takeover=5)
    assert check("t_r", 17, stage=twice, takeover=5) == 17 and check("t_r", 7, stage=twice, takeover=5) == 7


stretch = st.tuples(st.sampled_from([P, A, R]), st.integers(1, 6))


@given(st.lists(stretch, min_size=1, max_size=8), st.integers(-1, 40))
def test_restaged_stages_agree_with_t_r_and_touch_only_the_operators_frames(stretches, t_r):
    stage = np.concatenate([np.full(count, kind) for kind, count in stretches])
    operator = stage != P
    first = int(np.argmax(stage == R)) if (stage == R).any() else -1
    np.testing.assert_array_equal(restage(stage, first), stage)
    if t_r >= len(stage) or (t_r >= 0 and not operator[t_r]):
        return
    new = restage(stage, t_r)
    np.testing.assert_array_equal(new[~operator], stage[~operator])
    assert set(new[operator]) <= {A, R}
    assert (int(np.argmax(new == R)) if (new == R).any() else -1) == t_r
    if t_r >= 0 and first >= 0:
        np.testing.assert_array_equal(restage(new, first)[: first + 1], stage[: first + 1])


def test_a_line_cut_off_by_a_kill_costs_only_itself(root):
    fix(root, "t_r", 30)
    whole = (root / FILE).read_bytes()
    (root / FILE).write_bytes(whole + '{"episode_index": 3, "by": "é'.encode()[:-1])
    assert now(root)["t_r"] == 30
    fix(root, "excluded", True)
    assert (root / FILE).read_bytes().startswith(whole) and [c.field for c in read(root)] == ["t_r", "excluded"]


def test_a_damaged_line_is_named_and_nothing_is_written_over_it(root):
    fix(root, "t_r", 30)
    damaged = b"garbage\n" + (root / FILE).read_bytes()
    (root / FILE).write_bytes(damaged)
    for attempt in (lambda: read(root), lambda: fix(root, "excluded", True)):
        with pytest.raises(CorrectionError, match=r"corrections.jsonl, line 1 is no correction"):
            attempt()
    assert (root / FILE).read_bytes() == damaged


def test_corrections_of_another_dataset_are_not_applied(root):
    fix(root, "t_r", 30)
    with pytest.raises(CorrectionError, match="episode 3 is 'other' now: the dataset was made anew"):
        corrected(read(root), 3, "other")
    assert corrections.fixes(root, [{**ROW, "episode_index": 2}, ROW]) == {2: {}, 3: {"t_r": 30}}
    assert corrections.digest(root) and not corrections.digest(root / "nowhere")
