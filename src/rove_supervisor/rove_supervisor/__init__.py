# SPDX-License-Identifier: Apache-2.0
"""The mode machine of a session and its browser panel."""
