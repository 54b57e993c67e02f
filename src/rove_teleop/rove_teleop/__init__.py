# SPDX-License-Identifier: Apache-2.0
"""Operator inputs, retargeting to 50 joints, and the command filter."""
