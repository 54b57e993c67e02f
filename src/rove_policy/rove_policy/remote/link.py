# SPDX-License-Identifier: Apache-2.0
"""One question at a time to a policy server over a WebSocket, from a thread of the caller. No ROS."""

from __future__ import annotations

import asyncio
import ssl
import threading
from concurrent.futures import TimeoutError as Late

import aiohttp

from rove_policy.remote import wire

CONNECT_S = 3.0
ANSWER_S = 1.5  # the chunk in force lasts 1.7 s beyond its replanning
HEARTBEAT_S = 5.0


class LinkError(ValueError):
    """The server cannot be reached, refuses, or does not answer; the message names it and the reason."""


class Link:
    """address: ws:// or wss://. token: "" if none. ca: PEM file that the server's certificate is checked against, "":
    the system's. metadata: what the server said when it greeted.

    The first question connects, and so does the next one after a loss. Usable from one thread at a time.
    """

    def __init__(self, address: str, token: str = "", ca: str = "", answer_s: float = ANSWER_S):
        self.address, self.answer_s = address, answer_s
        self.metadata: dict = {}
        self._headers = {"Authorization": f"Api-Key {token}"} if token else {}
        try:
            self._tls = ssl.create_default_context(cafile=ca or None) if address.startswith("wss://") else None
        except OSError as error:
            raise LinkError(f"the certificate {ca} cannot be read: {error}") from error
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="policy link", daemon=True)
        self._thread.start()

    def ask(self, message: dict) -> dict:
        """The server's answer. Raises LinkError; then the link is closed and the next question opens it again."""
        return self._run(self._ask(message), (0.0 if self._socket is not None else CONNECT_S) + self.answer_s)

    def connect(self) -> dict:
        """Connect, if there is no connection; returns the greeting. Raises LinkError."""
        self._run(self._connect(), CONNECT_S)
        return self.metadata

    def close(self) -> None:
        if not self._loop.is_closed():
            self._run(self._drop(), CONNECT_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=CONNECT_S)
            self._loop.close()

    def _run(self, work, limit_s: float):
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(limit_s)
        except Late:
            future.cancel()
            asyncio.run_coroutine_threadsafe(self._drop(), self._loop)
            raise LinkError(f"the policy server {self.address} does not answer within {limit_s:g} s") from None
        except LinkError:
            asyncio.run_coroutine_threadsafe(self._drop(), self._loop)
            raise
        except (aiohttp.ClientError, OSError, wire.WireError) as error:
            asyncio.run_coroutine_threadsafe(self._drop(), self._loop)
            raise LinkError(
                f"the policy server {self.address} cannot be used: {error or type(error).__name__}"
            ) from error

    async def _connect(self) -> None:
        if self._socket is not None and not self._socket.closed:
            return
        await self._drop()
        self._session = aiohttp.ClientSession(headers=self._headers)
        address = self.address.replace("ws", "http", 1)
        try:
            self._socket = await self._session.ws_connect(
                address, ssl=self._tls or True, max_msg_size=wire.LARGEST, heartbeat=HEARTBEAT_S, compress=0
            )
        except aiohttp.WSServerHandshakeError as error:
            reason = "it refuses the token" if error.status in (401, 403) else f"it answers {error.status}"
            raise LinkError(f"the policy server {self.address} cannot be used: {reason}") from error
        self.metadata = await self._receive()

    async def _ask(self, message: dict) -> dict:
        await self._connect()
        assert self._socket is not None
        await self._socket.send_bytes(wire.pack(message))
        return await self._receive()

    async def _receive(self) -> dict:
        assert self._socket is not None
        message = await self._socket.receive()
        if message.type is aiohttp.WSMsgType.BINARY:
            return wire.unpack(message.data)
        if message.type is aiohttp.WSMsgType.TEXT:  # openpi sends its traceback as text
            last = message.data.strip().splitlines()[-1:] or ["no reason"]
            raise LinkError(f"the policy server {self.address} refuses: {last[0][:300]}")
        raise LinkError(f"the policy server {self.address} closed the connection")

    async def _drop(self) -> None:
        socket, session, self._socket, self._session = self._socket, self._session, None, None
        if socket is not None:
            await socket.close()
        if session is not None:
            await session.close()
