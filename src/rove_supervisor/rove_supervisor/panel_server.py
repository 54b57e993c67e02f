"""The panel's web server: aiohttp on its own asyncio loop in its own thread, one WebSocket per page. No rclpy here.

Every client has one sending task and only ever gets the latest state and the latest camera frame: a frame is sent when the page has
acknowledged the one before the last, so a slow page gets fewer frames, never older ones, and delays nobody else.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import deque
from importlib import resources

from aiohttp import WSMsgType, web

from rove_contract.web_access import Access, Bucket, guard
from rove_supervisor import protocol
from rove_supervisor.supervisor import SWITCHES

STATE_PERIOD_S = 0.1  # the page interpolates clocks; ages and bars look live at 10 Hz
FRAMES_IN_FLIGHT = 2  # one on the wire while one is decoded
ACK_LOST_S = 1.0  # after this a page that forgot to acknowledge gets a frame again
MAX_CLIENTS = 32
HEALTHY_S = 1.0  # the ROS thread's heart beats every 0.05 s
ACTIONS_HZ, ACTIONS_BURST = 5.0, 15.0  # a person presses less than 5 buttons a second
MESSAGES_HZ, MESSAGES_BURST = 150.0, 300.0  # acknowledgements of a 60 fps camera and then some
# Not from the system's MIME table: a module script with another type is refused by browsers.
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class Client:
    """One connected page or console. camera: it wants frames."""

    def __init__(self, ws: web.WebSocketResponse, name: str, camera: bool):
        self.ws, self.name, self.camera = ws, name, camera
        self.wake = asyncio.Event()
        self.replies: deque[dict] = deque(maxlen=64)
        self.version = 0  # of the state last sent
        self.sent = self.acked = 0  # sequence numbers of camera frames
        self.sent_at = 0.0
        self.actions = Bucket(ACTIONS_HZ, ACTIONS_BURST)
        self.messages = Bucket(MESSAGES_HZ, MESSAGES_BURST)

    def wants_frame(self, seq: int, now: float) -> bool:
        return self.camera and seq > self.sent and (self.sent - self.acked < FRAMES_IN_FLIGHT or now - self.sent_at > ACK_LOST_S)


class PanelServer:
    """snapshot: () -> state for the pages. heart: () -> s since the ROS thread was last alive. request: (action, source, client) ->
    (ok, text). supervisor: takes the rest, see `Supervisor`. `frame` and `changed` may be called from any thread."""

    def __init__(self, supervisor, snapshot, request, heart, port: int, access: Access | None = None):
        self.supervisor, self.snapshot, self.request, self.heart = supervisor, snapshot, request, heart
        self.port = port
        self.access = access or Access()
        self.counts = {"malformed": 0, "rate_limited": 0, "refused_requests": 0}
        self.clients: set[Client] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._error: str = ""
        self._names = 0
        self._version, self._state = 0, ""
        self._seq, self._frame = 0, b""
        self._static = _static_files()
        self._thread = threading.Thread(target=self._run, name="panel", daemon=True)

    # -- called by the node --------------------------------------------------------------------------------------------------

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
        self._seq += 1
        self._frame = protocol.frame(self._seq, stamp_s, jpeg)
        if self.clients:
            self._call(self._wake_all)

    def _call(self, function) -> None:
        # The loop is closed between stop() and the end of the node; then nobody is left to tell.
        if self._ready.is_set() and self._thread.is_alive() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)

    # -- the loop's thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        app = web.Application(middlewares=[guard(self.access, self._refused)], client_max_size=protocol.MAX_MESSAGE)
        app.add_routes([web.get("/ws", self._socket), web.get("/healthz", self._healthz), web.get("/{name:[^/]*}", self._file)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self.access.host, self.port, ssl_context=self.access.context(), reuse_address=True)
            await site.start()
            self.port = runner.addresses[0][1]
        except ValueError as error:
            self._error = str(error)
            await runner.cleanup()
            return
        except OSError as error:
            self._error = (
                f"the panel cannot listen on {self.access.host}:{self.port}: {error.strerror or error}; is another session running? "
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
        self._state = json.dumps(state, allow_nan=False, separators=(",", ":"))
        self._version += 1
        self._wake_all()

    def _wake_all(self) -> None:
        for client in self.clients:
            client.wake.set()

    async def _healthz(self, request: web.Request) -> web.Response:
        heart = self.heart()
        healthy = heart < HEALTHY_S
        body = {"status": "ok" if healthy else "the ROS thread does not answer", "heart_s": round(heart, 3), "clients": len(self.clients)}
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
        client = Client(ws, f"panel {self._names}", request.query.get("camera") != "0")
        client.replies.append({"type": "hello", "name": client.name})
        self.clients.add(client)
        sender = asyncio.ensure_future(self._send(client))
        self._refresh()
        try:
            async for message in ws:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    reply = self._answer(client, message)
                    if reply is not None:
                        client.replies.append(reply)
                        if reply["ok"] and reply["type"] == "reply":
                            self._refresh()
                        client.wake.set()
        finally:
            self.clients.discard(client)
            sender.cancel()
        return ws

    def _answer(self, client: Client, message) -> dict | None:
        """What to reply to one message; never raises on what a page can send."""
        now = time.monotonic()
        if message.type is WSMsgType.BINARY:
            self.counts["malformed"] += 1
            return {"type": "reply", "id": 0, "ok": False, "text": "malformed message: expected text, got binary"}
        try:
            wish = protocol.parse(message.data)
        except protocol.Malformed as error:
            self.counts["malformed"] += 1
            return {"type": "reply", "id": 0, "ok": False, "text": f"malformed message: {error}"}
        if isinstance(wish, protocol.Do) and wish.action == "estop":  # never rate-limited
            return self._reply(wish, self.request("estop", client.name, client.name))
        if isinstance(wish, protocol.Alive):
            self.supervisor.alive(client.name)
            return None
        limited = not client.messages.take(now)
        if isinstance(wish, protocol.Ack):
            client.acked = max(client.acked, min(wish.seq, client.sent))
            client.wake.set()
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

    async def _send(self, client: Client) -> None:
        ws = client.ws
        try:
            while not ws.closed:
                await client.wake.wait()
                client.wake.clear()
                if client.version != self._version:  # first: it is what the person waits for
                    client.version = self._version
                    await ws.send_str(self._state)
                while client.replies:
                    await ws.send_str(json.dumps(client.replies.popleft()))
                now = time.monotonic()
                if client.wants_frame(self._seq, now):
                    client.sent, client.sent_at = self._seq, now
                    await ws.send_bytes(self._frame)
        except ConnectionError:
            pass  # the page is gone; the reading side sees it too and forgets the client


def _static_files() -> dict[str, tuple[str, bytes]]:
    """name -> (content type, bytes) of the page's files, wherever the package is installed."""
    files = {}
    for entry in (resources.files("rove_supervisor") / "static").iterdir():
        suffix = entry.name.rpartition(".")[2]
        if suffix in TYPES:
            files[entry.name] = (TYPES[suffix], entry.read_bytes())
    return files
