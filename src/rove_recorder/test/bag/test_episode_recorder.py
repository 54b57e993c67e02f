# SPDX-License-Identifier: Apache-2.0
import json
import threading

import numpy as np
import pytest

from rove_contract import topics
from rove_contract.modes import Outcome
from rove_description import joints
from rove_recorder.bag.episode_recorder import EpisodeRecorder, Settings
from rove_recorder.bag.mcap_stream import McapStream
from rove_recorder.bag.recording import RawMessage
from rove_recorder.bag.recover import read_metadata
from rove_recorder.testing.synthetic import MS, T0, cdr, joint_state, kind, q_at, samples, stamp


def record(session, found, clock, batch=20):
    for i in range(0, len(found), batch):
        part = found[i : i + batch]
        clock[0] = part[-1].log_ns
        session.feed(part)
        session.poll()


def session_in(tmp_path, **more):
    clock = [0]
    return EpisodeRecorder(Settings(tmp_path, **more), lambda: clock[0], joints.load(), {"revision": "abc"}), clock


def in_bag(folder):
    return [m for path in sorted(folder.glob("*.mcap")) for m in McapStream(path).messages()]


def finish(session, clock):
    clock[0] += 400 * MS
    session.poll()
    session.stop("test over")


def test_a_bag_holds_the_episode_its_preroll_and_the_latched_state(tmp_path):
    session, clock = session_in(tmp_path)
    success = RawMessage(topics.SIM_SUCCESS.name, T0 - 10**10, T0 - 10**10, b"\x00\x01\x00\x00\x00")
    found = samples(lead_ms=2000)
    record(session, [success, *found], clock)
    finish(session, clock)
    got = in_bag(tmp_path / "e")
    assert {m.topic for m in got} == {s.topic for s in found} | {topics.SIM_SUCCESS.name}
    states = [m.log_ns for m in got if m.topic == "/joint_states"]
    expected = [s.log_ns for s in found if s.topic == "/joint_states" and s.log_ns > T0 - 501 * MS]
    assert states == expected
    latched = next(m for m in got if m.topic == topics.SIM_SUCCESS.name)
    assert latched.log_ns >= T0 - 501 * MS
    assert latched.publish_ns == T0 - 10**10
    assert [m.log_ns for m in got] == sorted(m.log_ns for m in got)
    custom = read_metadata(tmp_path / "e")["custom_data"]
    assert (custom["outcome"], custom["revision"], custom["id"], custom["dropped"]) == ("success", "abc", "e", "0")


def test_nothing_of_one_episode_enters_the_next_bag(tmp_path):
    session, clock = session_in(tmp_path)
    first = samples("a")
    second = samples("b", start=T0 + 3_400 * MS, lead_ms=0, outcome=Outcome.FAILURE)
    record(session, [*first, *second], clock)
    finish(session, clock)
    end = max(s.log_ns for s in first if s.topic == topics.EPISODE.name)
    assert min(m.log_ns for m in in_bag(tmp_path / "b") if m.topic in ("/joint_states", "/joint_command")) > end
    assert read_metadata(tmp_path / "a")["custom_data"]["outcome"] == "success"
    assert read_metadata(tmp_path / "b")["custom_data"]["outcome"] == "failure"
    assert session.bags == 2


@pytest.mark.parametrize("topic", ["/joint_states", "/joint_command"])
def test_a_reset_just_before_the_start_cuts_the_preroll(tmp_path, topic):
    session, clock = session_in(tmp_path)
    reset = T0 - 120 * MS
    found = [
        s._replace(data=joint_state(s.log_ns, q_at(s.log_ns) + 0.5)) if s.topic == topic and s.log_ns < reset else s
        for s in samples(lead_ms=400)
    ]
    record(session, found, clock)
    finish(session, clock)
    streams = [
        m for m in in_bag(tmp_path / "e") if m.topic in ("/joint_states", "/joint_command", topics.EGO_IMAGE.name)
    ]
    assert reset <= min(m.log_ns for m in streams) < reset + 12 * MS


def test_late_messages_of_the_episode_are_kept_and_later_ones_are_not(tmp_path):
    session, clock = session_in(tmp_path)
    found = samples()
    end = (
        found[-1].log_ns
        if found[-1].topic == topics.EPISODE.name
        else max(s.log_ns for s in found if s.topic == topics.EPISODE.name)
    )
    late = RawMessage(topics.EGO_IMAGE.name, end + 250 * MS, end - 20 * MS, b"late", 500)
    reseat = RawMessage("/joint_command", end + 260 * MS, end + 260 * MS, joint_state(end, np.ones(50)), 900)
    record(session, sorted([*found, late, reseat], key=lambda s: s.log_ns), clock)
    finish(session, clock)
    got = [bytes(m.data) for m in in_bag(tmp_path / "e")]
    assert late.data in got
    assert reseat.data not in got


def test_a_recorder_that_comes_back_within_an_episode_begins_a_second_bag(tmp_path):
    for attempt in range(2):
        session, clock = session_in(tmp_path)
        record(session, samples(ended=attempt == 1), clock)
        finish(session, clock)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e", "e.2"]
    assert "recorder_note" in read_metadata(tmp_path / "e")["custom_data"]


def test_no_episode_may_start_on_a_full_disk(tmp_path):
    session, _ = session_in(tmp_path, min_free_gb=2.0)
    session.free_gb = lambda: 1.5
    assert "1.50 GB free" in session.not_ready()
    session.free_gb = lambda: 2.5
    assert session.not_ready() == ""


def test_a_malformed_episode_message_is_reported_and_survived(tmp_path):
    session, clock = session_in(tmp_path)
    record(session, [RawMessage(topics.EPISODE.name, T0 - 10, T0 - 10, b"\x00\x01\x00\x00\xff\xff")], clock)
    assert "unreadable message" in session.error
    record(session, samples(), clock)
    finish(session, clock)
    assert session.bags == 1


def diagnostics(**names):
    """A message of /diagnostics with one status per node; names: node -> {key: value}."""
    pair, status = kind("diagnostic_msgs/msg/KeyValue"), kind("diagnostic_msgs/msg/DiagnosticStatus")
    found = [
        status(0, name, "", "", [pair(key, value) for key, value in values.items()]) for name, values in names.items()
    ]
    header = kind("std_msgs/msg/Header")(stamp(T0), "")
    return cdr(kind("diagnostic_msgs/msg/DiagnosticArray")(header, found), topics.DIAGNOSTICS.type)


def test_provenance_names_the_weights_the_parameters_and_the_clocks_from_the_start(tmp_path):
    session, clock = session_in(tmp_path)
    session.parameters = {"policy": {"guidance": 1.5}}
    said = diagnostics(robot={"ready": "true"}, policy={"checkpoint": "0123456789ab"})
    found = [RawMessage(topics.DIAGNOSTICS.name, T0 - 190 * MS, T0 - 190 * MS, said)]
    found += [
        s._replace(publish_ns=s.publish_ns + 40 * MS) if s.topic == "/joint_states" else s for s in samples(ended=False)
    ]
    record(session, sorted(found, key=lambda s: s.log_ns), clock)
    expected = {"policy": {"guidance": 1.5}}
    begun = threading.Event()
    while session.recording.counts["/joint_states"].written == 0:  # the writer thread opens the file
        begun.wait(0.01)
    stream = McapStream(tmp_path / "e" / "e_0.mcap")
    list(stream.messages())
    custom = stream.metadata[0].metadata  # what a recorder that is killed leaves
    assert (custom["checkpoint_hash"], json.loads(custom["parameters"])) == ("0123456789ab", expected)
    assert json.loads(custom["clock_offsets"])["/joint_states"] == pytest.approx(-0.04)
    finish(session, clock)
    custom = read_metadata(tmp_path / "e")["custom_data"]
    assert (custom["checkpoint_hash"], json.loads(custom["parameters"])) == ("0123456789ab", expected)
    assert json.loads(custom["clock_offsets"])["/joint_states"] == pytest.approx(-0.04)
    assert topics.EPISODE.name not in json.loads(custom["clock_offsets"]), "a latched message may be hours old"


def test_every_topics_counts_are_told_live(tmp_path):
    session, clock = session_in(tmp_path)
    found = [
        s for s in samples(ended=False) if not (s.topic == "/joint_states" and T0 + 500 * MS < s.log_ns < T0 + 540 * MS)
    ]
    record(session, found, clock)
    live = session.values()
    assert live["topics"]["/joint_states"]["missed"] == live["missed"] == 4
    assert live["topics"]["/joint_states"]["longest_gap_s"] == pytest.approx(0.05)
    assert live["topics"]["/joint_command"]["received"] == sum(s.topic == "/joint_command" for s in found)
    finish(session, clock)
