# SPDX-License-Identifier: Apache-2.0
"""Shards, object stores and Ray give the dataset that one plain export gives."""

import json
import os
import subprocess
import sys

import fsspec
import numpy as np
import pytest

from rove_learning.data.dataset import Dataset
from rove_recorder.bag.bag import BagError
from rove_recorder.dataset import engine, remote
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset.merge import merge
from rove_recorder.dataset.shards import Shard, ShardError
from rove_recorder.export.export import export_bags
from rove_recorder.testing.synthetic import T0, samples, write_bag

NAMES = "abcdefg"


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    """Seven short episodes; in the order of their starts the names run backwards."""
    root = tmp_path_factory.mktemp("bags")
    for i, name in enumerate(reversed(NAMES)):
        write_bag(root / name, samples(name, start=T0 + i * 10**10, length_ms=1900))
    return root


@pytest.fixture(scope="module")
def plain(bags, tmp_path_factory):
    out = tmp_path_factory.mktemp("plain") / "d"
    export_bags([bags], out, workers=1, progress=False)
    return out


@pytest.fixture
def store():
    """An object store in memory, empty."""
    fs = fsspec.filesystem("memory")
    if fs.exists("/bucket"):
        fs.rm("/bucket", recursive=True)
    return fs


def contents(root):
    files = [path for folder in ("data", "videos", "meta") for path in (root / folder).rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def same_data(one, other):
    """Equal bytes; statistics, which are summed in another grouping only where an append came between, to rounding."""
    mine, theirs = contents(one), contents(other)
    return mine.keys() == theirs.keys() and all(mine[name] == theirs[name] for name in mine)


@pytest.mark.parametrize("camera", ["video", "image"])
def test_merged_shards_are_the_bytes_of_one_export(bags, plain, tmp_path, camera):
    if camera == "image":
        plain = tmp_path / "plain"
        export_bags([bags], plain, camera="image", workers=1, progress=False)
    for i in (3, 1, 2):
        export_bags([bags], tmp_path / "d", camera=camera, shard=Shard(i, 3), workers=1, progress=False)
    result = merge(tmp_path / "d", progress=False)
    assert (result.episodes, result.errors, result.notes) == (7, {}, [])
    assert same_data(tmp_path / "d", plain)
    assert not (tmp_path / "d" / "shards").exists()
    assert len(Dataset(tmp_path / "d").episodes) == 7


def test_every_bag_falls_to_exactly_one_shard():
    names = [f"erase_{i:04d}" for i in range(400)]
    for count in (1, 2, 7, 16):
        takers = [sum(Shard(i, count).takes(name) for i in range(1, count + 1)) for name in names]
        assert set(takers) == {1}
    sizes = [sum(Shard(i, 4).takes(name) for name in names) for i in range(1, 5)]
    assert min(sizes) > 70


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "-1/2", "1/0"])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(ShardError, match="expected i/n with i from 1 to n"):
        Shard.parse(text)


def test_a_missing_shard_is_named_and_nothing_is_merged(bags, tmp_path):
    for i in (1, 3):
        export_bags([bags], tmp_path / "d", shard=Shard(i, 4), workers=1, progress=False)
    with pytest.raises(ShardError, match=r"lacks shard 2, 4 of 4; run export again with --shard 2/4"):
        merge(tmp_path / "d", progress=False)
    assert not (tmp_path / "d" / layout.INFO).exists()
    with pytest.raises(ShardError, match="no finished shard"):
        merge(tmp_path / "nowhere", progress=False)


def test_a_jobs_errors_reach_the_merge_and_new_bags_are_noticed(tmp_path):
    write_bag(tmp_path / "bags" / "good", samples("good", length_ms=1500))
    (tmp_path / "bags" / "junk").mkdir()
    (tmp_path / "bags" / "junk" / "junk_0.mcap").write_bytes(b"junk")
    export_bags([tmp_path / "bags"], tmp_path / "d", shard=Shard(1, 2), workers=1, progress=False)
    write_bag(tmp_path / "bags" / "late", samples("late", length_ms=1500))
    export_bags([tmp_path / "bags"], tmp_path / "d", shard=Shard(2, 2), workers=1, progress=False)
    command = [sys.executable, "-m", "rove_recorder.dataset.merge", str(tmp_path / "d"), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "junk" in done.stderr and "the jobs saw 2 to 3 bags" in done.stdout


def test_the_command_line_says_what_comes_after_a_shard(bags, tmp_path):
    command = [
        sys.executable,
        "-m",
        "rove_recorder.export.export",
        str(bags),
        "--out",
        str(tmp_path / "d"),
        "--shard",
        "1/2",
        "--workers",
        "1",
    ]
    done = subprocess.run([*command, "--quiet"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "merge" in done.stdout and "shards/1-of-2" in done.stdout
    done = subprocess.run([*command[:-3], "9/2"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "expected i/n" in done.stderr


def test_bags_and_dataset_in_a_store_give_the_same_bytes(bags, plain, store, tmp_path):
    store.put(str(bags), "/bucket/bags", recursive=True)
    results = export_bags(["memory://bucket/bags"], "memory://bucket/data", workers=1, progress=False)
    assert [result.error for result in results] == [""] * 7
    store.get("/bucket/data", str(tmp_path / "d"), recursive=True)
    assert same_data(tmp_path / "d", plain)
    again = export_bags(["memory://bucket/bags"], "memory://bucket/data", workers=1, progress=False)
    assert all("already" in result.notes for result in again)


def test_appending_in_a_store_changes_no_data_that_is_there(bags, plain, store, tmp_path):
    first, rest = [bags / "g", bags / "f"], [bags / name for name in "edcba"]
    export_bags(first, "memory://bucket/data", workers=1, progress=False)
    before = {
        path: store.cat(path) for path in store.find("/bucket/data") if "/meta/" not in path or "/episodes/" in path
    }
    export_bags(rest, "memory://bucket/data", workers=1, progress=False)
    assert before and all(store.cat(path) == data for path, data in before.items())
    store.get("/bucket/data", str(tmp_path / "d"), recursive=True)
    stored, expected = Dataset(tmp_path / "d"), Dataset(plain)
    np.testing.assert_array_equal(stored.state, expected.state)
    np.testing.assert_array_equal(stored.action, expected.action)
    assert [e.episode_id for e in stored.episodes] == [e.episode_id for e in expected.episodes]


@pytest.mark.parametrize("puts", [1, 3, 5])
def test_an_upload_that_is_killed_leaves_the_old_dataset_and_the_next_one_cleans_up(
    bags, store, tmp_path, monkeypatch, puts
):
    export_bags([bags / "g"], "memory://bucket/data", workers=1, progress=False)
    real, count = store.put_file, 0

    def put_file(*args, **more):
        nonlocal count
        count += 1
        if count > puts:
            raise KeyboardInterrupt
        real(*args, **more)

    monkeypatch.setattr(type(store), "put_file", lambda self, *args, **more: put_file(*args, **more))
    with pytest.raises(KeyboardInterrupt):
        export_bags([bags / "f"], "memory://bucket/data", workers=1, progress=False)
    monkeypatch.undo()
    assert json.loads(store.cat("/bucket/data/meta/info.json"))["total_episodes"] == 1
    export_bags([bags / "e"], "memory://bucket/data", workers=1, progress=False)
    store.get("/bucket/data", str(tmp_path / "d"), recursive=True)
    assert [e.episode_id for e in Dataset(tmp_path / "d").episodes] == ["g", "e"]


def test_shards_in_a_store_are_merged_there(bags, plain, store, tmp_path):
    for i in (1, 2):
        export_bags([bags], "memory://bucket/data", shard=Shard(i, 2), workers=1, progress=False)
    merge("memory://bucket/data", progress=False)
    store.get("/bucket/data", str(tmp_path / "d"), recursive=True)
    assert same_data(tmp_path / "d", plain)
    assert not store.exists("/bucket/data/shards")


def test_an_unclosed_bag_in_a_store_is_recovered_on_the_way_and_stays_as_it_is(store, tmp_path):
    write_bag(tmp_path / "e", samples(ended=False), close=False)
    store.put(str(tmp_path / "e"), "/bucket/bags/e", recursive=True)
    before = store.find("/bucket/bags")
    (result,) = export_bags(["memory://bucket/bags"], tmp_path / "d", workers=1, progress=False)
    assert "repaired" in result.notes and len(result.episode.frames) > 30
    assert store.find("/bucket/bags") == before


def test_a_store_that_cannot_be_reached_is_named(tmp_path):
    with pytest.raises(BagError, match="memory://bucket/nothing holds no bag"):
        export_bags(["memory://bucket/nothing"], tmp_path / "d", progress=False)
    with pytest.raises(remote.RemoteError, match="nosuch://bucket/bags"):
        export_bags(["nosuch://bucket/bags"], tmp_path / "d", progress=False)


def test_without_ray_the_engine_says_what_to_install(bags, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(engine.EngineError, match="pip install -r requirements/scale.txt"):
        export_bags([bags], tmp_path / "d", engine="ray", progress=False)
    assert not (tmp_path / "d" / layout.INFO).exists()


@pytest.mark.slow
def test_ray_gives_the_bytes_of_a_plain_export(bags, plain, tmp_path):
    pytest.importorskip("ray", reason="optional: pip install -r requirements/scale.txt")
    export_bags([bags], tmp_path / "d", engine="ray", workers=2, progress=False)
    assert same_data(tmp_path / "d", plain)
    assert "RAY_ADDRESS" not in os.environ
