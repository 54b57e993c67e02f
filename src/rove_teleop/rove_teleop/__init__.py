# SPDX-License-Identifier: Apache-2.0
"""Operator inputs, retargeting to 50 joints, and the command filter."""

import rove_description  # noqa: F401  # before MuJoCo: chooses how it draws
