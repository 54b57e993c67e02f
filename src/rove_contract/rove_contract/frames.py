# SPDX-License-Identifier: Apache-2.0
"""Names of coordinate frames on the wire (REP-103, REP-105). Pure."""

from __future__ import annotations


def optical(camera: str) -> str:
    """Frame of a camera's pictures: z forward, x right, y down (REP-103)."""
    return f"{camera}_camera_optical_frame"


OPERATOR = "operator/"  # before a link's name: where the operator's targets would have it
