# SPDX-License-Identifier: Apache-2.0
"""Policies of others over real ROS: the example of the docs, and the policy node as the client of a policy server."""

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from aiohttp import web

from rove_contract import messages
from rove_contract.modes import Mode, Trigger
from rove_contract.web.access import Access
from rove_description import robot
from rove_policy.remote.server import PolicyServer
from rove_teleop.command_filter.chunk_player import ChunkPlayer

pytestmark = pytest.mark.ros
ROBOT = robot.load()
EXAMPLE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "policy_example.py"


def test_the_example_of_the_docs_is_a_policy(world):
    process = subprocess.Popen([sys.executable, EXAMPLE], stderr=subprocess.DEVNULL)
    try:
        assert world.spin_until(world.policy_is_there)
        world.spin_until(lambda: False, 1.0)
        assert world.chunks == []  # only in ROLLOUT
        world.set_mode(Trigger.START_ROLLOUT, Mode.ROLLOUT)
        assert world.spin_until(lambda: len(world.chunks) >= 2)
        positions, times = messages.JointReader(ROBOT.table).chunk(world.chunks[-1])
        assert positions.shape == (50, 50)
        np.testing.assert_allclose(times, np.arange(1, 51) / 20, atol=1e-6)
        player = ChunkPlayer()
        player.load(positions, times, 0.0, 0.0)
        target, _ = player.target(0.65)
        head = ROBOT.table.index["head_pitch"]
        assert target[head] - ROBOT.home[head] == pytest.approx(0.2, abs=0.01)  # a quarter of the nod
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=15)


class Still:
    """A policy that stays where the robot is."""

    robot, hash, critic, shared, cameras, info = ROBOT.card, "abc123", None, False, ("ego",), {"instructions": ["wipe"]}
    execution = SimpleNamespace(note="")

    def act(self, image, q, instruction, *, guidance=None, rng=None, known=None):
        return np.tile(q, (50, 1))


class Server:
    """`rove_policy serve` in a thread; `stop` closes its connections."""

    def __init__(self, port=0):
        self.loop, self.ready = asyncio.new_event_loop(), threading.Event()
        self.runner = web.AppRunner(PolicyServer(Still(), Access()).application(), shutdown_timeout=0.1)
        self.thread = threading.Thread(target=self.run, args=(port,), daemon=True)
        self.thread.start()
        assert self.ready.wait(10)

    def run(self, port):
        async def start():
            await self.runner.setup()
            await web.TCPSite(self.runner, "127.0.0.1", port, reuse_address=True).start()
            self.port = self.runner.addresses[0][1]
            self.ready.set()

        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(start())
        self.loop.run_forever()

    def stop(self):
        asyncio.run_coroutine_threadsafe(self.runner.cleanup(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)


def node(checkpoint):
    words = ["-p", f"checkpoint:={checkpoint}"]
    return [sys.executable, "-m", "rove_policy.policy_node", "--ros-args", *words]


def test_the_node_names_a_server_that_is_lost_and_goes_on_when_it_is_back(world):
    server = Server()
    process = subprocess.Popen(node(f"ws://127.0.0.1:{server.port}"))
    try:
        assert world.spin_until(world.policy_is_there)
        world.set_mode(Trigger.START_ROLLOUT, Mode.ROLLOUT)
        assert world.spin_until(lambda: len(world.chunks) >= 2)
        positions, _ = messages.JointReader(ROBOT.table).chunk(world.chunks[-1])
        np.testing.assert_allclose(positions[-1], ROBOT.home, atol=1e-9)
        assert world.spin_until(lambda: world.diagnostics.get("checkpoint") == "abc123")
        server.stop()
        lost = f"the policy server ws://127.0.0.1:{server.port}/"
        assert world.spin_until(lambda: world.diagnostics["message"].startswith(lost))
        count = len(world.chunks)
        world.spin_until(lambda: False, 1.0)
        assert len(world.chunks) == count  # the chunk in force runs out and the filter stops the robot
        server = Server(server.port)
        assert world.spin_until(lambda: len(world.chunks) > count)
        assert world.spin_until(lambda: world.diagnostics["message"] == "running")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=15) == 0
        server.stop()


def test_without_its_server_the_node_refuses_and_says_why():
    done = subprocess.run(node("openpi://127.0.0.1:9"), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "error: the policy server ws://127.0.0.1:9/ cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
