# SPDX-License-Identifier: Apache-2.0
"""The ZMQ input: newest frame wins, everything else is counted; nobody gets in without a key; a wrong clock does not
matter.
"""

import contextlib
import time

import numpy as np
import pytest
import zmq

from rove_contract.operator_frame import PARTS, OperatorFrame, encode
from rove_teleop.sources import curve, flood
from rove_teleop.sources.stream import SILENT_S, ClockOffset, StreamGuard
from rove_teleop.sources.zmq_source import ZmqSource, is_local

LOCAL = "tcp://127.0.0.1:*"


def frame(seq, t=None, source="suit"):
    parts = {"head": np.array([0, 0, 0.6, 1, 0, 0, 0.0]), "left_hand": np.zeros((21, 3))}
    return OperatorFrame(parts, seq, time.time() if t is None else t, source)


class Operator:
    """The sending end; push so that delivery is sure."""

    def __init__(self, endpoint, kind=zmq.PUSH, keys=None):
        self.context = zmq.Context()
        self.socket = self.context.socket(kind)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.SNDTIMEO, 5000)
        if keys is not None:
            self.socket.curve_publickey, self.socket.curve_secretkey, self.socket.curve_serverkey = (
                keys.public,
                keys.secret,
                keys.receiver,
            )
        self.socket.connect(endpoint)

    def send(self, data):
        self.socket.send(data if isinstance(data, bytes) else encode(data))

    def close(self):
        self.context.destroy(linger=0)  # a monitor's socket, too


@pytest.fixture
def pair():
    source = ZmqSource(LOCAL, "pull")
    operator = Operator(source.endpoint)
    yield source, operator
    operator.close()
    source.close()


def poll_until(source, condition, limit_s=10.0):
    """Poll until `condition(sample or None)`; returns the last sample that was not None."""
    last, end = None, time.monotonic() + limit_s
    while time.monotonic() < end:
        sample = source.poll(0.05)
        last = sample or last
        if condition(sample):
            return last
    raise AssertionError(f"nothing came within {limit_s} s: {source.statistics()}")


def test_the_newest_frame_wins_and_the_older_are_counted(pair):
    source, operator = pair
    for seq in range(20):
        operator.send(frame(seq))
    sample = poll_until(source, lambda s: s is not None and s.frame.seq == 19)
    np.testing.assert_array_equal(sample.frame.parts["head"], frame(0).parts["head"])
    counts = source.statistics()
    assert counts["received"] == counts["accepted"] == 20 and counts["lost"] == 0


def test_pub_sub_delivers():
    source = ZmqSource(LOCAL, "sub")
    operator = Operator(source.endpoint, zmq.PUB)
    seq = 0
    try:
        end = time.monotonic() + 10

        def arrived(sample):
            nonlocal seq
            seq += 1
            operator.send(frame(seq))  # a PUB socket drops until the subscription is through
            return sample is not None

        poll_until(source, arrived, end - time.monotonic())
    finally:
        operator.close()
        source.close()


def test_gaps_replays_and_disorder_are_counted(pair):
    source, operator = pair
    for seq in (1, 2, 5, 5, 3, 4, 6):
        operator.send(frame(seq))
    poll_until(source, lambda s: source.statistics()["received"] == 7)
    counts = source.statistics()
    assert (counts["accepted"], counts["lost"], counts["replayed"], counts["out_of_order"]) == (4, 2, 1, 2)


def test_malformed_messages_are_counted_by_reason_and_the_next_frame_gets_through(pair):
    source, operator = pair
    operator.send(frame(1))
    for bad in (b"", b"\x00", b"\xc1", b"\x81\xa1v\x07", encode(frame(2))[:-3]):
        operator.send(bad)
    operator.socket.send_multipart([b"topic", encode(frame(3))])
    operator.send(frame(4))
    sample = poll_until(source, lambda s: s is not None and s.frame.seq == 4)
    assert sample.frame.seq == 4
    counts = source.statistics()
    assert counts["malformed"] == 6 and counts["malformed/multipart"] == 1 and counts["malformed/version"] == 1
    assert counts["last_error"]


def test_a_flood_of_malformed_and_replayed_messages_is_survived_and_counted(pair):
    """Through the running node, and a million of them: bench/operator_flood.py."""
    total = 50_000
    source, operator = pair
    pool = flood.messages(2000)
    sent = 0
    while sent < total:
        for data in pool[: total - sent]:
            operator.socket.send(data)
            sent += 1
            if sent % 100 == 0:
                source.poll(0.0)
    poll_until(source, lambda s: source.statistics()["received"] == total, 60.0)
    counts = source.statistics()
    refused = sum(counts[key] for key in ("malformed", "replayed", "out_of_order", "other_source", "late"))
    assert refused + counts["accepted"] == total
    assert counts["accepted"] < 0.01 * total
    # The operator gets through again as soon as the flood is over, whatever sequence number a forged frame left behind.
    seq, due = 0, 0.0

    def through(sample):
        nonlocal seq, due
        if time.monotonic() >= due:
            due = time.monotonic() + 0.02
            seq += 1
            operator.send(frame(seq, source="real"))
        return sample is not None and sample.frame.source == "real"

    poll_until(source, through)


@pytest.mark.parametrize("offset", [-5.0, 0.0, 5.0])
def test_a_clock_offset_is_estimated_and_causes_no_delay(pair, offset):
    source, operator = pair
    delays = []
    for seq in range(10):
        operator.send(frame(seq, time.time() + offset))
        delays.append(poll_until(source, lambda s: s is not None).delay_s)
    assert source.statistics()["clock_offset_s"] == pytest.approx(offset, abs=0.05)
    assert source.statistics()["late"] == 0
    assert max(delays) < 0.1


@pytest.mark.parametrize("offset", [-5.0, 5.0, 0.0])
def test_frames_that_waited_in_a_queue_are_late_whatever_the_clock(offset):
    guard = StreamGuard(max_delay_s=0.1)
    for k in range(60):
        assert guard.accept(frame(k, 1000 + k / 60), 1000 + k / 60 - offset) is not None
    # The network holds 1 s of frames back and lets them go at once: only the young ones of them count.
    arrival = 1000 + 120 / 60 - offset
    accepted = [k for k in range(60, 120) if guard.accept(frame(k, 1000 + k / 60), arrival + k * 1e-4) is not None]
    assert accepted and min(accepted) > 112
    assert guard.counts["late"] == 60 - len(accepted)


@pytest.mark.parametrize("step", [-3.0, 3.0])
def test_a_stepped_sender_clock_is_followed(step):
    clock, delays = ClockOffset(), []
    for k in range(240):
        t = k / 60
        delays.append(clock.update(t + (step if k >= 120 else 0.0), 500 + t))
    assert max(delays[:120]) < 1e-6 and max(delays[160:]) < 1e-6
    assert clock.offset_s == pytest.approx(500 - step)


def test_a_sender_that_starts_again_is_followed_after_a_moment():
    guard = StreamGuard(0.1)
    for k in range(100, 200):
        guard.accept(frame(k, k / 60), k / 60)
    begin = 200 / 60 + SILENT_S + 0.1
    results = [guard.accept(frame(k, begin + k / 60), begin + k / 60) for k in range(6)]
    assert results[:2] == [None, None] and None not in results[3:]
    assert guard.counts["restarts"] == 1


def test_a_second_operator_does_not_get_in_while_the_first_is_alive():
    guard = StreamGuard(0.1)
    for k in range(30):
        assert guard.accept(frame(k, k / 60, "first"), k / 60) is not None
        assert guard.accept(frame(k + 1000, k / 60, "second"), k / 60) is None
    assert guard.counts["other_source"] == 30


@pytest.mark.parametrize(
    "endpoint",
    ["tcp://*:5591", "tcp://0.0.0.0:5591", "tcp://192.168.1.2:5591", "tcp://[::]:5591", "tcp://example.org:1"],
)
def test_beyond_loopback_keys_are_required(endpoint):
    assert not is_local(endpoint)
    for bind in (True, False):
        with pytest.raises(ValueError, match="CURVE keys"):
            ZmqSource(endpoint, bind=bind)


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:1", "tcp://localhost:1", "tcp://[::1]:1", "ipc:///tmp/x", "inproc://x"]
)
def test_local_endpoints_are_known(endpoint):
    assert is_local(endpoint)


def test_a_taken_port_is_a_clear_error():
    source = ZmqSource(LOCAL)
    with pytest.raises(ValueError, match="another session"):
        ZmqSource(source.endpoint)
    source.close()


def test_only_an_admitted_key_gets_frames_in(tmp_path):
    curve.make(tmp_path)
    with pytest.raises(curve.KeyFileError, match="no operator is admitted"):
        ZmqSource("tcp://0.0.0.0:*", "pull", keys=tmp_path)
    curve.make(tmp_path, "suit")
    source = ZmqSource("tcp://0.0.0.0:*", "pull", keys=tmp_path)
    endpoint = source.endpoint.replace("0.0.0.0", "127.0.0.1")
    admitted = curve.operator_keys(tmp_path, "suit")
    public, secret = zmq.curve_keypair()
    wrong_server = zmq.curve_keypair()[0]
    strangers = [
        None,  # no encryption at all
        curve.Keys(public, secret, admitted.receiver),  # own key pair, right receiver
        curve.Keys(admitted.public, admitted.secret, wrong_server),  # right key pair, wrong receiver
        curve.Keys(admitted.public, secret, admitted.receiver),  # someone's public key without its secret
    ]
    senders = [Operator(endpoint, zmq.PUSH, keys) for keys in strangers]
    friend = Operator(endpoint, zmq.PUSH, admitted)
    try:
        seq = 0

        def friends_ten(sample):
            nonlocal seq
            for k, sender in enumerate(senders):
                # A socket that is not let in has no peer, or takes messages that never leave.
                with contextlib.suppress(zmq.Again):
                    sender.socket.send(encode(frame(seq, source=f"stranger{k}")), zmq.NOBLOCK)
            if seq < 30:
                seq += 1
                friend.send(frame(seq))
            return sample is not None and sample.frame.seq == 30

        poll_until(source, friends_ten)
        for _ in range(10):
            source.poll(0.05)
        counts = source.statistics()
        assert counts["received"] == 30 and counts["malformed"] == counts["other_source"] == 0
    finally:
        for sender in [*senders, friend]:
            sender.close()
        source.close()


@pytest.fixture
def keyed(tmp_path):
    """A source with the keys of `suit` and `glove`, and how to connect with one of them."""
    curve.make(tmp_path)
    for name in ("suit", "glove"):
        curve.make(tmp_path, name)
    source = ZmqSource("tcp://0.0.0.0:*", "pull", keys=tmp_path)
    operators = []

    def connect(name):
        endpoint = source.endpoint.replace("0.0.0.0", "127.0.0.1")
        operators.append(Operator(endpoint, zmq.PUSH, curve.operator_keys(tmp_path, name)))
        return operators[-1]

    yield source, connect, tmp_path / curve.OPERATORS
    for operator in operators:
        operator.close()
    source.close()


def send_until(source, operator, condition, name="operator"):
    """Frames of `operator` until `condition(sample or None)`; a socket without a connection drops them."""
    seq, due = send_until.seq, 0.0

    def step(sample):
        nonlocal seq, due
        if time.monotonic() >= due:
            seq, due = seq + 1, time.monotonic() + 0.02
            with contextlib.suppress(zmq.Again):
                operator.socket.send(encode(frame(seq, source=name)), zmq.NOBLOCK)
        return condition(sample)

    try:
        return poll_until(source, step, 20.0)
    finally:
        send_until.seq = seq


send_until.seq = 0


def test_a_revoked_key_is_shut_out_of_its_open_connection_and_others_go_on(keyed):
    source, connect, folder = keyed
    suit = connect("suit")
    send_until(source, suit, lambda sample: sample is not None)
    events = suit.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
    (folder / "suit.key").unlink()
    send_until(source, suit, lambda _: events.poll(0))  # cut, came back, and was not let in
    suit.socket.disable_monitor()
    glove = connect("glove")
    sample = send_until(source, glove, lambda sample: sample is not None)
    assert sample.frame.source == "glove" and source.statistics()["cut_connections"] == 1
    received = source.statistics()["received"]
    polls = iter(range(10))
    send_until(source, suit, lambda _: next(polls, None) is None)
    assert source.statistics()["received"] == received


def test_the_key_of_a_device_that_is_not_connected_is_revoked_without_cutting_anybody(keyed):
    source, connect, folder = keyed
    suit = connect("suit")
    send_until(source, suit, lambda sample: sample is not None)
    (folder / "glove.key").unlink()
    send_until(source, suit, lambda _: source.statistics()["admitted"] == 1)
    assert source.statistics()["cut_connections"] == 0


def test_a_key_that_is_made_while_teleop_runs_is_let_in(keyed):
    source, connect, folder = keyed
    curve.make(folder.parent, "late")
    sample = send_until(source, connect("late"), lambda sample: sample is not None)
    assert sample.frame.source == "late"


def test_the_source_of_a_frame_is_the_name_of_its_key_and_no_other_key_can_take_it(keyed):
    source, connect, _ = keyed
    suit, glove = connect("suit"), connect("glove")
    assert send_until(source, suit, lambda s: s is not None, "anything").frame.source == "suit"
    for seq in range(1000, 1010):  # far ahead of the suit's numbers: believed, they would lock the suit out
        glove.send(frame(seq, source="suit"))
    send_until(source, suit, lambda _: source.statistics().get("malformed/forged") == 10, "anything")
    before = source.statistics()["accepted"]
    send_until(source, suit, lambda _: source.statistics()["accepted"] > before + 3, "anything")
    counts = source.statistics()
    assert counts["out_of_order"] == counts["restarts"] == 0 and "glove" in counts["last_error"]


def test_secret_keys_are_private_and_never_overwritten(tmp_path):
    secret = curve.make(tmp_path, "suit")
    assert secret.stat().st_mode & 0o077 == 0
    with pytest.raises(curve.KeyFileError, match="exists already"):
        curve.make(tmp_path, "suit")
    with pytest.raises(curve.KeyFileError, match="not a name"):
        curve.make(tmp_path, "../suit")


def test_every_part_of_the_contract_has_a_shape():
    assert set(PARTS) == {"head", "chest"} | {
        f"{side}_{part}" for side in ("left", "right") for part in ("elbow", "wrist", "hand")
    }
