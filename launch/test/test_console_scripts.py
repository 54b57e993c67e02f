# SPDX-License-Identifier: Apache-2.0
"""Every console script says how it is called, and does nothing else, when asked for help."""

import os
import subprocess
import sys

from rove_bringup import packages


def test_each_console_script_prints_its_usage_and_exits():
    scripts = [
        (package, name)
        for package in packages.names()
        if package.startswith("rove_") and package != "rove_bringup"
        for name in packages.executables(package)
    ]
    assert ("rove_teleop", "command_filter") in scripts and ("rove_learning", "train") in scripts
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    started = {
        (package, name): subprocess.Popen(
            [sys.executable, "-m", "rove_bringup.cli", "run", package, name, "--help"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for package, name in scripts
    }
    faults = []
    for (package, name), process in started.items():
        out, err = process.communicate(timeout=100)
        usage = f"usage: rove run {package} {name} "
        if process.returncode != 0 or err or not out.lstrip().startswith(usage):
            faults.append(f"{package} {name}: status {process.returncode}, {out.splitlines()[:1]} {err[-200:]}")
    assert not faults, "\n".join(faults)
