# SPDX-License-Identifier: Apache-2.0
"""Datasets and bags of strangers: nothing outside their folder is written, removed or emptied."""

import json
import os
import shutil

import numpy as np
import pytest

from rove_contract.modes import Mode, Outcome, Source, Stage
from rove_description.card import RobotCard
from rove_recorder.bag.recover import recover
from rove_recorder.dataset import corrections, merge, shards
from rove_recorder.dataset.lerobot import DatasetError, DatasetWriter, EpisodeFrames
from rove_recorder.dataset.scores import write_scores
from rove_recorder.review.data import ReviewData
from rove_recorder.testing.synthetic import samples, write_bag


def add(root, name):
    joints = [f"joint_{i}" for i in range(3)]
    with DatasetWriter(root, RobotCard("x", joints=tuple(joints), blocks=("arm",) * 3)) as writer:
        labels = (np.full(30, kind) for kind in (Stage.DEMONSTRATION, Source.OPERATOR, Mode.DEMONSTRATION))
        motion = np.zeros((30, 3))
        episode = EpisodeFrames(motion, motion, None, *labels, "wipe", Outcome.SUCCESS, episode_id=name)
        episode.kind = "demonstration"
        writer.add_episode(episode)


@pytest.fixture
def home(tmp_path):
    """Somebody's folder beside the dataset; it must never change."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".bashrc").write_text("mine")
    (tmp_path / "home" / "photos").mkdir()
    (tmp_path / "home" / "photos" / "one.jpg").write_text("mine")
    before = listing(tmp_path / "home")
    yield tmp_path / "home"
    assert listing(tmp_path / "home") == before


def listing(folder):
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


@pytest.fixture
def root(tmp_path):
    add(tmp_path / "d", "e0")
    return tmp_path / "d"


@pytest.mark.parametrize(
    "journal",
    [["../home/.bashrc"], ["/HOME/.bashrc"], ["meta/../../home/.bashrc"], "../home", {"a": 1}, [5], [["x"]], None],
)
def test_a_journal_cannot_name_files_outside_the_dataset(root, home, journal):
    if isinstance(journal, list) and journal[0] == "/HOME/.bashrc":
        journal = [f"{home}/.bashrc"]
    (root / ".staging").mkdir()
    (root / ".staging" / "journal.json").write_text(json.dumps(journal))
    (root / "home").mkdir()
    (root / "home" / ".bashrc").write_text("theirs")
    (root / ".staging" / "meta").mkdir()
    with pytest.raises(DatasetError, match="journal"):
        add(root, "e1")


def test_a_journal_that_is_no_json_is_named(root):
    (root / ".staging").mkdir()
    (root / ".staging" / "journal.json").write_text("[" * 100_000)
    with pytest.raises(DatasetError, match="journal"):
        add(root, "e1")


@pytest.mark.parametrize("name", [".staging", "meta", "data"])
def test_a_folder_that_is_a_link_is_neither_emptied_nor_written_into(root, home, name):
    shutil.rmtree(root / name, ignore_errors=True)
    (root / name).symlink_to(home)
    with pytest.raises(DatasetError, match="symbolic link|no dataset"):
        add(root, "e1")


def test_a_lock_that_is_a_link_is_refused(root, home):
    (root / ".lock").unlink(missing_ok=True)
    (root / ".lock").symlink_to(home / "new")
    with pytest.raises(DatasetError, match="symbolic link"):
        add(root, "e1")


def test_corrections_and_scores_are_not_written_through_links(root, home):
    (root / "meta" / "corrections.jsonl").symlink_to(home / "new")
    data = ReviewData(root)
    with pytest.raises(corrections.CorrectionError, match="symbolic link"):
        data.correct(0, "excluded", True, "ann")
    (root / "meta" / "scores").symlink_to(home)
    with pytest.raises(DatasetError, match="symbolic link"):
        write_scores(root, "critic", [0], [0], value=[0.0], advantage=[0.0], positive=[True])


def test_shards_that_are_a_link_are_not_removed(root, home):
    (root / shards.FOLDER).symlink_to(home)
    with pytest.raises((DatasetError, shards.ShardError)):
        merge.merge(root, progress=False)


@pytest.mark.parametrize("where", ["recovering", "metadata.yaml.tmp", "metadata.yaml"])
def test_recovery_does_not_write_through_links(tmp_path, home, where):
    bag = write_bag(tmp_path / "e", samples("e", length_ms=500), close=False)
    file = next(bag.glob("*.mcap"))
    target = home / "new" if where != "metadata.yaml" else home / ".bashrc"
    (file.with_suffix(".recovering") if where == "recovering" else bag / where).symlink_to(target)
    recover(bag)
    assert not (bag / "metadata.yaml").is_symlink() and not file.is_symlink()


def test_a_bag_file_that_is_a_link_is_not_replaced_where_it_points(tmp_path, home):
    bag = write_bag(tmp_path / "e", samples("e", length_ms=500), close=False)
    file = next(bag.glob("*.mcap"))
    shutil.move(file, tmp_path / "elsewhere.mcap")
    file.symlink_to(tmp_path / "elsewhere.mcap")
    before = (tmp_path / "elsewhere.mcap").read_bytes()
    recover(bag)
    assert (tmp_path / "elsewhere.mcap").read_bytes() == before


def test_caches_of_training_are_not_written_through_links(root, home):
    from rove_learning.data.picture_cache import cache_folder

    (root / ".cache").symlink_to(home)
    with pytest.raises(DatasetError, match="symbolic link"):
        cache_folder(root)
    os.unlink(root / ".cache")
    assert cache_folder(root).is_dir()
