# SPDX-License-Identifier: Apache-2.0
"""How a node's process ends, with real processes, signals and rclpy."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

NODE = """
import sys, time
from rclpy.node import Node
from rove_contract import ros

class Slow(Node):
    def __init__(self):
        super().__init__("slow")
        ros.timer(self, 0.01, self.report)
        self.reported = False

    def report(self):
        if not self.reported:
            self.reported = True
            print("ready", flush=True)

    def close(self):
        print("closing", flush=True)
        sys.stdin.readline()
        print("closed", flush=True)

sys.exit(ros.spin(Slow, sys.argv))
"""


def start(code: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.ros
def test_further_stop_signals_do_not_cut_closing_short():
    with start(NODE) as node:
        assert node.stdout.readline() == "ready\n"
        node.send_signal(signal.SIGINT)
        assert node.stdout.readline() == "closing\n"
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            node.send_signal(number)
        node.stdin.write("go on\n")
        node.stdin.flush()
        assert node.stdout.readline() == "closed\n"
        assert node.wait(20.0) == 0


PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.readline()
"""
CHILD = """
import time
from rove_contract import lifetime
lifetime.end_with_parent()
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("launched", ["1", "0"])
def test_a_launched_process_ends_with_a_killed_parent_and_another_does_not(launched):
    code = f"import sys; sys.argv = ['', {CHILD!r}]\n{PARENT}"
    with start(code, ROVE_END_WITH_LAUNCH=launched) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        assert parent.stdout.readline() == "ready\n"
        parent.kill()
        try:
            if launched == "1":
                child.wait(20.0)
            else:
                parent.wait(20.0)
                assert child.is_running() and child.status() != psutil.STATUS_ZOMBIE
        finally:
            if child.is_running():
                child.kill()
