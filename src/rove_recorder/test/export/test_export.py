# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from rove_contract import images, messages, topics
from rove_contract.modes import Mode, Outcome, Source, Stage
from rove_description import robot
from rove_recorder.bag.bag import BagTopic, BagWriter
from rove_recorder.bag.mcap_stream import McapStream
from rove_recorder.bag.schema import typestore
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset import reader, video
from rove_recorder.dataset.merge import merge
from rove_recorder.dataset.shards import Shard
from rove_recorder.export.episode_bag import EpisodeBag
from rove_recorder.export.export import export_bags
from rove_recorder.testing.synthetic import MS, SIZE, T0, TABLE, q_at, samples, write_bag

PERIOD = 50 * MS


def rows(root, which):
    return [row for path in sorted((Path(root) / which).glob("*/*.parquet")) for row in pq.read_table(path).to_pylist()]


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(Path(root).rglob("*")) if path.is_file()}


def source_ticks():
    """The ticks that the story of `samples` must give: [0, 1000) ms and [1700, 3000) ms."""
    return np.concatenate([T0 + np.arange(0, 1000 * MS, PERIOD), T0 + 1700 * MS + np.arange(0, 1300 * MS, PERIOD)])


def last_of(given, topic, tick):
    return [s for s in given if s.topic == topic and s.log_ns <= tick][-1]


def test_a_dataset_says_whose_it_is_and_a_bag_of_another_robot_is_refused(tmp_path):
    mine = write_bag(tmp_path / "e", samples("e"))
    other = write_bag(tmp_path / "f", samples("f"), custom={"robot": "robin_h1", "robot_hash": "0" * 12})
    of_mine, of_other = export_bags([mine, other], tmp_path / "d", robot="iron_r01", progress=False)
    assert (
        not of_mine.error and "belongs to the robot robin_h1" in of_other.error and "--robot robin_h1" in of_other.error
    )
    card = reader.LeRobotReader(tmp_path / "d").robot
    assert card == robot.load("iron_r01").card


def test_every_frame_is_the_last_sample_before_its_tick_with_pauses_removed(tmp_path):
    """Its action is the command in force one period later: what was commanded in answer to the observation."""
    given = samples()
    export_bags([write_bag(tmp_path / "e", given)], tmp_path / "d", progress=False)
    frames, ticks = rows(tmp_path / "d", "data"), source_ticks()
    assert len(frames) == len(ticks) == 46
    for frame, tick in zip(frames, ticks):
        state, command = last_of(given, "/joint_states", tick), last_of(given, "/joint_command", tick + PERIOD)
        np.testing.assert_array_equal(frame["observation.state"], q_at(state.publish_ns).astype(np.float32))
        np.testing.assert_array_equal(frame["action"], (q_at(command.publish_ns) + 0.01).astype(np.float32))
    np.testing.assert_allclose([f["timestamp"] for f in frames], np.arange(46) / 20, atol=1e-6)
    stages = [Stage.ROLLOUT] * 20 + [Stage.ADAPTATION] * 12 + [Stage.RECOVERY] * 14
    assert [f["stage"] for f in frames] == stages
    assert [f["source"] for f in frames] == [Source.POLICY] * 20 + [Source.OPERATOR] * 26
    assert [f["mode"] for f in frames] == [Mode.ROLLOUT] * 20 + [Mode.ADAPTATION] * 12 + [Mode.RECOVERY] * 14
    (row,) = rows(tmp_path / "d", "meta/episodes")
    assert (row["t_r"], row["takeover"], row["outcome"], row["excluded"]) == (32, 20, Outcome.SUCCESS, False)
    assert (row["episode_id"], row["operator"], row["kind"], row["tasks"]) == (
        "e",
        "op",
        "rollout",
        ["erase the whiteboard"],
    )


def test_exported_frames_equal_frames_decoded_live_bit_for_bit(tmp_path):
    """Live: the contract's code on the messages as they came. Exported: the JPEG and the float32 joints of the
    dataset.
    """
    given = samples()
    folder = write_bag(tmp_path / "e", given)
    export_bags([folder], tmp_path / "d", camera="image", progress=False)
    reader, store = messages.JointReader(TABLE), typestore()
    for frame, tick in zip(rows(tmp_path / "d", "data"), source_ticks()):
        live = {
            name: store.deserialize_cdr(last_of(given, name, at).data, topics.BY_NAME[name].type)
            for name, at in (
                ("/joint_states", tick),
                ("/joint_command", tick + PERIOD),
                (topics.EGO_IMAGE.name, tick),
            )
        }
        for column, topic in (("observation.state", "/joint_states"), ("action", "/joint_command")):
            np.testing.assert_array_equal(
                np.array(frame[column], np.float32), reader.position(live[topic]).astype(np.float32)
            )
        assert frame[layout.CAMERA]["bytes"] == bytes(live[topics.EGO_IMAGE.name].data)


def test_the_video_shows_the_pictures_of_the_ticks(tmp_path):
    folder = write_bag(tmp_path / "e", samples())
    export_bags([folder], tmp_path / "d", progress=False)
    expected, _ = EpisodeBag(folder).frames(TABLE, 20)
    shown = list(video.read_frames(tmp_path / "d" / layout.Slot().path(layout.VIDEO)))
    assert len(shown) == len(expected)
    for image, jpeg in zip(shown, expected.images):
        original = images.decode(jpeg)
        assert np.abs(image.astype(int) - original).mean() < 6


def test_av1_is_a_codec_of_the_dataset_appended_like_h264_and_not_mixed_with_it(tmp_path):
    bags = [write_bag(tmp_path / "bags" / name, samples(name, start=T0 + i * 10**10)) for i, name in enumerate("ab")]
    export_bags(bags, tmp_path / "once", camera="av1", workers=1, progress=False)
    export_bags(bags[:1], tmp_path / "twice", camera="av1", progress=False)
    with pytest.raises(layout.DatasetError, match="stored as 'av1', the new episodes' as 'video'"):
        export_bags(bags[1:], tmp_path / "twice", camera="video", progress=False)
    export_bags(bags[1:], tmp_path / "twice", progress=False)  # the dataset's own
    once, twice = contents(tmp_path / "once"), contents(tmp_path / "twice")
    assert [name for name in once if once[name] != twice.get(name) and name != layout.STATS] == []
    for i in (1, 2):
        export_bags(bags, tmp_path / "parts", camera="av1", shard=Shard(i, 2), progress=False)
    merge(tmp_path / "parts", progress=False)
    parts = contents(tmp_path / "parts")
    assert [name for name in once if once[name] != parts.get(name) and name != layout.STATS] == []
    assert reader.read_info(tmp_path / "once")["features"][layout.CAMERA]["info"]["video.codec"] == "av1"
    jpegs = [jpeg for bag in bags for jpeg in EpisodeBag(bag).frames(TABLE, 20)[0].images]
    shown = list(video.read_frames(tmp_path / "once" / layout.Slot().path(layout.VIDEO)))
    assert len(shown) == len(jpegs) == 92
    for image, jpeg in zip(shown, jpegs):
        assert np.abs(image.astype(int) - images.decode(jpeg)).mean() < 6


def test_exporting_twice_gives_the_same_bytes_whatever_the_workers(tmp_path):
    bags = [write_bag(tmp_path / "bags" / name, samples(name, start=T0 + i * 10**10)) for i, name in enumerate("abc")]
    export_bags(bags, tmp_path / "one", workers=1, progress=False)
    export_bags(reversed(bags), tmp_path / "two", workers=2, progress=False)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    again = export_bags([tmp_path / "bags"], tmp_path / "one", progress=False)
    assert all("is in the dataset already" in result.notes for result in again)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_an_unclosed_bag_is_recovered_and_excluded_because_its_outcome_is_unknown(tmp_path):
    folder = write_bag(tmp_path / "e", samples(ended=False), close=False)
    (result,) = export_bags([folder], tmp_path / "d", progress=False)
    assert "repaired" in result.notes
    assert any("outcome unknown" in flag for flag in result.quality.flags)
    (row,) = rows(tmp_path / "d", "meta/episodes")
    assert row["excluded"]
    assert row["length"] > 30


def test_aborted_episodes_are_exported_and_excluded(tmp_path):
    export_bags([write_bag(tmp_path / "e", samples(outcome=Outcome.ABORTED))], tmp_path / "d", progress=False)
    (row,) = rows(tmp_path / "d", "meta/episodes")
    assert (row["outcome"], row["excluded"]) == (Outcome.ABORTED, True)


def test_a_camera_that_stood_still_is_flagged(tmp_path):
    gone = [s for s in samples() if not (s.topic == topics.EGO_IMAGE.name and T0 + 300 * MS < s.log_ns < T0 + 800 * MS)]
    (result,) = export_bags([write_bag(tmp_path / "e", gone)], tmp_path / "d", progress=False)
    assert any(flag.startswith("/ego_camera") and "s old at a frame" in flag for flag in result.quality.flags)
    assert result.quality.longest_gap_s[topics.EGO_IMAGE.name] > 0.5


def test_a_clean_episode_has_no_flags(tmp_path):
    (result,) = export_bags([write_bag(tmp_path / "e", samples())], tmp_path / "d", progress=False)
    assert result.quality.flags == []
    assert result.quality.paused_s == pytest.approx(0.7)
    assert result.quality.rates_hz["/joint_states"] == pytest.approx(100, rel=0.02)


def test_a_bad_bag_is_an_error_of_its_own_and_the_others_are_exported(tmp_path):
    write_bag(tmp_path / "bags" / "good", samples("good"))
    write_bag(tmp_path / "bags" / "blind", [s for s in samples("blind") if s.topic != topics.EGO_IMAGE.name])
    write_bag(tmp_path / "bags" / "still", samples("still", story=()))
    (tmp_path / "bags" / "junk").mkdir()
    (tmp_path / "bags" / "junk" / "junk_0.mcap").write_bytes(b"this is not a bag at all")
    command = [
        sys.executable,
        "-m",
        "rove_recorder.export.export",
        str(tmp_path / "bags"),
        "--out",
        str(tmp_path / "d"),
        "--workers",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "1 episodes, 46 frames" in done.stdout
    for text in ("has no message on /ego_camera", "the robot never acted", "no MCAP file"):
        assert text in done.stderr
    assert [row["episode_id"] for row in rows(tmp_path / "d", "meta/episodes")] == ["good"]


def test_a_bag_killed_before_its_first_chunk_is_named_and_the_rest_is_exported(tmp_path):
    bag = BagWriter(tmp_path / "bags" / "a", [BagTopic.of(topic) for topic in topics.TOPICS], {})
    bag.abandon()
    write_bag(
        tmp_path / "bags" / "b", [s for s in samples("b") if s.topic != topics.EGO_IMAGE.name]
    )  # nor can the size come from this one
    write_bag(tmp_path / "bags" / "good", samples("good", start=T0 + 10**10))
    results = export_bags([tmp_path / "bags"], tmp_path / "d", progress=False)
    reasons = {result.folder.name: result.error for result in results}
    assert "died before anything of the episode was on the disk" in reasons["a"]
    assert "has no message on /ego_camera" in reasons["b"]
    assert reasons["good"] == ""
    assert [row["episode_id"] for row in rows(tmp_path / "d", "meta/episodes")] == ["good"]


def test_pictures_of_another_size_are_refused_or_resized_as_asked(tmp_path):
    folder = write_bag(tmp_path / "e", samples())
    export_bags([folder], tmp_path / "d", image_size=(24, 32), progress=False)
    assert reader.read_info(tmp_path / "d")["features"][layout.CAMERA]["shape"] == [24, 32, 3]
    other = write_bag(tmp_path / "f", samples("f"))
    (result,) = export_bags([other], tmp_path / "d", progress=False)
    assert f"({SIZE[0]}, {SIZE[1]}, 3)" in result.error


def test_the_stream_reader_gives_wanted_topics_only(tmp_path):
    folder = write_bag(tmp_path / "e", samples())
    assert {m.topic for m in McapStream(folder / "e_0.mcap").messages(frozenset(["/joint_states"]))} == {
        "/joint_states"
    }
