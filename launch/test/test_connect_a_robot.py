# SPDX-License-Identifier: Apache-2.0
"""docs/how-to/connect-a-robot.md, followed literally: from a folder to a session whose robot is driven by the SDK's
template.
"""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rove_description import robot
from rove_supervisor.testing.panel_client import Panel

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(240)]
ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def commands() -> list[list[str]]:
    """The page's command lines."""
    page = (ROOT / "docs" / "how-to" / "connect-a-robot.md").read_text()
    lines = re.sub(r"\\\n +", "", page).splitlines()
    return [shlex.split(line, comments=True) for line in lines if re.match(r"    (rove|python) ", line)]


def command(*words: str) -> list[str]:
    """The first one that has all these words."""
    return next(line for line in commands() if set(words) <= set(line))


def test_the_page_leads_from_a_folder_to_a_session(rove_launch, own_domain, tmp_path):
    folder = shutil.copytree(robot.ROBOTS / "robin_h1", tmp_path / "my_robot")
    told = [str(BIN / "rove"), *command("check", "my_robot")[1:]]
    check = subprocess.run(told, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert check.returncode == 0, check.stderr
    assert "right_wrist" in check.stdout and (tmp_path / "home.png").read_bytes().startswith(b"\x89PNG")

    driver = [sys.executable, str(ROOT / command("docs/how-to/sdk_driver.py", "robot:=my_robot")[1])]
    driver += command("docs/how-to/sdk_driver.py", "robot:=my_robot")[2:-1]  # without the &
    running = subprocess.Popen(driver, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        launch = [word.replace("/home/me/my_robot", "my_robot") for word in command("robot:=/home/me/my_robot")]
        endpoint = f"endpoint:=ipc://{tmp_path}/suit"
        session = rove_launch(*launch[2:], endpoint, "panel_port:=0", f"bags:={tmp_path / 'bags'}", cwd=tmp_path)
        panel = Panel(session.wait_for_word_after("panel: ", timeout_s=100.0))
        seen: dict = {}
        panel.wait(lambda state: seen.update(state) or state["links"]["robot"]["ok"], "a robot that answers")
        assert set(seen["links"]["camera"]["cameras"]) == set(robot.load(folder).cameras)
        refused = panel.ask("start_demonstration")
        assert not refused["ok"] and "camera ego" in refused["text"], "the SDK has no picture yet: replace `picture`"
        session.stop()
        session.end()
    finally:
        running.terminate()
        running.wait(20.0)
