# SPDX-License-Identifier: Apache-2.0
"""The panel's web server: aiohttp on its own asyncio loop in its own thread, one WebSocket per page. No rclpy here.

Every page gets the newest state and the newest camera picture only, as fast as it acknowledges them
(`rove_contract.web.feed`): a slow page gets fewer, never older ones, and delays nobody else.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time

from aiohttp import WebSocketError, WSMsgType, web

from rove_contract.web.access import Access, Bucket, guard
from rove_contract.web.feed import Feed, Page, read_files
from rove_supervisor.panel import protocol
from rove_supervisor.supervisor import SWITCHES

STATE_PERIOD_S = 0.1  # the page interpolates clocks; ages and bars look live at 10 Hz
MAX_CLIENTS = 32
HEALTHY_S = 1.0  # the ROS thread's heart beats every 0.05 s
ACTIONS_HZ, ACTIONS_BURST = 5.0, 15.0  # a person presses less than 5 buttons a second
MESSAGES_HZ, MESSAGES_BURST = 150.0, 300.0  # acknowledgements of a 60 fps camera and then some


class Client(Page):
    """One connected page or console."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.actions = Bucket(ACTIONS_HZ, ACTIONS_BURST)
        self.messages = Bucket(MESSAGES_HZ, MESSAGES_BURST)


class PanelServer:
    """snapshot: () -> state for the pages. heart: () -> s since the ROS thread was last alive. request: (action,
    source, client) -> (ok, text). supervisor: takes the rest, see `Supervisor`. `frame` and `changed` may be called
    from any thread."""

    def __init__(self, supervisor, snapshot, request, heart, port: int, access: Access | None = None):
        self.supervisor, self.snapshot, self.request, self.heart = supervisor, snapshot, request, heart
        self.port = port
        self.access = access or Access()
        self.counts = {"malformed": 0, "rate_limited": 0, "refused_requests": 0}
        self.feed = Feed()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._error: str = ""
        self._names = 0
        self._static = read_files("rove_supervisor.panel", "page")
        self._thread = threading.Thread(target=self._run, name="panel", daemon=True)

    @property
    def clients(self) -> set[Client]:
        return self.feed.pages

    # -- called by the node
    # --------------------------------------------------------------------------------------------------

    def start(self) -> str:
        """Serve; returns the address of the page. Raises ValueError when the port cannot be had."""
        self._thread.start()
        self._ready.wait()
        if self._error:
            self._thread.join()
            raise ValueError(self._error)
        return self.access.url(self.port)

    def stop(self) -> None:
        """Close every connection and join the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(timeout=5.0)

    def changed(self) -> None:
        """The mode changed: show it now, not at the next tick."""
        self._call(self._refresh)

    def frame(self, jpeg: bytes, stamp_s: float) -> None:
        """Newest camera picture; replaces the one before, sent or not."""
        self.feed.show(jpeg, stamp_s)
        if self.clients:
            self._call(self.feed.wake)

    def _call(self, function) -> None:
        # The loop is closed between stop() and the end of the node; then nobody is left to tell.
        if self._ready.is_set() and self._thread.is_alive() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)

    # -- the loop's thread
    # ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        app = web.Application(middlewares=[guard(self.access, self._refused)], client_max_size=protocol.MAX_MESSAGE)
        app.add_routes(
            [web.get("/ws", self._socket), web.get("/healthz", self._healthz), web.get("/{name:[^/]*}", self._file)]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(
                runner, self.access.host, self.port, ssl_context=self.access.context(), reuse_address=True
            )
            await site.start()
            self.port = runner.addresses[0][1]
        except ValueError as error:
            self._error = str(error)
            await runner.cleanup()
            return
        except OSError as error:
            self._error = (
                f"the panel cannot listen on {self.access.host}:{self.port}: {error.strerror or error}; is another "
                f"session running? "
                "Take another port with panel_port (0 = any free one)"
            )
            await runner.cleanup()
            return
        finally:
            self._ready.set()
        ticker = asyncio.ensure_future(self._tick())
        await self._stop.wait()
        ticker.cancel()
        goodbyes = [client.ws.close(code=1001, message=b"the supervisor stops") for client in self.clients]
        await asyncio.gather(*goodbyes, return_exceptions=True)
        await runner.cleanup()

    async def _tick(self) -> None:
        while True:
            if self.clients:
                self._refresh()
            await asyncio.sleep(STATE_PERIOD_S)

    def _refresh(self) -> None:
        if not self.clients:
            return
        state = self.snapshot()
        state["panel"] = {"clients": len(self.clients), **self.counts}
        state["n"] = self.feed.text[0] + 1
        self.feed.say(json.dumps(state, allow_nan=False, separators=(",", ":")))

    async def _healthz(self, request: web.Request) -> web.Response:
        heart = self.heart()
        healthy = heart < HEALTHY_S
        body = {
            "status": "ok" if healthy else "the ROS thread does not answer",
            "heart_s": round(heart, 3),
            "clients": len(self.clients),
        }
        body["cpu_s"] = round(time.thread_time(), 3)  # of the panel's thread, which this is
        return web.json_response(body, status=200 if healthy else 503)

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"] or "index.html"
        if name not in self._static:
            raise web.HTTPNotFound(text=f"the panel has no page {name!r}")
        kind, body = self._static[name]
        return web.Response(body=body, content_type=kind, charset="utf-8" if kind.startswith("text/") else None)

    def _refused(self) -> None:
        self.counts["refused_requests"] += 1

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if len(self.clients) >= MAX_CLIENTS:
            return web.json_response({"error": f"{MAX_CLIENTS} pages are open already"}, status=503)
        # heartbeat: a client that vanished without a word is dropped after 5 to 10 s; it changes nothing.
        ws = web.WebSocketResponse(heartbeat=5.0, max_msg_size=protocol.MAX_MESSAGE, compress=False)
        await ws.prepare(request)
        self._names += 1
        client = Client(self.feed, ws, f"panel {self._names}", pictures=request.query.get("camera") != "0")
        client.answer(json.dumps({"type": "hello", "name": client.name}))
        self.clients.add(client)
        sender = asyncio.ensure_future(client.send())
        self._refresh()
        try:
            async for message in ws:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    reply = self._answer(client, message)
                    if reply is not None:
                        if reply["ok"] and reply["type"] == "reply":
                            self._refresh()
                        client.answer(json.dumps(reply))
                elif message.type is WSMsgType.ERROR and isinstance(message.data, WebSocketError):
                    self.counts["malformed"] += (
                        1  # too long, not UTF-8, no frame at all: answered by closing with the code for it
                    )
        finally:
            self.clients.discard(client)
            sender.cancel()
        return ws

    def _answer(self, client: Client, message) -> dict | None:
        """What to reply to one message; never raises on what a page can send."""
        now = time.monotonic()
        try:
            wish = protocol.parse(message.data)
        except protocol.Malformed as error:
            self.counts["malformed"] += 1
            if not client.messages.take(now):
                return None  # a flood is counted, not answered
            return {"type": "reply", "id": 0, "ok": False, "text": f"malformed message: {error}"}
        if isinstance(wish, protocol.Do) and wish.action == "estop":  # never rate-limited
            return self._reply(wish, self.request("estop", client.name, client.name))
        if isinstance(wish, protocol.Alive):
            self.supervisor.alive(client.name)
            return None
        limited = not client.messages.take(now)
        if isinstance(wish, protocol.Ack):
            (client.acknowledge_picture if wish.picture else client.acknowledge_text)(wish.number)
            return None
        if limited or (wish.action != "ping" and not client.actions.take(now)):
            self.counts["rate_limited"] += 1
            return {"type": "reply", "id": wish.id, "ok": False, "text": "too many requests: wait a moment"}
        if wish.action == "ping":
            return {"type": "pong", "id": wish.id, "ok": True, "t": time.time()}
        if wish.action == "start_stage":
            return self._reply(wish, self.supervisor.set_start_stage(wish.stage))
        if wish.action in SWITCHES:
            return self._reply(wish, self.supervisor.switch(wish.action, wish.on, client.name))
        return self._reply(wish, self.request(wish.action, client.name, client.name))

    @staticmethod
    def _reply(wish: protocol.Do, result: tuple[bool, str]) -> dict:
        return {"type": "reply", "id": wish.id, "do": wish.action, "ok": result[0], "text": result[1]}
