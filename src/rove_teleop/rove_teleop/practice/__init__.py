# SPDX-License-Identifier: Apache-2.0
"""Practising without a robot: the preview page and the calibration of an operator."""
