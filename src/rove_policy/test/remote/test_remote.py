# SPDX-License-Identifier: Apache-2.0
"""A policy on another machine acts like one that was loaded here, and a link that is lost is named."""

import asyncio
import socket
import subprocess
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from aiohttp import WSMsgType, web

from rove_contract.web.access import Access
from rove_description import robot
from rove_description.card import RobotCard
from rove_policy.remote import policies, wire
from rove_policy.remote.link import Link, LinkError
from rove_policy.remote.policies import RemoteLoader, connect, resample
from rove_policy.remote.server import PolicyServer

ROBOT = robot.load()
HOME = ROBOT.home
PICTURE = np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)


class Fake:
    """A policy whose chunk tells what it was given."""

    robot, hash, critic, shared, cameras = ROBOT.card, "abc123", object(), False, ("ego",)
    info = {"instructions": ["wipe"]}
    execution = SimpleNamespace(note="", __str__=lambda self: "here")

    def __init__(self):
        self.slow, self.asked = threading.Event(), []
        self.slow.set()

    def act(self, image, q, instruction, *, guidance=None, rng=None, known=None):
        self.slow.wait(10)
        self.asked.append((image, np.asarray(q), instruction, guidance, known))
        noise = 0.0 if rng is None else rng.standard_normal()
        return np.tile(np.asarray(q) + noise, (50, 1))

    def act_and_value(self, image, q, instruction, **more):
        return self.act(image, q, instruction, **more), -0.25

    def value(self, image, instruction):
        return -0.5


class Running:
    """An aiohttp application in a thread of its own."""

    def __init__(self, app, tls=None):
        self.loop, ready = asyncio.new_event_loop(), threading.Event()
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)

        async def start():
            await self.runner.setup()
            await web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=tls).start()
            self.port = self.runner.addresses[0][1]
            ready.set()

        def run():
            asyncio.set_event_loop(self.loop)
            self.loop.run_until_complete(start())
            self.loop.run_forever()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        assert ready.wait(10)

    def stop(self):
        if self.thread.is_alive():
            asyncio.run_coroutine_threadsafe(self.runner.cleanup(), self.loop).result(10)
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(10)


@pytest.fixture
def serve():
    running = []

    def start(app, tls=None):
        running.append(Running(app, tls))
        return running[-1]

    yield start
    for one in running:
        one.stop()


def closed(policy):
    policy.link.close()


def test_a_remote_policy_gives_the_chunk_and_value_of_the_one_that_is_served(serve):
    fake = Fake()
    server = serve(PolicyServer(fake, Access()).application())
    policy = connect(f"ws://127.0.0.1:{server.port}", ROBOT)
    try:
        assert (policy.hash, policy.cameras, policy.info["instructions"]) == ("abc123", ("ego",), ["wipe"])
        known = np.ones((50, 50), np.float32), np.full(50, 0.5, np.float32)
        chunk, value = policy.act_and_value({"ego": PICTURE}, HOME, "wipe", guidance=2.0, known=known)
        np.testing.assert_array_equal(chunk, np.tile(HOME, (50, 1)))
        assert value == -0.25
        image, _, words, guidance, given = fake.asked[-1]
        np.testing.assert_array_equal(image, PICTURE)
        assert (words, guidance) == ("wipe", 2.0)
        np.testing.assert_array_equal(given[1], known[1])
        assert policy.value(PICTURE, "wipe") == -0.5
        one = policy.act(PICTURE, HOME, "wipe", rng=np.random.default_rng(1))
        np.testing.assert_array_equal(one, policy.act(PICTURE, HOME, "wipe", rng=np.random.default_rng(1)))
        assert not np.array_equal(one, policy.act(PICTURE, HOME, "wipe", rng=np.random.default_rng(2)))
    finally:
        closed(policy)


def test_the_loader_asks_once_and_refuses_the_policy_of_another_robot(serve):
    fake = Fake()
    address = f"ws://127.0.0.1:{serve(PolicyServer(fake, Access()).application()).port}"
    policy, latency = RemoteLoader(ROBOT, lambda policy: "wipe", None, "", "").load(address)
    closed(policy)
    assert latency > 0 and len(fake.asked) == 1
    fake.robot = RobotCard("other", "", ("a",), ("arm",), ("",))
    with pytest.raises(ValueError, match="belongs to the robot other"):
        connect(address, ROBOT)


def test_a_bad_observation_is_refused_by_name_and_the_server_goes_on(serve):
    server = serve(PolicyServer(Fake(), Access()).application())
    link = Link(f"ws://127.0.0.1:{server.port}/")
    try:
        for message, reason in (
            ({"prompt": "wipe"}, "expected images"),
            ({"images": {"ego": np.zeros((2, 2))}, "prompt": "wipe"}, "picture of ego is no"),
            ({"images": {"ego": PICTURE}, "prompt": "wipe", "seed": "x"}, "expected numbers"),
        ):
            with pytest.raises(LinkError, match=reason):
                link.ask(message)
        assert "actions" in link.ask({"images": {"ego": PICTURE}, "prompt": "wipe", "state": HOME})
    finally:
        link.close()


def test_a_server_that_does_not_answer_or_is_gone_is_named_and_found_again(serve):
    fake = Fake()
    server = serve(PolicyServer(fake, Access()).application())
    link = Link(f"ws://127.0.0.1:{server.port}/", answer_s=0.3)
    observation = {"images": {"ego": PICTURE}, "prompt": "wipe", "state": HOME}
    try:
        link.connect()
        fake.slow.clear()
        with pytest.raises(LinkError, match=r"does not answer within 0\.3 s"):
            link.ask(observation)
        fake.slow.set()
        assert "actions" in link.ask(observation)
        server.stop()
        with pytest.raises(LinkError, match=f"127.0.0.1:{server.port}/"):
            link.ask(observation)
    finally:
        fake.slow.set()
        link.close()


def test_nobody_without_the_token_and_only_over_tls_that_is_trusted(serve, tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    words = [
        "openssl",
        "req",
        "-x509",
        *curve,
        "-nodes",
        "-days",
        "2",
        *subject,
        "-keyout",
        str(key),
        "-out",
        str(cert),
    ]
    subprocess.run(words, check=True, capture_output=True)
    access = Access("127.0.0.1", "0123456789abcdef", str(cert), str(key), service="policy server")
    server = serve(PolicyServer(Fake(), access).application(), access.context())
    address = f"wss://127.0.0.1:{server.port}"
    with pytest.raises(LinkError, match="it refuses the token"):
        connect(address, ROBOT, "wrong", str(cert))
    with pytest.raises(LinkError, match="certificate"):
        connect(address, ROBOT, "0123456789abcdef")
    closed(connect(address, ROBOT, "0123456789abcdef", str(cert)))
    with pytest.raises(ValueError, match="needs token and TLS"):
        Access("0.0.0.0", "", "", "", service="policy server")


def openpi(seen, actions, refuse=""):
    """A server that speaks the protocol that openpi's `websocket_policy_server.py` publishes."""

    async def talk(request):
        seen.append(request.headers.get("Authorization"))
        ws = web.WebSocketResponse(max_msg_size=0, compress=False)
        await ws.prepare(request)
        await ws.send_bytes(wire.pack({"policy": "pi05"}))
        async for message in ws:
            if message.type is WSMsgType.BINARY:
                seen.append(wire.unpack(message.data))
                if refuse:
                    await ws.send_str(f"Traceback (most recent call last):\n  ...\n{refuse}\n")
                    break
                await ws.send_bytes(wire.pack({"actions": actions, "server_timing": {"infer_ms": 3.0}}))
        return ws

    app = web.Application()
    app.add_routes([web.get("/", talk)])
    return app


def test_openpi_gets_the_names_of_its_configuration_and_its_rate_is_kept(serve):
    seen: list = []
    actions = np.linspace(HOME, HOME + 1.0, 11)[1:].astype(np.float32)  # 10 steps of 10 Hz: 1 rad in 1 s
    server = serve(openpi(seen, actions))
    policy = connect(f"openpi://127.0.0.1:{server.port}?ego=observation/image&hz=10&size=32", ROBOT, "secret-secret")
    try:
        chunk = policy.act({"ego": PICTURE}, HOME, "wipe the board")
        assert seen[0] == "Api-Key secret-secret"
        assert set(seen[1]) == {"observation/image", "observation/state", "prompt"}
        assert seen[1]["observation/image"].shape == (32, 32, 3)
        assert seen[1]["observation/state"].dtype == np.float32
        assert seen[1]["prompt"] == "wipe the board"
        assert chunk.shape == (20, 50)
        np.testing.assert_allclose(chunk[1::2], actions, atol=1e-6)  # row i is due (i + 1) / 20 s after the observation
        np.testing.assert_allclose(chunk[-1], HOME + 1.0, atol=1e-6)
    finally:
        closed(policy)


def test_what_openpi_refuses_or_sends_wrong_is_named(serve):
    for app, reason in (
        (openpi([], np.zeros((5, 7))), r"sends an array \(5, 7\) as actions, expected \(steps, 50\)"),
        (openpi([], np.full((5, 50), np.nan)), "not finite"),
        (openpi([], None, "KeyError: 'observation/wrist_image'"), "refuses: KeyError: 'observation/wrist_image'"),
    ):
        policy = connect(f"openpi://127.0.0.1:{serve(app).port}", ROBOT)
        try:
            with pytest.raises(LinkError, match=reason):
                policy.act(PICTURE, HOME, "wipe")
        finally:
            closed(policy)


def test_an_address_that_cannot_be_used_is_refused_with_the_reason():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for address, reason in (
        ("http://127.0.0.1", "expected a folder or one of ws, wss, openpi, openpis"),
        (f"ws://127.0.0.1:{port}", f"the policy server ws://127.0.0.1:{port}/ cannot be used"),
        (f"openpi://127.0.0.1:{port}?hz=fast", "hz and size are numbers"),
        (f"openpi://127.0.0.1:{port}?rear=observation/rear", "unknown option rear"),
    ):
        with pytest.raises(ValueError, match=reason):
            connect(address, ROBOT)


def test_a_rate_is_changed_without_shifting_time():
    chunk = np.arange(1.0, 7.0)[:, None]  # 6 steps of 60 Hz
    np.testing.assert_allclose(resample(chunk, 60.0), [[3.0], [6.0]])
    assert resample(chunk, 20.0) is chunk
    assert policies.SCHEMES["openpis"] == "wss"
