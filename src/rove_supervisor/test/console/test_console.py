# SPDX-License-Identifier: Apache-2.0
"""The terminal panel: a real process on a pseudo-terminal against a real supervisor, and what it draws."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from rove_contract import domain
from rove_contract.modes import Mode
from rove_supervisor import controls
from rove_supervisor.console import view
from rove_supervisor.supervisor import ACTIONS
from rove_supervisor.testing.fake_world import CHROMIUM, Process

pytestmark = pytest.mark.ros
IMAGES = Path(__file__).resolve().parents[4] / "docs" / "img"
CONSOLE = [sys.executable, "-m", "rove_supervisor.console.console"]


class Terminal:
    """`console` on a pseudo-terminal of 100 x 40."""

    def __init__(self, *arguments, **environment):
        self.fd, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self.process = subprocess.Popen(
            [*CONSOLE, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=os.environ | environment,
            start_new_session=True,
        )
        os.close(slave)
        self.text = ""

    def read(self, seconds):
        """False at the end."""
        if select.select([self.fd], [], [], seconds)[0]:
            with contextlib.suppress(OSError):  # Linux's way to say that the other end is gone
                self.text += os.read(self.fd, 65536).decode(errors="replace")
                return True
            return False
        return True

    def end(self):
        """Exit status, with everything read that it wrote."""
        while self.read(10.0):
            pass
        return self.process.wait(10.0)

    @property
    def screen(self):
        """The last whole frame, without codes."""
        frames = self.text.split("\x1b[H")
        whole = frames[-1] if "\x1b[J" in frames[-1] else frames[-2] if len(frames) > 1 else ""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", whole)

    def until(self, words, seconds=15.0, there=True):
        deadline = time.monotonic() + seconds
        while not self.screen or (words in self.screen) is not there:
            assert time.monotonic() < deadline, (
                f"waited for {words!r} to {'come' if there else 'go'}; the screen:\n{self.screen}"
            )
            self.read(0.1)

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.fd)


@pytest.fixture
def terminal():
    terminals = []

    def make(*arguments, **environment):
        terminals.append(Terminal(*arguments, **environment))
        return terminals[-1]

    yield make
    for one in terminals:
        one.close()


@pytest.fixture
def idle(world, supervisor):
    world.operator = world.recorder_ready = world.policy_ready = True
    world.errors, world.value = {"head": 0.04, "waist": 0.09, "arm": 0.12, "hand": 0.21}, None
    world.until("estop")
    world.until("reset")
    return supervisor


def run(*arguments):
    return subprocess.run([*CONSOLE, *arguments], capture_output=True, text=True, timeout=30)


def test_every_action_of_the_page_has_a_key_and_stands_on_the_screen():
    assert set(controls.CONTROLS) == set(ACTIONS) and set(controls.SENTENCES) == {mode.name for mode in Mode}
    assert sorted("".join(view.ROWS)) == sorted(controls.ACTION_OF)
    keys = [control.key for control in (controls.CONTROLS | controls.SWITCHES).values()]
    assert len(set(keys)) == len(keys), "one key asks for one thing"


def test_a_whole_episode_by_keys_and_its_states_on_the_screen(world, idle, terminal):
    console = terminal("--url", idle.url)
    console.until(" IDLE ")
    console.until("Start rollout: ", there=False)  # no reason against it
    console.until("aligned; worst")
    for key, mode in (("1", "ROLLOUT"), ("p", "PAUSED"), ("t", "ADAPTATION"), ("r", "RECOVERY"), ("s", "IDLE")):
        console.type(key)
        console.until(f" {mode} ")
        world.wait_mode(mode)
    console.until("success")
    console.type("r")
    console.until("refused: recovered is not possible in IDLE")
    console.type("\x1b[A")
    console.until("ignored")
    console.type("2")
    console.until("DEMONSTRATION")
    console.type(" ")  # at once: a terminal does not know "held"
    console.until("E-STOP  ")
    world.wait_mode("ESTOP")
    console.type("q")
    assert console.end() == 0
    assert "\x1b[?1049l" in console.text and "\x1b[?25h" in console.text, "the terminal is left as it was"


def test_forcing_a_takeover_needs_a_second_press(world, idle, terminal):
    world.operator = False
    console = terminal("--url", idle.url)
    world.until("start_rollout")
    world.until("pause")
    console.until("Take over: the operator is stale")
    console.type("T")
    console.until("press T once more within 3 s")
    assert world.modes[-1][0] == "PAUSED"
    console.type("T")
    world.wait_mode("ADAPTATION")
    console.until("ADAPTATION")


def test_advice_rings_the_bell(world, idle, terminal):
    console = terminal("--url", idle.url)
    world.until("start_rollout")
    world.value = -0.85
    console.until("consider pausing")
    deadline = time.monotonic() + 5.0
    while "\a" not in console.text and time.monotonic() < deadline:
        console.read(0.1)
    assert "\a" in console.text


def test_a_console_holds_the_dead_man_lease_and_its_end_pauses(world, idle, terminal):
    console = terminal("--url", idle.url)
    console.until("[D]")
    console.until("Start rollout: ", there=False)
    console.type("D")
    try:
        console.until("Dead man on")
        console.type("1")
        console.until("you hold it")
        console.until("ROLLOUT  1.", 20.0)  # several leases long
        console.process.kill()
        world.wait_mode("PAUSED")
    finally:
        other = terminal("--url", idle.url)
        other.until("was silent for 2.0 s")
        other.type("D")
        other.until("Dead man off")


def test_the_start_stage_is_taken_by_a_key(world, idle, terminal):
    world.until("start_demonstration")
    world.until("succeed")
    console = terminal("--url", idle.url)
    console.until("[n] least collected: ")
    stage = re.search(r"least collected: (\w+)", console.screen).group(1)
    console.type("n")
    world.wait(lambda: world.stages[-1] == stage, what=f"start stage {stage}")
    console.until(f"Start stage {stage} of")


def test_it_comes_back_after_the_supervisor_restarts_and_says_what_is_wrong_meanwhile(world, terminal):
    elsewhere = str(domain.reserve())  # there is one supervisor per session
    first = Process(elsewhere)
    console = terminal("--url", first.url)
    console.until("IDLE")
    assert first.stop() == 0
    console.until("NO CONNECTION · last known mode: IDLE")
    console.type("p")
    console.until("no panel at")
    second = Process(elsewhere, panel_port=first.port)
    try:
        console.until(" IDLE ")
    finally:
        assert second.stop() == 0


def test_one_action_and_one_look_for_scripts(world, idle):
    done = run("--url", idle.url, "--do", "start_demonstration")
    assert done.returncode == 0 and "IDLE → DEMONSTRATION" in done.stdout
    refused = run("--url", idle.url, "--do", "resume")
    assert refused.returncode == 1 and "not possible in DEMONSTRATION" in refused.stderr
    assert json.loads(run("--url", idle.url, "--json").stdout)["mode"] == "DEMONSTRATION"
    status = run("--url", idle.url, "--status").stdout
    assert "DEMONSTRATION" in status and "erase the whiteboard" in status and "\x1b" not in status
    nobody = run("--url", "http://127.0.0.1:9", "--status")
    assert nobody.returncode == 2 and "no panel at http://127.0.0.1:9/" in nobody.stderr
    assert "needs a terminal" in run("--url", idle.url).stderr


@pytest.fixture(scope="module")
def protected_domain():
    return str(domain.reserve())  # beside this module's supervisor


def test_token_and_tls(protected, monkeypatch):
    _, url, cert, token = protected
    monkeypatch.delenv("ROVE_PANEL_TOKEN", raising=False)
    assert "a token is needed" in run("--url", url, "--cafile", str(cert), "--status").stderr
    assert "not trusted here; give it with --cafile" in run("--url", url, "--status").stderr
    monkeypatch.setenv("ROVE_PANEL_TOKEN", token)
    seen = run("--url", url, "--cafile", str(cert), "--status")
    assert seen.returncode == 0 and "IDLE" in seen.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
def test_screenshot(world, idle, terminal, browser, tmp_path):
    """The picture of docs/: a browser draws the terminal's last frame; ROVE_SCREENSHOTS=1 puts it there."""
    world.until("start_rollout")
    console = terminal("--url", idle.url)
    world.value = -0.35
    console.until("Value -0.35")
    world.errors, world.worst = world.errors | {"arm": 0.52}, "left_elbow"
    world.until("pause")
    console.until("Take over: misaligned: left_elbow")
    console.until("PAUSED  2.")
    frame = [text for text in console.text.split("\x1b[H") if "\x1b[J" in text][-1]
    colours = {
        code: f"color:{ink};background:{ground};font-weight:bold"
        for code, ink, ground in (
            ("1;30;103", "#000", "#ffd75f"),
            ("1;30;104", "#000", "#6fb1ff"),
            ("1;97;41", "#fff", "#d01f1f"),
            ("1;36", "#5fd7ff", ""),
            ("32", "#4fd18b", ""),
            ("1;31", "#ff7b7b", ""),
            ("33", "#ffc04d", ""),
            ("2", "#8a96a3", ""),
            ("1", "#fff", ""),
        )
    }
    frame = re.sub(r"\x1b\[[KJ]|\r", "", frame)
    page = re.sub(r"\x1b\[([\d;]+)m(.*?)\x1b\[0m", lambda m: f'<span style="{colours[m[1]]}">{m[2]}</span>', frame)
    view = browser.new_page(viewport={"width": 850, "height": 428})
    view.set_content(
        f'<body style="margin:0;background:#0b0f14;color:#dde4ea"><pre style="font:14px/17px DejaVu Sans '
        f'Mono">{page}</pre>'
    )
    picture = (IMAGES if os.environ.get("ROVE_SCREENSHOTS") else tmp_path) / "console.png"
    view.screenshot(path=picture)
    view.close()
    assert picture.stat().st_size > 10_000
