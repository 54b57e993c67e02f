# SPDX-License-Identifier: Apache-2.0
"""Bags: schema, recording, preroll, recovery, reading."""
