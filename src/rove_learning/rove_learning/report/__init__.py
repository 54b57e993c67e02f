# SPDX-License-Identifier: Apache-2.0
"""Figures and pages about training runs."""
