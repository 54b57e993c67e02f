# SPDX-License-Identifier: Apache-2.0
"""A person at the panel, without a browser: for tests of whole sessions."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping

import aiohttp

from rove_supervisor.testing.fake_world import answer, talk

LONG_S = 90.0  # beside a whole session on two busy cores


class Panel:
    """url: of the panel, with its token."""

    def __init__(self, url: str):
        self.url = url + "ws?camera=0"

    def ask(self, action: str) -> dict:
        """The reply to a press of a button."""

        async def ask():
            async with aiohttp.ClientSession() as session, session.ws_connect(self.url) as ws:
                await ws.send_json({"do": action, "id": 1})
                return await answer(ws)

        return talk(ask())

    def press(self, action: str) -> None:
        """Until it is accepted: on a starved machine an input may be late just now, and a person would press again."""
        end = time.monotonic() + LONG_S
        while not (reply := self.ask(action))["ok"]:
            assert time.monotonic() < end, reply
            time.sleep(0.2)

    def reach(self, mode: str, seconds: float, presses: Mapping[str, str]) -> None:
        """Until the session was in `mode` for so long. presses: mode -> the button that leads on; what a starved
        machine undoes, as a late camera pauses the robot, is done again.
        """
        end, seen = time.monotonic() + LONG_S, [{}]

        def there(state: dict) -> bool:
            seen[0] = state
            return state["mode"] in presses or (state["mode"] == mode and state["time_in_mode"] >= seconds)

        while True:
            self.wait(there, f"{seconds} s of {mode}")
            if seen[0]["mode"] == mode:
                return
            reply = self.ask(presses[seen[0]["mode"]])
            assert reply["ok"] or time.monotonic() < end, reply
            time.sleep(0.1)

    def wait(self, condition: Callable[[dict], bool], what: str) -> None:
        """Until condition(state) holds."""

        async def look():
            async with aiohttp.ClientSession() as session, session.ws_connect(self.url) as ws:
                state: dict = {}
                while not (state and condition(state)):
                    message = json.loads(await ws.receive_str())
                    state = message if message["type"] == "state" else state
                    if message["type"] == "state":
                        await ws.send_json({"seen": message["n"]})

        async def limited():
            await asyncio.wait_for(look(), LONG_S)

        try:
            talk(limited())
        except TimeoutError:
            raise AssertionError(f"{what}: not within {LONG_S} s") from None
