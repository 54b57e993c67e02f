# SPDX-License-Identifier: Apache-2.0
"""A raised priority holds for every thread of a process, or is reported as not raised."""

import ast
import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys, threading
from pathlib import Path
from rove_contract.priority import raise_priority
stop = threading.Event()
for _ in range(3):
    threading.Thread(target=stop.wait, daemon=True).start()
said = raise_priority(realtime=int(sys.argv[1]), nice=int(sys.argv[2]))
tasks = [int(task.name) for task in Path("/proc/self/task").iterdir()]
print(said, [(os.sched_getscheduler(t), os.getpriority(os.PRIO_PROCESS, t)) for t in tasks], sep=";")
"""


def run(realtime, nice):
    words = [sys.executable, "-c", PROGRAM, str(realtime), str(nice)]
    said, threads = (
        subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout.strip().split(";")
    )
    return said, ast.literal_eval(threads)


@pytest.mark.parametrize(("realtime", "nice"), [(20, -10), (0, -10), (0, 0)])
def test_every_thread_gets_the_priority_that_is_reported(realtime, nice):
    before = os.getpriority(os.PRIO_PROCESS, 0)
    said, threads = run(realtime, nice)
    assert len(threads) >= 4
    if said.startswith("real-time"):
        assert {policy for policy, _ in threads} == {os.SCHED_FIFO}
    else:
        assert {policy for policy, _ in threads} == {os.SCHED_OTHER}
        assert {value for _, value in threads} == {nice if said else before}
    if os.geteuid() != 0:
        pytest.skip("raising a priority needs root; what was checked is that nothing is claimed without it")
    assert said or (realtime, nice) == (0, 0)
