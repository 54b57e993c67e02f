# SPDX-License-Identifier: Apache-2.0
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
import yaml
from mcap.reader import make_reader
from mcap.writer import Writer
from rosbags.highlevel import AnyReader

from rove_contract import topics
from rove_recorder.bag.bag import BagError, BagTopic, BagWriter
from rove_recorder.bag.mcap_stream import McapStream, NotMcap
from rove_recorder.bag.recording import RawMessage, Recording
from rove_recorder.bag.recover import find_bags, needs_recovery, read_metadata, recover
from rove_recorder.bag.schema import OfferedQos
from rove_recorder.testing.synthetic import MS, T0, samples, write_bag


def everything(folder):
    """All messages as (topic, log_ns, data) by our own stream reader."""
    return [
        (m.topic, m.log_ns, bytes(m.data))
        for path in sorted(folder.glob("*.mcap"))
        for m in McapStream(path).messages()
    ]


def test_rosbags_and_mcap_read_what_was_written(tmp_path):
    given = samples()
    folder = write_bag(tmp_path / "e", given)
    with AnyReader([folder]) as reader:
        read = [(connection.topic, stamp, bytes(raw)) for connection, stamp, raw in reader.messages()]
        assert {c.topic for c in reader.connections} == set(topics.BY_NAME)
        by_topic = {c.topic: c for c in reader.connections}
        assert by_topic["/joint_states"].msgtype == "sensor_msgs/msg/JointState"
        assert reader.message_count == len(given)
        first = next(reader.messages([by_topic["/joint_states"]]))
        assert len(reader.deserialize(first[2], first[0].msgtype).position) == 50
    assert sorted(read) == sorted((s.topic, s.log_ns, s.data) for s in given)
    with open(folder / "e_0.mcap", "rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
        assert summary.statistics.message_count == len(given)
        assert all(schema.encoding == "ros2msg" for schema in summary.schemas.values())
        channel = next(c for c in summary.channels.values() if c.topic == "/supervisor/mode")
        assert channel.metadata["topic_type_hash"].startswith("RIHS01_")
        assert yaml.safe_load(channel.metadata["offered_qos_profiles"])[0]["durability"] == "transient_local"
        assert [m.data for _, _, m in reader.iter_messages(topics=["/joint_states"])] == [
            s.data for s in given if s.topic == "/joint_states"
        ]


def test_metadata_is_rosbag2_version_9_with_provenance(tmp_path):
    data = read_metadata(write_bag(tmp_path / "e", samples()))
    assert (data["version"], data["storage_identifier"], data["ros_distro"]) == (9, "mcap", "jazzy")
    assert data["relative_file_paths"] == ["e_0.mcap"]
    assert data["custom_data"]["revision"] == "test"
    topic = next(t for t in data["topics_with_message_count"] if t["topic_metadata"]["name"] == "/supervisor/mode")
    assert topic["topic_metadata"]["type_description_hash"].startswith("RIHS01_")
    assert topic["topic_metadata"]["offered_qos_profiles"][0]["deadline"] == {"sec": 0, "nsec": 200_000_000}


def test_publishers_that_come_while_recording_stand_in_the_metadata_beside_the_first(tmp_path):
    bag = BagWriter(tmp_path / "e", [BagTopic.of(topics.JOINT_STATES)])
    (first,) = bag.info.topics[0].qos
    second = OfferedQos("best_effort", "volatile", 0, None, "unknown", 1.5, "manual_by_topic", 0.25)
    bag.add_offered("/joint_states", [second, first])
    bag.close()
    (topic,) = read_metadata(tmp_path / "e")["topics_with_message_count"]
    assert [OfferedQos.of_dict(entry) for entry in topic["topic_metadata"]["offered_qos_profiles"]] == [first, second]


def test_a_long_episode_is_split_into_files_that_open_as_one_bag(tmp_path):
    given = samples()
    folder = write_bag(tmp_path / "e", given, split_bytes=40_000)
    assert len(list(folder.glob("*.mcap"))) > 2
    with AnyReader([folder]) as reader:
        assert sum(1 for _ in reader.messages()) == len(given)


def test_a_bag_is_never_overwritten(tmp_path):
    write_bag(tmp_path / "e", [])
    with pytest.raises(BagError, match="exists already"):
        write_bag(tmp_path / "e", [])


@pytest.mark.parametrize("compression", ["zstd", "lz4", "none"])
def test_an_unclosed_bag_is_recovered_up_to_its_last_checkpoint(tmp_path, compression):
    given = samples()
    folder = write_bag(tmp_path / "e", given, close=False, compression=compression)
    assert needs_recovery(folder)
    result = recover(folder)
    assert result.repaired
    assert everything(folder) == [(s.topic, s.log_ns, s.data) for s in given[: len(given) // 100 * 100]]
    with AnyReader([folder]) as reader:
        assert sum(1 for _ in reader.messages()) == result.messages
    data = read_metadata(folder)
    assert data["custom_data"]["revision"] == "test"
    assert "recovered" in data["custom_data"]
    mode = next(t for t in data["topics_with_message_count"] if t["topic_metadata"]["name"] == "/supervisor/mode")[
        "topic_metadata"
    ]
    assert mode["offered_qos_profiles"][0]["deadline"]["nsec"] == 200_000_000
    assert not recover(folder).repaired


def test_of_a_split_bag_only_the_file_that_was_open_needs_repair(tmp_path):
    given = samples()
    folder = write_bag(tmp_path / "e", given, close=False, split_bytes=40_000)
    before = {path.name: path.read_bytes() for path in folder.glob("*.mcap")}
    assert len(before) > 2
    result = recover(folder)
    changed = [path.name for path in sorted(folder.glob("*.mcap")) if path.read_bytes() != before[path.name]]
    assert changed == [f"e_{len(before) - 1}.mcap"]
    assert everything(folder) == [(s.topic, s.log_ns, s.data) for s in given[: len(given) // 100 * 100]]
    with AnyReader([folder]) as reader:
        assert sum(1 for _ in reader.messages()) == result.messages


def test_a_file_cut_anywhere_gives_back_a_prefix(tmp_path):
    given = [(s.topic, s.log_ns, s.data) for s in samples()]
    whole = (write_bag(tmp_path / "e", samples()) / "e_0.mcap").read_bytes()
    chooser = random.Random(1)
    for i in range(25):
        folder = tmp_path / f"cut{i}"
        folder.mkdir()
        cut = chooser.randrange(len(whole)) if i else 0
        (folder / "e_0.mcap").write_bytes(whole[:cut])
        result = recover(folder)
        found = everything(folder)
        assert found == given[: len(found)]
        assert result.messages == len(found)
        with AnyReader([folder]) as reader:
            assert sum(1 for _ in reader.messages()) == len(found)


def test_a_damaged_chunk_costs_only_itself_and_is_named(tmp_path):
    folder = write_bag(tmp_path / "e", samples())
    path = folder / "e_0.mcap"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data[:-8])  # and the end is missing
    whole = len(samples())
    result = recover(folder)
    assert whole - 250 <= result.messages < whole
    assert any("skipped" in problem for problem in result.problems)


def test_a_channel_without_a_schema_keeps_its_messages_and_is_named(tmp_path):
    """Damage can take a schema and leave its channel."""
    folder = tmp_path / "e"
    folder.mkdir()
    with open(folder / "e_0.mcap", "wb") as stream:
        writer = Writer(stream)
        writer.start(profile="ros2")
        channel = writer.register_channel("/joint_states", "cdr", 9999)
        for i in range(10):
            writer.add_message(channel, T0 + i * MS, b"x", T0 + i * MS)
        writer.flush()  # and then it was killed
    result = recover(folder)
    assert any("/joint_states has no schema" in problem for problem in result.problems), result.problems
    assert [topic for topic, *_ in everything(folder)] == ["/joint_states"] * 10


def test_a_bag_that_is_being_recorded_is_left_alone(tmp_path):
    bag = BagWriter(tmp_path / "e", [BagTopic.of(topics.MODE)])
    with pytest.raises(BagError, match="is being recorded right now"):
        recover(tmp_path / "e")
    bag.close()


def test_what_is_no_bag_is_refused_with_the_reason(tmp_path):
    with pytest.raises(BagError, match="holds no bag"):
        find_bags([tmp_path])
    (tmp_path / "x.mcap").write_bytes(b"something else, and long enough")
    with pytest.raises(NotMcap, match="no MCAP file"):
        recover(tmp_path)


KILLED = """
import sys, time, threading
from rove_recorder.testing.synthetic import *
from rove_recorder.bag.recording import Recording
data = joint_state(T0)
jpeg = image(T0, 0)
recording = Recording(lambda: BagWriter(Path({folder!r}), [BagTopic.of(t) for t in topics.TOPICS], {{}}))
i = 0
while True:
    now = time.time_ns()
    recording.put([RawMessage(name, now, now, data, i + 1) for name in ("/joint_states", "/joint_command")])
    if i % 3 == 0:
        recording.put([RawMessage("/ego_camera/image/compressed", now, now, jpeg, i // 3 + 1)])
    sys.stdout.write(f"{{now}}\\n")
    sys.stdout.flush()
    i += 1
    threading.Event().wait(0.01)
"""


def test_a_killed_recorder_loses_at_most_one_second(tmp_path):
    """SIGKILL at random moments; each process reports every stamp it handed to the recorder."""
    chooser = random.Random(os.getpid())
    processes = []
    for i in range(6):
        script = KILLED.format(folder=str(tmp_path / f"k{i}"))
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        lines = []

        moment = chooser.uniform(0.0, 2.0)

        def follow(process=process, lines=lines, moment=moment):
            first = None
            for line in process.stdout:
                lines.append(int(line))
                first = first or lines[0]
                if lines[-1] - first > moment * 1e9:
                    process.send_signal(signal.SIGKILL)

        thread = threading.Thread(target=follow)
        thread.start()
        processes.append((process, lines, thread))
    for i, (process, lines, thread) in enumerate(processes):
        thread.join(30)
        assert process.wait(5) == -signal.SIGKILL
        process.stdout.close()
        result = recover(tmp_path / f"k{i}")
        assert (lines[-1] - max(result.until_ns, lines[0])) * 1e-9 <= 1.0
        states = [m for m in everything(tmp_path / f"k{i}") if m[0] == "/joint_states"]
        assert [m[1] for m in states] == lines[: len(states)]  # no hole before the end


FULL = """
import resource, sys
from rove_recorder.testing.synthetic import *
from rove_recorder.bag.recording import Recording
resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))
bag_topics = [BagTopic.of(t) for t in topics.TOPICS]
recording = Recording(lambda: BagWriter(Path({folder!r}), bag_topics, {{}}), checkpoint_s=0.01)
for i, sample in enumerate(samples()):
    recording.put([sample])
    if i % 50 == 0:
        recording._wake.acquire(); recording._wake.wait(0.03); recording._wake.release()
recording.close()
recording.join(10)
assert recording.error and recording.info is None, "a failed bag must not look complete"
assert sum(c.received for c in recording.counts.values()) == i + 1
assert all(c.received == c.written + c.dropped for c in recording.counts.values())
print(recording.error)
"""


def test_a_full_disk_is_an_error_and_what_was_written_is_recovered(tmp_path):
    script = FULL.format(folder=str(tmp_path / "e"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "File too large" in done.stdout
    assert not (tmp_path / "e" / "metadata.yaml").exists()
    assert recover(tmp_path / "e").messages > 50


class Stalled:
    """A bag whose disk stands still until `go`."""

    def __init__(self):
        self.go = threading.Event()
        self.written = 0

    def write(self, *args):
        self.go.wait(10)
        self.written += 1

    def flush(self):
        self.go.wait(10)

    def sync(self):
        self.go.wait(10)

    def close(self, custom):
        return None

    def abandon(self):
        pass


def test_a_stalled_disk_drops_beyond_the_queue_counts_it_and_never_blocks(tmp_path):
    bag = Stalled()
    recording = Recording(lambda: bag, queue_bytes=20_000)
    begin = time.monotonic()
    for i in range(200):
        recording.put([RawMessage("/joint_states", T0 + i * 10 * MS, T0 + i * 10 * MS, bytes(800), i + 1)])
    assert time.monotonic() - begin < 1.0
    bag.go.set()
    recording.close()
    assert recording.join(10)
    count = recording.counts["/joint_states"]
    assert count.received == 200
    assert 0 < count.dropped < 200
    assert count.written == bag.written == 200 - count.dropped


def test_messages_that_never_arrived_are_counted_by_the_publishers_numbers(tmp_path):
    recording = Recording(lambda: BagWriter(tmp_path / "e", [BagTopic.of(topics.JOINT_STATES)], {}))
    for sequence in (1, 2, 5, 6, 9):
        recording.put(
            [RawMessage("/joint_states", T0 + sequence * 10 * MS, T0 + sequence * 10 * MS, b"0123", sequence)]
        )
    recording.close({"outcome": "success"})
    assert recording.join(10)
    assert recording.counts["/joint_states"].missed == 4
    assert recording.counts["/joint_states"].longest_gap_s == pytest.approx(0.03)
    custom = read_metadata(tmp_path / "e")["custom_data"]
    assert (custom["outcome"], custom["missed"], custom["dropped"], custom["written"]) == ("success", "4", "0", "5")


def test_a_writer_that_cannot_open_its_bag_reports_the_reason(tmp_path):
    write_bag(tmp_path / "e", [])
    recording = Recording(lambda: BagWriter(tmp_path / "e", [], {}))
    recording.put([RawMessage("/joint_states", T0, T0, b"0123")])
    recording.close()
    assert recording.join(10)
    assert "exists already" in recording.error
    assert recording.dropped == 1
