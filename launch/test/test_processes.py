# SPDX-License-Identifier: Apache-2.0
"""How a session starts, watches and ends its processes; with real processes and real signals."""

import signal
import sys
import time

import psutil
import pytest

from rove_bringup.processes import ProcessGroup, ProcessSpec

WAITING = "import os, signal; print('ready', os.getpid(), flush=True); signal.pause()"
STUBBORN = (
    "import os, signal; [signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGTERM)]; "
    "print('ready', os.getpid(), flush=True)\nwhile True: signal.pause()"
)
# Leaves a child that ignores every polite signal and holds the output open, then dies.
PARENT = (
    "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.PIPE); "
    "print('grandchild', child.stdout.readline().split()[1].decode(), flush=True); sys.exit(3)"
)


@pytest.fixture
def launch(tmp_path, lab_package, rove_launch):
    """(name, Python code, attributes as YAML) … -> started Runner."""

    def start(*processes: tuple[str, str, str]):
        lines = ["launch:"]
        for name, code, attributes in processes:
            program = lab_package / "lib/lab" / name
            program.write_text(f"#!{sys.executable}\n{code}")
            program.chmod(0o755)
            lines.append(f"  - node: {{pkg: lab, exec: {name}, name: {name}{', ' if attributes else ''}{attributes}}}")
        path = tmp_path / "processes.launch.yaml"
        path.write_text("\n".join(lines) + "\n")
        return rove_launch(path)

    return start


def gone(pid: int, timeout_s: float = 5.0) -> bool:
    """Whether the process ends within timeout_s."""
    try:
        psutil.Process(pid).wait(timeout_s)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_signal_ends_every_process(launch, number, status):
    runner = launch(("a", WAITING, ""), ("b", WAITING, ""))
    pids = [int(runner.wait_for_word_after("ready ")) for _ in range(2)]
    begin = time.monotonic()
    runner.stop(number)
    assert runner.end() == status
    assert time.monotonic() - begin < 2.0, "polite processes need no harder signal"
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_process_that_ignores_signals_is_gone_within_five_seconds(launch):
    runner = launch(("polite", WAITING, ""), ("stubborn", STUBBORN, ""))
    pids = [int(runner.wait_for_word_after("ready ")) for _ in range(2)]
    begin = time.monotonic()
    runner.stop()
    assert runner.end() == 130
    assert time.monotonic() - begin < 5.0
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert "stubborn: still there, sending SIGTERM" in runner.output
    assert "stubborn: ended (killed by SIGKILL)" in runner.output


def test_further_stop_signals_end_a_stubborn_process_at_once(launch):
    runner = launch(("stubborn", STUBBORN, ""))
    runner.wait_for("ready ")
    begin = time.monotonic()
    runner.stop()
    runner.wait_for("stopping every process")
    runner.stop()
    runner.wait_for("sending SIGTERM")
    runner.stop()
    assert runner.end() == 130
    assert time.monotonic() - begin < 2.0


def test_each_process_leads_its_own_group(launch):
    runner = launch(("a", "import os; print('group', os.getpgid(0) == os.getpid(), flush=True)", ""))
    assert runner.wait_for_word_after("group ") == "True"
    assert runner.end() == 0


def test_a_dying_process_is_reported_and_the_others_go_on(launch):
    runner = launch(("weak", "import sys; print('oh no', file=sys.stderr); sys.exit(7)", ""), ("strong", WAITING, ""))
    pid = int(runner.wait_for_word_after("ready "))
    if "weak: died" not in runner.output:
        runner.wait_for("weak: died (exit code 7)")
    assert "weak   | oh no" in runner.output
    assert psutil.pid_exists(pid)
    runner.stop()
    assert runner.end() == 130


@pytest.mark.parametrize(
    ("code", "status"), [("import sys; sys.exit(5)", 5), ("pass", 0), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_the_end_of_a_required_process_ends_the_session_with_its_status(launch, code, status):
    runner = launch(("needed", code, "on_exit: shutdown"), ("other", WAITING, ""))
    assert runner.end() == status
    assert "needed: " in runner.output and "it is required, so the session ends" in runner.output
    assert "other: ended" in runner.output


def test_a_process_is_respawned_until_the_session_ends(launch):
    code = "import sys; print('try', flush=True); sys.exit(1)"
    runner = launch(("again", code, "respawn: 'true', respawn_delay: 0.05"))
    for _ in range(3):
        runner.wait_for("| try")
    runner.stop()
    assert runner.end() == 130


def test_a_stop_during_a_respawn_delay_ends_the_session(launch):
    runner = launch(("again", "import sys; sys.exit(1)", "respawn: 'true', respawn_delay: 60.0"))
    runner.wait_for("respawn 1 in 60 s")
    runner.stop()
    assert runner.end(5.0) == 130


def test_the_status_is_the_first_failure_when_all_ended(launch):
    runner = launch(("good", "pass", ""), ("bad", "import sys; sys.exit(4)", ""))
    assert runner.end() == 4


def test_a_grandchild_does_not_outlive_its_parent(launch):
    runner = launch(("parent", f"import sys; sys.argv = ['', {STUBBORN!r}]\n{PARENT}", ""), ("other", WAITING, ""))
    pid = int(runner.wait_for_word_after("grandchild "))
    runner.wait_for("parent: died (exit code 3)")
    assert gone(pid)
    runner.stop()
    runner.end()


def test_no_process_outlives_a_killed_runner(launch):
    runner = launch(("a", WAITING, ""))
    pid = int(runner.wait_for_word_after("ready "))
    runner.stop(signal.SIGKILL)
    assert runner.end() == -9
    assert gone(pid)


HOLDER = """
import signal, sys, time
count = 0
def hear(number, _frame):
    global count
    count += 1
    print("holder heard", signal.Signals(number).name, flush=True)
    if count == 2:
        sys.exit(0)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, hear)
print("ready", flush=True)
while True:
    signal.pause()
"""
OTHER = """
import signal, sys
def hear(number, _frame):
    print("other heard", signal.Signals(number).name, flush=True)
    sys.exit(0)
signal.signal(signal.SIGINT, hear)
print("ready", flush=True)
signal.pause()
"""


class Lines:
    """A printer that keeps what it was given and calls `stop` when both processes run."""

    def __init__(self):
        self.text, self.width, self.group = [], 0, None

    def write(self, message):
        if message.type == "line":
            line = message.data.decode() if isinstance(message.data, bytes) else message.data
            self.text.append((message.name, line.strip()))
            if [line for _, line in self.text].count("ready") == 2 and line.strip() == "ready":
                self.group.stop(signal.SIGINT)


def test_who_holds_the_robot_is_told_first_and_ends_last():
    specs = [
        ProcessSpec("filter", (sys.executable, "-c", HOLDER), required=True, holds_robot=True),
        ProcessSpec("other", (sys.executable, "-c", OTHER)),
    ]
    printer = Lines()
    printer.group = ProcessGroup(specs)
    printer.group._printer = printer
    assert printer.group.run() == 130
    told = [line for _, line in printer.text if "heard" in line]
    assert told == ["holder heard SIGINT", "other heard SIGINT", "holder heard SIGTERM"]
    assert [line for _, line in printer.text if "ended (" in line][-1] == "filter: ended (exit code 0)"


def test_a_required_process_that_dies_has_the_robot_stopped_first():
    specs = [
        ProcessSpec("filter", (sys.executable, "-c", HOLDER), holds_robot=True),
        ProcessSpec(
            "required", (sys.executable, "-c", "import time; time.sleep(0.5); raise SystemExit(3)"), required=True
        ),
        ProcessSpec("other", (sys.executable, "-c", OTHER)),
    ]
    printer = Lines()
    printer.group = ProcessGroup(specs)
    printer.group._printer = printer
    printer.write = lambda message: printer.text.append((message.name, _line(message)))
    assert printer.group.run() == 3
    told = [line for _, line in printer.text if "heard" in line]
    assert told == ["holder heard SIGINT", "other heard SIGINT", "holder heard SIGTERM"]


def _line(message):
    return (message.data.decode() if isinstance(message.data, bytes) else str(message.data)).strip()
