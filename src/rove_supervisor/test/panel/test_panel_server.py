# SPDX-License-Identifier: Apache-2.0
"""The panel's server without ROS and without a browser: floods, and whose dead man it is."""

import asyncio
import contextlib
import json

import aiohttp
import pytest

from rove_contract.modes import Mode
from rove_supervisor.panel.server import ACTIONS_BURST, PanelServer
from rove_supervisor.supervisor import SessionSettings, Supervisor
from rove_supervisor.watch import Watch


@pytest.fixture
def supervisor():
    return Supervisor(SessionSettings(), Watch(0.35, False, ("head", "waist", "arm", "hand")), lambda publication: None)


@pytest.fixture
def server(supervisor):
    asked = []

    def request(action, source, client):
        asked.append(action)
        return supervisor.request(action, source, client=client)

    server = PanelServer(supervisor, lambda: {"type": "state"}, request, lambda: 0.0, 0)
    server.asked = asked
    server.start()
    yield server
    server.stop()


@contextlib.asynccontextmanager
async def connected(server):
    url = server.access.url(server.port) + "ws?camera=0"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:
        while json.loads(await ws.receive_str())["type"] != "hello":
            pass
        yield ws


async def reply(ws, message):
    """Send, and wait for the reply or the pong."""
    await ws.send_json(message)
    while (answer := json.loads(await ws.receive_str()))["type"] not in ("reply", "pong"):
        pass
    return answer


def test_repeats_of_an_estop_are_ignored_and_the_next_estop_still_counts(server, supervisor):
    async def scenario():
        async with connected(server) as flood, connected(server) as other:
            for k in range(3000):
                await flood.send_json({"do": "estop", "id": k})
            assert (await reply(other, {"ping": 1}))["ping"] == 1
            while server.counts["rate_limited"] < 3000 - ACTIONS_BURST - 10:
                await asyncio.sleep(0.01)
            assert supervisor.mode is Mode.ESTOP and server.asked.count("estop") <= ACTIONS_BURST + 10
            assert (await reply(other, {"do": "reset", "id": 7}))["ok"]
            await flood.send_json({"do": "estop", "id": 9000})  # of a client that has used up its rate
            while supervisor.mode is not Mode.ESTOP:
                await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_the_dead_man_that_one_page_armed_is_not_switched_off_by_another(server, supervisor):
    async def scenario():
        async with connected(server) as other:
            async with connected(server) as owner:
                assert (await reply(owner, {"do": "dead_man", "on": True, "id": 1}))["ok"]
                refused = await reply(other, {"do": "dead_man", "on": False, "id": 1})
                assert not refused["ok"] and "panel 2 relies on the dead man" in refused["text"]
                assert supervisor.session.dead_man
                assert (await reply(owner, {"do": "dead_man", "on": False, "id": 2}))["ok"]
                assert (await reply(owner, {"do": "dead_man", "on": True, "id": 3}))["ok"]
            while len(server.clients) > 1:
                await asyncio.sleep(0.01)
            assert supervisor.session.dead_man, "a page that is gone leaves it on"
            assert (await reply(other, {"do": "dead_man", "on": False, "id": 2}))["ok"]

    asyncio.run(scenario())
