# SPDX-License-Identifier: Apache-2.0
"""Practising without a robot: preview page, rehearsal of a suit, calibration."""
