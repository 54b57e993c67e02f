#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/reference/parameters.md, from the nodes' own modules. Without --write: status 1 when it is out of date."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from rove_contract import node_help
from rove_contract.parameters import Declaration

PAGE = Path(__file__).resolve().parents[1] / "docs/reference/parameters.md"
NODES = {
    "command_filter": "rove_teleop.command_filter_node",
    "policy": "rove_policy.policy_node",
    "recorder": "rove_recorder.recorder_node",
    "robot": "rove_sim.robot_node",
    "robot_state": "rove_bringup.robot_state_node",
    "scripted_operator": "rove_sim.scripted_operator_node",
    "scripted_supervisor": "rove_sim.scripted_supervisor_node",
    "supervisor": "rove_supervisor.supervisor_node",
    "teleop": "rove_teleop.teleop_node",
}
HEAD = """# Parameters of the nodes

Written by `scripts/parameters.py --write` from the nodes' source; a test compares it. `rove run PACKAGE NODE --help`
prints the same.

Values come from `launch/params/NODE.yaml` and, over them, from the arguments of the session ([launch](launch.md)). A
value of another type or outside its range is refused at the start, with the range named; `ros2 param describe` shows
it. They are read once, at the start, and `ros2 param set` refuses to change them then. Two take effect at once:
`checkpoint` of the policy (between episodes) and `start_stage` of the robot.
"""


def bounds(parameter: Declaration) -> str:
    """The range without its unit, which has a column of its own."""
    text = parameter.range().removeprefix("one of ")
    return text.replace(f" {parameter.unit}", "") if parameter.unit else text


def render() -> str:
    """The page's text."""
    parts = [HEAD]
    for name, module_name in NODES.items():
        module = importlib.import_module(module_name)
        parts.append(
            f"\n## {name}\n\n{(module.__doc__ or '').strip()}\n\n`rove run {module_name.split('.')[0]} {name}`\n"
        )
        parts.append("| parameter | default | unit | range | what it is |\n|---|---|---|---|---|")
        for parameter in node_help.read_parameters(module):
            columns = [f"`{parameter.name}`", f"`{parameter.default!r}`", parameter.unit, bounds(parameter)]
            live = " (can be set while the node runs)" if parameter.live else ""
            parts.append(f"| {' | '.join(columns)} | {parameter.description}{live} |")
    return "\n".join(parts) + "\n"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the page")
    if parser.parse_args(argv).write:
        PAGE.write_text(render())
    return 0 if PAGE.exists() and PAGE.read_text() == render() else 1


if __name__ == "__main__":
    sys.exit(main())
