# SPDX-License-Identifier: Apache-2.0
"""Every console script says how it is called, and does nothing else, when asked for help."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from rove_bringup import packages


def ask_for_help(package: str, name: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*packages.executable(package, name), "--help"],  # what `rove run` replaces itself by
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
    )


@pytest.mark.timeout(400)  # about 30 processes, each of which imports what it needs: 30 s of CPU in all
def test_each_console_script_prints_its_usage_and_exits():
    scripts = [
        (package, name)
        for package in packages.names()
        if package.startswith("rove_") and package != "rove_bringup"
        for name in packages.executables(package)
    ]
    assert ("rove_teleop", "command_filter") in scripts and ("rove_learning", "train") in scripts
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        answers = list(pool.map(lambda script: ask_for_help(*script), scripts))
    faults = [
        f"{package} {name}: status {done.returncode}, {done.stdout.splitlines()[:1]} {done.stderr[-200:]}"
        for (package, name), done in zip(scripts, answers)
        if done.returncode != 0
        or done.stderr
        or not done.stdout.lstrip().startswith(f"usage: rove run {package} {name} ")
    ]
    assert not faults, "\n".join(faults)
