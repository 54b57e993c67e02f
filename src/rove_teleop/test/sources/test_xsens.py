# SPDX-License-Identifier: Apache-2.0
"""Xsens MVN: packets in the recorded format, built here from the robot's own pose, come back as that pose."""

import socket
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rove_contract.operator_frame import FrameError
from rove_description import joints, mjcf
from rove_teleop.retargeting import rotations as rot
from rove_teleop.retargeting.retarget import Retargeter
from rove_teleop.retargeting.robot_geometry import RobotSkeleton
from rove_teleop.sources import xsens
from rove_teleop.sources.endpoint import open_source
from rove_teleop.sources.xsens_source import XsensSource
from rove_teleop.sources.zmq_source import ZmqSource

TABLE = joints.load()
SKELETON = RobotSkeleton(TABLE)
HOME = mjcf.home(TABLE)
TIPS = [4, 8, 12, 16, 20]


def mvn_items(q, heading=0.0, place=(0.0, 0.0, 0.95), unit=1.0, fingers=True):
    """What MVN would stream for a person in the robot's pose who stands at `place` and looks along `heading`: (63 | 23,
    7).
    """
    parts = SKELETON.parts(q)
    turn = rot.zxy(heading, 0.0, 0.0)
    items = np.zeros((23 + (40 if fingers else 0), 7))
    items[:, 3] = 1.0

    def put(i, point, rotation):
        items[i, :3] = unit * (np.array(rot.apply(turn, point)) + place)
        items[i, 3:] = rot.to_quaternion(rot.mul(turn, rotation))

    put(xsens.PELVIS, (0, 0, 0), rot.IDENTITY)
    for name, i in (("chest", xsens.CHEST), ("head", xsens.HEAD)):
        put(i, parts[name][:3], rot.from_quaternion(*parts[name][3:]))
    for k, side in enumerate(("left", "right")):
        put(xsens.FOREARM[side], parts[f"{side}_elbow"], rot.IDENTITY)
        wrist = parts[f"{side}_wrist"]
        rotation = rot.mul(rot.from_quaternion(*wrist[3:]), rot.transpose(xsens.TO_ROBOT[side]))
        put(xsens.HAND[side], wrist[:3], rotation)
        if fingers:
            hand, base = parts[f"{side}_hand"], 23 + 20 * k
            put(base, hand[0], rot.IDENTITY)
            for j in range(3):
                put(base + 1 + j, hand[1 + j], rot.IDENTITY)
            for f in range(4):
                put(base + 4 + 4 * f, hand[0], rot.IDENTITY)
                for j in range(3):
                    put(base + 5 + 4 * f + j, hand[5 + 4 * f + j], rot.IDENTITY)
    return items


def packets(items, sample=1, time_ms=0, character=0, fingers=None, split=44):
    """MVN's datagrams of one sample, at most `split` items (MTU) in each."""
    fingers = len(items) - 23 if fingers is None else fingers
    chunks = [items[i : i + split] for i in range(0, len(items), split)]
    result = []
    for index, chunk in enumerate(chunks):
        counter = index | (xsens.LAST if index == len(chunks) - 1 else 0)
        header = xsens.HEADER.pack(
            b"MXTP02", sample, counter, len(chunk), time_ms, character, 23, 0, fingers, 0, 32 * len(chunk)
        )
        body = np.zeros(len(chunk), xsens.ITEM)
        body["id"], body["pose"] = np.arange(len(chunk)) + 1 + index * split, chunk
        result.append(header + body.tobytes())
    return result


def frame_of(items):
    assembler, whole = xsens.Assembler(), None
    for data in packets(items):
        datagram = xsens.parse(data)
        whole = assembler.add(datagram)
    return xsens.to_frame(datagram, whole, 0.0)


def test_a_body_packet_has_the_documented_760_bytes():
    assert [len(p) for p in packets(mvn_items(HOME, fingers=False))] == [760]


@pytest.mark.parametrize("unit", [1.0, 100.0])
@pytest.mark.parametrize("heading, place", [(0.0, (0, 0, 0.95)), (2.5, (3.0, -2.0, 1.0))])
def test_a_person_in_the_robots_pose_gives_the_robots_pose_wherever_they_stand(heading, place, unit):
    retargeter = Retargeter(TABLE, smoothing=False, velocity_limited=False)
    rng = np.random.default_rng(0)
    body = ~np.isin(TABLE.blocks, "hand")
    for _ in range(20):
        q = HOME + 0.3 * rng.uniform(-1, 1, 50) * body
        q = np.clip(q, TABLE.limits.lower, TABLE.limits.upper)
        retargeter.reset(HOME)
        out = retargeter.retarget(frame_of(mvn_items(q, heading, place, unit)))
        np.testing.assert_allclose(out[body], q[body], atol=2e-3)


def test_the_t_pose_of_mvn_is_the_robots_arms_spread_sideways():
    """All segment frames parallel to the world's; arms along +-y, palms down."""
    items = np.zeros((23, 7))
    items[:, 3] = 1.0
    items[:, 2] = 0.95
    items[xsens.HEAD, 2] = 1.6
    for side, sign in (("left", 1), ("right", -1)):
        items[xsens.FOREARM[side], :3] = 0, sign * 0.51, 1.43
        items[xsens.HAND[side], :3] = 0, sign * 0.76, 1.43
    out = Retargeter(TABLE, smoothing=False, velocity_limited=False).retarget(frame_of(items))
    for side, sign in (("left", 1), ("right", -1)):
        assert out[TABLE.index[f"{side}_shoulder_roll"]] == pytest.approx(sign * np.pi / 2, abs=0.02)
        assert abs(out[TABLE.index[f"{side}_elbow"]]) < 0.05
        assert (
            abs(out[TABLE.index[f"{side}_wrist_pitch"]]) < 0.02 and abs(out[TABLE.index[f"{side}_wrist_roll"]]) < 0.02
        )


def test_fingers_arrive_in_two_datagrams_and_bend_the_robots():
    curled = HOME.copy()
    for side in ("left", "right"):
        for finger in mjcf.FINGERS[1:]:
            curled[TABLE.index[f"{side}_{finger}_proximal"]] = 1.0
    items = mvn_items(curled)
    assert len(packets(items)) == 2
    frame = frame_of(items)
    out = Retargeter(TABLE, smoothing=False, velocity_limited=False).retarget(frame)
    for side in ("left", "right"):
        for finger in mjcf.FINGERS[1:]:
            # fingertips and their distances to the thumb are followed, not joints: 0.1 rad of a finger is 8 mm
            assert out[TABLE.index[f"{side}_{finger}_proximal"]] == pytest.approx(1.0, abs=0.1)


def test_a_segment_that_is_not_finite_is_a_lost_part():
    items = mvn_items(HOME)
    items[xsens.HAND["left"], 4] = np.nan
    items[30, 0] = np.inf  # a left finger
    frame = frame_of(items)
    assert "left_wrist" not in frame.parts and "left_hand" not in frame.parts
    assert {"right_wrist", "right_hand", "left_elbow", "head"} <= set(frame.parts)
    items[xsens.PELVIS, 3:] = 0.0
    assert frame_of(items).parts == {}


def test_other_messages_are_named():
    good = packets(mvn_items(HOME, fingers=False))[0]
    wrong = [
        ("not_mvn", b"hello"),
        ("not_mvn", b""),
        ("type", b"MXTP01" + good[6:]),
        ("size", good[:-1]),
        ("size", good + b"x"),
    ]
    for reason, data in wrong:
        with pytest.raises(FrameError) as error:
            xsens.parse(data)
        assert error.value.reason == reason


GOOD = packets(mvn_items(HOME))[0]
mutilated = st.builds(
    lambda at, rest: GOOD[:at] + rest + GOOD[at + len(rest) :], st.integers(0, len(GOOD)), st.binary(max_size=30)
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=40) | mutilated))
def test_any_datagrams_give_a_frame_or_a_frame_error(datagrams):
    assembler = xsens.Assembler()
    for data in datagrams:
        try:
            datagram = xsens.parse(data)
            items = assembler.add(datagram)
            if items is not None:
                xsens.to_frame(datagram, items, 0.0)
        except FrameError:
            continue


def test_the_udp_source_delivers_the_newest_sample_and_counts_the_rest():
    source = XsensSource(port=0)
    port = int(source.endpoint.rpartition(":")[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mvn:
        items = mvn_items(HOME)
        for sample in range(5):
            for data in packets(items, sample, 1000 + 16 * sample):
                mvn.sendto(data, ("127.0.0.1", port))
        for data in [b"junk", packets(items, 6, character=1)[0], packets(items, 3)[0], packets(items, 3)[1]]:
            mvn.sendto(data, ("127.0.0.1", port))
        last, end = None, time.monotonic() + 10
        while source.statistics()["received"] < 14 and time.monotonic() < end:
            last = source.poll(0.1) or last
    counts = source.statistics()
    source.close()
    assert last.frame.seq == 4 and "left_hand" in last.frame.parts
    assert counts["accepted"] == 5 and counts["out_of_order"] == 1
    assert counts["malformed/not_mvn"] == counts["malformed/character"] == 1


def test_a_time_code_that_stands_still_is_not_a_late_stream():
    clock = [100.0]
    source = XsensSource(port=0, clock=lambda: clock[0])
    items = mvn_items(HOME, fingers=False)
    for sample in range(120):
        clock[0] += 1 / 60
        assert source._sample(packets(items, sample, 777)[0], clock[0]) is not None
    source.close()


def test_beyond_loopback_the_sender_must_be_named_and_strangers_are_ignored():
    with pytest.raises(ValueError, match="peer"):
        XsensSource("0.0.0.0", 0)
    source = XsensSource("127.0.0.1", 0, peer="192.0.2.7")
    port = int(source.endpoint.rpartition(":")[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(packets(mvn_items(HOME))[0], ("127.0.0.1", port))
    end = time.monotonic() + 10
    while not source.statistics()["received"] and time.monotonic() < end:
        assert source.poll(0.1) is None
    assert source.statistics()["malformed/stranger"] == 1
    source.close()


def test_an_endpoint_chooses_its_source():
    for endpoint, kind in (("tcp://127.0.0.1:*", ZmqSource), ("mvn://127.0.0.1:0", XsensSource)):
        source = open_source(endpoint)
        assert isinstance(source, kind)
        source.close()
    for wrong in ("udp://127.0.0.1:1", "127.0.0.1:5591", "mvn://:x"):
        with pytest.raises(ValueError, match="expected"):
            open_source(wrong)
