# SPDX-License-Identifier: Apache-2.0
"""The base of every web page of ROVE: aiohttp on its own asyncio loop in its own thread, one WebSocket per client. No
rclpy here.

A page's server is a subclass that says what its page is (`page`, `routes`, `greeting`), what it does with messages
(`hear`, `hear_bytes`) and what it does by itself (`work`). Thread, loop, access, files, framing, acknowledgements,
pings, rates and the end are here, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import WebSocketError, WSMsgType, web

from rove_contract.web import files, framing
from rove_contract.web.access import Access, Bucket, guard
from rove_contract.web.feed import Client, Feed

IDLE_S = 15.0  # a connection that has not sent a whole request for so long is closed
BODY_S = 15.0  # so is one whose request's body does not come
HEARTBEAT_S = 5.0  # a client that vanished without a word is dropped after one to two of these
MESSAGES_HZ, MESSAGES_BURST = 150.0, 300.0  # acknowledgements of a 60 fps camera and then some


def on_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set; call it first, in the main thread. Ask with is_set: a wait on it could hold
    the lock that the signal's handler needs.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


class WebServer:
    """Serves one page. `start` and `stop` from one thread; `call` and `show` from any.

    package, folder: where the page's files are. made: files made at start, name -> text. port_option: how a user gives
    another port, in words. counts: "malformed", "malformed/REASON", "rate_limited", "refused_requests".
    """

    max_clients = 8
    max_message = 4096  # bytes, of a request's body and of a WebSocket message
    texts_acknowledged = True
    port_option = "another port"
    public = frozenset({"/healthz"})  # paths that need no token
    farewell = "the server stops"

    def __init__(
        self,
        access: Access,
        port: int,
        package: str,
        folder: str = "page",
        made: dict[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.access, self.port, self.clock = access, port, clock
        self.counts: Counter[str] = Counter()
        self.last_error = ""
        self.feed = Feed()
        self.idle_s, self.body_s = IDLE_S, BODY_S
        self._files = files.page(package, folder, made)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._refusal = ""  # why it could not start
        self._failure: BaseException | None = None  # what ended it
        self._names = 0
        self._thread = threading.Thread(target=self._run, name=f"{access.service} page", daemon=True)

    # -- what a page's server says; in the loop's thread --

    def routes(self) -> list[web.RouteDef]:
        """Beside /ws, /healthz and the files."""
        return []

    def middlewares(self) -> list:
        """Of requests that are let in."""
        return []

    def greeting(self, client: Client) -> dict:
        """What every client gets first, beside its name."""
        return {}

    def hear(self, client: Client, message: dict, limited: bool) -> None:
        """One message of the page's own. limited: the client sends too many. Raises framing.Malformed."""
        raise framing.Malformed(f"unknown message {str(message)[:80]}")

    def hear_bytes(self, client: Client, data: bytes, limited: bool) -> None:
        """One binary message. Raises framing.Malformed."""
        raise framing.Malformed("expected text, got binary")

    def refuse(self, client: Client, error: framing.Malformed, limited: bool) -> None:
        """A message could not be read; it is counted already."""

    def acknowledged(self, client: Client, ack: framing.Ack) -> None:
        """A picture or a text is on the client's screen."""

    def joined(self, client: Client) -> None:
        """A client was greeted."""

    def left(self, client: Client) -> None:
        """A client is gone."""

    def health(self) -> tuple[bool, dict]:
        """(healthy, values) for /healthz."""
        return True, {"status": "ok"}

    async def work(self) -> None:
        """What the server does by itself while it runs; when it raises, the server ends with that."""

    def clean_up(self) -> None:
        """In the loop's thread, when everything is closed."""

    # -- from outside --

    @property
    def clients(self) -> set[Client]:
        return self.feed.clients

    def start(self) -> str:
        """Serve; returns the page's address on this machine. Raises ValueError when port or certificate cannot be
        had.
        """
        self._thread.start()
        self._ready.wait()
        if self._refusal:
            self._thread.join()
            raise ValueError(self._refusal)
        return self.access.url(self.port)

    def stop(self) -> None:
        """Close every connection and join the thread; idempotent. Raises what ended the server, if something did."""
        if self._thread.is_alive():
            self.call(lambda: self._stop.set())
            self._thread.join(timeout=5.0)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def wait(self, stop: threading.Event) -> None:
        """Until `stop` is set (see `on_signals`), or something ends the server; then it is stopped, see `stop`."""
        while self._thread.is_alive() and not stop.is_set():
            self._thread.join(0.1)
        self.stop()

    def call(self, function: Callable[[], object]) -> None:
        """Run `function` in the loop's thread, if there still is one."""
        # The loop is closed between stop() and the end of the process; then nobody is left to tell.
        if self._ready.is_set() and self._thread.is_alive() and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):  # closed since
                self._loop.call_soon_threadsafe(function)

    def show(self, jpeg: bytes, stamp_s: float, camera: int = 0) -> None:
        """Newest picture (JPEG) of a camera, taken at stamp_s (unix s); replaces the one before, sent or not."""
        self.feed.show(jpeg, stamp_s, camera)
        if self.clients:
            self.call(self.feed.wake)

    def say(self, message: dict) -> None:
        """Newest text for all clients, numbered; in the loop's thread."""
        numbered = message | {"n": self.feed.text[0] + 1}
        self.feed.say(json.dumps(numbered, allow_nan=False, separators=(",", ":")))

    # -- the loop's thread --

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except Exception as error:  # kept for `stop`: nobody sees what a thread raises
            self._failure = error
        finally:
            self._ready.set()
            self._loop.close()

    def _application(self) -> web.Application:
        layers = [guard(self.access, self._refused, self.public), *self.middlewares(), self._bodies]
        app = web.Application(middlewares=layers, client_max_size=self.max_message)
        app.add_routes([web.get("/ws", self._socket), web.get("/healthz", self._healthz), *self.routes()])
        app.add_routes([web.get("/{name:[^/]*}", self._file)])
        return app

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        # keepalive_timeout also ends a connection that never sends a whole request.
        runner = web.AppRunner(
            self._application(), access_log=None, shutdown_timeout=1.0, keepalive_timeout=self.idle_s
        )
        await runner.setup()
        try:
            site = web.TCPSite(
                runner, self.access.host, self.port, ssl_context=self.access.context(), reuse_address=True
            )
            await site.start()
            self.port = runner.addresses[0][1]
        except ValueError as error:
            self._refusal = str(error)
        except (OSError, OverflowError) as error:
            self._refusal = (
                f"the {self.access.service} page cannot listen on {self.access.host}:{self.port}: "
                f"{getattr(error, 'strerror', None) or error}; is another session running? "
                f"Take another port with {self.port_option} (0 = any free one)"
            )
        finally:
            self._ready.set()
        if not self._refusal:
            await self._until_stopped()
        await runner.cleanup()
        self.clean_up()

    async def _until_stopped(self) -> None:
        stop, work = asyncio.ensure_future(self._stop.wait()), asyncio.ensure_future(self.work())
        try:
            done, _ = await asyncio.wait([stop, work], return_when=asyncio.FIRST_COMPLETED)
            if stop not in done and work.exception() is None:
                await stop  # nothing to do by itself
        finally:
            for task in (stop, work):
                task.cancel()
            await asyncio.gather(stop, work, return_exceptions=True)
            goodbyes = [client.ws.close(code=1001, message=self.farewell.encode()) for client in list(self.clients)]
            await asyncio.gather(*goodbyes, return_exceptions=True)
        if not work.cancelled() and (error := work.exception()) is not None:
            self._failure = error

    def _refused(self) -> None:
        self.counts["refused_requests"] += 1

    @web.middleware
    async def _bodies(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """A body comes within `body_s`, or the request is refused."""
        if request.can_read_body:
            try:
                await asyncio.wait_for(request.read(), self.body_s)
            except TimeoutError:
                raise web.HTTPRequestTimeout(text=f"the body did not come within {self.body_s:g} s") from None
        return await handler(request)

    async def _healthz(self, request: web.Request) -> web.Response:
        healthy, values = self.health()
        # cpu_s: of this thread.
        body = values | {"clients": len(self.clients), "cpu_s": round(time.thread_time(), 3)}
        return web.json_response(body, status=200 if healthy else 503)

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"] or "index.html"
        if name not in self._files:
            raise web.HTTPNotFound(text=f"the {self.access.service} has no file {name[:80]!r}")
        kind, body = self._files[name]
        return web.Response(body=body, content_type=kind, charset="utf-8" if kind.startswith("text/") else None)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if len(self.clients) >= self.max_clients:
            return web.json_response({"error": f"{self.max_clients} pages are open already"}, status=503)
        ws = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=self.max_message, compress=False)
        await ws.prepare(request)
        self._names += 1
        client = Client(
            self.feed,
            ws,
            f"{self.access.service} {self._names}",
            texts_acknowledged=self.texts_acknowledged,
            pictures=request.query.get("camera") != "0",
        )
        await ws.send_json({"type": "hello", "name": client.name} | self.greeting(client))
        self.clients.add(client)
        sender = asyncio.ensure_future(client.send())
        try:
            self.joined(client)
            await self._listen(client)
        finally:
            self.clients.discard(client)
            sender.cancel()
            self.left(client)
        return ws

    async def _listen(self, client: Client) -> None:
        """Until the connection ends."""
        rate = Bucket(MESSAGES_HZ, MESSAGES_BURST)
        async for message in client.ws:
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                if message.type is WSMsgType.ERROR and isinstance(message.data, WebSocketError):
                    # Too long, not UTF-8, no frame at all: answered by closing with the code for it.
                    self.count_malformed("frame", str(message.data))
                continue
            # Binary messages have their own rate: a device sends them.
            limited = message.type is WSMsgType.TEXT and not rate.take(self.clock())
            try:
                self._take(client, message, limited)
            except framing.Malformed as error:
                self.count_malformed("text" if message.type is WSMsgType.TEXT else "binary", str(error))
                self.refuse(client, error, limited)
            if limited:
                await asyncio.sleep(0)  # reading goes on without a pause while bytes wait: let others have their turn

    def _take(self, client: Client, message: Any, limited: bool) -> None:
        if message.type is WSMsgType.BINARY:
            self.hear_bytes(client, message.data, limited)
            return
        wish = framing.parse(message.data)
        if isinstance(wish, framing.Ack):
            (client.acknowledge_picture if wish.picture else client.acknowledge_text)(wish.number)
            self.acknowledged(client, wish)
        elif not isinstance(wish, framing.Ping):
            self.hear(client, wish, limited)
        elif limited:
            self.counts["rate_limited"] += 1
        else:
            clocks = {"monotonic": self.clock(), "unix": time.time()}
            client.answer(json.dumps({"type": "pong", "ping": wish.t} | clocks))

    def count_malformed(self, reason: str, text: str) -> None:
        """A message that cannot be read; `text` says what was expected and what came."""
        self.counts["malformed"] += 1
        self.counts[f"malformed/{reason}"] += 1
        self.last_error = text
