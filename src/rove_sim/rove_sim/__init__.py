# SPDX-License-Identifier: Apache-2.0
"""Simulated IRON-R01 in MuJoCo: robot node, whiteboard task, ego camera, scripted operator and supervisor."""

import rove_description  # noqa: F401  # before MuJoCo: chooses how it draws
