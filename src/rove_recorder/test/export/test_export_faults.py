# SPDX-License-Identifier: Apache-2.0
"""Exports of what went wrong: a recorder that died within an episode, a clock that was set, streams that fell silent,
bags that are damaged or made to harm."""

import resource
import shutil
import struct

import numpy as np
import pytest

from rove_contract import images, topics
from rove_contract.modes import Outcome, Stage
from rove_recorder.bag.bag import BagTopic, BagWriter
from rove_recorder.bag.mcap_stream import McapStream
from rove_recorder.dataset import reader
from rove_recorder.dataset.quality import read as read_quality
from rove_recorder.export.episode_bag import EpisodeBag
from rove_recorder.export.export import export_bags
from rove_recorder.testing.synthetic import MS, T0, TABLE, cdr, kind, samples, stamp, write_bag

S = 1000 * MS


def export(bags, out):
    return export_bags([bags], out, workers=1, progress=False)


def killed(bags, found, death_ms, back_ms):
    """The bags e and e.2 of a recorder that died and came back; it gets the latched messages again."""
    before = [m for m in found if m.log_ns < T0 + back_ms * MS]
    later = [m for m in found if m.log_ns >= T0 + back_ms * MS]
    latched = [[m for m in before if m.topic == topic.name][-1] for topic in (topics.EPISODE, topics.MODE)]
    write_bag(bags / "e", [m for m in before if m.log_ns < T0 + death_ms * MS], close=False)
    write_bag(bags / "e.2", [*(m._replace(log_ns=later[0].log_ns) for m in latched), *later])


def test_the_parts_of_an_episode_are_joined_and_the_gap_is_kept_and_flagged(tmp_path):
    """The recorder dies at 1.2 s, in the pause, and is back at 1.8 s, in the adaptation."""
    found = samples()
    killed(tmp_path / "bags", found, 1200, 1800)
    whole = EpisodeBag(write_bag(tmp_path / "whole", found)).frames(TABLE, 20)[0]
    results = export(tmp_path / "bags", tmp_path / "d")
    assert [result.error for result in results] == [""]
    (row,) = reader.read_episodes(tmp_path / "d")
    assert (row["outcome"], row["excluded"]) == (Outcome.SUCCESS, False)
    assert row["length"] == len(whole) - 2  # the adaptation began 0.1 s before the recorder was back
    assert row["t_r"] == whole.t_r - 2 and row["takeover"] == whole.takeover
    assert any("the recorder died" in flag for flag in read_quality(tmp_path / "d")["e"].flags)


def test_a_long_gap_between_parts_gives_no_frozen_frames(tmp_path):
    found = samples(length_ms=6000)
    killed(tmp_path / "bags", found, 2500, 4500)
    (result,) = export(tmp_path / "bags", tmp_path / "d")
    state = result.episode.frames.state
    assert np.abs(np.diff(state, axis=0)).max(axis=1).min() > 1e-4  # the joints move in every frame
    assert any("are left out" in flag for flag in result.quality.flags)


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 0.5, -0.5, 86400.0 * 365])
def test_a_step_of_the_clock_that_the_recorder_noted_changes_nothing(tmp_path, step_s, closed):
    found, step, at = samples(), round(step_s * S), T0 + 2000 * MS
    whole = EpisodeBag(write_bag(tmp_path / "whole", found)).frames(TABLE, 20)[0]
    bag = BagWriter(tmp_path / "e", [BagTopic.of(topic) for topic in topics.TOPICS], {})
    bag.note_clock(T0, 5 * S)
    noted = False
    for m in found:
        after = m.log_ns >= at
        if after and not noted:
            bag.note_clock(at + step, 5 * S + 2000 * MS)
            noted = True
        # The stamp inside the mode's message (the transition) is of the supervisor's clock, set with the recorder's.
        data = m.data
        if after and m.topic == topics.MODE.name and m.publish_ns >= at:
            data = shift(data, step)
        bag.write(m.topic, m.log_ns + step * after, m.publish_ns + step * after, data, m.sequence)
    bag.checkpoint()
    bag.close() if closed else bag.abandon()
    (result,) = export(tmp_path / "e", tmp_path / "d")
    assert result.error == ""
    frames = result.episode.frames
    assert len(frames) == len(whole) and (frames.t_r, frames.takeover) == (whole.t_r, whole.takeover)
    np.testing.assert_allclose(frames.state, whole.state, atol=1e-6)
    assert any("the clock was set" in flag for flag in result.quality.flags)


def shift(data, step):
    """A TransitionEvent whose stamp, its first field after the CDR header, is moved by `step` ns."""
    at = struct.unpack_from("<Q", data, 4)[0]
    return data[:4] + struct.pack("<Q", at + step) + data[12:] if at >= T0 + 2000 * MS else data


def test_a_step_that_nobody_noted_makes_no_frozen_frames(tmp_path):
    """3 s of episode became 72,054 frames, all but 60 of them the same picture."""
    found = [m if m.log_ns < T0 + 2000 * MS else m._replace(log_ns=m.log_ns + 3600 * S) for m in samples()]
    write_bag(tmp_path / "e", found)
    (result,) = export(tmp_path / "e", tmp_path / "d")
    assert result.error == "" and len(result.episode.frames) < 60
    assert any("left out" in flag for flag in result.quality.flags)


def test_a_clock_set_back_that_nobody_noted_is_refused(tmp_path):
    found = [m if m.log_ns < T0 + 2000 * MS else m._replace(log_ns=m.log_ns - 1500 * MS) for m in samples()]
    write_bag(tmp_path / "e", found)
    (result,) = export(tmp_path / "e", tmp_path / "d")
    assert "goes back by" in result.error


def test_a_camera_that_dies_in_mid_episode_leaves_no_frames_behind(tmp_path):
    found = [m for m in samples(length_ms=5000) if m.topic != topics.EGO_IMAGE.name or m.log_ns < T0 + 2500 * MS]
    write_bag(tmp_path / "e", found)
    (result,) = export(tmp_path / "e", tmp_path / "d")
    stages = result.episode.frames.stage
    assert Stage.RECOVERY in stages and (stages == Stage.RECOVERY).sum() < 10
    assert any("without any message of /ego_camera" in flag for flag in result.quality.flags)


@pytest.mark.parametrize("delay, excluded", [(0.4, True), (-0.4, True), (0.02, False)])
def test_an_episode_whose_clocks_differ_is_excluded(tmp_path, delay, excluded):
    write_bag(tmp_path / "e", samples(), custom={"clock_offsets": f'{{"/ego_camera/image/compressed": {delay}}}'})
    (result,) = export(tmp_path / "e", tmp_path / "d")
    assert result.episode.frames.excluded is excluded
    assert any("clock" in flag for flag in result.quality.flags) is excluded
    assert "clocks within" in result.quality.line()


def spoilt(change):
    """A valid bag, then changed."""

    def make(folder):
        write_bag(folder, samples(folder.name, length_ms=400))
        change(folder)

    return make


def overwrite(folder, offset, data):
    path = next(folder.glob("*.mcap"))
    content = bytearray(path.read_bytes())
    content[offset : offset + len(data)] = data
    path.write_bytes(content)


def with_picture(jpeg):
    def make(folder):
        header = kind("std_msgs/msg/Header")(stamp(T0), "ego")
        bomb = kind("sensor_msgs/msg/CompressedImage")(header, "png", np.frombuffer(jpeg, np.uint8))
        data = cdr(bomb, "sensor_msgs/msg/CompressedImage")
        found = [m._replace(data=data) if m.topic == topics.EGO_IMAGE.name else m for m in samples(folder.name)]
        write_bag(folder, found)

    return make


def chunk_bomb(folder):
    """A chunk of a few kilobytes that claims 3 GB."""
    write_bag(folder, samples(folder.name, length_ms=400))
    path = next(folder.glob("*.mcap"))
    content = bytearray(path.read_bytes())
    at = content.index(b"zstd") - 4 - 12  # before the compression's name: its length, CRC, uncompressed size
    content[at : at + 8] = struct.pack("<Q", 3 * 2**30)
    path.write_bytes(content)


PNG = images.encode_png(np.zeros((48, 64, 3), np.uint8))
BAD = {
    "no_mcap": lambda folder: (folder.mkdir(), (folder / "x_0.mcap").write_bytes(b"something else, long enough")),
    "empty": lambda folder: (folder.mkdir(), (folder / "x_0.mcap").write_bytes(b"")),
    "metadata": spoilt(lambda folder: (folder / "metadata.yaml").write_text("rosbag2_bagfile_information: 5")),
    "aliases": spoilt(lambda folder: (folder / "metadata.yaml").write_text("a: &a [x]\nb: [*a, *a]")),
    "zeros": spoilt(lambda folder: overwrite(folder, 200, bytes(4000))),
    "ones": spoilt(lambda folder: overwrite(folder, 50, b"\xff" * 4000)),
    "png_bomb": with_picture(PNG[:16] + struct.pack(">II", 50_000, 50_000) + PNG[24:]),
    "no_picture": with_picture(b"nothing"),
    "chunk_bomb": chunk_bomb,
    "id": lambda folder: write_bag(folder, samples("../../outside")),
    "nul": lambda folder: write_bag(folder, samples("a\0b")),
}


def test_a_bad_bag_costs_one_sentence_and_the_others_are_exported(tmp_path):
    bags = tmp_path / "bags"
    bags.mkdir()
    for name in ("good1", "good2"):
        write_bag(bags / name, samples(name, length_ms=600))
    for name, make in BAD.items():
        make(bags / name)
    outside = {str(path) for path in tmp_path.rglob("*") if bags not in path.parents}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results = {str(result.folder).rsplit("/", 1)[-1]: result for result in export(bags, tmp_path / "d")}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB
    assert results.keys() == {*BAD, "good1", "good2"}
    assert {row["episode_id"] for row in reader.read_episodes(tmp_path / "d")} >= {"good1", "good2"}
    for name in BAD:
        sentence = results[name].error or " ".join(results[name].quality.flags)
        assert sentence and "Traceback" not in sentence and len(sentence) < 2000, name
    shutil.rmtree(tmp_path / "d")
    assert {str(path) for path in tmp_path.rglob("*") if bags not in path.parents} == outside


def test_a_file_of_damaged_records_has_a_bounded_report(tmp_path):
    folder = write_bag(tmp_path / "e", samples(length_ms=400))
    overwrite(folder, 9, b"\xff")
    stream = McapStream(next(folder.glob("*.mcap")))
    assert len(list(stream.messages())) >= 0 and 0 < len(stream.problems) < 30
