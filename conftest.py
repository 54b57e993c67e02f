# SPDX-License-Identifier: Apache-2.0
"""Every test process has a ROS domain of its own and talks to this machine only; generated examples are the same in
every run.
"""

import os

from hypothesis import settings

import rove_description  # noqa: F401  # before any test imports MuJoCo: chooses how it draws
from rove_contract import domain

# The same examples in every run: `make test` says what a change did. `make bench-safety` draws new ones, many more.
# No deadline: how long an example takes says how busy the machine is.
settings.register_profile("test", derandomize="ROVE_SAFETY_EXAMPLES" not in os.environ, deadline=None)
settings.load_profile("test")

domain.isolate()
