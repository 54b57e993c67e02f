# SPDX-License-Identifier: Apache-2.0
"""Processes that reserve a ROS domain never share one; a killed process gives its own back."""

import signal
import subprocess
import sys

from rove_contract import domain

HOLD = "from rove_contract import domain; print(domain.reserve(), flush=True); input()"


def test_reserved_domains_differ_and_a_killed_process_gives_its_own_back(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(domain.tempfile, "tempdir", None)
    monkeypatch.setattr(domain, "_held", [])
    others = [
        subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    taken = [int(process.stdout.readline()) for process in others]
    mine = [domain.reserve() for _ in range(len(domain.POOL) - 3)]
    assert sorted(taken + mine) == domain.POOL and domain.DEMO not in mine
    others[0].send_signal(signal.SIGKILL)
    for process in others[1:]:
        process.stdin.close()
    assert [process.wait(10) for process in others]
    assert domain.reserve() in taken
    for process in others:
        process.stdout.close()
    others[0].stdin.close()
    for file in domain._held:
        file.close()
