# SPDX-License-Identifier: Apache-2.0
"""The `rove` command: its verbs, and that a mistake costs one readable sentence."""

import json
import subprocess
import sys

import pytest

from rove_bringup import cli


def rove(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "rove_bringup.cli", *words], capture_output=True, text=True, timeout=60
    )


def test_run_finds_an_executable_of_an_installed_package(lab_package):
    done = rove("run", "lab", "echo", "--rate", "5", "a:=b")
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[0].removeprefix("argv ")) == ["--rate", "5", "a:=b"]


def test_run_finds_the_console_script_of_an_editable_package():
    done = rove("run", "rove_bringup", "rove", "--help")
    assert done.returncode == 0
    assert done.stdout == cli.USAGE


def test_launch_starts_a_file_of_a_package(lab_package):
    done = rove("launch", "lab", "echo.launch.yaml")
    assert done.returncode == 0
    assert 'argv ["--ros-args", "-r", "__node:=echo"]' in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "rove_sim"], "the package has robot, scripted_operator, scripted_supervisor"),
        (["run", "rove_sim", "robt"], "Did you mean robot?"),
        (["run", "no_such_package", "x"], "unknown package 'no_such_package'; known: rove_bringup, "),
        (["launch", "no_such.launch.yaml"], "it has session.launch.yaml"),
        (["launch", "rove_bringup"], "needs a launch file; the package has session.launch.yaml"),
        (
            ["launch", "session.launch.yaml", "record=true"],
            "expected a launch argument such as record:=true, got 'record=true'",
        ),
        (["launch", "session.launch.yaml", "recrod:=true"], "Did you mean record?"),
        (["launch", "session.launch.yaml", "device:=robot"], "expected one of browser, scripted, zmq, webxr, none"),
        (["laucnh"], "unknown command 'laucnh'; expected launch, run, demo"),
    ],
)
def test_a_mistake_is_explained(words, message, capsys):
    assert cli.main(words) == 2
    assert message in capsys.readouterr().err


def test_show_args_lists_every_argument(capsys):
    assert cli.main(["launch", "session.launch.yaml", "--show-args"]) == 0
    shown = capsys.readouterr().out
    for name in (
        "task",
        "checkpoint",
        "device",
        "operator",
        "record",
        "panel_port",
        "robot",
        "driver",
        "namespace",
        "bags",
        "seed",
        "episodes",
    ):
        assert f"\n    {name}\n" in shown
