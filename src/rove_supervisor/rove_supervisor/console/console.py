# SPDX-License-Identifier: Apache-2.0
"""`console`: the panel in a terminal, for ssh. A client of the panel's WebSocket: same actions, same states, same token
and TLS.

rove run rove_supervisor console                    the panel; the keys are on the screen
rove run rove_supervisor console --status           what it shows, once
rove run rove_supervisor console --do pause         one action; exit status 1 if it is refused
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import ssl
import sys
import termios
import time
import tty
from urllib.parse import parse_qs, urlsplit

import aiohttp

from rove_supervisor.console import view
from rove_supervisor.controls import ACTION_OF, CONTROLS, SWITCH_OF
from rove_supervisor.lease import RENEW_S
from rove_supervisor.supervisor import ACTIONS

TOKEN_VARIABLE = "ROVE_PANEL_TOKEN"
STATE_LOST_S = 1.0  # 10 missed states
FORCE_S = 3.0  # the second T must come within
HINT_S = 6.0
BELL_S = 4.0  # advice that stays is repeated
PASTE = 4  # more characters at once were not typed
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # alternate screen, cursor


HELP = f"""The supervisor's panel in a terminal, for ssh: same actions, same states.

{chr(10).join(f"  {'Space' if c.key == ' ' else c.key:6} {c.name}" for c in CONTROLS.values())}
  n      take the least collected start stage
  O, D   switch auto-pause, dead man
  q      leave; the robot goes on, unless the dead man is on

Space is an e-stop at once: a terminal cannot tell whether a key is held."""


class Unreachable(Exception):
    """There is no panel, or it lets us not in; the message says which."""


class Panel:
    """Connection to the panel. url: its address, with ?token= or without. cafile: PEM certificate to trust."""

    def __init__(self, url: str, cafile: str = ""):
        parts = urlsplit(url if "//" in url else f"http://{url}")
        self.url = f"{parts.scheme}://{parts.netloc}/"
        token = parse_qs(parts.query).get("token", [os.environ.get(TOKEN_VARIABLE, "")])[0]
        self.headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self.ssl: ssl.SSLContext | bool = True
        if cafile:
            self.ssl = ssl.create_default_context(cafile=cafile)
            self.ssl.check_hostname = (
                False  # the certificate itself is what is trusted, under whatever name the robot is reached
            )
        self.state: dict | None = None
        self.received = 0.0  # monotonic s
        self.name = ""
        self.ws: aiohttp.ClientWebSocketResponse | None = None
        self._next, self._seen = 1, 0

    @contextlib.asynccontextmanager
    async def connected(self):
        """The open WebSocket. Raises Unreachable."""
        async with aiohttp.ClientSession(headers=self.headers, timeout=aiohttp.ClientTimeout(total=5.0)) as session:
            try:
                async with session.get(self.url, ssl=self.ssl) as answer:
                    if answer.status in (401, 403):
                        raise Unreachable(
                            f"{(await answer.json())['error']} (the console takes the token from {TOKEN_VARIABLE})"
                        )
                self.ws = await session.ws_connect(
                    self.url + "ws?camera=0", ssl=self.ssl, heartbeat=5.0, max_msg_size=0
                )
            except aiohttp.ClientConnectorCertificateError as error:
                why = f"{self.url} shows a certificate that is not trusted here; give it with --cafile CERT.pem"
                raise Unreachable(f"{why} ({error.certificate_error})") from None
            except (TimeoutError, aiohttp.ClientError, ValueError) as error:
                raise Unreachable(
                    f"no panel at {self.url}: {error or 'no answer'}; is a session running there? See --url"
                ) from None
            try:
                yield self.ws
            finally:
                ws, self.ws = self.ws, None
                await ws.close()

    async def send(self, message: dict) -> bool:
        """False when there is no connection."""
        try:
            if self.ws is None or self.ws.closed:
                return False
            await self.ws.send_json(message)
            return True
        except (ConnectionError, RuntimeError):
            return False

    async def do(self, action: str, **extra) -> int:
        """Ask for an action; returns the id of the request, 0 when there is no connection."""
        self._next += 1
        return self._next if await self.send({"do": action, "id": self._next, **extra}) else 0

    async def acknowledge(self) -> None:
        """Confirm the newest state, so that the next one comes: over a slow line there are fewer, never old ones."""
        if self.state is not None and self.state["n"] != self._seen:
            self._seen = self.state["n"]
            await self.send({"seen": self._seen})

    def read(self, message) -> dict | None:
        """Take in a message; returns it when it is an answer."""
        if message.type is not aiohttp.WSMsgType.TEXT:
            return None
        content = json.loads(message.data)
        if content["type"] == "state":
            self.state, self.received = content, time.monotonic()
        elif content["type"] == "hello":
            self.name = content["name"]
        return content if content["type"] == "reply" else None


async def once(panel: Panel, action: str, as_json: bool) -> int:
    """--status, --json and --do."""
    async with panel.connected() as ws:
        wanted = await panel.do(action) if action else 0
        async for message in ws:
            reply = panel.read(message)
            if action and reply is not None and reply["id"] == wanted:
                print(reply["text"], file=sys.stdout if reply["ok"] else sys.stderr)
                return 0 if reply["ok"] else 1
            if not action and panel.state is not None:
                print(json.dumps(panel.state) if as_json else as_text(panel))
                return 0
    raise Unreachable(f"{panel.url} closed the connection before it answered")


def as_text(panel: Panel) -> str:
    width, color = shutil.get_terminal_size((120, 40)).columns, sys.stdout.isatty() and "NO_COLOR" not in os.environ
    lines = view.render(panel.state, panel.name, 0.0, "", "", width)[:-1]
    return "\n".join(view.paint(line, width, color) for line in lines)


class Screen:
    """The interactive panel on a terminal in cbreak mode."""

    def __init__(self, panel: Panel, out):
        self.panel, self.out = panel, out
        self.color = "NO_COLOR" not in os.environ
        self.trouble = f"connecting to {panel.url}"
        self.hint, self.hint_until, self.armed_until = "", 0.0, 0.0
        self.bell, self.rung, self.notice = True, float("-inf"), ""
        self.done = asyncio.Event()
        self.tasks: set[asyncio.Task] = set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin.fileno(), self.typed)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(signum, self.done.set)
        loop.add_signal_handler(signal.SIGWINCH, self.draw)
        for job in (self.connect(), self.tick(), self.renew()):
            self.start(job)
        try:
            await self.done.wait()
        finally:
            loop.remove_reader(sys.stdin.fileno())
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

    def start(self, job) -> None:
        task = asyncio.ensure_future(job)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def connect(self) -> None:
        wait = 0.25
        while True:
            try:
                async with self.panel.connected() as ws:
                    self.trouble, wait = "", 0.25
                    async for message in ws:
                        before = self.shown()
                        reply = self.panel.read(message)
                        await self.panel.acknowledge()
                        if reply is not None:
                            self.say(reply["text"] if reply["ok"] else f"refused: {reply['text']}")
                        elif self.shown() != before:  # the rest can wait for the next tick: ssh may be slow
                            self.draw()
                    self.trouble = "the supervisor closed the connection; trying again"
            except Unreachable as error:
                self.trouble = f"{error}; trying again"
            self.draw()
            await asyncio.sleep(wait)
            wait = min(2.0, 1.6 * wait)

    def shown(self):
        state = self.panel.state
        return state and (state["mode"], state["advice"] != "", state["notice"])

    async def tick(self) -> None:
        while True:
            self.draw()
            await asyncio.sleep(0.25)

    async def renew(self) -> None:
        """Signs of life for the dead-man lease."""
        while True:
            if self.panel.state is not None and self.panel.state["dead_man"]["on"]:
                await self.panel.send({"alive": True})
            await asyncio.sleep(RENEW_S)

    def typed(self) -> None:
        text = os.read(sys.stdin.fileno(), 1024).decode(errors="replace")
        if not text:
            return self.done.set()  # the terminal is gone
        if text.startswith("\x1b") or len(text) > PASTE and text.strip():  # an arrow or a function key; a paste
            return self.say("ignored: not one of the keys below")
        for key in text:
            self.start(self.press(key))

    async def press(self, key: str) -> None:
        state, now = self.panel.state, time.monotonic()
        action, switch = ACTION_OF.get(key, ""), SWITCH_OF.get(key, "")
        if key in ("q", "\x04"):
            self.done.set()
        elif switch == "sound":
            self.bell = not self.bell
            self.say(f"bell {'on' if self.bell else 'off'}")
        elif action == "force_takeover" and state and self.hold_back(state["actions"], now):
            return
        elif action:
            self.armed_until = 0.0
            if not await self.panel.do(action):
                own = "Use the robot's own emergency stop" if action == "estop" else ""
                self.say(f"{CONTROLS[action].name} NOT SENT: no connection to the supervisor. {own}")
        elif switch == "auto_pause" and state:
            await self.panel.do(switch, on=not state[switch])
        elif switch == "dead_man" and state:
            await self.panel.do(switch, on=not state[switch]["on"])
        elif switch == "start_stage" and state:
            await self.panel.do(switch, stage=state["session"]["proposed_stage"])

    def hold_back(self, refusals: dict[str, str], now: float) -> bool:
        """True when a press of force takeover is not sent: it is not needed, or the first of two."""
        key = CONTROLS["force_takeover"].key
        if refusals["force_takeover"]:
            return False  # the supervisor says why
        if not refusals["takeover"]:
            self.say(f"not needed: the operator is aligned, press {CONTROLS['takeover'].key}")
            return True
        if now > self.armed_until:
            self.armed_until = now + FORCE_S
            self.say(f"Force takeover: press {key} once more within 3 s. The robot moves to the operator's pose")
            return True
        return False

    def say(self, text: str) -> None:
        self.hint, self.hint_until = text, time.monotonic() + HINT_S
        self.draw()

    def draw(self) -> None:
        state, now = self.panel.state, time.monotonic()
        since = now - self.panel.received
        trouble = self.trouble or (
            f"no state from the supervisor for {since:.0f} s" if state and since > STATE_LOST_S else ""
        )
        size = shutil.get_terminal_size()
        hint = self.hint if now < self.hint_until else ""
        lines = view.render(state, self.panel.name, since, hint, trouble, size.columns, now < self.armed_until)
        if len(lines) > size.lines:  # what is cut is said; mode, keys and reasons stand above
            lines = [
                *lines[: size.lines - 1],
                [(f" … {len(lines) - size.lines + 1} more lines: make the window higher · q quit", "dim")],
            ]
        # Home, every line cleared to its end, the rest of the screen cleared: nothing flickers as with a cleared
        # screen.
        text = "\x1b[H" + "\x1b[K\n".join(view.paint(line, size.columns, self.color) for line in lines) + "\x1b[K\x1b[J"
        self.out.write(text + self.ring(state if not trouble else None, now))
        self.out.flush()

    def ring(self, state: dict | None, now: float) -> str:
        advice, notice = (state["advice"], state["notice"]) if state else ("", "")
        ring = self.bell and ((notice and notice != self.notice) or (advice and now - self.rung > BELL_S))
        self.notice = notice
        if ring:
            self.rung = now
        elif not advice:
            self.rung = float("-inf")
        return "\a" if ring else ""


def interactive(panel: Panel) -> int:
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    sys.stdout.write(ENTER)
    try:
        tty.setcbreak(fd)

        async def session():
            await Screen(panel, sys.stdout).run()

        asyncio.run(session())
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        sys.stdout.write(LEAVE)
        sys.stdout.flush()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        "rove run rove_supervisor console", description=HELP, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:8765/", help="address of the panel; default %(default)s")
    parser.add_argument(
        "--cafile", default="", metavar="CERT.pem", help="certificate of a panel that speaks https, if it is its own"
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--status", action="store_true", help="print what the panel shows, once")
    group.add_argument("--json", action="store_true", help="print the state as JSON, once")
    group.add_argument(
        "--do", choices=list(ACTIONS), metavar="ACTION", help=f"one action, then leave: {', '.join(ACTIONS)}"
    )
    options = parser.parse_args()
    try:
        panel = Panel(options.url, options.cafile)
        if options.do or options.status or options.json:
            return asyncio.run(once(panel, options.do, options.json))
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            parser.error("the console needs a terminal (ssh -t); without one use --status, --json or --do ACTION")
        return interactive(panel)
    except (Unreachable, OSError) as error:
        print(f"console: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
