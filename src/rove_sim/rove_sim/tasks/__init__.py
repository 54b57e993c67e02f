# SPDX-License-Identifier: Apache-2.0
"""Tasks: one folder each, and their registry."""
