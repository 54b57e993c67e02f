# SPDX-License-Identifier: Apache-2.0
"""Erase the whiteboard (paper, App. D)."""
