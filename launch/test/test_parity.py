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
  - let: {name: half, value: $(var rate)0}
  - set_env: {name: COLOUR, value: $(env COLOUR_NOT_SET blue)}
  - node:
      pkg: lab
      exec: echo
      name: full
      namespace: left
      output: screen
      args: --verbose "two words" $(var rate)Hz$(var half) $(dirname)
      env: [{name: COLOUR, value: red}]
      param:
        - from: PARAMS
        - {name: rate, value: $(var rate)}
        - {name: label, value: $(var rate), type: str}
        - {name: empty, value: $(var checkpoint), type: str}
        - {name: quoted, value: '5'}
        - {name: flag, value: $(not-equals $(var operator) none), type: bool}
        - name: filter
          param:
            - {name: order, value: 3}
            - {name: taps, value: [0.5, 0.25]}
      remap: [{from: in, to: /out}]
  - node: {pkg: lab, exec: echo, name: is_scripted, output: screen, if: "$(equals $(var operator) scripted)"}
  - node: {pkg: lab, exec: echo, name: has_checkpoint, output: screen, if: "$(eval \\"'$(var checkpoint)' != ''\\")"}
  - node:
      pkg: lab
      exec: echo
      name: evaluated
      output: screen
      unless: $(eval "'$(var operator)' == 'none' or '$(var rate)' in ['7']")
  - node: {pkg: lab, exec: echo, name: logic, output: screen,
          if: "$(and $(not $(equals a b)) $(or false $(equals 1.0 1)))"}
  - group:
      - let: {name: rate, value: '7'}
      - node: {pkg: lab, exec: echo, name: inside, output: screen,
             args: $(var rate) $(if $(equals $(var rate) 7) yes no)}
  - node: {pkg: lab, exec: echo, name: outside, output: screen, args: $(var rate)}
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
                parameters += flat(next(iter(yaml.unsafe_load(Path(path).read_text()).values()))["ros__parameters"])
            elif word == "--params-file":
                parameters.append(("file", path))
            else:
                plain.append(word)
        found.add(f"{plain} {sorted(parameters, key=str)}")
    return found | {line[line.index("colour ") :] for line in done.stdout.splitlines() if "colour " in line}


def flat(values: dict, prefix: str = "") -> list[tuple[str, object]]:
    """Nested parameters -> [(dotted name, value)]."""
    found = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += flat(value, f"{prefix}{name}.")
        else:
            found.append((prefix + name, list(value) if isinstance(value, tuple) else value))
    return found


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
    assert len(ours) >= 6
