# SPDX-License-Identifier: Apache-2.0
"""The simulated robot, its tasks, and the people who play in them; one episode loop."""

import rove_description  # noqa: F401  # before MuJoCo: chooses how it draws
