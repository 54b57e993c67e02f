# SPDX-License-Identifier: Apache-2.0
"""The people who play in the tasks: operator, imperfection, supervision. No ROS here."""
