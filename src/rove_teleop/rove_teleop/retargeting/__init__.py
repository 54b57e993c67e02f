# SPDX-License-Identifier: Apache-2.0
"""Operator frames -> joint targets: arms, hands, smoothing, calibration, alignment."""
