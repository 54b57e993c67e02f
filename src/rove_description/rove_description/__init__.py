# SPDX-License-Identifier: Apache-2.0
"""Robots as data: joints, model, kinematics."""
