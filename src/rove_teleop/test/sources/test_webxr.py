# SPDX-License-Identifier: Apache-2.0
"""WebXR input: frames, wire format, the server's refusals, certificate, and what becomes of lost hands and closed
tabs.
"""

import asyncio
import json
import math
import ssl
import time

import aiohttp
import numpy as np
import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from rove_contract import operator_frame as frames
from rove_contract.web.feed import PICTURE
from rove_description import joints, mjcf
from rove_teleop.retargeting.robot_geometry import RobotSkeleton
from rove_teleop.sources import RobotView
from rove_teleop.sources.certificate import provide
from rove_teleop.sources.endpoint import open_source
from rove_teleop.sources.webxr import HEADER, LEFT, SIZE, TO_ROBOT, Message, Scene, pack, parse
from rove_teleop.sources.webxr_emulation import holding, message_of
from rove_teleop.sources.webxr_source import WebxrSource

TABLE = joints.load()
SKELETON = RobotSkeleton(TABLE)
SCENE = Scene(SKELETON)
POSE = mjcf.home(TABLE) + 0.1
PARTS = SKELETON.parts(POSE)
HALF = 0.5**0.5
IDENTITY = [0.0, 0.0, 0.0, 1.0]  # qx, qy, qz, qw


def hand_at(position, orientation=IDENTITY):
    return np.tile(np.array([*position, *orientation]), (25, 1))


def same_rotation(a, b):
    return abs(float(np.dot(a, b))) == pytest.approx(np.linalg.norm(a) * np.linalg.norm(b), abs=1e-6)


# -- frames
# --------------------------------------------------------------------------------------------------------------------


def test_forward_left_and_up_of_the_headset_are_those_of_the_robot():
    """WebXR: -z forward, -x left, +y up, from an upright head that looks along -z."""
    eyes = np.array([0.0, 0.0, 0.0])
    head = np.concatenate([eyes, IDENTITY])
    for place, wanted in (((0, 0, -0.5), (0.5, 0, 0)), ((-0.3, 0, 0), (0, 0.3, 0)), ((0, -0.4, 0), (0, 0, -0.4))):
        frame = SCENE.trunk().frame(Message(0, 0.0, head, {"left": hand_at(place)}), "x")
        camera = SCENE.neck + SCENE.eyes
        np.testing.assert_allclose(frame.parts["left_wrist"][:3], camera + wanted, atol=1e-9)
        assert same_rotation(frame.parts["head"][3:], [1, 0, 0, 0])


def test_wrists_that_point_forward_palms_down():
    """WebXR's wrist at identity: fingers forward, back of the hand up. The robot's: fingers along -z, thumb along x."""
    frame = SCENE.trunk().frame(
        Message(0, 0.0, np.array([0, 0, 0, *IDENTITY]), {s: hand_at((0, 0, -0.4)) for s in mjcf.SIDES}), "x"
    )
    for side, inward in (("left", -1.0), ("right", 1.0)):
        w, x, y, z = frame.parts[f"{side}_wrist"][3:]
        columns = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        ).T
        np.testing.assert_allclose(-columns[2], [1, 0, 0], atol=1e-9, err_msg="fingers forward")
        np.testing.assert_allclose(columns[0], [0, inward, 0], atol=1e-9, err_msg="the thumb inward")
        np.testing.assert_allclose(-inward * columns[1], [0, 0, 1], atol=1e-9, err_msg="the back of the hand up")


@settings(deadline=None, max_examples=60)
@given(
    q=st.lists(st.floats(0.0, 1.0), min_size=50, max_size=50),
    eyes=st.tuples(*[st.floats(-3.0, 3.0)] * 3),
    heading=st.floats(-3.1, 3.1),
)
def test_an_operator_in_the_robots_pose_is_read_as_that_pose_wherever_they_stand(q, eyes, heading):
    limits = TABLE.limits
    q = limits.lower + np.array(q) * (limits.upper - limits.lower)
    q[TABLE.indices("waist")] = 0.0  # a headset does not see the trunk: it is taken to be upright
    parts = SKELETON.parts(q)
    trunk = SCENE.trunk()
    trunk.heading = heading
    frame = trunk.frame(parse(pack(message_of(parts, SCENE.trunk(), eyes, heading))), "x")
    if abs(math.remainder(trunk.heading - heading, 2 * math.pi)) > 1e-5:
        return  # the head looks so far down and aside that its heading is beyond the neck's yaw: the trunk went along
    assert set(frame.parts) == {"head", "left_wrist", "right_wrist", "left_hand", "right_hand"}
    for name in ("left_hand", "right_hand"):
        np.testing.assert_allclose(frame.parts[name], parts[name], atol=3e-5)
    for name in ("head", "left_wrist", "right_wrist"):
        assert abs(frame.parts[name][3:] @ parts[name][3:]) > 1 - 1e-6
    np.testing.assert_allclose(frame.parts["left_wrist"][:3], parts["left_wrist"][:3], atol=3e-5)


def yawed(angle):
    return np.array([0.0, 1.6, 0.0, 0.0, math.sin(angle / 2), 0.0, math.cos(angle / 2)])


def test_looking_around_moves_the_neck_only_and_turning_round_takes_the_trunk_along():
    trunk = SCENE.trunk()
    eyes_ahead = np.array([0.0, 1.6, 0.0])
    hand = {"left": hand_at((-0.2, 1.2, -0.4))}

    def wrist(head, hands=hand):
        return trunk.frame(Message(0, 0.0, head, hands), "x").parts["left_wrist"][:3]

    before = wrist(yawed(0.0))
    pivot_shift = SCENE.eyes[0]  # the eyes swing around the neck when the head turns
    for angle in (0.3, -0.5, 0.9):
        head = yawed(angle)
        head[:3] = eyes_ahead + [-pivot_shift * math.sin(angle), 0.0, pivot_shift * (1 - math.cos(angle))]
        np.testing.assert_allclose(wrist(head), before, atol=1e-9)
    assert trunk.heading == 0.0
    wrist(yawed(2.0))
    limit = TABLE.limits.upper[TABLE.index["head_yaw"]]
    assert trunk.heading == pytest.approx(2.0 - limit)
    trunk.frame(Message(0, 0.0, yawed(2.0), hand, recentred=True), "x")
    assert trunk.heading == pytest.approx(2.0)


def test_the_heading_is_steady_while_looking_straight_down():
    for pitch in (-1.2, -1.5, -math.pi / 2, -1.6, 1.2):
        trunk = SCENE.trunk()
        quaternion = [math.sin(pitch / 2), 0.0, 0.0, math.cos(pitch / 2)]
        trunk.frame(Message(0, 0.0, np.array([0, 1.6, 0, *quaternion]), {}), "x")
        assert trunk.heading == pytest.approx(0.0, abs=1e-9)


def test_the_ghost_lies_on_the_operators_hands_when_the_two_agree():
    eyes, heading = np.array([0.4, 1.5, -0.2]), 0.8
    q = POSE.copy()
    q[TABLE.indices("waist")] = 0.0
    message = message_of(SKELETON.parts(q), SCENE.trunk(), eyes, heading)
    trunk = SCENE.trunk()
    trunk.heading = heading
    trunk.frame(message, "x")
    shown = SCENE.describe(q, trunk)
    # The page's `neck`: the pivot from the eyes.
    x, y, z, w = message.head[3:]
    forward, left, up = SCENE.eyes
    v = np.array([-left, up, -forward])
    t = 2 * np.cross([x, y, z], v)
    pivot = message.head[:3] - (v + w * t + np.cross([x, y, z], t))
    for side in mjcf.SIDES:
        ghost = np.array(shown["hands"][side]).reshape(21, 3) + pivot
        np.testing.assert_allclose(ghost, message.hands[side][frames.WEBXR_KEPT, :3], atol=2e-4)
    np.testing.assert_allclose(np.array(shown["camera"]["position"]) + pivot, eyes, atol=2e-4)
    assert same_rotation(np.array(shown["camera"]["orientation"]) / 1.0, message.head[3:])


# -- wire format
# ---------------------------------------------------------------------------------------------------------------


def test_a_lost_hand_is_missing_and_not_frozen():
    message = message_of(PARTS, SCENE.trunk())
    for broken in (np.nan, np.inf):
        hands = {side: hand.copy() for side, hand in message.hands.items()}
        hands["left"][13, 1] = broken
        assert set(parse(pack(Message(1, 0.0, message.head, hands))).hands) == {"right"}
    assert set(parse(pack(Message(1, 0.0, message.head, {"right": message.hands["right"]}))).hands) == {"right"}
    headless = parse(pack(Message(1, 0.0, None, message.hands)))
    assert SCENE.trunk().frame(headless, "x").parts == {}


@settings(deadline=None, max_examples=300)
@given(
    st.one_of(st.binary(max_size=SIZE + 8), st.binary(min_size=SIZE - 4, max_size=SIZE - 4).map(lambda b: b"RVX1" + b))
)
def test_no_bytes_raise_anything_but_a_frame_error(data):
    try:
        message = parse(data)
    except frames.FrameError as error:
        assert error.reason in ("size", "version", "seq", "time")
    else:
        SCENE.trunk().frame(message, "x")


def test_each_refusal_has_its_reason():
    good = pack(message_of(PARTS, SCENE.trunk(), seq=3, t=5.0))
    assert parse(good).seq == 3
    cases = {
        "size": good[:-1],
        "version": b"RVX9" + good[4:],
        "seq": good[:8] + HEADER.pack(b"", 0, 1.5, 0, 0, 0)[8:16] + good[16:],
        "time": good[:16] + HEADER.pack(b"", 0, 0, math.nan, 0, 0)[16:24] + good[24:],
    }
    for reason, data in cases.items():
        with pytest.raises(frames.FrameError) as caught:
            parse(data)
        assert caught.value.reason == reason
    assert parse(good[:4] + LEFT.to_bytes(4, "little") + good[8:]).head is None


# -- the certificate
# -----------------------------------------------------------------------------------------------------------


def test_the_certificate_is_kept_and_renewed_under_the_same_authority_when_addresses_change(tmp_path):
    first = provide(tmp_path, ["localhost", "robot"], ["127.0.0.1", "192.168.1.5"])
    pem = first.cert.read_bytes()
    assert (
        provide(tmp_path, ["localhost", "robot"], ["127.0.0.1", "192.168.1.5"]) == first
        and first.cert.read_bytes() == pem
    )
    second = provide(tmp_path, ["localhost", "robot"], ["127.0.0.1", "192.168.1.77"])
    assert second.fingerprint == first.fingerprint and second.cert.read_bytes() != pem
    names = (
        x509.load_pem_x509_certificate(second.cert.read_bytes())
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "robot"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "192.168.1.77"]
    assert (first.key.stat().st_mode | (tmp_path / "rove-ca.key").stat().st_mode) & 0o077 == 0
    # A public address is beyond what the first authority may vouch for.
    third = provide(tmp_path, ["localhost", "robot"], ["127.0.0.1", "8.8.8.8"])
    assert third.fingerprint != first.fingerprint


def test_the_users_own_certificate_is_used_as_it_is_under_its_own_names(tmp_path):
    made = provide(tmp_path, ["robot.lab.example"], ["10.0.0.5"])
    for path in tmp_path.glob("rove-ca.*"):
        path.unlink()
    pem = made.cert.read_bytes()
    own = provide(tmp_path, ["localhost"], ["127.0.0.1"])
    assert own.cert.read_bytes() == pem and "robot.lab.example" in own.names and own.authority == own.cert


def test_a_broken_certificate_is_named(tmp_path):
    provide(tmp_path)
    (tmp_path / "rove-ca.crt").write_text("nonsense")
    with pytest.raises(ValueError, match="delete its rove-ca"):
        provide(tmp_path)


# -- the server
# ----------------------------------------------------------------------------------------------------------------


def test_a_controllers_grip_is_the_wrist_behind_it_and_its_trigger_closes_the_hand():
    message = message_of(PARTS, SCENE.trunk(), eyes=(0.3, 1.5, -0.2), heading=0.7)
    reach = {}
    for closure in (0.0, 0.5, 1.0):
        sent = parse(pack(holding(message, SCENE.grasp.palms, closure)))
        assert sent.hands == {} and sent.grips["left"][1] == closure
        trunk = SCENE.trunk()
        trunk.heading = 0.7  # the head at home looks aside
        parts = trunk.frame(sent, "x").parts
        for side in ("left", "right"):
            wrist = parts[f"{side}_wrist"]
            np.testing.assert_allclose(wrist[:3], PARTS[f"{side}_wrist"][:3], atol=1e-5)
            assert same_rotation(wrist[3:], PARTS[f"{side}_wrist"][3:])
            np.testing.assert_allclose(parts[f"{side}_hand"][0], wrist[:3], atol=1e-5)
            reach[closure] = np.linalg.norm(parts[f"{side}_hand"][[8, 12, 16, 20]] - wrist[:3], axis=1).mean()
    assert reach[0.0] > reach[0.5] > reach[1.0]


@pytest.mark.parametrize("side, back", [("left", -1.0), ("right", 1.0)])
def test_a_hand_on_a_rod_is_placed_as_the_grip_space_says(side, back):
    """WebXR, gripSpace: -z along the rod to the thumb, x out of the back of the right hand (into that of the left)."""
    grip = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])  # the reference space's own axes
    message = Message(0, 0.0, np.array([0, 0.5, 0, 0, 0, 0, 1.0]), {}, grips={side: (grip, 0.0)})
    hand = SCENE.trunk().frame(message, "x").parts[f"{side}_hand"]
    in_reference = (hand - hand[0]) @ TO_ROBOT  # no heading: the trunk's axes are the reference space's, turned
    knuckles, thumb = in_reference[[5, 9, 13, 17]], in_reference[4]
    assert (knuckles[:, 1] < -0.05).all(), "fingers away from the elbow, which is at +y"
    assert thumb[2] < -0.02 and knuckles[0, 2] < knuckles[3, 2], "the thumb and the index at -z"
    curled = (
        SCENE.trunk().frame(Message(0, 0.0, message.head, {}, grips={side: (grip, 1.0)}), "x").parts[f"{side}_hand"]
    )
    tips = ((curled - curled[0]) @ TO_ROBOT)[[8, 12, 16, 20]]
    assert (back * tips[:, 0] < back * knuckles[:, 0] - 0.02).all(), "fingers curl away from the back of the hand"


class Client:
    """A page without a browser."""

    def __init__(self, source, directory):
        self.source = source
        self.ssl = ssl.create_default_context(cafile=str(directory / "rove-ca.crt"))
        self.url = source.endpoint.replace("0.0.0.0", "127.0.0.1")

    def run(self, talk, **options):
        async def main():
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(f"{self.url}/ws", ssl=self.ssl, **options) as ws,
            ):
                return await talk(ws)

        return asyncio.run(main())


@pytest.fixture
def source(tmp_path):
    source = WebxrSource("https://127.0.0.1:0", directory=tmp_path)
    yield source
    source.close()


def newest(source, limit_s=5.0):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        sample = source.poll(0.1)
        if sample is not None:
            return sample
    raise AssertionError(f"no sample: {source.statistics()}")


def test_frames_come_through_with_the_delay_that_the_pings_tell(tmp_path):
    source = WebxrSource("https://127.0.0.1:0", directory=tmp_path, max_delay_s=2.0)

    async def talk(ws):
        hello = json.loads(await ws.receive_str())
        sent = time.time() - 5000.0  # the headset's clock
        await ws.send_json({"ping": sent})
        pong = json.loads(await ws.receive_str())
        assert pong["ping"] == sent
        offset = pong["monotonic"] - sent
        await ws.send_bytes(pack(message_of(PARTS, SCENE.trunk(), seq=0, t=time.time() - 5000.0)))
        first = newest(source)
        late = message_of(PARTS, SCENE.trunk(), seq=1, t=time.time() - 5000.0 - 4.0)
        await ws.send_bytes(pack(Message(late.seq, late.t, late.head, late.hands, offset, 0.002)))
        while source.statistics()["late"] == 0:
            assert source.poll(0.05) is None
        await ws.send_bytes(pack(Message(2, time.time() - 5000.0, late.head, late.hands, offset, 0.002)))
        return hello, first, newest(source)

    hello, first, third = Client(source, tmp_path).run(talk)
    assert hello["name"] == "webxr 1" == first.frame.source and hello["frame_bytes"] == SIZE
    assert third.frame.seq == 2 and third.delay_s < 2.0
    values = source.statistics()
    source.close()
    assert values["late"] == 1 and values["accepted"] == 2
    assert values["clock_offset_s"] == pytest.approx(-5000.0, abs=0.5) and values["rtt_ms"] == 2.0


def test_malformed_messages_are_counted_and_end_nothing(source, tmp_path):
    good = message_of(PARTS, SCENE.trunk())

    async def talk(ws):
        for data in (b"", b"x" * SIZE, pack(good)[:-4]):
            await ws.send_bytes(data)
        pings = ('{"ping": "x"}', '{"ping": true}', '{"ack": "1"}', '{"type": "fly"}')
        for text in ("nonsense", "[]", "[" * 2000, *pings):
            await ws.send_str(text)
        await ws.send_bytes(pack(good))
        return await asyncio.to_thread(newest, source)

    assert set(Client(source, tmp_path).run(talk).frame.parts) == {
        "head",
        "left_wrist",
        "right_wrist",
        "left_hand",
        "right_hand",
    }
    values = source.statistics()
    counted = {key: n for key, n in values.items() if key.startswith("malformed")}
    assert counted == {"malformed": 10, "malformed/text": 7, "malformed/size": 2, "malformed/version": 1}


def test_a_closed_tab_leaves_nothing_behind_and_the_next_one_takes_over(source, tmp_path):
    client = Client(source, tmp_path)

    async def talk(ws):
        for seq in range(3):
            await ws.send_bytes(pack(message_of(PARTS, SCENE.trunk(), seq=seq, t=100.0 + seq / 60)))
        await asyncio.sleep(0.2)

    client.run(talk)
    time.sleep(0.2)
    assert source.poll(0.0) is None, "what a closed page had sent is gone"

    async def again(ws):
        for seq in range(200):
            await ws.send_bytes(pack(message_of(PARTS, SCENE.trunk(), seq=seq, t=time.time())))
            sample = await asyncio.to_thread(source.poll, 0.02)
            if sample is not None:
                return sample
            await asyncio.sleep(0.01)

    assert client.run(again).frame.source == "webxr 2"


def test_only_the_newest_picture_is_sent_to_a_slow_page(source, tmp_path):
    async def talk(ws):
        await ws.receive_str()
        got = []
        for i in (1, 2):
            source.show_camera(b"jpeg %d" % i, 1.0)
            got.append((await ws.receive_bytes())[PICTURE.size :])
        for i in (3, 4, 5):
            source.show_camera(b"jpeg %d" % i, 1.0)
        await ws.send_json({"ack": 2})
        got.append((await ws.receive_bytes())[PICTURE.size :])
        source.show_robot(RobotView(POSE, "PAUSED", 1, "left_elbow is 0.50 rad off", {"left": 0.5, "right": math.inf}))
        state = json.loads(await ws.receive_str())
        return got, state

    got, state = Client(source, tmp_path).run(talk)
    assert got == [b"jpeg 1", b"jpeg 2", b"jpeg 5"]
    assert state["mode"] == "PAUSED" and len(state["hands"]["left"]) == 63 and state["errors"]["right"] == 9.0


def test_strangers_are_kept_out(tmp_path):
    source = WebxrSource("https://0.0.0.0:0", directory=tmp_path)
    client = Client(source, tmp_path)
    token = (tmp_path / "token").read_text().strip()

    async def hello(ws):
        return json.loads(await ws.receive_str())["type"]

    try:
        assert client.run(hello, headers={"Authorization": f"Bearer {token}"}) == "hello"
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": f"Bearer {token}", "Origin": "https://evil.example"},
            {"Authorization": f"Bearer {token}", "Host": "evil.example"},
        ):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                client.run(hello, headers=headers)
            assert caught.value.status in (401, 403)
        assert source.statistics()["refused_requests"] == 4
        assert len(token) >= 14 and token in source.invitation and source.fingerprint in source.invitation
    finally:
        source.close()
    again = WebxrSource("https://0.0.0.0:0", directory=tmp_path)
    again.close()
    assert token in again.invitation and again.fingerprint == source.fingerprint


def test_endpoints_that_cannot_be_served_are_refused_with_a_sentence(tmp_path):
    for endpoint, text in (
        ("http://0.0.0.0:0", "use https"),
        ("https://", "expected https"),
        ("https://[::1", "expected https"),
    ):
        with pytest.raises(ValueError, match=text):
            open_source(endpoint, keys=str(tmp_path))
    source = open_source("http://127.0.0.1:0", keys=str(tmp_path))
    source.close()
    source.close()
    assert not (tmp_path / "server.crt").exists()
    busy = WebxrSource("https://127.0.0.1:0", directory=tmp_path)
    with pytest.raises(ValueError, match="another session running"):
        WebxrSource(busy.endpoint, directory=tmp_path)
    busy.close()
