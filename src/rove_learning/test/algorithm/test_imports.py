# SPDX-License-Identifier: Apache-2.0
"""The paper's algorithm stands alone: torch and numpy, nothing of the robot, of data or of training."""

import subprocess
import sys

import pytest

PROGRAM = """
import pkgutil, sys, importlib
import numpy, torch
allowed = set(sys.modules)
import rove_learning.algorithm as algorithm
for module in pkgutil.walk_packages(algorithm.__path__, "rove_learning.algorithm."):
    importlib.import_module(module.name)
ours = {name for name in sys.modules if name.startswith("rove_")}
print("rove:", sorted(name for name in ours if name != "rove_learning" and ".algorithm" not in name))
new = {name.split(".")[0] for name in set(sys.modules) - allowed - ours}
print("others:", sorted(name for name in new if name not in {*sys.stdlib_module_names, "numpy", "torch"}))
"""


def run(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_the_algorithm_imports_torch_and_numpy_only():
    assert run(PROGRAM).split("\n")[:2] == ["rove: []", "others: []"]


@pytest.mark.parametrize("heavy", ["accelerate", "rove_learning.data", "rove_learning.training"])
def test_the_mazes_do_not_import_the_humanoid_s_training(heavy):
    assert run(f"import sys, rove_learning.offline.train; print({heavy!r} in sys.modules)") == "False\n"
