# SPDX-License-Identifier: Apache-2.0
"""One file, two runners: what `rove launch` starts is what `ros2 launch` starts. Needs a ROS 2 installation."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

WITHOUT_ROS2 = "needs `ros2 launch`, which is not among the ROS 2 wheels; a ROS 2 installation has it"
pytestmark = pytest.mark.skipif(shutil.which("ros2") is None, reason=WITHOUT_ROS2)

FILE = """
launch:
  - arg: {name: operator, default: scripted, choice: [{value: scripted}, {value: none}]}
  - arg: {name: checkpoint, default: ''}
  - arg: {name: rate, default: '20'}
  - set_env: {name: COLOUR, value: $(env COLOUR_NOT_SET blue)}
  - node:
      pkg: lab
      exec: echo
      name: full
      output: screen
      param:
        - from: PARAMS
        - {name: rate, value: $(var rate), type: int}
        - {name: gain, value: $(var rate), type: float}
        - {name: label, value: $(var rate), type: str}
        - {name: choice, value: $(if $(equals $(var rate) 20.0) twenty other), type: str}
        - {name: empty, value: $(var checkpoint), type: str}
        - {name: flag, value: $(not-equals $(var operator) none), type: bool}
  - node: {pkg: lab, exec: echo, name: is_scripted, output: screen, if: "$(equals $(var operator) scripted)"}
  - node: {pkg: lab, exec: echo, name: has_checkpoint, output: screen, if: "$(eval \\"'$(var checkpoint)' != ''\\")"}
  - node: {pkg: lab, exec: echo, name: evaluated, output: screen, unless: "$(eval \\"'$(var rate)' in ['7']\\")"}
"""


def started(command: list[str], environment: dict[str, str]) -> set[str]:
    """What the echo processes of a runner report: arguments with parameters as sorted name=value, and COLOUR."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    found = set()
    for line in done.stdout.splitlines():
        if "argv " not in line:
            continue
        words = iter(json.loads(line.split("argv ", 1)[1]))
        plain, parameters = [], []
        for word in words:
            if word == "-p":
                name, _, value = next(words).partition(":=")
                parameters.append((name, yaml.safe_load(value)))
            elif word == "--params-file" and "launch_params_" in (path := next(words)):
                values = next(iter(yaml.unsafe_load(Path(path).read_text()).values()))["ros__parameters"]
                parameters += values.items()
            elif word == "--params-file":
                parameters.append(("file", path))
            else:
                plain.append(word)
        found.add(f"{plain} {sorted(parameters, key=str)}")
    return found | {line[line.index("colour ") :] for line in done.stdout.splitlines() if "colour " in line}


@pytest.mark.parametrize("arguments", [[], ["operator:=none", "checkpoint:=runs/x", "rate:=5"]])
def test_both_runners_start_the_same(lab_package, tmp_path, arguments):
    params = tmp_path / "params.yaml"
    params.write_text("/**: {ros__parameters: {gain: 1.0}}\n")
    path = tmp_path / "parity.launch.yaml"
    path.write_text(FILE.replace("PARAMS", str(params)))
    # The prefix of the fixture goes in front of the installation's.
    environment = dict(os.environ, ROS_LOG_DIR=str(tmp_path / "log"))
    ours = started(["rove", "launch", str(path), *arguments], environment)
    theirs = started(["ros2", "launch", str(path), *arguments], environment)
    assert ours == theirs
    assert len(ours) >= 4
