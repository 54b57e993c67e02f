# SPDX-License-Identifier: Apache-2.0
"""The drag page without a browser: its frames, and a puppet that starts exactly at the robot's pose."""

import asyncio
import json
import math
import struct
from dataclasses import replace

import aiohttp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rove_contract.modes import OPERATOR_DRIVES, Mode
from rove_contract.operator_frame import FrameError
from rove_description import joints, mjcf
from rove_teleop.retargeting.alignment import alignment
from rove_teleop.retargeting.retarget import Retargeter
from rove_teleop.sources import RobotView
from rove_teleop.sources.browser import FORMAT, PARTS, DragMessage, Puppet, pack, parse
from rove_teleop.sources.endpoint import open_source

TABLE = joints.load()
HOME = mjcf.home(TABLE)
LIMITS = TABLE.limits
SIDES = mjcf.SIDES


def at(q, mode="PAUSED"):
    """A puppet that sees the robot at q."""
    puppet = Puppet()
    puppet.show(RobotView(q, mode))
    return puppet


def message_of(pose, seq=0, **changes):
    """What the page sends when its puppet stands as `pose` of Puppet.describe says."""
    wrists = {side: np.array(pose["wrists"][side]) for side in SIDES}
    message = DragMessage(seq, 0.1 * seq, np.array(pose["waist"]), np.array(pose["head"]), pose["closure"], wrists)
    return replace(message, **changes)


def poses(seed):
    """(J,) a pose in the middle of the ranges."""
    middle, span = 0.5 * (LIMITS.lower + LIMITS.upper), LIMITS.upper - LIMITS.lower
    return middle + 0.25 * span * np.random.default_rng(seed).uniform(-1, 1, len(TABLE))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1))
def test_an_untouched_puppet_is_the_robot_whatever_its_pose(seed):
    q = poses(seed)
    puppet = at(q)
    robot, pose = puppet.skeleton.parts(q), puppet.describe()["pose"]
    follows = puppet.frame(parse(pack(message_of(pose, follows=True))), "x").parts
    for part, value in robot.items():
        np.testing.assert_array_equal(follows[part], value)
    # The first frame after a takeover comes from the page's own copy: the same but for rounding.
    driven = puppet.frame(parse(pack(message_of(pose))), "x").parts
    assert driven.keys() == PARTS
    for part, value in driven.items():
        np.testing.assert_allclose(value, robot[part], atol=1e-4, err_msg=part)


def test_a_robot_that_is_followed_is_aligned_at_once_and_stays_so_when_the_operator_takes_over():
    q = HOME.copy()
    q[TABLE.index["right_elbow"]], q[TABLE.index["waist_yaw"]], q[TABLE.index["left_index_proximal"]] = -0.9, 0.3, 0.8
    puppet, retargeter = at(q), Retargeter(TABLE)
    retargeter.reset(q)
    pose = puppet.describe()["pose"]
    for seq in range(60):
        retargeter.free_arms()
        retargeter.retarget(puppet.frame(message_of(pose, seq, follows=True), "x"))
    errors = alignment(TABLE, retargeter.solution, q)
    assert max(float(errors[block]) for block in TABLE.blocks_present()) < 0.02, errors
    puppet.show(RobotView(q, "ADAPTATION"))
    retargeter.reset(q)
    for seq in range(60, 120):
        retargeter.retarget(puppet.frame(message_of(pose, seq), "x"))
    errors = alignment(TABLE, retargeter.solution, q)
    assert max(float(errors[block]) for block in TABLE.blocks_present()) < 0.1, errors


@pytest.mark.parametrize("mode", [mode.name for mode in OPERATOR_DRIVES])
def test_while_the_operator_drives_a_late_page_does_not_make_the_robot_follow_itself(mode):
    puppet = at(HOME)
    message = message_of(puppet.describe()["pose"], follows=True)
    before = puppet.frame(message, "x").parts
    sagged = HOME + 0.05
    puppet.show(RobotView(sagged, mode))
    after = puppet.frame(message, "x").parts
    for part, value in before.items():
        np.testing.assert_array_equal(after[part], value)
    puppet.show(RobotView(sagged, Mode.PAUSED.name))
    assert np.abs(puppet.frame(message, "x").parts["right_wrist"] - before["right_wrist"]).max() > 0.01


def test_without_the_robots_pose_there_is_no_operator():
    puppet = Puppet()
    message = message_of(at(HOME).describe()["pose"])
    assert puppet.frame(message, "x").parts == {} and puppet.describe() == {}
    puppet.show(RobotView(np.full(len(TABLE), np.nan), "PAUSED"))
    assert puppet.frame(replace(message, follows=True), "x").parts == {}


def test_a_dragged_wrist_takes_its_fingers_along_and_the_other_hand_stays():
    puppet = at(HOME)
    message = message_of(puppet.describe()["pose"])
    before = puppet.frame(message, "x").parts
    moved = message.wrists["right"].copy()
    moved[:3] += [0.1, 0.05, 0.02]
    after = puppet.frame(replace(message, wrists=message.wrists | {"right": moved}), "x").parts
    np.testing.assert_allclose(
        after["right_hand"] - before["right_hand"], np.tile([0.1, 0.05, 0.02], (21, 1)), atol=1e-6
    )
    for part in ("left_wrist", "left_hand", "head", "chest"):
        np.testing.assert_array_equal(after[part], before[part])


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0, 1))
def test_fingers_close_steadily_from_where_they_are(seed, a, b):
    puppet = at(poses(seed))
    pose = puppet.describe()["pose"]

    def gap(closure):
        closures = {"left": closure, "right": pose["closure"]["right"]}
        hand = puppet.frame(message_of(pose, closure=closures), "x").parts["left_hand"]
        return hand[[8, 12, 16, 20]]

    # No jump: a small step of the slider is a small step of the fingertips.
    near = min(b, a + 1e-3), max(b, a - 1e-3)
    step = min(near[0], 1.0) if b >= a else max(near[1], 0.0)
    assert np.abs(gap(step) - gap(a)).max() < 1e-3
    assert np.isfinite(gap(b)).all()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1), st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_closing_bends_no_joint_back_whatever_the_hand_holds(seed, closures):
    puppet = at(poses(seed))
    flexing = [i for i, n in enumerate(TABLE.names[k] for k in TABLE.indices("hand", "left")) if "splay" not in n]
    bent = np.array([puppet._fingers("left", closure)[flexing] for closure in sorted(closures)])
    assert (np.diff(bent, axis=0) >= -1e-9).all()


def test_an_open_hand_is_wider_than_a_closed_one():
    puppet = at(HOME)
    pose = puppet.describe()["pose"]

    def reach(closure):
        hand = puppet.frame(message_of(pose, closure={"left": closure, "right": closure}), "x").parts["right_hand"]
        return np.linalg.norm(hand[[8, 12, 16, 20]] - hand[0], axis=1)

    assert (reach(0.0) > 0.15).all() and (reach(1.0) < 0.12).all()


def test_frames_survive_the_wire_and_rubbish_is_named():
    message = message_of(at(HOME).describe()["pose"], seq=7, follows=True, offset_s=1.5, rtt_s=0.01)
    got = parse(pack(message))
    assert (got.seq, got.follows, got.offset_s, got.rtt_s) == (7, True, 1.5, 0.01)
    np.testing.assert_allclose(got.wrists["left"], message.wrists["left"], atol=1e-6)
    good = bytearray(pack(message))
    with pytest.raises(FrameError, match="expected 128"):
        parse(bytes(good[:-1]))
    for at_byte, value, reason in (
        (0, b"RVX1", "version"),
        (8, struct.pack("<d", -1.0), "seq"),
        (16, b"\xff" * 8, "time"),
    ):
        broken = good.copy()
        broken[at_byte : at_byte + len(value)] = value
        with pytest.raises(FrameError) as caught:
            parse(bytes(broken))
        assert caught.value.reason == reason
    for value in (math.nan, math.inf, 1e9):
        broken = good.copy()
        broken[72:76] = struct.pack("<f", value)
        with pytest.raises(FrameError) as caught:
            parse(bytes(broken))
        assert caught.value.reason == "value"


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=FORMAT.size, max_size=FORMAT.size) | st.binary(max_size=200))
def test_no_bytes_break_the_parser(data):
    try:
        assert isinstance(parse(data), DragMessage)
    except FrameError as error:
        assert error.reason in ("size", "version", "seq", "time", "value")


def test_the_source_greets_with_the_robots_geometry_and_yields_frames():
    source = open_source("browser://127.0.0.1:0")
    source.show_robot(RobotView(HOME, "PAUSED"))

    async def talk():
        async with aiohttp.ClientSession() as session, session.ws_connect(source.endpoint + "/ws") as ws:
            hello = json.loads(await ws.receive_str())
            pose = source.puppet.describe()["pose"]
            await ws.send_bytes(pack(message_of(pose, seq=3, t=5.0, follows=True)))
            await ws.send_bytes(b"rubbish")
            sample = await asyncio.to_thread(source.poll, 10.0)
            source.show_robot(RobotView(HOME, "PAUSED", 0, "aligned", {"left": 0.1, "right": 0.2}))
            return hello, sample, json.loads(await ws.receive_str())

    try:
        hello, sample, state = asyncio.run(talk())
        assert len(hello["geoms"]) > 30 and hello["frame_bytes"] == FORMAT.size
        assert {kind for _, kind, *_ in hello["geoms"]} <= {"capsule", "sphere", "box", "ellipsoid"}
        assert sample.frame.source == "browser 1" and "right_hand" in sample.frame.parts
        assert state["text"] == "aligned" and len(state["bodies"]) > 30 and state["errors"]["right"] == 0.2
        values = source.statistics()
        assert values["accepted"] == 1 and values["malformed/size"] == 1
    finally:
        source.close()


@pytest.mark.parametrize("endpoint", ["browser://", "browser://127.0.0.1:x", "browser:///path"])
def test_an_endpoint_that_cannot_be_served_is_refused_with_a_sentence(endpoint):
    with pytest.raises(ValueError, match="browser://HOST:PORT"):
        open_source(endpoint)
