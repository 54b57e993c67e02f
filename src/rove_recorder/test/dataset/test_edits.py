# SPDX-License-Identifier: Apache-2.0
"""Episodes are trimmed, split, deleted and renamed beside the data; bake writes a dataset that is so, and until then
nothing trains on the uncut one.
"""

import json
import shutil
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rove_contract.modes import Mode, Outcome, Stage
from rove_learning.data.dataset import Dataset
from rove_recorder.dataset import corrections, label_formats, video
from rove_recorder.dataset.bake import bake
from rove_recorder.dataset.correction_fields import CUTS, CorrectionError, check_cut, exported, parts
from rove_recorder.dataset.lerobot_format import DatasetError
from rove_recorder.dataset.reader import LeRobotReader
from rove_recorder.export.export import export_bags
from rove_recorder.review import edit
from rove_recorder.review.data import ReviewData
from rove_recorder.testing.synthetic import T0, samples, write_bag

SECOND = 1_000_000_000


@pytest.fixture(scope="module", params=["video", "image"])
def original(request, tmp_path_factory):
    """a: an intervention that succeeded, 46 frames, takeover 20, t_r 32; b: a failed rollout of 40 frames."""
    folder = tmp_path_factory.mktemp(request.param)
    bags = [
        write_bag(folder / "bags/a", samples("a")),
        write_bag(
            folder / "bags/b",
            samples("b", start=T0 + 60 * SECOND, story=((0, Mode.ROLLOUT),), length_ms=2000, outcome=Outcome.FAILURE),
        ),
    ]
    results = export_bags(bags, folder / "data", workers=1, progress=False, camera=request.param)
    assert [len(result.episode.frames) for result in results] == [46, 40]
    return folder / "data"


@pytest.fixture
def root(original, tmp_path):
    return shutil.copytree(original, tmp_path / "data")


def pictures(data, index, start, stop):
    row = data.reader.episodes()[index]
    if data.camera == "image":
        return data.reader.jpegs(data.reader.episode(row, ["observation.images.ego"]))[start:stop]
    place = data.reader.video(row)
    return np.stack(list(video.read_frames(place.path, place.first + start, stop - start))).astype(int)


def change(root, index, **values):
    data = ReviewData(root)
    for field, value in values.items():
        data.correct(index, field, value, "ann")


def test_bake_trims_splits_deletes_and_renames_as_training_then_reads_it(root, tmp_path):
    before = Dataset(root)
    change(root, 0, start=5, stop=44, split=30, task="close the lid")
    change(root, 1, deleted=True)
    assert bake(root, tmp_path / "baked", progress=False) == (2, 2)
    after = Dataset(tmp_path / "baked")
    first, second = after.episodes
    assert (first.episode_id, second.episode_id) == ("a.part1", "a.part2")
    assert [(len(e), e.takeover, e.t_r, e.task) for e in after.episodes] == [
        (25, 15, -1, "close the lid"),
        (14, 0, 2, "close the lid"),
    ]
    assert (first.outcome, second.outcome) == (Outcome.NONE, Outcome.SUCCESS)
    assert (first.trainable, second.trainable) == (False, True), "how the first part ended is for a person to say"
    np.testing.assert_array_equal(after.state, before.state[5:44])
    np.testing.assert_array_equal(after.action, before.action[5:44])
    np.testing.assert_array_equal(after.stage, before.stage[5:44])
    for new, start, stop in ((0, 5, 30), (1, 30, 44)):
        old, found = pictures(before, 0, start, stop), pictures(after, new, 0, stop - start)
        if before.camera == "image":
            assert found == old
        else:  # encoded once more; the pictures of neighbouring frames differ more
            assert 2 * np.abs(found - old).mean() < np.abs(found[1:] - old[:-1]).mean()
    assert corrections.read(tmp_path / "baked") == []


def test_nothing_trains_on_frames_that_were_cut_off_before_bake_wrote_that(root):
    change(root, 0, stop=40)
    with pytest.raises(DatasetError, match=r"episode 0 was edited in review \(stop\); `rove run rove_recorder bake`"):
        Dataset(root)
    with pytest.raises(CorrectionError, match=r"was edited in review \(stop\)"):
        label_formats.corrected_rows(root)
    ReviewData(root).undo(0, "ann")
    assert len(Dataset(root).episodes[0]) == 46


def test_a_deletion_and_a_new_task_count_for_training_at_once(root):
    change(root, 0, task="close the lid")
    change(root, 1, deleted=True)
    renamed, deleted = Dataset(root).episodes
    assert (renamed.task, renamed.trainable, deleted.trainable) == ("close the lid", True, False)


def test_edits_only_append_and_undo_leads_back_step_by_step(root):
    data = ReviewData(root)
    steps = [data.brief(0)]
    for field, value in (("start", 3), ("split", 20), ("deleted", True), ("task", "close the lid"), ("deleted", False)):
        steps.append(data.correct(0, field, value, "ann"))
    shown = [{key: step[key] for key in (*CUTS, "deleted", "task")} for step in steps]
    for wanted in reversed(shown[:-1]):
        now = data.undo(0, "ben")
        assert {key: now[key] for key in wanted} == wanted
    lines = [json.loads(line) for line in (root / corrections.FILE).read_text().splitlines()]
    assert len(lines) == 10 and [line["by"] for line in lines] == ["ann"] * 5 + ["ben"] * 5
    assert bake(root, root.parent / "baked", progress=False) == (2, 0)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("start", 45, "can keep frames 45 to 45 only if those are 2 or more of its frames 0 to 45"),
        ("stop", 47, "can keep frames 0 to 46 only if"),
        ("start", -1, "can keep frames -1 to 45 only if"),
        ("split", 1, "a split at frame 1 must leave 2 frames or more on both sides of it, of the frames 0 to 45"),
        ("split", 45, "a split at frame 45 must leave 2 frames"),
        ("task", "  ", "the task is a line of 1 to 1000 characters"),
        ("task", "two\nlines", "the task is a line of 1 to 1000 characters"),
        ("deleted", 1, "deleted is true or false"),
        ("start", True, "start is the number of a frame, not True"),
    ],
)
def test_an_edit_that_cannot_be_is_refused_with_the_reason(root, field, value, words):
    with pytest.raises(CorrectionError, match=words):
        ReviewData(root).correct(0, field, value, "ann")
    assert corrections.read(root) == []


Step = namedtuple("Step", "field value")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(2, 30), st.lists(st.builds(Step, st.sampled_from(CUTS), st.integers(-2, 32)), max_size=8))
def test_whatever_is_accepted_leaves_parts_of_two_frames_or_more_in_order(length, steps):
    now = exported({"length": length, "tasks": ["t"]})
    for step in steps:
        try:
            check_cut(step.field, step.value, now)
        except CorrectionError:
            continue
        now[step.field] = step.value
        kept = parts(now)
        edges = [edge for part in kept for edge in part]
        assert edges == sorted(edges) and edges[0] >= 0 and edges[-1] <= length
        assert all(stop - start >= 2 for start, stop in kept)
        assert len(kept) == (1 if now["split"] < 0 else 2)
    assert parts(now | {"deleted": True}) == []


def test_the_command_line_edits_shows_and_undoes(root, capsys):
    assert edit.run(root, 0, start=3, task="close the lid", by="ann") == 0
    told = capsys.readouterr().out
    assert "start: 3\n" in told and "task: close the lid\n" in told
    assert 'ann: task "erase the whiteboard" -> "close the lid"' in told
    assert edit.run(root, 0, delete=True, by="ann") == 0
    assert "deleted: not trained on" in capsys.readouterr().out
    assert edit.run(root, 0, undo=True, by="ann") == 0
    assert "undo: deleted true -> false" in capsys.readouterr().out
    assert edit.run(root, 0, split=0) == 2 and "edit: a split at frame 0 must leave" in capsys.readouterr().err
    assert edit.run(root, 9) == 2 and "has no episode 9" in capsys.readouterr().err
    assert edit.run(root, 0, undo=True, start=1) == 2
    lengths = [row["length"] for row in LeRobotReader(root).episodes()]
    assert lengths == [46, 40], "the data themselves do not change"
    assert Stage.ROLLOUT in ReviewData(root).stage
