# SPDX-License-Identifier: Apache-2.0
"""What the recorder does when something around it goes wrong: a busy queue, secrets, hostile ids, a supervisor that is
gone, a clock that is set."""

import json
import threading
import time

import pytest

from rove_contract import topics
from rove_contract.modes import Mode
from rove_recorder.bag import recording as recordings
from rove_recorder.bag.episode_recorder import EpisodeRecorder, Settings
from rove_recorder.bag.mcap_stream import McapStream
from rove_recorder.bag.recording import RawMessage, Recording
from rove_recorder.bag.recover import read_metadata
from rove_recorder.testing.synthetic import MS, T0, TABLE, mode, samples

S = 1000 * MS


class Bag:
    """A disk without delay. Each message takes `step_s` of a clock that nothing else moves."""

    def __init__(self, step_s):
        self.now, self.step_s = 1000.0, step_s
        self.written = 0
        self.progress = threading.Condition()

    def write(self, *_):
        with self.progress:
            self.now += self.step_s
            self.written += 1
            self.progress.notify_all()

    def flush(self):
        pass

    sync = close = abandon = lambda self, *_: None


def test_a_disk_that_keeps_up_is_never_said_to_fall_behind(monkeypatch):
    """Every batch is longer than the time between two checkpoints, as in each episode of a session."""
    bag = Bag(0.1)
    monkeypatch.setattr(recordings.time, "monotonic", lambda: bag.now)
    recording = Recording(lambda: bag)
    for batch in range(20):
        recording.put([RawMessage("/joint_states", T0, T0, b"x")] * 10)
        with bag.progress:
            assert bag.progress.wait_for(lambda b=batch: bag.written == 10 * (b + 1), timeout=20)
    # 20 batches of 1 s have been written; the checkpoint in the last one covers what was put before it.
    deadline = time.perf_counter() + 20
    while recording.unsaved_s > 2.5 and time.perf_counter() < deadline:
        threading.Event().wait(0.01)
    assert recording.unsaved_s <= 2.5
    recording.close()
    assert recording.join(20)


def recorder_in(tmp_path, system=None, steady=None, **settings):
    clock = [T0]
    recorder = EpisodeRecorder(
        Settings(tmp_path, **settings), system or (lambda: clock[0]), TABLE, {"revision": "abc"}, steady_ns=steady
    )
    return recorder, clock


def feed(recorder, clock, found, batch=20):
    for i in range(0, len(found), batch):
        part = found[i : i + batch]
        clock[0] = part[-1].log_ns
        recorder.feed(part)
        recorder.poll()


def finish(recorder, clock):
    clock[0] += 400 * MS
    recorder.poll()
    recorder.stop("test over")


def test_secrets_among_the_parameters_are_not_recorded(tmp_path):
    recorder, clock = recorder_in(tmp_path)
    recorder.parameters = {
        "supervisor": {"panel_token": "hunter2", "port": 8765, "SSL_KEY_PASSWORD": "hunter2", "token": ""},
        "teleop": {"curve_secret_key": ["hunter2"], "keyboard": "de", "monkey": 1},
    }
    feed(recorder, clock, samples(length_ms=500))
    finish(recorder, clock)
    parameters = json.loads(read_metadata(tmp_path / "e")["custom_data"]["parameters"])
    assert parameters["supervisor"] == {
        "panel_token": "redacted",
        "port": 8765,
        "SSL_KEY_PASSWORD": "redacted",
        "token": "",
    }
    assert parameters["teleop"] == {"curve_secret_key": "redacted", "keyboard": "de", "monkey": 1}
    assert not [path for path in (tmp_path / "e").iterdir() if b"hunter2" in path.read_bytes()]


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "x" * 300, "a\nb", "a\0b", "."])
def test_an_episode_id_that_is_no_name_is_refused_and_nothing_is_written(tmp_path, name):
    out = tmp_path / "a" / "b"
    recorder, clock = recorder_in(out)
    feed(recorder, clock, samples(name, length_ms=300))
    assert "episode id" in recorder.error and recorder.failed == 1 and recorder.recording is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    feed(recorder, clock, samples("next", start=T0 + 10 * S, length_ms=300))
    finish(recorder, clock)
    assert (out / "next" / "metadata.yaml").is_file()


def test_the_bag_of_an_episode_whose_supervisor_was_restarted_is_closed(tmp_path):
    recorder, clock = recorder_in(tmp_path)
    feed(recorder, clock, samples(length_ms=1000, ended=False))
    idle = [
        RawMessage(topics.MODE.name, T0 + at * MS, T0 + at * MS, mode(Mode.IDLE, Mode.IDLE, T0 + 1100 * MS))
        for at in range(1100, 4000, 100)
    ]
    feed(recorder, clock, idle, batch=1)
    assert recorder.recording is None
    recorder.stop("test over")
    assert "supervisor" in read_metadata(tmp_path / "e")["custom_data"]["recorder_note"]


def test_the_bag_of_an_episode_whose_supervisor_died_is_closed(tmp_path):
    recorder, clock = recorder_in(tmp_path)
    feed(recorder, clock, samples(length_ms=1000, ended=False))
    clock[0] += 60 * S
    recorder.poll()
    assert recorder.recording is None
    recorder.stop("test over")
    assert "supervisor" in read_metadata(tmp_path / "e")["custom_data"]["recorder_note"]


def test_a_bag_says_when_the_clock_was_set(tmp_path):
    steady, step = [5 * S], [0]
    recorder, clock = recorder_in(tmp_path, lambda: T0 + steady[0] - 5 * S + step[0], lambda: steady[0])
    found = samples(length_ms=1000)
    for i, message in enumerate(found):
        if i == len(found) // 2:
            step[0] = 3600 * S
        steady[0] = message.log_ns - T0 + 5 * S
        recorder.feed([message._replace(log_ns=message.log_ns + step[0], publish_ns=message.publish_ns + step[0])])
        recorder.poll()
    steady[0] += S
    recorder.poll()
    recorder.stop("test over")
    stream = McapStream(next((tmp_path / "e").glob("*.mcap")))
    list(stream.messages())
    offsets = [
        int(r.metadata["system_ns"]) - int(r.metadata["steady_ns"]) for r in stream.metadata if r.name == "rove_clock"
    ]
    assert [offset - (T0 - 5 * S) for offset in offsets] == [0, 3600 * S]
