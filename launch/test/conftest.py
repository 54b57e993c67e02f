# SPDX-License-Identifier: Apache-2.0
"""Fixtures: `rove launch` as a real process whose output a test can wait for, and a package as colcon installs it."""

from __future__ import annotations

import os
import queue
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rove_contract import domain

DOMAIN = str(domain.reserve())  # not that of nodes in this process

ECHO = f"""#!{sys.executable}
import json, os, sys
print("argv", json.dumps(sys.argv[1:]), flush=True)
print("colour", os.environ.get("COLOUR"), flush=True)
"""


@pytest.fixture
def lab_package(tmp_path, monkeypatch):
    """Installs the package `lab` with the executable `echo` and the launch file `echo.launch.yaml`; returns the
    prefix.
    """
    prefix = tmp_path / "prefix"
    index = prefix / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    (index / "lab").touch()
    program = prefix / "lib/lab/echo"
    program.parent.mkdir(parents=True)
    program.write_text(ECHO)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    share = prefix / "share/lab"
    share.mkdir()
    (share / "echo.launch.yaml").write_text("launch:\n  - node: {pkg: lab, exec: echo, name: echo}\n")
    before = os.environ.get("AMENT_PREFIX_PATH")
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join([str(prefix), *([before] if before else [])]))
    return prefix


class Runner:
    """Starts `rove launch PATH arguments…`; `wait_for` a line, `stop` with a signal, `end` for its exit status."""

    def __init__(
        self, path: Path | str, *arguments: str, cwd: Path | None = None, environment: dict[str, str] | None = None
    ):
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rove_bringup.cli", "launch", str(path), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def wait_for(self, text: str, timeout_s: float = 20.0) -> str:
        """The next line with `text` in it; fails with the output so far when none comes in time."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                line = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"no line with {text!r} within {timeout_s:g} s; output:\n" + self.output)
            self.lines.append(line)
            if text in line:
                return line

    def wait_for_word_after(self, text: str, timeout_s: float = 20.0) -> str:
        """The word behind `text` in the next line that holds it."""
        return self.wait_for(text, timeout_s).split(text, 1)[1].split()[0]

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def stop(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def end(self, timeout_s: float = 20.0) -> int:
        """Wait for the end; returns the exit status and collects the rest of the output."""
        status = self.process.wait(timeout_s)
        while (line := self._queue.get(timeout=5.0)) is not None:
            self.lines.append(line)
        return status

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()  # its children get SIGTERM from the kernel
            self.process.wait()


@pytest.fixture
def rove_launch():
    """Runner's constructor; what it started is gone after the test."""
    runners = []

    def start(*arguments, **options) -> Runner:
        runners.append(Runner(*arguments, **options))
        return runners[-1]

    yield start
    for runner in runners:
        runner.kill()


@pytest.fixture
def own_domain(monkeypatch):
    """A ROS domain that no other test process uses at the same time."""
    monkeypatch.setenv("ROS_DOMAIN_ID", DOMAIN)
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def motionless_policy(tmp_path):
    """A checkpoint whose untrained actor holds the home pose: it never makes progress, so the supervisor has to pause
    it.
    """
    import torch

    from rove_description import robot
    from rove_learning.config import ActorConfig, CriticConfig
    from rove_learning.inference import checkpoint
    from rove_learning.models.actor import Actor
    from rove_learning.models.critic import Critic

    described = robot.load()
    actor = Actor(ActorConfig(), len(described.table))  # a fresh head predicts the normalised action 0, the mean
    actor.action_mean.copy_(torch.from_numpy(described.home))
    info = {"robot": described.card.to_dict(), "instructions": ["erase the whiteboard"]}
    return checkpoint.save(tmp_path / "demo" / "policy", actor, Critic(CriticConfig()), info=info)


@pytest.fixture
def holding_robin(tmp_path):
    """A checkpoint for robin_h1 that sees two of its cameras and holds its home pose."""
    from dataclasses import replace

    import torch

    from rove_description import robot
    from rove_learning.inference import checkpoint
    from rove_learning.models.actor import Actor
    from rove_learning.testing.synthetic import ACTOR, BACKBONE

    described = robot.load("robin_h1")
    cameras = tuple(described.cameras)[:2]
    actor = Actor(replace(ACTOR, backbone=replace(BACKBONE, cameras=cameras)), len(described.table))
    actor.action_mean.copy_(torch.from_numpy(described.home))
    return checkpoint.save(tmp_path / "untrained", actor, info={"robot": described.card.to_dict()})
