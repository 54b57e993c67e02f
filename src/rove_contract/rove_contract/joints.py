# SPDX-License-Identifier: Apache-2.0
"""The robot's joints as the contract's packages know them; they live in `rove_description.joints`."""

from rove_description.joints import JointTable, LayoutError, Limits, load, mirror_index, mirror_signs

__all__ = ["JointTable", "LayoutError", "Limits", "load", "mirror_index", "mirror_signs"]
